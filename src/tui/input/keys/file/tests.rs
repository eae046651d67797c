use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;

use super::*;

fn press(map: &KeyMap, context: Context, name: &str) -> Option<Action> {
    let key = Key::of_name(name).unwrap();
    let modifiers = match key.ctrl {
        true => KeyModifiers::CONTROL,
        false => KeyModifiers::NONE,
    };
    map.action(context, &KeyEvent::new(key.code, modifiers))
}

fn good(text: &str) -> Read {
    let read = parse(text.as_bytes());
    assert_eq!(read.errors, [], "{text}");
    read
}

fn error(text: &str) -> String {
    let read = parse(text.as_bytes());
    assert_eq!(
        read.map,
        KeyMap::default(),
        "errors leave the built-in keys"
    );
    let first = read.errors.first().expect("an error");
    format!("line {}: {}", first.line, first.text)
}

#[test]
fn keys_can_be_bound_and_unbound() {
    let read =
        good("# mine\n\nbind ctrl-g goto bytes  # as in less\r\nunbind q tags\nbind x quit\n");
    assert_eq!(
        press(&read.map, Context::Bytes, "ctrl-g"),
        Some(Action::Goto)
    );
    assert_eq!(press(&read.map, Context::Bytes, "g"), Some(Action::Goto));
    assert_eq!(press(&read.map, Context::Allocations, "ctrl-g"), None);
    assert_eq!(press(&read.map, Context::Tags, "q"), None);
    assert_eq!(press(&read.map, Context::Bytes, "q"), Some(Action::Quit));
    assert_eq!(press(&read.map, Context::Tags, "x"), Some(Action::Quit));
    assert_eq!(read.warnings, []);
    let hints = read.map.hints(Context::Tags);
    assert!(hints.contains(&("x".into(), "quit")), "{hints:?}");
    assert_eq!(
        read.map.keys(Context::Bytes, Action::Goto).first(),
        Key::of_name("ctrl-g").ok().as_ref(),
        "the user's own key is the one that is shown"
    );
}

#[test]
fn binding_a_key_removes_its_previous_action() {
    let read = good("bind b help tags\n");
    assert_eq!(press(&read.map, Context::Tags, "b"), Some(Action::Help));
    assert_eq!(press(&read.map, Context::Tags, "?"), Some(Action::Help));
    assert!(read.map.keys(Context::Tags, Action::SortBytes).is_empty());
    assert_eq!(
        press(&read.map, Context::Allocations, "b"),
        Some(Action::SortSize)
    );
}

#[test]
fn errors_name_the_line_and_the_valid_names() {
    assert_eq!(
        error("# x\nbind ctrl-g gotoo bytes"),
        "line 2: unknown action \"gotoo\" (did you mean goto?); `poolscope keys` lists them"
    );
    assert_eq!(
        error("bind x help\nbind x quit tags"),
        "line 2: x is bound to help on tags by line 1 already"
    );
    assert!(error("bind ctrl-g sort-diff bytes").contains("it is for tags"));
    assert!(error("map x quit").contains("a line begins with bind, unbind or #"));
    assert!(error("bind").contains("write bind KEY ACTION"));
    assert!(error("unbind\n").contains("write unbind KEY"));
    assert!(error("bind x quit nowhere").contains("the screens are tags summary"));
    assert!(error("bind x accept").contains("types text on the command line"));
    let read = parse(b"bind x quit\n\xff\xfe\n");
    assert_eq!(
        (read.errors[0].line, read.errors[0].text.as_str()),
        (2, "is not UTF-8")
    );
}

#[test]
fn losing_help_quit_or_back_is_a_warning() {
    let read = good(
        "unbind q\nunbind esc bytes\nunbind left bytes\nunbind h bytes\nunbind backspace bytes",
    );
    let words: Vec<&str> = read.warnings.iter().map(|w| w.text.as_str()).collect();
    assert!(
        words
            .iter()
            .any(|w| w.starts_with("no key is left for quit on tags")),
        "{words:?}"
    );
    assert!(
        words.contains(&"no key is left for back on bytes"),
        "{words:?}"
    );
    let read = good("unbind f5\n");
    assert_eq!(read.warnings[0].text, "f5 does nothing there anyway");
}

#[test]
fn printed_keys_parse_to_the_same_keys() {
    let built_in = KeyMap::default();
    assert_eq!(good(&print(&built_in)).map, built_in);
    assert_eq!(good("").map, built_in);
}

#[test]
fn an_action_has_one_line_per_screen() {
    // Otherwise `bind` would be ambiguous for that screen.
    for context in Context::ALL {
        let mut seen = Vec::new();
        for binding in TABLE.iter().filter(|b| b.applies(context)) {
            assert!(
                !seen.contains(&binding.action),
                "{:?} in {context:?}",
                binding.action
            );
            seen.push(binding.action);
        }
    }
}

#[test]
fn unreadable_key_files_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("keys");
    assert!(read(&missing, false).errors.is_empty());
    assert!(
        read(&missing, true).errors[0]
            .text
            .contains("can't be read")
    );
    assert_eq!(read(folder.path(), true).errors[0].text, "is not a file");
    std::fs::write(&missing, vec![b'\n'; (LARGEST + 1) as usize]).unwrap();
    assert!(read(&missing, false).errors[0].text.contains("1 MB"));
    std::fs::write(&missing, "unbind q tags").unwrap();
    let read = read(&missing, false);
    assert_eq!(press(&read.map, Context::Tags, "q"), None);
}

fn any_line() -> impl Strategy<Value = String> {
    let pick = |words: Vec<String>| prop::sample::select(words);
    let keys: Vec<String> = [
        "q", "x", "ctrl-g", "f5", "esc", "enter", "hash", "世", "tab", "b",
    ]
    .map(String::from)
    .to_vec();
    let actions: Vec<String> = Action::all().into_iter().map(Action::name).collect();
    let contexts: Vec<String> = Context::ALL.map(Context::file_name).to_vec();
    prop_oneof![
        3 => (pick(keys.clone()), pick(actions), prop::collection::vec(pick(contexts.clone()), 0..3))
            .prop_map(|(k, a, c)| format!("bind {k} {a} {}", c.join(" "))),
        2 => (pick(keys), prop::collection::vec(pick(contexts), 0..3))
            .prop_map(|(k, c)| format!("unbind {k} {}", c.join(" "))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let read = parse(&bytes);
        prop_assert!(read.errors.is_empty() || read.map == KeyMap::default());
        prop_assert!(read.errors.len() <= MOST_REMARKS);
    }

    #[test]
    fn any_key_file_words_are_read_or_refused(text in "((bind|unbind|#|q|ctrl-|f1|goto|tags|é| |\t|\n){0,12}\n){0,8}") {
        parse(text.as_bytes());
    }

    #[test]
    fn a_parsed_file_has_unique_keys_and_prints_as_itself(
        lines in prop::collection::vec(any_line(), 0..10),
    ) {
        // Skip lines that contradict an earlier one, as an author would.
        let mut text = String::new();
        for line in lines {
            let more = format!("{text}{line}\n");
            if parse(more.as_bytes()).errors.is_empty() {
                text = more;
            }
        }
        let read = good(&text);
        for context in Context::ALL {
            let mut seen = Vec::new();
            for entry in read.map.entries().iter().filter(|e| e.applies(context)) {
                for key in &entry.keys {
                    prop_assert!(!seen.contains(key));
                    seen.push(*key);
                }
            }
        }
        let again = good(&print(&read.map));
        prop_assert_eq!(again.map, read.map);
    }

    #[test]
    fn every_key_has_a_name_that_parses(c in any::<char>(), ctrl in any::<bool>()) {
        prop_assume!(!c.is_control() && !c.is_whitespace());
        prop_assume!(!ctrl || (c.is_ascii_lowercase() && c != 'i' && c != 'm'));
        let key = Key { code: KeyCode::Char(c), ctrl };
        prop_assert_eq!(Key::of_name(&key.file_name()), Ok(key));
    }
}

#[test]
fn a_file_with_too_many_lines_is_refused() {
    let letters = (0x4e00..0x9000u32).filter_map(char::from_u32);
    let lines: String = letters.map(|c| format!("bind {c} quit\n")).collect();
    let start = std::time::Instant::now();
    let read = parse(lines.as_bytes());
    assert!(read.errors[0].text.contains("more than 2000 lines"));
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
}
