//! The key table: a single list from which dispatch, hints, help and documentation are
//! made. [`mod@file`] reads the user's changes, and [`KeyMap`] is the result.
//!
//! PoolMon's letters have PoolMon's meaning on the tag list (`p b a f d m t`, `h` for
//! help); vi letters apply where they do not conflict with those.

mod binding;
pub mod brief;
mod dialogs;
pub mod file;
mod map;
mod names;
mod table;

pub use binding::{Action, Binding, Context, Group, Key};
pub use map::{Entry, KeyMap, Listed};
pub use table::TABLE;

#[cfg(test)]
mod tests {
    use super::Context::Tags;
    use super::table::SCREENS;
    use super::*;
    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    #[test]
    fn no_key_has_two_actions_in_one_context() {
        for context in Context::ALL {
            let mut seen = Vec::new();
            for binding in TABLE.iter().filter(|b| b.applies(context)) {
                for key in binding.keys {
                    assert!(!seen.contains(key), "{} twice in {context:?}", key.name());
                    seen.push(*key);
                }
            }
        }
    }

    #[test]
    fn poolmon_letters_work_as_in_poolmon() {
        let keys = KeyMap::default();
        let press = |c| keys.action(Tags, &KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
        for (c, action) in [
            ('p', Action::Pool),
            ('b', Action::SortBytes),
            ('a', Action::SortAllocs),
            ('f', Action::SortFrees),
            ('d', Action::SortDiff),
            ('m', Action::SortPerAlloc),
            ('t', Action::SortTag),
            ('h', Action::Help),
            ('q', Action::Quit),
        ] {
            assert_eq!(press(c), Some(action), "{c}");
        }
    }

    #[test]
    fn every_screen_has_back_and_help() {
        for &context in SCREENS {
            let actions: Vec<Action> = TABLE
                .iter()
                .filter(|b| b.applies(context))
                .map(|b| b.action)
                .collect();
            for needed in [Action::Help, Action::Quit, Action::Back, Action::Interrupt] {
                assert!(actions.contains(&needed), "{needed:?} in {context:?}");
            }
        }
    }
}
