//! Complete paths through the program at usual terminal sizes: each key is sent to the real
//! program in a real terminal, and the test waits for each screen.

use super::tmux::{Tmux, demo};

/// A session that counts the keys pressed.
struct Journey {
    tmux: Tmux,
    keys: u32,
}

impl Journey {
    fn key(&mut self, key: &str, sees: &str) {
        self.keys += 1;
        self.tmux.keys(&[key]);
        self.tmux.see(sees);
    }

    /// Types a line: counts one key for each letter, and one for Enter.
    fn line(&mut self, text: &str, sees: &str) {
        self.keys += text.chars().count() as u32 + 1;
        self.tmux.type_line(text);
        self.tmux.see(sees);
    }
}

/// The smallest size, and one with room for all columns; the other tests use 80x24.
const SIZES: [(u16, u16); 2] = [(60, 20), (120, 40)];

fn at_each_size(name: &str, walk: impl Fn(&mut Journey, &std::path::Path)) {
    let (folder, command) = demo();
    for (columns, rows) in SIZES {
        let Some(tmux) = Tmux::start(&format!("{name}-{columns}"), (columns, rows)) else {
            return;
        };
        // Copies go to tmux's own buffer, where the test can read them.
        tmux.run(&["set-option", "-s", "set-clipboard", "on"]);
        tmux.type_line(&command);
        tmux.see("Pool walked");
        let mut journey = Journey { tmux, keys: 0 };
        walk(&mut journey, folder.path());
    }
}

/// The first screen shows the verdict, the tag's screen the modules and call sites, and the
/// report everything.
#[test]
fn the_sample_leak_leads_to_a_copied_report_in_six_keys() {
    at_each_size("six", |journey, _| {
        journey.tmux.see("Verdict: LEAK. Tag 'Leak'");
        let warned = |screen: &str| screen.to_lowercase().contains("excessive");
        journey.tmux.wait("the warning", warned);
        journey.key("Enter", "owner: myfault (certain)");
        journey.key("Tab", "Modules that reference this tag: 2");
        journey.key("Enter", "myfault references Leak here");
        journey.key("R", "Evidence: share of memory");
        journey.key("y", "clipboard");
        assert!(journey.keys <= 6, "{} keys", journey.keys);
        let copied = journey.tmux.run(&["show-buffer"]);
        for needed in [
            "Verdict: LEAK. Tag 'Leak', nonpaged pool, owner myfault (certain)",
            "Owner: myfault.sys",
            "Next action: check for an update of myfault",
            "ExAllocatePoolWithTag",
            "!poolfind \"Leak\"",
            "601 blocks, 615,424,000 bytes",
        ] {
            assert!(copied.contains(needed), "{needed}:\n{copied}");
        }
        journey.key("q", "status-0");
    });
}

#[test]
fn the_sample_leak_with_every_step_takes_twelve_keys() {
    at_each_size("article", |journey, _| {
        let warned = |screen: &str| screen.to_lowercase().contains("excessive");
        journey.tmux.wait("the warning", warned);
        journey.key("Enter", "holds 586.9 MB");
        journey.key("Tab", "Modules that reference this tag: 2");
        journey.key("Enter", "myfault references Leak here");
        journey.key("Escape", "s -a @#Base");
        journey.key("s", "Leak by size");
        journey.key("Enter", "1,024,000 bytes");
        journey.key("Enter", "Leak block of 1,024,000 bytes");
        journey.key("Tab", "myfault+0x13b9");
        journey.key("x", "marked: Leak block");
        journey.key("R", "Verdict: LEAK");
        journey.key("y", "clipboard");
        assert!(journey.keys <= 12, "{} keys", journey.keys);
        let copied = journey.tmux.run(&["show-buffer"]);
        assert!(
            copied.starts_with("Verdict: LEAK. Tag 'Leak', nonpaged pool"),
            "{copied}"
        );
        assert!(copied.contains("myfault"), "{copied}");
        assert!(copied.contains("Leak block at fffffa80"), "{copied}");
        journey.key("q", "q again quits");
        journey.key("q", "status-0");
    });
}

#[test]
fn pools_are_compared_by_driver_and_by_query() {
    at_each_size("pools", |journey, _| {
        journey.key("p", "nonpaged pool by bytes");
        journey.key("p", "paged pool by bytes");
        journey.key("D", "Pool by driver");
        journey.key("p", "by nonpaged pool bytes");
        journey.key("p", "by paged pool bytes");
        journey.key("Enter", "Tags of nt");
        journey.key("Enter", "!poolfind CM31");
        journey.key("T", "paged pool by bytes");
        journey.line("&paged > 1m and frees > 0", "paged > 1m");
        journey
            .tmux
            .wait("only large ones", |screen| !screen.contains("CMNb"));
        journey.line(":!poolused 2 T*", "nonpaged pool by bytes");
        journey.tmux.see("Thre");
        journey.key("q", "status-0");
    });
}

#[test]
fn lists_are_saved_and_the_location_is_restored() {
    let (folder, _) = demo();
    let dump = folder.path().join("MEMORY.DMP");
    let command = format!(
        "XDG_STATE_HOME='{0}' XDG_CACHE_HOME='{0}' {1} '{2}'; echo status-$?",
        folder.path().display(),
        env!("CARGO_BIN_EXE_poolscope"),
        dump.display()
    );
    let Some(tmux) = Tmux::start("back", (100, 30)) else {
        return;
    };
    let mut journey = Journey { tmux, keys: 0 };
    journey.tmux.type_line(&command);
    journey.tmux.see("Pool walked");
    journey.key("p", "nonpaged pool by bytes");
    journey.key("Enter", "holds 586.9 MB");
    journey.key("Down", "2/601");
    journey.key("X", "note:");
    journey.line("the first to look at", "marked: Leak block");
    let list = folder.path().join("leak.csv");
    journey.key("w", "save as:");
    journey.line(&list.display().to_string(), "written");
    let saved = std::fs::read_to_string(&list).unwrap();
    assert_eq!(saved.lines().count(), 602);
    assert!(saved.starts_with("address,bytes,pool,backend,state,session,tag"));
    journey.key("Enter", "Leak block of");
    journey.key("q", "status-0");
    // A dump is identified by its contents, not by its name.
    let moved = folder.path().join("elsewhere.dmp");
    std::fs::rename(&dump, &moved).unwrap();
    journey.tmux.type_line("clear");
    journey
        .tmux
        .type_line(&command.replace("MEMORY.DMP", "elsewhere.dmp"));
    journey.tmux.see("restored:");
    journey.tmux.see("Leak block of");
    journey.key("Escape", "2/601");
    journey.key("'", "the first to look at");
    journey.key("q", "status-0");
}
