//! An engineer's ways through the screens, key by key.

use super::*;

#[test]
fn the_peers_of_the_tag_list_can_be_opened() {
    shown("drivers", |desk| {
        desk.walked().keys("D");
    });
    shown("report", |desk| {
        desk.walked().keys("x").keys("R");
    });
    shown("marks", |desk| {
        desk.walked().keys("Xask the vendor").enter();
        desk.enter().keys("x'");
    });
    shown("command", |desk| {
        desk.walked().keys(":!po");
        desk.press(KeyCode::Tab);
    });
}

#[test]
fn a_report_is_copied_in_two_keys_or_along_the_path_in_twelve() {
    let mut desk = Desk::new((80, 24));
    desk.walked().keys("Ry");
    let copied = |desk: &Desk| {
        desk.effects.iter().any(
            |e| matches!(e, Effect::Copy(text) if text.starts_with("Verdict: LEAK. Tag 'Leak'")),
        )
    };
    assert!(copied(&desk));
    // The whole procedure: the flag on the first screen, then the tag, its references, its
    // sizes, an allocation's bytes, the report.
    let mut desk = Desk::new((80, 24));
    desk.walked();
    assert!(desk.screen().contains("EXCESSIVE"));
    let mut count = 0;
    let mut step = |desk: &mut Desk, code: KeyCode| {
        count += 1;
        desk.press(code);
        desk.answer();
    };
    step(&mut desk, KeyCode::Enter);
    assert!(desk.screen().contains("Leak"));
    step(&mut desk, KeyCode::Tab);
    step(&mut desk, KeyCode::Enter);
    assert!(
        desk.screen().contains("myfault references Leak"),
        "{}",
        desk.screen()
    );
    step(&mut desk, KeyCode::Esc);
    step(&mut desk, KeyCode::Char('s'));
    step(&mut desk, KeyCode::Enter);
    assert_eq!(
        desk.app.path(),
        ["Summary", "Tags", "Leak", "1,024,000 bytes"]
    );
    step(&mut desk, KeyCode::Enter);
    assert_eq!(desk.app.path().last().unwrap(), "bytes");
    step(&mut desk, KeyCode::Char('x'));
    step(&mut desk, KeyCode::Char('R'));
    assert!(desk.screen().contains("Leak block at"), "{}", desk.screen());
    step(&mut desk, KeyCode::Char('y'));
    assert!(copied(&desk));
    assert!(count <= 12, "{count} keys");
}

#[test]
fn the_path_restarts_at_peers_and_back_follows_the_history() {
    let mut desk = Desk::new((120, 40));
    desk.walked().enter().keys("D");
    assert_eq!(desk.app.path(), ["Summary", "Drivers"]);
    desk.enter();
    assert_eq!(desk.app.path(), ["Summary", "Drivers", "myfault"]);
    desk.enter();
    assert_eq!(desk.app.path(), ["Summary", "Drivers", "myfault", "Leak"]);
    desk.keys("-");
    assert_eq!(desk.app.path(), ["Summary", "Drivers", "myfault"]);
    desk.keys("-");
    assert_eq!(desk.app.path(), ["Summary", "Drivers", "myfault", "Leak"]);
    for _ in 0..3 {
        desk.press(KeyCode::Esc);
    }
    assert_eq!(desk.app.path(), ["Summary", "Tags", "Leak"]);
    desk.keys("T");
    assert_eq!(desk.app.path(), ["Summary", "Tags"]);
    desk.keys("-");
    assert_eq!(desk.app.path(), ["Summary", "Tags", "Leak"]);
}

#[test]
fn p_changes_the_pool_on_every_screen() {
    let mut desk = Desk::new((80, 24));
    desk.walked().keys("p");
    assert!(desk.status().contains("nonpaged pool"));
    desk.enter().keys("p");
    assert!(
        desk.screen().contains("601 of 601, nonpaged"),
        "{}",
        desk.screen()
    );
    desk.keys("p");
    assert!(
        desk.screen().contains("0 of 601, paged pool"),
        "{}",
        desk.screen()
    );
    desk.keys("Dp");
    assert!(
        desk.status().contains("paged pool bytes"),
        "{}",
        desk.status()
    );
    desk.keys("Mp");
    assert_eq!(desk.app.path(), ["Summary", "Tags"]);
    assert!(desk.status().starts_with("paged pool"), "{}", desk.status());
    desk.keys("vp");
    assert!(desk.status().starts_with("both pools"), "{}", desk.status());
}

#[test]
fn queries_filter_and_invalid_ones_stay_open() {
    let mut desk = Desk::new((100, 30));
    desk.walked().keys("&np > 1MB and known = no");
    assert_eq!(desk.app.tags.len(), 2, "the list follows while it is typed");
    desk.enter();
    assert!(desk.screen().contains("& np > 1MB and known = no"));
    desk.keys("&").ctrl('u').keys("bytez > 1").enter();
    assert!(desk.app.prompt.is_some(), "the line stays");
    assert!(
        desk.status().contains("unknown column"),
        "{}",
        desk.status()
    );
    desk.press(KeyCode::Esc);
    assert_eq!(desk.app.tags.len(), 2, "the old one is back");
    desk.press(KeyCode::Esc);
    assert_eq!(desk.app.tags.len(), 6);
    desk.keys("&fr").press(KeyCode::Tab);
    assert_eq!(desk.app.prompt.as_ref().unwrap().text(), "frees ");
    desk.press(KeyCode::Esc);
    desk.enter()
        .keys("&size > 1010000 and size < 1020000")
        .enter();
    let view = desk.app.tag_view().unwrap();
    assert_eq!(view.len(), 258);
    desk.press(KeyCode::Esc);
    desk.answer();
    assert_eq!(
        desk.app.tag_view().unwrap().len(),
        601,
        "Esc clears the filter first"
    );
}

#[test]
fn column_keys_sort_filter_and_count() {
    let mut desk = Desk::new((160, 40));
    desk.walked().keys("pb>");
    assert!(
        desk.status().starts_with("column share"),
        "{}",
        desk.status()
    );
    desk.keys("<<");
    assert!(
        desk.status().starts_with("column diff"),
        "{}",
        desk.status()
    );
    desk.keys("S");
    assert!(desk.status().contains("outstanding allocations"));
    let before = desk.app.tags.len();
    desk.keys("@");
    assert!(desk.app.tags.filter.starts_with("diff = "));
    assert!(desk.app.tags.len() < before);
    desk.press(KeyCode::Esc);
    // A frequency table of sizes; Enter shows the allocations with one size.
    desk.keys(">F");
    assert!(desk.screen().contains("values of"), "{}", desk.screen());
    desk.enter();
    assert_eq!(desk.app.path(), ["Summary", "Tags"]);
    desk.press(KeyCode::Esc);
    desk.enter().keys(">F");
    assert_eq!(desk.app.path().last().unwrap(), "each bytes");
    desk.enter();
    assert_eq!(desk.app.tag_view().unwrap().filter, "size = 1024000");
    desk.enter().keys("F");
    assert_eq!(desk.app.path().last().unwrap(), "at +0x0");
}

#[test]
fn windbg_and_poolmon_commands_work_in_the_ui() {
    let type_line = |desk: &mut Desk, line: &str| {
        desk.keys(":").keys(line).enter();
        desk.answer();
    };
    let mut desk = Desk::new((100, 30));
    desk.walked();
    for (line, path) in [
        ("!vm 1", "!vm"),
        ("!poolused 4 C*", "Tags"),
        ("!poolfind Leak -nonpaged", "Leak"),
        ("!pool fffffa80`01000000", "page of fffffa80`01000000"),
        ("db fffffa8001000010", "bytes"),
        ("dps fffffa80`01000010", "pointers"),
        ("lm", "Modules"),
        ("lm a fffff880044b63aa", "Modules"),
        ("!for_each_module s -a @#Base @#End \"Leak\"", "Leak"),
        ("drivers", "Drivers"),
        ("diagnose", "Report"),
        ("marks", "Marks"),
        ("sizes Leak", "sizes"),
        ("Leak", "Leak"),
        ("fffffa80`01000000", "bytes"),
        (
            "0: kd> !object fffffa80`01000010",
            "!object fffffa80`01000010",
        ),
        ("!process 0 0", "!process"),
        ("dt nt!_POOL_HEADER", "dt nt!_POOL_HEADER"),
        ("lmvm myfault", "lm v m myfault"),
        ("myfault", "Modules"),
        ("!poolused 8", "!poolused 8"),
        ("poolmon -p -p -b -b", "Tags"),
        ("tags", "Tags"),
    ] {
        type_line(&mut desk, line);
        assert_eq!(
            desk.app.path().last().unwrap(),
            path,
            "{line}: {}",
            desk.status()
        );
        // The WinDbg equivalent on the screen can be typed as a command.
        let equivalent = desk.app.command();
        let parsed = crate::command::parse(&equivalent);
        assert!(parsed.is_ok(), "{line}: {equivalent}: {parsed:?}");
    }
    assert_eq!(
        desk.app.tags.pool,
        crate::tui::data::order::PoolChoice::Paged
    );
    type_line(&mut desk, "frobnicate");
    assert!(
        desk.status().contains("unknown command"),
        "{}",
        desk.status()
    );
    type_line(&mut desk, "db zz~");
    assert!(
        desk.status().contains("not a valid address"),
        "{}",
        desk.status()
    );
    type_line(&mut desk, "!poolfind Nope");
    assert_eq!(
        desk.app.path().last().unwrap(),
        "Nope",
        "a tag may be in no account"
    );
    desk.keys(":").press(KeyCode::Up);
    assert_eq!(desk.app.prompt.as_ref().unwrap().text(), "!poolfind Nope");
    desk.press(KeyCode::Up)
        .press(KeyCode::Up)
        .press(KeyCode::Down);
    assert_eq!(desk.app.prompt.as_ref().unwrap().text(), "db zz~");
    desk.ctrl('u').keys("q").enter();
    assert!(matches!(desk.effects.last(), Some(Effect::Quit)));
}

#[test]
fn a_tag_named_in_poolused_is_shown_in_any_pool() {
    let mut desk = Desk::new((100, 30));
    desk.walked();
    let shown = |desk: &mut Desk, line: &str| -> Vec<String> {
        desk.keys(":").keys(line).enter();
        let app = &desk.app;
        let rows = (0..app.tags.len()).filter_map(|at| app.tags.row(&app.model, at));
        rows.map(|row| row.usage.tag.to_string()).collect()
    };
    let nonpaged = shown(&mut desk, "!poolused 2 Leak");
    assert_eq!(nonpaged, ["Leak"]);
    assert_eq!(
        desk.app.tags.pool,
        crate::tui::data::order::PoolChoice::Nonpaged
    );
    assert_eq!(shown(&mut desk, "!poolused 4 Leak"), ["Leak"]);
    assert_eq!(
        desk.app.tags.pool,
        crate::tui::data::order::PoolChoice::Both
    );
}

#[test]
fn a_session_is_restored_unless_a_key_was_pressed() {
    let mut desk = Desk::new((100, 30));
    desk.walked().keys("pXleaks since Monday").enter();
    desk.enter().keys("b").press(KeyCode::Down);
    desk.enter();
    let kept = desk.app.to_keep();
    assert!(
        desk.effects.iter().any(|e| matches!(e, Effect::Keep(_))),
        "a mark is kept at once"
    );
    let mut again = Desk::new((100, 30));
    again.tell(Message::Session(Box::new(kept.clone())));
    again.walked();
    again.answer();
    assert_eq!(again.app.path(), desk.app.path());
    assert_eq!(again.app.tags.pool, desk.app.tags.pool);
    assert!(again.status().contains("restored:"), "{}", again.status());
    again.press(KeyCode::Esc);
    assert_eq!(
        again.app.tag_view().unwrap().current(),
        desk.app.tag_view().unwrap().current(),
    );
    again.keys("'");
    assert!(again.screen().contains("leaks since Monday"));
    let mut busy = Desk::new((100, 30));
    busy.walked().press(KeyCode::Down);
    busy.tell(Message::Session(Box::new(kept)));
    assert_eq!(busy.app.path(), ["Summary", "Tags"]);
    assert_eq!(busy.app.marks.len(), 1, "marks are always restored");
}

#[test]
fn marks_are_shown_on_rows_and_removed_in_their_list() {
    let mut desk = Desk::new((80, 24));
    desk.walked().keys("x");
    assert!(desk.screen().contains(">*Leak"));
    desk.keys("'").keys("x");
    assert!(desk.app.marks.is_empty());
    desk.press(KeyCode::Esc);
    assert!(!desk.screen().contains("*Leak"));
    desk.keys("v").keys(":note x").enter();
    assert!(desk.status().contains("can be marked"));
}

#[test]
fn every_list_can_be_saved() {
    for keys in ["", "D", "M", "v", "R", "'"] {
        let mut desk = Desk::new((80, 24));
        desk.walked().keys(keys).keys("w/tmp/list.csv").enter();
        assert!(
            desk.status().contains("/tmp/list.csv written"),
            "{keys}: {}",
            desk.status()
        );
    }
    let mut desk = Desk::new((80, 24));
    desk.walked().enter().keys("w").enter();
    assert!(desk.status().contains("name a file"));
}

#[test]
fn a_pane_can_be_zoomed() {
    let mut desk = Desk::new((80, 24));
    desk.walked().keys("z");
    assert!(!desk.screen().contains("!vm summary"));
    desk.keys("z").press(KeyCode::Tab).keys("z");
    assert!(!desk.screen().contains("Tags: both"), "{}", desk.screen());
    desk.keys("z").press(KeyCode::Tab);
    desk.enter().keys("z");
    assert!(!desk.screen().contains("Modules that reference"));
}

#[test]
fn a_report_made_during_the_walk_is_renewed_at_its_end() {
    let mut desk = Desk::new((80, 24));
    desk.walking().keys("R");
    assert!(desk.screen().contains("the walk was not done"));
    desk.walked();
    assert!(!desk.screen().contains("the walk was not done"));
}

#[test]
fn every_screen_fits_small_and_huge_terminals() {
    for size in [(60, 20), (80, 24), (120, 40), (300, 80)] {
        let mut desk = Desk::new(size);
        for keys in ["", "v", "D", "M", "R", "'", "T", ":", "?"] {
            desk.walked().keys(keys);
            desk.screen();
            desk.press(KeyCode::Esc);
        }
        desk.keys("T").enter();
        for keys in ["s", "-", "z", "z", "P", "-"] {
            desk.keys(keys);
            desk.screen();
        }
    }
}
