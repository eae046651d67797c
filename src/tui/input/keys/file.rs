//! The user's key file: lines `bind KEY ACTION [SCREEN ...]` and `unbind KEY [SCREEN ...]`;
//! `#` starts a comment.
//!
//! Binding a key removes its previous action on those screens. Without screens, `bind`
//! applies to all screens that have the action, and `unbind` to all screens where the key
//! is bound.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::report::text::clean;

use super::binding::{Action, Context, Key};
use super::map::{Entry, KeyMap};
use super::table::TABLE;

/// An error or a warning about a key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The line number, from 1; 0 for the whole file.
    pub line: usize,
    /// The message, as a sentence.
    pub text: String,
}

/// The result of reading a key file.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// The keys: the built-in ones if there are errors.
    pub map: KeyMap,
    /// Why the file is not used.
    pub errors: Vec<Remark>,
    /// Warnings; the file is used anyway.
    pub warnings: Vec<Remark>,
}

impl Read {
    /// A one-line message about the file; `None` without errors and warnings.
    pub fn message(&self, path: &Path) -> Option<String> {
        if let Some(first) = self.errors.first() {
            let more = match self.errors.len() {
                1 => "",
                _ => ", and there are more errors: `poolscope keys` lists them",
            };
            let told = first.told(path);
            return Some(format!("built-in keys are used: {told}{more}"));
        }
        Some(self.warnings.first()?.told(path))
    }
}

impl Remark {
    /// The remark with file and line.
    pub fn told(&self, path: &Path) -> String {
        let path = clean(&path.to_string_lossy()).into_owned();
        let text = clean(&self.text);
        match self.line {
            0 => format!("{path}: {text}"),
            line => format!("{path}, line {line}: {text}"),
        }
    }
}

/// A larger file is not a key file.
const LARGEST: u64 = 1 << 20;
/// Maximum number of `bind` and `unbind` lines: printing all built-in keys gives a few hundred.
const MOST_LINES: usize = 2000;
/// Maximum number of remarks: a file of another kind would have one per line.
const MOST_REMARKS: usize = 20;

/// The default key file: `keys` in `$XDG_CONFIG_HOME/poolscope` or `~/.config/poolscope`,
/// on macOS in `~/Library/Application Support/poolscope`, on Windows in
/// `%APPDATA%\poolscope`. `None` if the environment variables are unset.
pub fn usual_path() -> Option<PathBuf> {
    let variable = |name: &str| {
        let value = std::env::var_os(name).map(PathBuf::from);
        value.filter(|path| path.is_absolute())
    };
    let config = if cfg!(windows) {
        variable("APPDATA")
    } else {
        variable("XDG_CONFIG_HOME").or_else(|| {
            let home = variable("HOME")?;
            Some(home.join(match cfg!(target_os = "macos") {
                true => "Library/Application Support",
                false => ".config",
            }))
        })
    };
    Some(config?.join("poolscope").join("keys"))
}

/// Reads a key file. A missing default file (`named` is false) is not an error.
pub fn read(path: &Path, named: bool) -> Read {
    let failed = |text: String| Read {
        errors: vec![Remark { line: 0, text }],
        ..Read::default()
    };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound && !named => {
            return Read::default();
        }
        Err(why) => return failed(format!("can't be read: {why}")),
    };
    if !metadata.is_file() {
        return failed("is not a file".into());
    }
    if metadata.len() > LARGEST {
        return failed("is larger than 1 MB, so it is not a keys file".into());
    }
    match std::fs::read(path) {
        Ok(bytes) => parse(&bytes),
        Err(why) => failed(format!("can't be read: {why}")),
    }
}

/// Parses the lines of a key file.
pub fn parse(bytes: &[u8]) -> Read {
    let mut file = Lines::default();
    for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let told = match std::str::from_utf8(line) {
            _ if file.said > MOST_LINES => {
                let text = format!("more than {MOST_LINES} lines bind and unbind keys");
                file.errors.push(Remark { line: i + 1, text });
                break;
            }
            Ok(text) => file.line(i + 1, text),
            Err(_) => Err("is not UTF-8".into()),
        };
        if let Err(text) = told {
            file.errors.push(Remark { line: i + 1, text });
            if file.errors.len() >= MOST_REMARKS {
                break;
            }
        }
    }
    if !file.errors.is_empty() {
        return Read {
            errors: file.errors,
            ..Read::default()
        };
    }
    let map = file.map();
    file.warnings.extend(lost(&map));
    file.warnings.truncate(MOST_REMARKS);
    Read {
        map,
        errors: Vec::new(),
        warnings: file.warnings,
    }
}

/// A key, an action, a context, and the number of the line that binds them.
struct Bound {
    key: Key,
    action: Action,
    context: Context,
    line: usize,
}

#[derive(Default)]
struct Lines {
    bound: Vec<Bound>,
    /// Index into `bound` of each key and context.
    places: FxHashMap<(Key, Context), usize>,
    unbound: FxHashSet<(Key, Context)>,
    errors: Vec<Remark>,
    warnings: Vec<Remark>,
    /// Number of `bind` and `unbind` lines.
    said: usize,
}

impl Lines {
    fn line(&mut self, number: usize, text: &str) -> Result<(), String> {
        let mut words = text.split_whitespace().take_while(|w| !w.starts_with('#'));
        match words.next() {
            None => Ok(()),
            Some("bind") => {
                self.said += 1;
                const HOW: &str =
                    "write bind KEY ACTION [SCREEN ...], for example bind ctrl-g goto bytes";
                let key = Key::of_name(words.next().ok_or(HOW)?)?;
                let action = Action::of_name(words.next().ok_or(HOW)?)?;
                self.bind(number, key, action, &contexts(words)?)
            }
            Some("unbind") => {
                self.said += 1;
                const HOW: &str = "write unbind KEY [SCREEN ...], for example unbind q tags";
                let key = Key::of_name(words.next().ok_or(HOW)?)?;
                self.unbind(number, key, &contexts(words)?);
                Ok(())
            }
            Some(word) => Err(format!(
                "unknown word {word:?}: a line begins with bind, unbind or #"
            )),
        }
    }

    fn bind(
        &mut self,
        line: usize,
        key: Key,
        action: Action,
        named: &[Context],
    ) -> Result<(), String> {
        let mut known = TABLE.iter().filter(|b| b.action == action);
        let known: Vec<Context> = known.by_ref().flat_map(|b| b.contexts).copied().collect();
        if let Some(wrong) = named.iter().find(|c| !known.contains(c)) {
            let names: Vec<String> = known.iter().map(|c| c.file_name()).collect();
            return Err(format!(
                "{} does nothing on {}; it is for {}",
                action.name(),
                wrong.file_name(),
                names.join(" ")
            ));
        }
        let wanted = if named.is_empty() { &known } else { named };
        for &context in wanted {
            if context == Context::Prompt && key.is_text() {
                return Err(format!(
                    "{} types text on the command line (prompt); use ctrl- or a named key",
                    key.file_name()
                ));
            }
            let before = self.places.get(&(key, context));
            match before.and_then(|place| self.bound.get(*place)) {
                Some(first) if first.action != action => {
                    return Err(format!(
                        "{} is bound to {} on {} by line {} already",
                        key.file_name(),
                        first.action.name(),
                        context.file_name(),
                        first.line
                    ));
                }
                Some(_) => {}
                None => {
                    self.places.insert((key, context), self.bound.len());
                    self.bound.push(Bound {
                        key,
                        action,
                        context,
                        line,
                    });
                }
            }
        }
        Ok(())
    }

    fn unbind(&mut self, line: usize, key: Key, named: &[Context]) {
        let does = |c: &Context| TABLE.iter().any(|b| b.applies(*c) && b.keys.contains(&key));
        let all: Vec<Context> = Context::ALL.into_iter().filter(does).collect();
        let wanted = if named.is_empty() { &all } else { named };
        if wanted.is_empty() || !wanted.iter().all(does) {
            self.warnings.push(Remark {
                line,
                text: format!("{} does nothing there anyway", key.file_name()),
            });
        }
        self.unbound.extend(wanted.iter().map(|c| (key, *c)));
    }

    /// The keys of an action in a context: from the file first, then the remaining built-in
    /// ones.
    fn keys(&self, action: Action, context: Context, built_in: &[Key]) -> Vec<Key> {
        let here = |b: &&Bound| b.context == context;
        let own = self.bound.iter().filter(here);
        let mut keys: Vec<Key> = own.filter(|b| b.action == action).map(|b| b.key).collect();
        for key in built_in {
            let taken = self.places.contains_key(&(*key, context));
            if !taken && !self.unbound.contains(&(*key, context)) {
                keys.push(*key);
            }
        }
        keys
    }

    fn map(&self) -> KeyMap {
        let mut entries: Vec<Entry> = Vec::new();
        for binding in TABLE.iter() {
            let first = entries.len();
            for &context in binding.contexts {
                let keys = self.keys(binding.action, context, binding.keys);
                let same = entries.iter_mut().skip(first).find(|e| e.keys == keys);
                match same {
                    Some(entry) => entry.contexts.push(context),
                    None => entries.push(Entry::new(binding, keys, vec![context])),
                }
            }
        }
        KeyMap::of(entries)
    }
}

fn contexts<'a>(words: impl Iterator<Item = &'a str>) -> Result<Vec<Context>, String> {
    words.map(Context::of_name).collect()
}

/// Warnings for essential actions that have no key left.
fn lost(map: &KeyMap) -> Vec<Remark> {
    let needed = [
        Action::Help,
        Action::Quit,
        Action::Back,
        Action::Interrupt,
        Action::Cancel,
        Action::Accept,
    ];
    let entries = map.entries().iter();
    let gone = entries.filter(|e| e.keys.is_empty() && needed.contains(&e.action));
    gone.map(|entry| {
        let places: Vec<String> = entry.contexts.iter().map(|c| c.file_name()).collect();
        Remark {
            line: 0,
            text: format!(
                "no key is left for {} on {}",
                entry.action.name(),
                places.join(" ")
            ),
        }
    })
    .collect()
}

/// Writes all keys as a key file that reproduces them exactly.
pub fn print(map: &KeyMap) -> String {
    let mut out = String::from(
        "# The keys of poolscope. Save the file as `keys` in the configuration directory of\n\
         # poolscope, or give it with --keys.\n\
         #\n\
         #     bind KEY ACTION [SCREEN ...]\n\
         #     unbind KEY [SCREEN ...]\n\
         #\n\
         # Without a line for it, a built-in key applies; unbind removes a key.\n",
    );
    let names = |contexts: &[Context]| {
        let names: Vec<String> = contexts.iter().map(|c| c.file_name()).collect();
        names.join(" ")
    };
    for entry in map.entries() {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "\n# {}", entry.help);
        for key in &entry.keys {
            let (key, action) = (key.file_name(), entry.action.name());
            let _ = writeln!(out, "bind {key} {action} {}", names(&entry.contexts));
        }
        if entry.keys.is_empty() {
            let _ = writeln!(out, "# (no key for {})", entry.action.name());
        }
    }
    let gone = unbound(map);
    if !gone.is_empty() {
        let _ = writeln!(out, "\n# built-in keys that are removed");
    }
    for (key, contexts) in gone {
        let _ = writeln!(out, "unbind {} {}", key.file_name(), names(&contexts));
    }
    out
}

/// Built-in keys that are no longer bound, and in which contexts.
fn unbound(map: &KeyMap) -> Vec<(Key, Vec<Context>)> {
    let mut out: Vec<(Key, Vec<Context>)> = Vec::new();
    for binding in TABLE.iter() {
        for (&key, &context) in binding
            .keys
            .iter()
            .flat_map(|k| binding.contexts.iter().map(move |c| (k, c)))
        {
            let bound = |e: &Entry| e.applies(context) && e.keys.contains(&key);
            if map.entries().iter().any(bound) {
                continue;
            }
            match out.iter_mut().find(|(k, _)| *k == key) {
                Some((_, contexts)) => contexts.push(context),
                None => out.push((key, vec![context])),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
