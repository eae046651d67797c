//! WinDbg and PoolMon commands on the command line; and all commands that messages
//! recommend can be typed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::demo::{answer, json, poolscope};

/// The output of `run demo.dmp LINE`.
fn run(line: &str) -> String {
    answer(&["run", "demo.dmp", line])
}

fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = poolscope(arguments).output().unwrap();
    assert!(output.stdout.is_empty(), "{arguments:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), error)
}

#[test]
fn the_command_line_accepts_windbg_arguments() {
    assert_eq!(
        answer(&["poolused", "demo.dmp", "/t", "3", "2"]),
        answer(&["poolused", "demo.dmp", "2", "/t3"])
    );
    assert_eq!(
        answer(&["vm", "demo.dmp", "0x1"]),
        answer(&["vm", "demo.dmp"])
    );
    // Pool 0 has all blocks of Leak, pool 1 has none.
    let rows = |pool: &str| {
        let value = json(&["allocs", "demo.dmp", "Leak", pool]);
        let listed = value["allocations"].as_array().unwrap().len();
        (listed, value["summary"]["bytes"].as_u64().unwrap())
    };
    assert_eq!(rows("0"), (601, 615_424_000));
    assert_eq!(rows("1"), (0, 0));
    assert_eq!(
        answer(&["allocs", "demo.dmp", "0x6b61654c"]),
        answer(&["allocs", "demo.dmp", "Leak"])
    );
    let named = json(&["modules", "demo.dmp", "MYFAULT*"]);
    let modules = named["modules"].as_array().unwrap();
    assert_eq!(modules.len(), 1);
    assert_eq!(modules[0]["name"], "myfault");
    // Only the block, as with WinDbg's flag 2.
    let first = json(&["allocs", "demo.dmp", "Proc"])["allocations"][0]["address"].clone();
    let first = first.as_str().unwrap().to_owned();
    let page = json(&["pool", "demo.dmp", &first]);
    let block = json(&["pool", "demo.dmp", &first, "2"]);
    assert!(page["blocks"].as_array().unwrap().len() > 1);
    assert_eq!(block["blocks"].as_array().unwrap().len(), 1);
    assert_eq!(block["blocks"][0]["holds_address"], true);
}

/// The debugger's options have one dash, also behind a sub-command of the command line.
#[test]
fn options_of_the_debugger_follow_a_sub_command() {
    assert_eq!(
        answer(&["allocs", "demo.dmp", "Leak", "-nonpaged"]),
        answer(&["allocs", "demo.dmp", "Leak", "0"])
    );
    let paged = json(&["allocs", "demo.dmp", "Leak", "-paged"]);
    assert_eq!(paged["summary"]["bytes"], 0);
}

#[test]
fn an_empty_answer_says_why() {
    for line in [
        "!poolused 2 leak",
        "!poolfind leak",
        "sizes leak",
        "refs leak",
    ] {
        let output = poolscope(&["run", "demo.dmp", line]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("did you mean Leak?"), "{line}: {error}");
    }
    assert!(run("poolmon -iNone").contains("no tag matches"));
    let nothing = run("contents leak");
    assert!(nothing.contains("no blocks in use"), "{nothing}");
    assert!(!nothing.contains("offset"), "{nothing}");
}

/// `lmvm` is what the report advises for version and vendor.
#[test]
fn modules_are_listed_in_the_forms_of_lm() {
    for line in ["lmvm myfault", "lmDvmMYFAULT", "lm v m my*"] {
        let text = run(line);
        for part in ["Sysinternals", "2.0.0.0", "2010-11-20T", "4CE7F61C"] {
            assert!(text.contains(part), "{line}: {text}");
        }
    }
    assert_eq!(run("lm 1m m my*"), "myfault\n");
    let stamps = run("lmtn");
    assert!(stamps.contains("myfault.sys   2010-11-20T"), "{stamps}");
    let names = run("lm 1m sm").to_ascii_lowercase();
    assert!(names.lines().is_sorted(), "{names}");
}

#[test]
fn an_expression_is_evaluated() {
    let text = run("? poi(fffffa80`02400000)");
    assert!(
        text.contains("fffff880`044b63b9") && text.contains("myfault+0x13b9"),
        "{text}"
    );
    assert!(run(".formats 6b61654c").contains("Tag:    Leak"));
    let some = run("s -a fffff880`044b6000 L?500 \"Leak\"");
    assert!(some.contains("fffff880`044b63aa") && !some.contains("fffff880`044b6621"));
}

#[test]
fn windbg_names_are_commands() {
    assert_eq!(
        answer(&["lm", "demo.dmp"]),
        answer(&["modules", "demo.dmp"])
    );
    assert_eq!(
        answer(&["!vm", "demo.dmp", "1"]),
        answer(&["vm", "demo.dmp"])
    );
    assert_eq!(
        run("0: kd> !poolused 2"),
        answer(&["poolused", "demo.dmp", "2"])
    );
    assert_eq!(
        answer(&["demo.dmp", "!vm 1"]),
        answer(&["vm", "demo.dmp"]),
        "a line behind the dump"
    );
    let both = run("!vm 1; lm m myfault");
    assert!(
        both.contains("myfault") && both.contains("NonPagedPool Usage"),
        "{both}"
    );
    let value: serde_json::Value =
        serde_json::from_str(&answer(&["lm", "demo.dmp", "m", "nt*", "--format", "json"])).unwrap();
    assert!(value["modules"].as_array().unwrap().len() >= 2);
}

#[test]
fn the_smaller_commands_answer_from_the_dump() {
    let processes = json(&["run", "demo.dmp", "!process 0 0"]);
    let rows = processes["rows"].as_array().unwrap();
    assert!(!rows.is_empty());
    let process = rows[0]["process"].as_str().unwrap().to_owned();
    let object = json(&["run", "demo.dmp", &format!("!object {process}")]);
    assert_eq!(object["rows"][0]["type"], "Process");
    let id = rows[0]["id"].as_u64().unwrap();
    let one = json(&["run", "demo.dmp", &format!("!process {id:x} 0")]);
    assert_eq!(one["rows"].as_array().unwrap().len(), 1);

    let module = run("lmvm MYFAULT");
    assert!(
        module.contains("Image path:") && module.contains("PDB:"),
        "{module}"
    );
    let base = json(&["modules", "demo.dmp", "myfault"])["modules"][0]["base"].clone();
    let base = base.as_str().unwrap().to_owned();
    let header = run(&format!("db {base} L40"));
    assert!(header.contains("  4d 5a "), "{header}");
    assert_eq!(run("db myfault L40"), header, "a module is its base");
    assert_eq!(run("db myfault+20 L20").lines().count(), 2);
    assert!(run(&format!("ln {base}")).contains("myfault"));
    assert!(run("dps nt L4").lines().count() >= 4);
    let code = json(&["refs", "demo.dmp", "Leak"])["references"][0]["address"].clone();
    let code = run(&format!("u {} L3", code.as_str().unwrap()));
    assert_eq!(code.lines().count(), 4, "{code}");
    let range = run("u myfault+13b9 myfault+13c3");
    assert!(
        range.lines().count() == 4 && range.contains("ret"),
        "{range}"
    );
    assert!(run("dt -r nt!_LIST_ENTRY").contains("one level is shown"));
    assert!(run("x nt!Pool*").contains("nt!PoolTrackTable"));
    let names = run("x /n /1 nt!Pool*");
    let names: Vec<&str> = names.lines().filter(|line| line.contains('!')).collect();
    assert!(names.contains(&"nt!PoolTrackTable") && names.is_sorted());
    let ty = run("dt nt!_POOL_HEADER");
    assert!(ty.contains("PoolTag"), "{ty}");
    let first = json(&["allocs", "demo.dmp", "Proc"])["allocations"][0]["address"].clone();
    let at = run(&format!(
        "dt nt!_POOL_HEADER PoolTag {}",
        first.as_str().unwrap()
    ));
    assert!(
        at.contains("0x636f7250") || at.contains("0xe36f7250"),
        "{at}"
    );
    assert!(run("sizes Leak").contains("1,024,000"));
    let mon = json(&["run", "demo.dmp", "poolmon -b -p -xLeak"]);
    assert_ne!(mon["rows"][0]["tag"], "Leak");
    assert!(
        mon["rows"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["type"] == "Nonp")
    );
    for line in [
        "!lookaside",
        "!verifier 3",
        "!filecache",
        "!irpfind",
        "vertarget",
        "Leak",
    ] {
        assert!(!run(line).is_empty(), "{line}");
    }
    let handles = run("!handle 0 3 0 Token");
    assert!(handles.contains("handles"), "{handles}");
}

#[test]
fn refusals_end_with_an_alternative() {
    for (arguments, code, part) in [
        (
            &["run", "demo.dmp", "!fltkd.filters"][..],
            2,
            "not available here",
        ),
        (&["run", "demo.dmp", ".reload"], 2, "--symbols"),
        (&["run", "demo.dmp", "poolmon -n x.log"], 2, "save FILE"),
        (&["run", "demo.dmp", "marks"], 2, "terminal UI"),
        (&["run", "demo.dmp", "db 1000"], 1, "can't be read"),
        (&["run", "demo.dmp", "db nosuch!X"], 1, "no such symbol"),
        (&["run", "demo.dmp", "dt nt!_NOSUCH"], 1, "no such type"),
        (
            &["run", "demo.dmp", "dt nt!_POOL*"],
            1,
            "write one type, for example one of _POOL_",
        ),
        (
            // Its bytes look like the header of a thread.
            &["run", "demo.dmp", "!object fffffa80`02400000"],
            1,
            "is not an object",
        ),
        (&["modules", "demo.dmp", "nosuch*"], 1, "no module matches"),
        (&["vm", "demo.dmp", "7"], 2, "only 0 and 1"),
        (&["poolusde", "demo.dmp"], 2, "did you mean"),
        (&["diagnos", "demo.dmp"], 2, "did you mean diagnose?"),
        (
            &["frobnicate", "demo.dmp"],
            2,
            "unknown command: frobnicate",
        ),
        (&["lm"], 2, "poolscope lm DUMP"),
    ] {
        let (status, error) = refused(arguments);
        assert_eq!(status, Some(code), "{arguments:?}: {error}");
        assert!(error.starts_with("error: "), "{arguments:?}: {error}");
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
}

#[test]
fn help_lists_every_command() {
    let all = answer(&["run", "demo.dmp", "help"]);
    assert!(all.contains("!poolused") && all.contains("dt"), "{all}");
    assert!(run("help lm").contains("WinDbg"));
}

#[test]
fn the_users_tag_list_is_counted_and_an_empty_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pooltag.txt");
    let text: Vec<u8> = "Leak - mine.sys - mine\r\nprose\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let arguments = ["poolused", "demo.dmp", "2", "/t1", "--pooltag", path];
    let output = poolscope(&arguments).output().unwrap();
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("mine.sys")
    );
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(notes.contains("1 entries read, 1 line ignored"), "{notes}");
    fs::write(&file, "nothing here\n").unwrap();
    let (status, error) = refused(&arguments);
    assert_eq!(status, Some(1), "{error}");
    assert!(error.contains("no entry found"), "{error}");
}

/// Replaces placeholders with values, so that a recommended command can be run.
fn filled(advice: &str) -> String {
    let words = advice.split(' ').map(|word| match word {
        "ADDRESS" | "PROCESS" => "fffff880`044b63aa",
        "TAG" => "Leak",
        "TYPE" => "Token",
        "NAME" | "DRIVER" => "ntfs",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

fn parses(advice: &str, place: &str) {
    let line = filled(advice);
    if let Err(why) = poolscope::command::parse(&line) {
        panic!("{place} advises `{advice}`, which is refused: {why}");
    }
}

#[test]
fn commands_in_the_guidance_can_be_run() {
    let text = fs::read_to_string(root().join("assets/guidance.txt")).unwrap();
    let steps = text.lines().filter_map(|line| line.strip_prefix("next: "));
    let mut count = 0;
    for step in steps {
        let (command, _) = step.split_once(" - ").unwrap();
        parses(command, "the guidance");
        count += 1;
    }
    assert!(count > 60, "{count}");
}

#[test]
fn commands_in_the_report_can_be_run() {
    let report = json(&["diagnose", "demo.dmp"]);
    let mut count = 0;
    let mut look = |value: &serde_json::Value| {
        for step in value["next"].as_array().into_iter().flatten() {
            if let Some(command) = step["command"].as_str() {
                parses(command, "the report");
                count += 1;
            }
        }
    };
    for finding in report["findings"].as_array().unwrap() {
        look(&finding["guidance"]);
        look(finding);
    }
    assert!(count > 0, "{report}");
}

/// The addresses and instructions of a listing.
fn instructions(listing: &str) -> Vec<(String, String)> {
    let lines = listing.lines().filter_map(|line| line.split_once(' '));
    lines
        .filter(|(at, _)| at.len() == 17 && at.contains('`'))
        .map(|(at, text)| (at.to_owned(), text.to_owned()))
        .collect()
}

#[test]
fn uf_and_ub_list_instructions() {
    let place = json(&["refs", "demo.dmp", "Leak"])["references"][0]["address"].clone();
    let place = place.as_str().unwrap().to_owned();
    let function = instructions(&run(&format!("uf {place}")));
    assert!(function.len() >= 4, "{function:?}");
    let hex = |at: &str| u64::from_str_radix(&at.replace('`', ""), 16).unwrap();
    let place = u64::from_str_radix(place.trim_start_matches("0x"), 16).unwrap();
    let inside = hex(&function[0].0)..=hex(&function.last().unwrap().0);
    assert!(inside.contains(&place), "{function:?}");
    // Listing backwards from an instruction shows the instructions before it.
    for (i, (at, _)) in function.iter().enumerate().skip(2) {
        let before = instructions(&run(&format!("ub {at} L2")));
        assert_eq!(before, function[i - 2..i], "before {at}");
    }
    let (status, error) = refused(&["run", "demo.dmp", "uf fffffa80`00000000"]);
    assert_eq!(status, Some(1), "{error}");
    assert!(error.contains("not in a function"), "{error}");
}

#[test]
fn lmi_and_pte_show_headers_and_page_tables() {
    let headers = run("!lmi MYFAULT.sys");
    for text in ["Image Size", "Time Stamp", ".text", "code"] {
        assert!(headers.contains(text), "{text}: {headers}");
    }
    let base = json(&["modules", "demo.dmp", "myfault"])["modules"][0]["base"].clone();
    assert_eq!(run(&format!("!lmi {}", base.as_str().unwrap())), headers);
    let tables = run("!pte myfault");
    for text in ["PXE", "PPE", "PDE", "valid", "translates to physical"] {
        assert!(tables.contains(text), "{text}: {tables}");
    }
    let unmapped = run("!pte ffffffff`fffff000");
    assert!(unmapped.contains("can't be read"), "{unmapped}");
    let (_, error) = refused(&["run", "demo.dmp", "!lmi nosuchdriver"]);
    assert!(error.contains("no such loaded module"), "{error}");
}

/// The WinDbg command that each screen shows has the same effect here.
#[test]
fn the_windbg_command_of_every_screen_can_be_run() {
    let mut screens =
        crate::screens::Screens::open(&crate::demo::directory().join("demo.dmp")).unwrap();
    let mut run = Vec::new();
    for keys in [
        "",
        "p",
        "p",
        "p",
        "v",
        "T\tT",
        "M",
        "D\r",
        "T/Leak\r\r",
        "\t",
        "\r",
        "\u{1b}\t\r",
        "P",
        "T/Leak\r\rs",
        "\u{1b}c",
        "\u{1b}f",
        "T/Toke\r\ro",
        "R",
        "T:!lookaside\r",
    ] {
        let screen = screens.keys(keys);
        let crumbs = screen.lines().nth(1).unwrap_or_default();
        // A console of Windows shows the Unicode sign.
        let crumbs = crumbs.replace("  ≡ ", "  = ");
        let Some((_, command)) = crumbs.split_once("  = ") else {
            panic!("{keys:?}: {crumbs}");
        };
        let command = command.trim().to_owned();
        if command == "no WinDbg equivalent" || run.contains(&command) {
            continue;
        }
        let screen = screens.keys(&format!(":{command}\r"));
        // The line above the key hints.
        let told = screen.lines().rev().nth(1).unwrap_or_default();
        for wrong in [
            "unknown command",
            "not available here",
            "unexpected argument",
            "is missing",
        ] {
            assert!(!told.contains(wrong), "{command}: {told}");
        }
        run.push(command);
        screens.keys("-");
    }
    assert!(run.len() >= 8, "{run:?}");
}

/// WinDbg commands in the documents: text between backquotes that starts like a command.
#[test]
fn commands_in_the_documents_can_be_run() {
    let mut count = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let mut fenced = false;
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
                continue;
            }
            if fenced {
                continue;
            }
            for quoted in line.split('`').skip(1).step_by(2) {
                let typed = quoted.trim_start_matches(':');
                let of_windbg = typed.starts_with('!') && typed.len() > 2;
                let spelled = typed.contains("...") || typed.contains('…') || typed.contains('[');
                if (of_windbg || quoted.starts_with(':')) && !spelled && typed.len() > 1 {
                    parses(typed, &path.display().to_string());
                    count += 1;
                }
            }
        }
    }
    assert!(count > 5, "{count}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let mut out = vec![root().join("README.md")];
    let docs = fs::read_dir(root().join("docs")).unwrap();
    out.extend(
        docs.map(|entry| entry.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "md")),
    );
    out
}
