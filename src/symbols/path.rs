//! The symbol path: the grammar of `_NT_SYMBOL_PATH`.
//!
//! Elements are separated by `;`, the parts of one element by `*`. Learned from the
//! Debugging Tools for Windows documentation ("Symbol path for Windows debuggers",
//! "Custom Symbol Stores and Symbol Servers"). Nothing here opens a file or a network
//! connection.
//!
//! A path copied from Windows is usual, also where there are no drives:
//! `srv*c:\symbols*https://…` on Linux means the default store, not a directory `c:`.

use std::path::PathBuf;

use super::id::PUBLIC_SERVER;

/// One `;`-separated element of a symbol path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// A directory (flat or a symbol store), or a PDB file named outright.
    Dir(String),
    /// `srv*…`: stores searched from left to right; a hit in a later one is worth
    /// copying into the earlier ones.
    Chain(Vec<Store>),
    /// `cache*dir`: whatever the elements to its right give is kept here.
    Cache(Store),
}

/// One place in a `srv*` chain.
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
    /// The directory of this store on this machine; `None` for a server, and for a drive
    /// or share that this system does not have.
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
    /// In the order they are searched.
    pub elements: Vec<Element>,
    /// Set by [`SymbolPath::without_caches`].
    no_caches: bool,
}

/// One place to look for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub at: At<'a>,
    /// The stores that keep what is found here, those to the left first.
    pub keep_in: Vec<PathBuf>,
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
    /// There is no wrong path: what no rule claims is a directory.
    pub fn parse(text: &str) -> SymbolPath {
        SymbolPath::parse_with(text, |name| std::env::var(name).ok())
    }

    /// [`SymbolPath::parse`] with another source of variables.
    pub fn parse_with(text: &str, variable: impl Fn(&str) -> Option<String>) -> SymbolPath {
        // Variables first: their value may hold separators, as in Windows.
        let text = expand(text, &variable);
        SymbolPath {
            elements: elements(&text),
            no_caches: false,
        }
    }

    /// `_NT_ALT_SYMBOL_PATH`, then `_NT_SYMBOL_PATH`; `None` when neither says anything.
    pub fn from_env() -> Option<SymbolPath> {
        let mut path = SymbolPath::default();
        for name in ["_NT_ALT_SYMBOL_PATH", "_NT_SYMBOL_PATH"] {
            if let Ok(text) = std::env::var(name) {
                path.elements.extend(SymbolPath::parse(&text).elements);
            }
        }
        (!path.elements.is_empty()).then_some(path)
    }

    /// Only the default store: what to search when no path is given.
    pub fn local_cache() -> SymbolPath {
        SymbolPath {
            elements: vec![Element::Cache(Store::Default)],
            no_caches: false,
        }
    }

    /// The same path with no `cache*` and no default store, and nothing kept anywhere but
    /// in the stores that it names.
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

    /// The directory to put a file into that is fetched by hand, so that this path finds
    /// it: the first store, else the first directory, else where a server's files go.
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

    /// Every place of the path in search order, each with the stores to its left that
    /// keep what it gives: all `cache*`, and the earlier ones of its own chain.
    pub(super) fn places(&self) -> Vec<Place<'_>> {
        let mut out = Vec::new();
        let mut caches: Vec<PathBuf> = Vec::new();
        for element in &self.elements {
            match element {
                Element::Dir(dir) => out.extend(local_path(dir).map(|dir| Place {
                    at: At::Local(dir),
                    keep_in: caches.clone(),
                })),
                Element::Cache(store) => {
                    let Some(dir) = store.directory() else {
                        continue;
                    };
                    out.push(Place {
                        at: At::Local(dir.clone()),
                        keep_in: caches.clone(),
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
                });
            } else if let Some(dir) = store.directory() {
                out.push(Place {
                    at: At::Local(dir.clone()),
                    keep_in: keep_in.clone(),
                });
                keep_in.push(dir);
            }
        }
    }
}

/// Where symbols go when the path names no store: `%ProgramData%\Dbg\sym` on Windows as
/// in WinDbg, else the user's cache directory.
pub fn default_store() -> Option<PathBuf> {
    if cfg!(windows) {
        return Some(variable("ProgramData")?.join("Dbg").join("sym"));
    }
    Some(cache_directory()?.join("symbols"))
}

/// The directory of what can be made again: `poolscope` in `$XDG_CACHE_HOME` or
/// `~/.cache`, on macOS in `~/Library/Caches`, on Windows in `%LOCALAPPDATA%`. `None`
/// when the environment names none.
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
        // What a server gives goes to a cache on its left, or else to the default store.
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
            // The next part names the server's DLL (`symsrv.dll`, once `ImageHlp`).
            parts.next();
            Some(Element::Chain(chain(parts.collect(), cached)))
        }
        "cache" if has_parts => Some(Element::Cache(store(parts.next().unwrap_or_default()))),
        "" if !has_parts => None,
        _ if is_url(text) => Some(Element::Chain(chain(vec![text], cached))),
        _ => Some(Element::Dir(text.to_string())),
    }
}

/// The stores of `srv*a*b*c`: an empty part is the default store, a lone server gets it
/// in front unless a cache keeps what it gives, and nothing at all means the public
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

/// The path of a `file://` address: `file:///srv/sym`, `file:///c:/sym`, and
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
    // A drive has a slash before it that is not its own.
    let drive = path.get(1..).filter(|rest| is_windows_only(rest));
    Some(drive.unwrap_or(path).to_owned())
}

/// `%20` and the like as the characters that they stand for; what is not text stays.
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

/// Variables that are named in a text and were not replaced, as `%NAME%`.
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

/// A path written for Windows as this system's: elsewhere `\` separates too, unless a
/// file by that very name exists. `None` for a drive or a share that isn't there.
pub(super) fn local_path(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    if cfg!(windows) || path.exists() {
        return Some(path);
    }
    if is_windows_only(text) {
        // A translation layer may have such a directory below the current one.
        return Some(PathBuf::from(text.replace('\\', "/"))).filter(|p| p.exists());
    }
    Some(PathBuf::from(text.replace('\\', "/")))
}

/// Starts with a drive or with the two backslashes of a share.
fn is_windows_only(text: &str) -> bool {
    let mut chars = text.chars();
    let drive = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.next() == Some(':')
        && chars.next().is_none_or(|c| c == '\\' || c == '/');
    drive || text.starts_with("\\\\")
}

/// Replaces `%NAME%`; an unknown variable stays as it is written.
fn expand(text: &str, variable: &impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let found = after.split_once('%').and_then(|(name, tail)| {
            // The environment panics or misleads on these; no variable has them.
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
