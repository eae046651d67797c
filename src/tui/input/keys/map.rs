//! The current key bindings: the built-in table with the changes of the user's key file.

use crossterm::event::KeyEvent;

use super::binding::{Action, Binding, Context, Group, Key};
use super::table::TABLE;

/// Keys for one action in some contexts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The keys, the first one for hints; empty if all were unbound.
    pub keys: Vec<Key>,
    /// The contexts where it applies.
    pub contexts: Vec<Context>,
    /// The action.
    pub action: Action,
    /// The hint at the bottom of the screen; empty for none.
    pub hint: &'static str,
    /// The help text.
    pub help: &'static str,
    /// The help section.
    pub group: Group,
}

impl Entry {
    /// An entry of the built-in table, with different keys in some of its contexts.
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

    /// True if it applies in a context.
    pub fn applies(&self, context: Context) -> bool {
        self.contexts.contains(&context)
    }
}

/// The documentation of an action, for all contexts where it means the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The help section.
    pub group: Group,
    /// The keys: `Enter, Right, l`.
    pub keys: String,
    /// What they do.
    pub help: &'static str,
    /// The hint at the bottom of the screen; empty for none.
    pub hint: &'static str,
    /// The contexts where it applies.
    pub contexts: Vec<Context>,
}

impl Listed {
    /// The help text, with the contexts unless it applies everywhere.
    pub fn sentence(&self) -> String {
        let typing = self.contexts.contains(&Context::Prompt);
        let places: Vec<&str> = self.contexts.iter().map(|c| c.name()).collect();
        match self.contexts.len() {
            6.. if !typing => self.help.to_owned(),
            _ => format!("{} ({})", self.help, places.join(", ")),
        }
    }
}

/// All key bindings, in the order of the table.
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
    /// Builds a map. No key may be bound twice in one context.
    pub fn of(entries: Vec<Entry>) -> KeyMap {
        KeyMap { entries }
    }

    /// The entries, in the order of the table.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The keys as documents list them: actions with the same text share a line.
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

    /// The action of a key in a context.
    pub fn action(&self, context: Context, event: &KeyEvent) -> Option<Action> {
        let pressed = Key::of(event)?;
        self.entries
            .iter()
            .find(|e| e.applies(context) && e.keys.contains(&pressed))
            .map(|e| e.action)
    }

    /// The keys of an action in a context.
    pub fn keys(&self, context: Context, action: Action) -> &[Key] {
        let entry = |e: &&Entry| e.action == action && e.applies(context);
        self.entries
            .iter()
            .find(entry)
            .map_or(&[], |e| e.keys.as_slice())
    }

    /// Key and hint of each action in a context. Help, quit and the keys that lead to
    /// answers come first, because a narrow screen drops the last ones.
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
