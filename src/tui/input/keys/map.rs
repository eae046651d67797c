//! The keys as they are bound now: the table, with what the user's file changes.

use crossterm::event::KeyEvent;

use super::binding::{Action, Binding, Context, Group, Key};
use super::table::TABLE;

/// Keys that do one thing in some contexts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The keys, the one to show first; none when all were taken away.
    pub keys: Vec<Key>,
    /// Where.
    pub contexts: Vec<Context>,
    /// What.
    pub action: Action,
    /// The word at the foot of the screen; empty for none.
    pub hint: &'static str,
    /// The sentence of the help.
    pub help: &'static str,
    /// Its heading.
    pub group: Group,
}

impl Entry {
    /// A line of the table, with other keys in some of its contexts.
    pub fn new(binding: &Binding, keys: Vec<Key>, contexts: Vec<Context>) -> Entry {
        Entry {
            keys,
            contexts,
            action: binding.action,
            hint: binding.hint,
            help: binding.help,
            group: binding.group,
        }
    }

    /// The keys as the help shows them: `Enter, Right, l`.
    pub fn key_names(&self) -> String {
        let names: Vec<String> = self.keys.iter().map(|k| k.name()).collect();
        match names.is_empty() {
            true => "(no key)".into(),
            false => names.join(", "),
        }
    }

    /// True where it applies.
    pub fn applies(&self, context: Context) -> bool {
        self.contexts.contains(&context)
    }
}

/// The documentation of an action, for all contexts with the same meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The heading.
    pub group: Group,
    /// The keys: `Enter, Right, l`.
    pub keys: String,
    /// What they do.
    pub help: &'static str,
    /// The word at the foot of the screen; empty for none.
    pub hint: &'static str,
    /// Where.
    pub contexts: Vec<Context>,
}

impl Listed {
    /// What they do, and where when that is not everywhere.
    pub fn sentence(&self) -> String {
        let typing = self.contexts.contains(&Context::Prompt);
        let places: Vec<&str> = self.contexts.iter().map(|c| c.name()).collect();
        match self.contexts.len() {
            6.. if !typing => self.help.to_owned(),
            _ => format!("{} ({})", self.help, places.join(", ")),
        }
    }
}

/// All keys, in the order of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMap {
    entries: Vec<Entry>,
}

impl Default for KeyMap {
    fn default() -> KeyMap {
        let entry = |b: &Binding| Entry::new(b, b.keys.to_vec(), b.contexts.to_vec());
        KeyMap::of(TABLE.iter().map(entry).collect())
    }
}

impl KeyMap {
    /// Of entries that bind no key twice in one context.
    pub fn of(entries: Vec<Entry>) -> KeyMap {
        KeyMap { entries }
    }

    /// The entries, in the order of the table.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The keys as documents list them: equal texts share a line.
    pub fn listed(&self) -> Vec<Listed> {
        let mut merged: Vec<Entry> = Vec::new();
        for entry in &self.entries {
            let same = |e: &&mut Entry| e.action == entry.action && e.help == entry.help;
            match merged.iter_mut().find(same) {
                Some(first) => {
                    let more = entry.keys.iter().filter(|k| !first.keys.contains(k));
                    first.keys.extend(more.copied().collect::<Vec<_>>());
                    first.contexts.extend(&entry.contexts);
                }
                None => merged.push(entry.clone()),
            }
        }
        let listed = |entry: Entry| Listed {
            group: entry.group,
            keys: entry.key_names(),
            help: entry.help,
            hint: entry.hint,
            contexts: entry.contexts,
        };
        merged.into_iter().map(listed).collect()
    }

    /// What a key does in a context.
    pub fn action(&self, context: Context, event: &KeyEvent) -> Option<Action> {
        let pressed = Key::of(event)?;
        self.entries
            .iter()
            .find(|e| e.applies(context) && e.keys.contains(&pressed))
            .map(|e| e.action)
    }

    /// The keys that do something in a context.
    pub fn keys(&self, context: Context, action: Action) -> &[Key] {
        let entry = |e: &&Entry| e.action == action && e.applies(context);
        self.entries
            .iter()
            .find(entry)
            .map_or(&[], |e| e.keys.as_slice())
    }

    /// The key and the word of every hint of a context: help, quit and the ways to the
    /// answers first, so that a narrow screen loses the others.
    pub fn hints(&self, context: Context) -> Vec<(String, &'static str)> {
        let important = |e: &&Entry| {
            use Action::{Drivers, Help, Modules, Quit, Report, Summary};
            matches!(e.action, Help | Quit | Report | Drivers | Modules | Summary)
        };
        let shown = || {
            self.entries
                .iter()
                .filter(|e| e.applies(context) && !e.hint.is_empty())
        };
        shown()
            .filter(important)
            .chain(shown().filter(|e| !important(e)))
            .filter_map(|e| Some((e.keys.first()?.name(), e.hint)))
            .collect()
    }
}
