//! The symbol path: the grammar of `_NT_SYMBOL_PATH`.
//!
//! Elements are separated by `;`, the parts of one element by `*`. Sources: the documentation
//! of the Debugging Tools for Windows ("Symbol path for Windows debuggers", "Custom Symbol
//! Stores and Symbol Servers"). This module does not open files or network connections.
//!
//! Users often copy a path from Windows to a system without drives: on Linux,
//! `srv*c:\symbols*https://…` means the default store, not a directory `c:`.

use std::path::PathBuf;

use super::id::PUBLIC_SERVER;

/// One `;`-separated element of a symbol path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// A directory (flat or a symbol store), or the path of a PDB file.
    Dir(String),
    /// `srv*…`: stores that are searched from left to right; a file found in a later one is
    /// copied to the earlier ones.
    Chain(Vec<Store>),
    /// `cache*dir`: stores files that are found in the elements to its right.
    Cache(Store),
}

/// One store in a `srv*` chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// The default downstream store, see [`default_store`].
    Default,
    /// A directory with the layout of a symbol store.
    Dir(String),
    /// The base address of a symbol server.
    Url(String),
}

impl Store {
    /// The directory of this store on this machine; `None` for a server, and for a drive or
    /// share that this system does not have.
    pub fn directory(&self) -> Option<PathBuf> {
        match self {
            Store::Default => default_store(),
            Store::Dir(dir) => local_path(dir),
            Store::Url(_) => None,
        }
    }
}

/// A parsed symbol path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SymbolPath {
    /// The elements in search order.
    pub elements: Vec<Element>,
    /// Set by [`SymbolPath::without_caches`].
    no_caches: bool,
}

/// A location to search for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub at: At<'a>,
    /// The stores that keep a copy of files found here; leftmost first.
    pub keep_in: Vec<PathBuf>,
    /// A plain directory. Unlike a store, it is not created when the first file arrives.
    pub is_plain: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At<'a> {
    /// A directory of any layout, or a file.
    Local(PathBuf),
    /// The base address of a server.
    Server(&'a str),
}

impl SymbolPath {
    /// Parses the syntax of `_NT_SYMBOL_PATH`, with `%VAR%` from the environment.
    ///
    /// Every text is a valid path: an element that matches no other rule is a directory.
    pub fn parse(text: &str) -> SymbolPath {
        SymbolPath::parse_with(text, |name| std::env::var(name).ok())
    }

    /// As [`SymbolPath::parse`], with another source of variables.
    pub fn parse_with(text: &str, variable: impl Fn(&str) -> Option<String>) -> SymbolPath {
        // Expand variables first: their values may contain separators, as in Windows.
        let text = expand(text, &variable);
        SymbolPath {
            elements: elements(&text),
            no_caches: false,
        }
    }

    /// `_NT_ALT_SYMBOL_PATH`, then `_NT_SYMBOL_PATH`; `None` if both are unset or empty.
    pub fn from_env() -> Option<SymbolPath> {
        let mut path = SymbolPath::default();
        for name in ["_NT_ALT_SYMBOL_PATH", "_NT_SYMBOL_PATH"] {
            if let Ok(text) = std::env::var(name) {
                path.elements.extend(SymbolPath::parse(&text).elements);
            }
        }
        (!path.elements.is_empty()).then_some(path)
    }

    /// Only the default store: the path to search if none is given.
    pub fn local_cache() -> SymbolPath {
        SymbolPath {
            elements: vec![Element::Cache(Store::Default)],
            no_caches: false,
        }
    }

    /// The same path without `cache*` elements and default stores. Files are kept only in the
    /// stores that the path names.
    pub fn without_caches(mut self) -> SymbolPath {
        self.no_caches = true;
        self.elements.retain_mut(|element| match element {
            Element::Cache(_) => false,
            Element::Dir(_) => true,
            Element::Chain(stores) => {
                stores.retain(|s| *s != Store::Default);
                !stores.is_empty()
            }
        });
        self
    }

    /// Every directory of the path in search order.
    pub fn directories(&self) -> Vec<PathBuf> {
        let places = self.places().into_iter();
        let local = places.filter_map(|place| match place.at {
            At::Local(path) => Some(path),
            At::Server(_) => None,
        });
        local.collect()
    }

    /// Every symbol server of the path in search order.
    pub fn servers(&self) -> Vec<&str> {
        let places = self.places().into_iter();
        let servers = places.filter_map(|place| match place.at {
            At::Local(_) => None,
            At::Server(url) => Some(url),
        });
        servers.collect()
    }

    /// The directory for a file that is fetched by hand, so that this path finds it: the first
    /// store, else the first directory, else the store for files from a server.
    pub fn first_store(&self) -> Option<PathBuf> {
        let stores = self.elements.iter().flat_map(|element| match element {
            Element::Dir(_) => &[],
            Element::Chain(stores) => stores.as_slice(),
            Element::Cache(store) => std::slice::from_ref(store),
        });
        let mut kept = self.places().into_iter().map(|place| place.keep_in);
        stores
            .filter_map(Store::directory)
            .next()
            .or_else(|| self.directories().into_iter().find(|d| !d.is_file()))
            .or_else(|| kept.find_map(|stores| stores.into_iter().next()))
    }

    /// All locations of the path in search order, each with the stores to its left that keep a
    /// copy of its files: all `cache*` elements, and the earlier stores of its own chain.
    pub(super) fn places(&self) -> Vec<Place<'_>> {
        let mut out = Vec::new();
        let mut caches: Vec<PathBuf> = Vec::new();
        for element in &self.elements {
            match element {
                Element::Dir(dir) => out.extend(local_path(dir).map(|dir| Place {
                    at: At::Local(dir),
                    keep_in: caches.clone(),
                    is_plain: true,
                })),
                Element::Cache(store) => {
                    let Some(dir) = store.directory() else {
                        continue;
                    };
                    out.push(Place {
                        at: At::Local(dir.clone()),
                        keep_in: caches.clone(),
                        is_plain: false,
                    });
                    caches.push(dir);
                }
                Element::Chain(stores) => self.chain_places(stores, &caches, &mut out),
            }
        }
        out
    }

    fn chain_places<'a>(&self, chain: &'a [Store], caches: &[PathBuf], out: &mut Vec<Place<'a>>) {
        let mut keep_in = caches.to_vec();
        for store in chain {
            if let Store::Url(url) = store {
                let mut keep_in = keep_in.clone();
                if keep_in.is_empty() && !self.no_caches {
                    keep_in.extend(default_store());
                }
                out.push(Place {
                    at: At::Server(url),
                    keep_in,
                    is_plain: false,
                });
            } else if let Some(dir) = store.directory() {
                out.push(Place {
                    at: At::Local(dir.clone()),
                    keep_in: keep_in.clone(),
                    is_plain: false,
                });
                keep_in.push(dir);
            }
        }
    }
}

/// The default store: `%ProgramData%\Dbg\sym` on Windows, as in WinDbg; elsewhere in the user's
/// cache directory.
pub fn default_store() -> Option<PathBuf> {
    if cfg!(windows) {
        return Some(variable("ProgramData")?.join("Dbg").join("sym"));
    }
    Some(cache_directory()?.join("symbols"))
}

/// The directory for data that can be recreated: `poolscope` in `$XDG_CACHE_HOME` or
/// `~/.cache`, on macOS in `~/Library/Caches`, on Windows in `%LOCALAPPDATA%`. `None` if the
/// environment defines none of them.
pub fn cache_directory() -> Option<PathBuf> {
    let cache = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else {
        variable("XDG_CACHE_HOME")
            .filter(|p| p.is_absolute())
            .or_else(|| {
                let home = variable("HOME")?;
                Some(if cfg!(target_os = "macos") {
                    home.join("Library/Caches")
                } else {
                    home.join(".cache")
                })
            })
    };
    Some(cache?.join("poolscope"))
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|v| !v.is_empty())
        .map(PathBuf::from)
}

fn elements(text: &str) -> Vec<Element> {
    let mut out = Vec::new();
    for text in text.split(';') {
        // Files from a server are kept in a cache to its left, or else in the default store.
        let cached = out.iter().any(|e| matches!(e, Element::Cache(_)));
        out.extend(element(text, cached));
    }
    out
}

fn element(text: &str, cached: bool) -> Option<Element> {
    let text = text.trim().trim_matches('"').trim();
    if let Some(path) = file_url(text) {
        return Some(Element::Dir(path));
    }
    let mut parts = text.split('*').map(str::trim);
    let head = parts.next().unwrap_or_default();
    let has_parts = text.contains('*');
    match head.to_ascii_lowercase().as_str() {
        "srv" if has_parts => Some(Element::Chain(chain(parts.collect(), cached))),
        "symsrv" if has_parts => {
            // The next part is the server's DLL (`symsrv.dll`, formerly `ImageHlp`).
            parts.next();
            Some(Element::Chain(chain(parts.collect(), cached)))
        }
        "cache" if has_parts => Some(Element::Cache(store(parts.next().unwrap_or_default()))),
        "" if !has_parts => None,
        _ if is_url(text) => Some(Element::Chain(chain(vec![text], cached))),
        _ => Some(Element::Dir(text.to_string())),
    }
}

/// The stores of `srv*a*b*c`. An empty part is the default store. A single server gets the
/// default store in front unless a cache keeps its files. No parts at all means the public
/// server.
fn chain(parts: Vec<&str>, cached: bool) -> Vec<Store> {
    let mut stores: Vec<Store> = parts.iter().map(|part| store(part)).collect();
    stores.dedup();
    match stores.as_slice() {
        [] | [Store::Default] => vec![Store::Default, Store::Url(PUBLIC_SERVER.into())],
        [Store::Url(_)] if !cached => {
            stores.insert(0, Store::Default);
            stores
        }
        _ => stores,
    }
}

fn store(part: &str) -> Store {
    if part.is_empty() {
        Store::Default
    } else if is_url(part) {
        Store::Url(part.trim_end_matches('/').to_string())
    } else {
        Store::Dir(file_url(part).unwrap_or_else(|| part.to_string()))
    }
}

/// The path of a `file://` address: `file:///srv/sym`, `file:///c:/sym`, or
/// `file://server/share`, which is a share.
fn file_url(text: &str) -> Option<String> {
    let head = text.get(..7)?;
    let rest = text
        .get(7..)
        .filter(|_| head.eq_ignore_ascii_case("file://"))?;
    let rest = percent_decode(rest);
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest.as_str(), ""),
    };
    if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
        return Some(format!("\\\\{host}{}", path.replace('/', "\\")));
    }
    // The slash before a drive letter is not part of the path.
    let drive = path.get(1..).filter(|rest| is_windows_only(rest));
    Some(drive.unwrap_or(path).to_owned())
}

/// Replaces `%20` and similar by their characters; a result that is not text stays unchanged.
fn percent_decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let digits = rest.get(..2).filter(|_| *first == b'%');
        let value = digits
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 16).ok())
            .filter(|b| *b != 0);
        match value {
            Some(value) => {
                out.push(value);
                bytes = rest.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// The variables `%NAME%` in a text that were not replaced.
pub(super) fn unset_variables(text: &str) -> Vec<&str> {
    let mut pieces = text.split('%').skip(1).peekable();
    let mut out = Vec::new();
    while let Some(name) = pieces.next() {
        let usable = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || c == '_' || c == '(' || c == ')');
        if usable && pieces.peek().is_some() {
            out.push(name);
            pieces.next();
        }
    }
    out
}

fn is_url(text: &str) -> bool {
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// Converts a path written for Windows to this system: outside Windows, `\` is a separator too,
/// unless a file with exactly this name exists. `None` for a drive or a share that does not
/// exist here.
pub(super) fn local_path(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    if cfg!(windows) || path.exists() {
        return Some(path);
    }
    if is_windows_only(text) {
        // Wine or a similar layer may have created such a directory below the current one.
        return Some(PathBuf::from(text.replace('\\', "/"))).filter(|p| p.exists());
    }
    Some(PathBuf::from(text.replace('\\', "/")))
}

/// True when the text starts with a drive letter or with the two backslashes of a share.
fn is_windows_only(text: &str) -> bool {
    let mut chars = text.chars();
    let drive = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.next() == Some(':')
        && chars.next().is_none_or(|c| c == '\\' || c == '/');
    drive || text.starts_with("\\\\")
}

/// Replaces `%NAME%`; an unknown variable stays unchanged.
fn expand(text: &str, variable: &impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let found = after.split_once('%').and_then(|(name, tail)| {
            // No variable has these characters; the environment functions panic on some of
            // them.
            let usable = !name.is_empty() && !name.contains(['=', '\0', ';', '*']);
            Some((usable.then(|| variable(name)).flatten()?, tail))
        });
        match found {
            Some((value, tail)) => {
                out.push_str(&value);
                rest = tail;
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
