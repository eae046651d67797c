use super::request::{End, PoolChoice, Shape, SortBy, wildcard};
use super::*;
use crate::addr::Va;
use crate::pool::{Tag, TagPattern};

fn request(line: &str) -> Request {
    let mut all = parse(line).unwrap_or_else(|why| panic!("{line}: {why}"));
    assert_eq!(all.len(), 1, "{line}");
    all.remove(0)
}

fn refused(line: &str) -> String {
    match parse(line) {
        Err(Refusal(why)) => why,
        Ok(requests) => panic!("{line}: {requests:?}"),
    }
}

fn tag(text: &str) -> TagPattern {
    TagPattern::of(Tag::of(text).unwrap())
}

/// Every line of a table of real-world input is parsed completely; no part of it is dropped.
#[test]
fn real_world_input_is_parsed() {
    for line in [
        "!poolused",
        "!poolused 2",
        "!poolused 4",
        "!poolused 0x5 Le*",
        "!poolused /t5 2",
        "!poolused /t 5 2",
        "!poolused 8 Gh0?",
        "!PoolUsed 2",
        "!vm",
        "!vm 1",
        "!vm 0x1",
        "!poolfind Leak",
        "!poolfind Leak 0",
        "!poolfind Leak 1",
        "!poolfind Leak 2",
        "!poolfind Leak 4",
        "!poolfind 0x6b61654c",
        "!poolfind 0x6b61654c 1",
        "!poolfind Le*",
        "!poolfind \"Se  \"",
        "!poolfind -tag \"Leak\" -nonpaged",
        "!poolfind Toke -paged",
        "!pool fffff880`044b63aa",
        "!pool fffff880044b63aa 2",
        "!pool 0xfffff880044b63aa 1",
        "lm",
        "lm a fffff880`044b63aa",
        "lm m ntfs",
        "lm v m NT*",
        "lm kv m X",
        "lm vm X",
        "lmvm X",
        "lmvm X.sys",
        "lmDvmX",
        "lmtn",
        "lm t n",
        "lm f m X",
        "lm1m m X",
        "lm sm",
        "lm D",
        "? poi(fffff880`044b63aa)+8",
        "?1+1",
        "? !poolused",
        ".formats 6b61654c",
        "lm kv",
        "lm 1m",
        "ln fffff880`044b63aa",
        "ln nt!KeBugCheckEx",
        "x nt!Mm*",
        "x /n /1 nt!Mm*",
        "x nt!*",
        "db fffff880`044b63aa",
        "db fffff880`044b63aa+20",
        "db fffff880`044b63aa L20",
        "dd fffff880`044b63aa L8",
        "dq nt!PsActiveProcessHead",
        "dps poi(fffff880`044b63aa)",
        "dps poi(nt!X)+8 L4",
        "da fffff880`044b63aa",
        "dc fffff880`044b63aa",
        "du fffff880`044b63aa",
        "dt nt!_POOL_HEADER fffff880`044b63aa",
        "dt _EPROCESS",
        "dt -r1 nt!_EPROCESS fffffa80`01234560",
        "dt nt!_EPROCESS ImageFileName fffffa80`01234560",
        "u fffff880`044b63aa",
        "u nt!X L10",
        "ub fffff880`044b63aa",
        "ub nt!X+20 L4",
        "uf nt!X",
        "!lmi nt",
        "!lmi fffff880`044b63aa",
        "!pte fffff880`044b63aa",
        "!pte nt!X + 10",
        "!object fffffa80`01234560",
        "!object 0 Token",
        "!process 0 0",
        "!process 4 0",
        "!process",
        "!process 0 1 System",
        "!process 0 0 notmyfault.exe",
        "!process fffffa80`01234560 0",
        "!handle 0 3 0 Token",
        "!handle 0 F 0 File",
        "!handle 0 0",
        "!handle",
        "!handle 0 3 4 Event",
        "!handle 0 3 0 \"ALPC Port\"",
        "!irpfind",
        "!irpfind 0",
        "!irpfind -v",
        "!verifier",
        "!verifier 3",
        "!verifier 3 myfault.sys",
        "!verifier 80",
        "!verifier 0x80 fffffa80`02400010",
        "stacks",
        "stacks Leak",
        "stacks fffffa80`02400010",
        "!lookaside",
        "!filecache",
        "vertarget",
        "!for_each_module s -a @#Base @#End \"Leak\"",
        "!for_each_module \"s -a @#Base @#End 6b\"",
        "!for_each_module \"s -a @#Base @#End \\\"Leak\\\"\"",
        "\\\"Leak\\\"",
        "s -a fffff800`00000000 L?1000000 \"Leak\"",
        "s -d fffff800`00000000 L?1000000 6b61654c",
        "s -[w]a fffff800`00000000 L?1000 Leak",
        "poolmon -b -p -p -iLeak -g -e",
        "poolmon /b /p",
        "poolmon -iLe* -xMm?? -d",
        "poolmon -s",
        "poolmon -( -b",
        "poolmon /) /a",
        "baseline a.dmp \"b c.dmp\"",
        "baseline",
        "history Leak",
        "columns owner -share",
        "refs Leak",
        "refs \\\"Leak\\\"",
        "refs 'Leak'",
        "refs Pmn\\x00",
        "objects Process",
        "drivers",
        "diagnose",
        "info",
        "help !poolused",
        "sort bytes",
        "save out.csv",
        "dt nt!_EPROCESS fffffa80`01234560 ImageFileName",
        "dt nt!_EPROCESS -y Image fffffa80`01234560 -r2",
        "dt nt!_EPROCESS.ImageFileName",
        "u fffff880`044b63aa fffff880`044b63b9",
        "u fffff880`044b63aa L 4",
        "ub fffff880`044b63aa L 4",
        "s -b fffff800`00000000 L?1000 4c 65 61 6b",
        "s fffff800`00000000 L?1000 4c 65 61 6b",
        "s -d fffff800`00000000 L?1000 'Leak'",
        "poolmon.exe -b -p",
        "0:000> lm",
        "0: kd> !poolused 2",
        "lkd> !vm 1",
        "kd> lm",
        "16: kd> !poolused",
        "!kdexts.vm 1",
        "!kdexts.poolused 2",
        ":!vm",
        "help",
        "quit",
        "q",
    ] {
        let read = parse(line);
        assert!(read.is_ok(), "{line}: {}", read.unwrap_err());
    }
}

#[test]
fn each_argument_is_parsed() {
    assert_eq!(
        request("!poolused /t 3 2 Le*"),
        Request::PoolUsed(PoolUsed {
            flags: Some(2),
            top: Some(3),
            pattern: Some(TagPattern::parse("Le*").unwrap()),
        })
    );
    for (line, pool) in [
        ("!poolfind Leak", PoolChoice::Both),
        ("!poolfind Leak 0", PoolChoice::Nonpaged),
        ("!poolfind 0x6b61654c 1", PoolChoice::Paged),
        ("allocs Leak 2", PoolChoice::Special),
        ("!poolfind Leak -session", PoolChoice::Session),
    ] {
        let Request::Find(find) = request(line) else {
            panic!("{line}")
        };
        assert_eq!((find.tag, find.pool), (Some(tag("Leak")), pool), "{line}");
    }
    let Request::Modules(lm) = request("lm kv m NTF*") else {
        panic!()
    };
    assert!(lm.verbose && lm.fits("Ntfs.sys") && lm.fits("ntfs") && !lm.fits("tcpip"));
    let Request::Modules(lm) = request("lmvm myfault") else {
        panic!()
    };
    assert!(lm.fits("MyFault.sys") && !lm.fits("myfault2"));
    let Request::Memory(memory) = request("dd fffff880`044b63aa+20 L10") else {
        panic!()
    };
    assert_eq!(memory.shape, Shape::DoubleWords { text: false });
    assert_eq!(memory.at.literal(), Some(Va(0xffff_f880_044b_63ca)));
    assert_eq!(memory.end, End::Elements(16));
    let Request::Handles(handles) = request("!handle 0 3 0 Token") else {
        panic!()
    };
    assert_eq!(
        (handles.process, handles.kind.as_deref()),
        (None, Some("Token"))
    );
    for line in [
        "!for_each_module s -a @#Base @#End \"Leak\"",
        "!for_each_module \"s -a @#Base @#End \\\"Leak\\\"\"",
    ] {
        assert_eq!(request(line), Request::References(Some(tag("Leak"))));
    }
    for (line, end) in [
        ("s -d fffff800`00000000 L?ff 6b61654c", 0x3fc),
        ("s -b fffff800`00000000 L?ff 4c 65 61 6b", 0xff),
        ("s -a fffff800`00000000 L ff \"Leak\"", 0xff),
        ("s -a fffff800`00000000 fffff800`000000ff Leak", 0xff),
    ] {
        let Request::Search {
            tag: asked,
            from,
            to,
        } = request(line)
        else {
            panic!("{line}")
        };
        assert_eq!(asked, tag("Leak"), "{line}");
        assert_eq!(from.literal(), Some(Va(0xffff_f800_0000_0000)), "{line}");
        assert_eq!(
            to.literal(),
            Some(Va(0xffff_f800_0000_0000 + end)),
            "{line}"
        );
    }
    for (line, pattern, form) in [
        ("lmDvmmyfault", Some("myfault"), "v"),
        ("lm tn", None, "ft"),
        ("lmtn m nt*", Some("nt*"), "ft"),
        ("lm 1m", None, "1m"),
        ("lm sm", None, "sm"),
        ("lm k", None, ""),
    ] {
        let Request::Modules(lm) = request(line) else {
            panic!("{line}")
        };
        assert_eq!(lm.pattern.as_deref(), pattern, "{line}");
        assert_eq!(lm.letters(), form, "{line}");
        assert_eq!(lm.is_text(), !form.is_empty(), "{line}");
    }
    assert_eq!(request("?"), Request::Help(None));
    assert_eq!(request("? !vm"), Request::Help(Some("!vm".into())));
    assert!(matches!(request("?nt!X+8"), Request::Evaluate(_)));
    let Request::Type(ty) = request("dt nt!_EPROCESS ImageFileName fffffa80`01234560") else {
        panic!()
    };
    assert_eq!(ty.name, "_EPROCESS");
    assert_eq!(ty.fields, ["ImageFileName"]);
    let Request::Type(ty) = request("dt -r nt!_EPROCESS.Image fffffa80`01234560 Unique*") else {
        panic!()
    };
    assert_eq!(ty.fields, ["Image", "Unique"]);
    assert!(ty.deep && ty.at.is_some());
    for line in ["!process 4 0", "u fffff880`044b63aa fffff880`044b63b9"] {
        assert_eq!(request(line).line(), line);
    }
    assert!(ty.at.is_some());
    assert_eq!(
        request("save! out.csv"),
        Request::Save(File {
            name: "out.csv".into(),
            overwrite: true
        })
    );
}

/// PoolMon's documentation: /p is nonpaged, twice paged; several /i and /x; the last order wins.
#[test]
fn poolmon_switches_work_as_documented() {
    let mon = |line: &str| match request(line) {
        Request::PoolMon(mon) => mon,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(mon("poolmon").pool, None);
    assert_eq!(mon("poolmon -p").pool, Some(PoolChoice::Nonpaged));
    assert_eq!(mon("poolmon -p -p").pool, Some(PoolChoice::Paged));
    assert_eq!(mon("poolmon /P /p -p").pool, Some(PoolChoice::Both));
    assert_eq!(mon("poolmon -s").pool, Some(PoolChoice::Session));
    assert_eq!(
        mon("poolmon -b -b").sort,
        Some(SortBy::Bytes),
        "not reversed"
    );
    assert_eq!(mon("poolmon -b -d").sort, Some(SortBy::Outstanding));
    let some = mon("poolmon -iLe* -i Mm?? -xMmSt");
    let shown = |t: &str| some.shows(Tag::of(t).unwrap());
    assert!(shown("Leak") && shown("MmCa") && !shown("MmSt") && !shown("Proc"));
    for (line, part) in [
        ("poolmon -n log.txt", "save FILE"),
        ("poolmon -c", "refs TAG"),
        ("poolmon -g my.txt", "--pooltag"),
        ("poolmon -l", "diff"),
        ("poolmon -z", "switches are"),
        ("poolmon -b Leak", "-iTAG"),
        ("poolmon -r", "!vm 1"),
        ("poolmon -s3", "without a number"),
        ("poolmon -i", "needs a tag"),
    ] {
        let why = refused(line);
        assert!(why.contains(part), "{line}: {why}");
    }
}

#[test]
fn unsupported_commands_are_refused_by_name() {
    for (line, name) in [
        ("!fltkd.filters", "!fltkd"),
        ("!memusage 8", "!memusage"),
        ("k", "k "),
        ("!drvobj x", "!drvobj"),
        (".reload", ".reload"),
        (".reload /f", ".reload"),
        (".symfix", ".symfix"),
        (".sympath+ c:\\symbols", ".sympath"),
        (".ecxr", ".cxr"),
        (".bugcheck", "vertarget"),
        ("dv", "dv"),
        ("diff old.dmp", "baseline FILE"),
        ("check rules.toml", "poolscope help"),
        ("? 100*2", "* is not available"),
        ("dt -s 40 nt!_EPROCESS", "-s is not available"),
        ("!poolval fffff880`044b63aa", "!poolval"),
        ("!sysptes", "!sysptes"),
        ("dpp fffff880`044b63aa", "dpp"),
        ("!analyze -v", "!analyze"),
        ("!wmitrace.strdump", "!wmitrace"),
        ("verifier /flags 8", "verifier /flags"),
        ("lm u", "lm u"),
        ("lm l", "lm l"),
        ("lm c", "lm c"),
        ("lm s", "option s"),
        ("kL", "k "),
        ("~*kv", "k "),
        ("!stacks 2", "!stacks"),
        ("!db 1000", "!db"),
        ("!drivers", "!drivers"),
        ("?? x", "??"),
        (".process fffffa80`01234560", ".process"),
        (".echo x", ".echo"),
        ("!vm 20", "20"),
        ("!poolused 16", "16"),
        ("!poolused 6", "exclude"),
        ("!poolfind Leak 9", "9"),
        ("!poolfind Leak -size", "-size"),
        ("!process 0 7", "7"),
        ("!handle 4 3", "!handle 4"),
        ("!irpfind 0 0 thread x", "criteria"),
        ("s -u fffff800`00000000 L?10 text", "s: only"),
        ("dt tcpip!_X", "nt!"),
        ("!pool", "an address is missing"),
        ("db xyz!", "not a valid address"),
        ("db 11112222333344445", "not a valid address"),
        ("db @rsp", "registers"),
        ("db (fffff880`044b63aa", "closing )"),
        ("db fffff880`044b63aa L0", "L0"),
        ("!poolusde", "did you mean"),
        ("!nosuch", "unknown command"),
        ("drivers now", "unexpected argument: now"),
        ("refs Leaks", "four characters"),
        ("refs \"Leak", "closing"),
        ("foo bar baz", "unknown command: foo"),
    ] {
        let why = refused(line);
        assert!(why.contains(name), "{line}: {why}");
        assert!(!why.ends_with('.'), "{why}");
    }
}

#[test]
fn a_line_can_have_several_commands() {
    let all = parse("0: kd> !vm 1; !poolused 2 \"a;b\"; ; lm").unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(all[0], Request::Vm);
    assert!(matches!(&all[1], Request::PoolUsed(p) if p.pattern == Some(tag("a;b"))));
    assert_eq!(parse("  "), Ok(Vec::new()));
    // One wrong command stops the whole line: half of a line is not what the user meant.
    assert!(parse("!vm 1; !nosuch").is_err());
}

#[test]
fn an_address_a_tag_or_a_module_needs_no_command() {
    for line in [
        "fffffa80`02400000",
        "fffff880044b63aa",
        "0xfffff880044b63aa+20",
        "nt!X",
    ] {
        let Request::Go(target) = request(line) else {
            panic!("{line}")
        };
        assert!(target.is_address(), "{line}");
    }
    for line in [
        "Leak", "Fecf", "\"Se  \"", "ntfs", "Mm??", "1394", "tcpip", "Job",
    ] {
        let Request::Go(target) = request(line) else {
            panic!("{line}")
        };
        assert!(!target.is_address(), "{line}");
    }
    assert_eq!(request("goto Leak"), request("Leak"));
}

struct Toy;

impl Resolver for Toy {
    fn pointer(&self, va: Va) -> std::result::Result<Va, String> {
        match va.0 {
            0x1010 => Ok(Va(0x2000)),
            _ => Err("not in the dump".into()),
        }
    }
    fn symbol(&self, module: Option<&str>, name: &str) -> Option<Va> {
        (module.unwrap_or("nt") == "nt" && name == "X").then_some(Va(0x1000))
    }
    fn module(&self, name: &str) -> Option<Va> {
        name.eq_ignore_ascii_case("ntfs").then_some(Va(0x8000))
    }
}

#[test]
fn expressions_are_resolved() {
    for (text, value) in [
        ("1000", 0x1000),
        ("0n16", 16),
        ("nt!X", 0x1000),
        ("X+8", 0x1008),
        ("poi(nt!X+10)", 0x2000),
        ("poi( 1010 ) + 8 - 4", 0x2004),
        ("NTFS+0x30", 0x8030),
        ("(1000+(20-10))", 0x1010),
        ("ffffffff`ffffffff+1", 0),
    ] {
        let read = Expression::parse(text).unwrap();
        assert_eq!(read.resolve(&Toy), Ok(Va(value)), "{text}");
    }
    for (text, part) in [
        ("poi(3000)", "not in the dump"),
        ("nt!Y", "no such symbol"),
        ("zz", "not a valid address"),
    ] {
        let why = Expression::parse(text).unwrap().resolve(&Toy).unwrap_err();
        assert!(why.0.contains(part), "{why}");
    }
    let deep = "(".repeat(100_000);
    assert!(Expression::parse(&deep).is_err());
    let request = request("dps poi(nt!X+10)+8 L4").resolve(&Toy).unwrap();
    assert!(request.is_resolved());
    assert!(matches!(request, Request::Memory(m) if m.at.literal() == Some(Va(0x2008))));
}

#[test]
fn patterns_match_names() {
    for (pattern, text, fits) in [
        ("*", "", true),
        ("nt*", "ntfs", true),
        ("*f?", "ntfs", true),
        ("nt", "ntfs", false),
        ("*a*b*c", "xxaxxbxxc", true),
        ("*a*b*c", "xxaxxbxx", false),
        ("????", "ntfs", true),
    ] {
        assert_eq!(
            wildcard(pattern.as_bytes(), text.as_bytes()),
            fits,
            "{pattern} {text}"
        );
    }
    // No pattern needs exponential time.
    let pattern = "*a".repeat(2_000) + "b";
    assert!(!wildcard(pattern.as_bytes(), "a".repeat(4_000).as_bytes()));
}

/// Every command that a text recommends between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Replaces placeholders with values, so that a recommended command can be parsed.
fn filled(advice: &str) -> String {
    let words = advice.split(' ').map(|word| match word {
        "ADDRESS" => "fffff880`044b63aa",
        "TAG" | "\"TAG\"" => "Leak",
        "TYPE" => "Token",
        "NAME" | "DRIVER" => "ntfs",
        "PROCESS" => "0",
        "EXPRESSION" => "1+1",
        "FILE" | "FILE.csv" => "out.csv",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn refusals_recommend_existing_commands() {
    for text in refusals::advised() {
        for advice in quoted(text) {
            // The command-line tests cover these.
            if advice.starts_with("poolscope ") || advice.starts_with("logman") {
                continue;
            }
            let advice = filled(advice);
            assert!(
                parse(&advice).is_ok(),
                "{advice}: {}",
                parse(&advice).unwrap_err()
            );
        }
    }
}

#[test]
fn every_entry_is_found_by_its_names_and_names_are_unique() {
    let mut seen = std::collections::BTreeSet::new();
    for entry in table::ENTRIES {
        for name in [entry.name]
            .into_iter()
            .chain(entry.aliases.iter().copied())
        {
            let found = table::find(name).unwrap();
            assert_eq!(found.name, entry.name, "{name}");
            assert!(
                seen.insert(name.trim_start_matches('!')),
                "{name} is there twice"
            );
            assert!(refusals::find(name).is_none(), "{name} is refused too");
        }
        assert!(
            !entry.help.ends_with('.') && !entry.help.is_empty(),
            "{}",
            entry.name
        );
    }
}

#[test]
fn a_misspelt_command_suggests_the_nearest_one() {
    for (typed, meant) in [
        ("poolusde", "!poolused"),
        ("!poolfnid", "!poolfind"),
        ("diagnos", "diagnose"),
        ("moduls", "modules"),
        ("driver", "drivers"),
    ] {
        let why = unknown(typed).0;
        assert!(why.contains(&format!("did you mean {meant}?")), "{why}");
    }
    assert!(unknown("xyzzy").0.contains("help"));
}

proptest::proptest! {
    #[test]
    fn parsing_any_line_does_not_panic(line in "[ -~é]{0,60}") {
        let _ = parse(&line);
    }

    #[test]
    fn parsing_any_arguments_does_not_panic(name in 0usize..40, rest in "[ -~]{0,40}") {
        if let Some(entry) = table::ENTRIES.get(name) {
            let _ = parse(&format!("{} {rest}", entry.name));
        }
    }
}
