//! The names of keys, actions and contexts in the user's key file.

use std::fmt::Debug;
use std::sync::LazyLock;

use crossterm::event::KeyCode;
use rustc_hash::FxHashMap;

use super::binding::{Action, Context, Key};
use super::table::TABLE;

/// Names of special keys; a character is its own name.
const NAMED: [(&str, KeyCode); 17] = [
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("shift-tab", KeyCode::BackTab),
    ("space", KeyCode::Char(' ')),
    ("backspace", KeyCode::Backspace),
    ("delete", KeyCode::Delete),
    ("insert", KeyCode::Insert),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("pgup", KeyCode::PageUp),
    ("pgdn", KeyCode::PageDown),
    // `#` itself starts a comment.
    ("hash", KeyCode::Char('#')),
];

/// Action names of earlier versions that key files may still contain, and their current names.
const OLD_ACTIONS: [(&str, &str); 1] = [("plain", "copy-view")];
const OLD_CONTEXTS: [(&str, &str); 2] = [("sheet", "table"), ("mentions", "references")];

fn renamed<'n>(name: &'n str, old: &[(&str, &'static str)]) -> &'n str {
    let known = old.iter().find(|(before, _)| *before == name);
    known.map_or(name, |(_, now)| *now)
}

/// Valid key names, for error messages.
const KEYS: &str = "one character, ctrl- and a letter, f1 to f12, or one of \
    up down left right enter esc tab shift-tab space backspace delete insert home end pgup \
    pgdn hash";

/// Converts `SortPerAlloc` to `sort-per-alloc`.
fn kebab(value: impl Debug) -> String {
    let mut out = String::new();
    for c in format!("{value:?}").chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

impl Action {
    /// The action's name in the key file.
    pub fn name(self) -> String {
        kebab(self)
    }

    /// All actions with an entry in the table, in its order.
    pub fn all() -> Vec<Action> {
        let mut out = Vec::new();
        for binding in TABLE.iter() {
            if !out.contains(&binding.action) {
                out.push(binding.action);
            }
        }
        out
    }

    /// The action with a name.
    ///
    /// # Errors
    /// The valid names, with the most similar one first.
    pub fn of_name(name: &str) -> Result<Action, String> {
        static NAMES: LazyLock<FxHashMap<String, Action>> =
            LazyLock::new(|| Action::all().into_iter().map(|a| (a.name(), a)).collect());
        let name = renamed(name, &OLD_ACTIONS);
        NAMES.get(name).copied().ok_or_else(|| {
            let near = nearest(name, Action::all().into_iter().map(Action::name));
            let near = near.map_or_else(String::new, |n| format!(" (did you mean {n}?)"));
            format!("unknown action {name:?}{near}; `poolscope keys` lists them")
        })
    }
}

impl Context {
    /// The context's name in the key file.
    pub fn file_name(self) -> String {
        kebab(self)
    }

    /// The context with a name.
    ///
    /// # Errors
    /// The valid names.
    pub fn of_name(name: &str) -> Result<Context, String> {
        static NAMES: LazyLock<FxHashMap<String, Context>> = LazyLock::new(|| {
            Context::ALL
                .map(|c| (c.file_name(), c))
                .into_iter()
                .collect()
        });
        let name = renamed(name, &OLD_CONTEXTS);
        NAMES.get(name).copied().ok_or_else(|| {
            let all = Context::ALL.map(Context::file_name);
            format!("unknown screen {name:?}; the screens are {}", all.join(" "))
        })
    }
}

impl Key {
    /// The key's name in the key file.
    pub fn file_name(self) -> String {
        let named = NAMED.iter().find(|(_, code)| *code == self.code);
        let base = match (named, self.code) {
            (Some((name, _)), _) => (*name).to_owned(),
            (None, KeyCode::Char(c)) => c.to_string(),
            (None, KeyCode::F(n)) => format!("f{n}"),
            (None, other) => format!("{other:?}").to_lowercase(),
        };
        match self.ctrl {
            true => format!("ctrl-{base}"),
            false => base,
        }
    }

    /// The key with a name.
    ///
    /// # Errors
    /// The valid names.
    pub fn of_name(name: &str) -> Result<Key, String> {
        let wrong = || format!("unknown key {name:?}; a key is {KEYS}");
        let lower = name.to_lowercase();
        if let Some(rest) = lower.strip_prefix("ctrl-").filter(|rest| !rest.is_empty()) {
            return match rest {
                "i" => Err("ctrl-i arrives as tab; bind tab".into()),
                "m" => Err("ctrl-m arrives as enter; bind enter".into()),
                "[" => Err("ctrl-[ arrives as esc; bind esc".into()),
                _ => {
                    let code = code_of(rest, rest).ok_or_else(wrong)?;
                    Ok(Key { code, ctrl: true })
                }
            };
        }
        let code = code_of(name, &lower).ok_or_else(wrong)?;
        Ok(Key { code, ctrl: false })
    }

    /// True for keys that insert text in an open line.
    pub fn is_text(self) -> bool {
        !self.ctrl && matches!(self.code, KeyCode::Char(_))
    }
}

fn code_of(name: &str, lower: &str) -> Option<KeyCode> {
    if let Some((_, code)) = NAMED.iter().find(|(n, _)| *n == lower) {
        return Some(*code);
    }
    let mut chars = name.chars();
    if let (Some(c), None) = (chars.next(), chars.next()) {
        return (!c.is_control() && !c.is_whitespace()).then_some(KeyCode::Char(c));
    }
    let number = lower.strip_prefix('f')?.parse::<u8>().ok()?;
    let known = (1..=12).contains(&number) && !lower.starts_with("f0") && !lower.contains('+');
    known.then_some(KeyCode::F(number))
}

/// The name with the smallest edit distance, if it is small enough.
fn nearest(typed: &str, names: impl Iterator<Item = String>) -> Option<String> {
    // Longer text is not similar to any name.
    if typed.len() > 40 {
        return None;
    }
    names
        .map(|name| (distance(typed, &name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .min()
        .map(|(_, name)| name)
}

/// The Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, (y, two)) in b.iter().zip(row.windows(2)).enumerate() {
            let (diagonal, above) = match two {
                [diagonal, above] => (*diagonal, *above),
                _ => continue,
            };
            let left = next.get(j).copied().unwrap_or(0);
            let change = diagonal + usize::from(x != *y);
            next.push(change.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_table_parses() {
        for binding in TABLE.iter() {
            assert_eq!(Action::of_name(&binding.action.name()), Ok(binding.action));
            for key in binding.keys {
                assert_eq!(Key::of_name(&key.file_name()), Ok(*key), "{}", key.name());
            }
        }
        for context in Context::ALL {
            assert_eq!(Context::of_name(&context.file_name()), Ok(context));
        }
        assert_eq!(Action::SortPerAlloc.name(), "sort-per-alloc");
        assert_eq!(Action::of_name("plain"), Ok(Action::CopyView));
        assert_eq!(Context::of_name("sheet"), Ok(Context::Table));
    }

    #[test]
    fn errors_suggest_the_valid_name() {
        let told = Action::of_name("gotoo").unwrap_err();
        assert!(told.contains("did you mean goto?"), "{told}");
        assert!(!Action::of_name("xyzzyx").unwrap_err().contains("did you"));
        assert!(Key::of_name("ctrl-i").unwrap_err().contains("bind tab"));
        for wrong in [
            "",
            "alt-x",
            "f0",
            "f13",
            "f+1",
            "f01",
            "ctrl-",
            "ctrl-up-x",
            "\u{7}",
        ] {
            assert!(Key::of_name(wrong).is_err(), "{wrong}");
        }
        assert!(
            Context::of_name("taggs")
                .unwrap_err()
                .contains("tags summary")
        );
        assert_eq!(Key::of_name("Ctrl-G"), Key::of_name("ctrl-g"));
        assert_ne!(Key::of_name("G"), Key::of_name("g"));
    }
}
