//! The symbol path: the grammar of `_NT_SYMBOL_PATH`.
//!
//! Elements are separated by `;`, the parts of one element by `*`. Learned from the
//! Debugging Tools for Windows documentation ("Symbol path for Windows debuggers",
//! "Custom Symbol Stores and Symbol Servers"). Nothing here looks at a file or a network.

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
    /// The directory of this store on this machine; `None` for a server.
    pub fn directory(&self) -> Option<PathBuf> {
        match self {
            Store::Default => default_store(),
            Store::Dir(dir) => Some(native_path(dir)),
            Store::Url(_) => None,
        }
    }
}

/// A parsed symbol path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SymbolPath {
    /// In the order they are searched.
    pub elements: Vec<Element>,
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
            elements: text.split(';').filter_map(element).collect(),
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
        }
    }

    /// Every directory of the path in search order.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut out = Vec::new();
        for element in &self.elements {
            match element {
                Element::Dir(dir) => out.push(native_path(dir)),
                Element::Chain(stores) => out.extend(stores.iter().filter_map(Store::directory)),
                Element::Cache(store) => out.extend(store.directory()),
            }
        }
        out
    }

    /// Every symbol server of the path in search order.
    pub fn servers(&self) -> Vec<&str> {
        let chains = self.elements.iter().filter_map(|e| match e {
            Element::Chain(stores) => Some(stores),
            _ => None,
        });
        let urls = chains.flatten().filter_map(|s| match s {
            Store::Url(url) => Some(url.as_str()),
            _ => None,
        });
        urls.collect()
    }
}

/// Where symbols go when the path names no store: `%ProgramData%\Dbg\sym` on Windows as
/// in WinDbg, else the user's cache directory.
pub fn default_store() -> Option<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    if cfg!(windows) {
        return Some(variable("ProgramData")?.join("Dbg").join("sym"));
    }
    let cache = variable("XDG_CACHE_HOME")
        .filter(|p| p.is_absolute())
        .or_else(|| {
            let home = variable("HOME")?;
            Some(if cfg!(target_os = "macos") {
                home.join("Library/Caches")
            } else {
                home.join(".cache")
            })
        });
    Some(cache?.join("poolscope").join("symbols"))
}

fn element(text: &str) -> Option<Element> {
    let text = text.trim().trim_matches('"').trim();
    let mut parts = text.split('*').map(str::trim);
    let head = parts.next().unwrap_or_default();
    let has_parts = text.contains('*');
    match head.to_ascii_lowercase().as_str() {
        "srv" if has_parts => Some(Element::Chain(chain(parts.collect()))),
        "symsrv" if has_parts => {
            // The next part names the server's DLL (`symsrv.dll`, once `ImageHlp`).
            parts.next();
            Some(Element::Chain(chain(parts.collect())))
        }
        "cache" if has_parts => Some(Element::Cache(store(parts.next().unwrap_or_default()))),
        "" if !has_parts => None,
        _ if is_url(text) => Some(Element::Chain(chain(vec![text]))),
        _ => Some(Element::Dir(text.to_string())),
    }
}

/// The stores of `srv*a*b*c`: an empty part is the default store, a lone server gets it
/// in front, and nothing at all means the public server.
fn chain(parts: Vec<&str>) -> Vec<Store> {
    let mut stores: Vec<Store> = parts.iter().map(|part| store(part)).collect();
    stores.dedup();
    match stores.as_slice() {
        [] | [Store::Default] => vec![Store::Default, Store::Url(PUBLIC_SERVER.into())],
        [Store::Url(_)] => {
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
        Store::Dir(part.to_string())
    }
}

fn is_url(text: &str) -> bool {
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// A path written for Windows as this system's: elsewhere `\` separates too, unless a
/// file by that very name exists.
pub(super) fn native_path(text: &str) -> PathBuf {
    let path = PathBuf::from(text);
    if cfg!(windows) || !text.contains('\\') || path.exists() {
        return path;
    }
    PathBuf::from(text.replace('\\', "/"))
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
