//! Recorded call stacks: Driver Verifier's lists and its log, on several builds, undamaged
//! and damaged.

mod damage;

use std::path::Path;
use std::sync::Arc;

use poolscope::analysis::attribution::Certainty;
use poolscope::engine::{Engine, Options, Recorder, StackRow, Stacks, StacksOf};
use poolscope::kernel::verifier::Event;
use poolscope::memory::Va;
use poolscope::pool::{Tag, TagPattern};
use poolscope::synth::era::{
    Era, SERVER_2022, WIN7, WIN10_1607, WIN10_1809, WIN10_1903, WIN10_2004, WIN11, WIN11_22H2,
    WIN11_24H2, WIN81,
};
use poolscope::synth::truth::{Pool, State};
use poolscope::synth::verifier::{self, Block, Call, Driver, Laid, Log, Verifier};
use poolscope::synth::{Container, Machine, etw, sessions};

use crate::machines;
use crate::screens::Screens;

/// Number of records in the log.
const LENGTH: u32 = 64;

/// A machine with a verified driver, and the expected result.
struct Scene {
    machine: Machine,
    laid: Laid,
    era: &'static Era,
    /// Live blocks of the tag: address and size, without headers.
    live: Vec<(Va, u64)>,
    /// Two stacks of allocations and one of a free.
    stacks: [Vec<Va>; 3],
    /// The two callers on the driver's list.
    callers: [Va; 2],
}

/// The blocks of each stack in the log: twelve of the first, three of the second. Of one
/// more block the newest record is a free, and of another the record was overwritten.
const FIRST: u64 = 12;
const SECOND: u64 = 3;

impl Scene {
    fn new(era: &'static Era, newest_at_index: bool) -> Scene {
        let mut machine = machines::whole(era).clone();
        let truth = &machine.truth;
        let module = |file: &str| truth.modules.iter().find(|m| m.file == file).unwrap();
        let (leaker, other) = (module("leaker.sys").clone(), module("other.sys").clone());
        let nt = truth.kernel_base;
        let blocks = truth.blocks.iter();
        let live: Vec<(Va, u64)> = blocks
            .filter(|b| b.tag == *b"Leak" && b.state == State::Allocated && !b.big)
            .filter(|b| b.pool == Pool::NonPaged)
            .map(|b| (b.body(), b.bytes - 0x10))
            .collect();
        assert!(live.len() >= 20, "{}", live.len());
        let thunk = |name| nt.add(era.rva(name).unwrap().into());
        let allocate = thunk("VerifierExAllocatePoolWithTag").add(5);
        let free = thunk("VerifierExFreePoolWithTag").add(5);
        let callers = [leaker.base.add(0x13b9), leaker.base.add(0x1500)];
        let outer = [other.base.add(0x1234), nt.add(0x5_4321)];
        let stacks = [
            vec![allocate, callers[0], outer[0], outer[1]],
            vec![allocate, callers[1], outer[1]],
            vec![free, leaker.base.add(0x1600), outer[1]],
        ];
        let call = |block: (Va, u64), stack: usize, thread: u64| Call {
            address: block.0,
            size: block.1,
            thread: Va(0xffff_fa80_0222_2040 + thread * 0x1000),
            frames: stacks[stack].clone(),
        };
        let mut calls = Vec::new();
        // The block whose record is overwritten, and the calls that overwrite it.
        calls.push(call(live[19], 0, 0));
        let elsewhere = machine.truth.blocks.iter().filter(|b| b.tag == *b"File");
        let elsewhere: Vec<(Va, u64)> = elsewhere.map(|b| (b.body(), 0x10)).take(20).collect();
        for round in 0..4 {
            for block in &elsewhere {
                calls.push(call(*block, if round % 2 == 0 { 1 } else { 2 }, 1));
            }
        }
        for block in &live[..FIRST as usize - 1] {
            calls.push(call(*block, 0, 2));
        }
        for block in &live[12..12 + SECOND as usize] {
            calls.push(call(*block, 1, 2));
        }
        calls.push(call(live[16], 0, 2));
        calls.push(call(live[16], 2, 2));
        for stack in [1, 2, 0] {
            calls.push(call(live[17], stack, 3));
        }
        let list = |nth: usize, block: &(Va, u64)| Block {
            address: block.0,
            caller: callers[usize::from(nth >= 12)],
            bytes: block.1,
            tag: *b"Leak",
        };
        let mut tracked: Vec<Block> = (0..).zip(&live[..18]).map(|(n, b)| list(n, b)).collect();
        tracked.push(Block {
            tag: *b"Othr",
            ..tracked[0]
        });
        tracked[18].address = Va(0xffff_fa80_7777_0010);
        let freed = elsewhere.iter().map(|b| Block {
            address: b.0,
            caller: callers[0],
            bytes: b.1,
            tag: *b"Leak",
        });
        let plan = Verifier {
            level: 0x8,
            drivers: vec![Driver {
                base: leaker.base,
                size: leaker.size,
                blocks: tracked,
                freed: freed.collect(),
            }],
            others: vec![(other.base, other.size)],
            log: Some(Log {
                length: LENGTH,
                calls,
                newest_at_index,
                at: None,
            }),
        };
        let laid = verifier::add(&mut machine, era, &plan);
        Scene {
            machine,
            laid,
            era,
            live,
            stacks,
            callers,
        }
    }

    fn write(&self, path: &Path) {
        self.machine.write(path, Container::BitmapFull).unwrap();
    }

    fn ask(&self, of: &StacksOf) -> Stacks {
        self.ask_in(Container::BitmapFull, of)
    }

    fn ask_in(&self, container: Container, of: &StacksOf) -> Stacks {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("MEMORY.DMP");
        self.machine.write(&path, container).unwrap();
        let engine = Engine::open(&path, &Options::default()).unwrap();
        let index = engine.index(Arc::default()).unwrap();
        engine.stacks(Some(&index), of, &|| true).unwrap()
    }

    fn of_tag(&self) -> Stacks {
        self.ask(&StacksOf::Tag(TagPattern::parse("Leak").unwrap()))
    }

    /// Checks the rows: source, event, frames and count.
    fn check(&self, found: &Stacks) {
        let row = |source, stack: &[Va], count| (source, stack.to_vec(), count);
        let [first, second, _] = &self.stacks;
        let mut wanted = vec![
            row(Recorder::Log, first, FIRST),
            row(Recorder::Log, second, SECOND),
            row(Recorder::Pool, &self.callers[..1], 12),
            row(Recorder::Pool, &self.callers[1..], 6),
        ];
        wanted.sort_by_key(|w| std::cmp::Reverse(w.2));
        let key = |r: &StackRow| (r.source, r.frames.clone(), r.count);
        let mut got: Vec<_> = found.rows.iter().map(key).collect();
        let counts: Vec<u64> = got.iter().map(|g| g.2).collect();
        assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
        got.sort();
        wanted.sort();
        assert_eq!(got, wanted, "build {}: {found:#?}", self.era.build);
        assert!(found.rows.iter().all(|r| r.event == Some(Event::Allocated)));
        for row in &found.rows {
            assert_eq!(row.symbols.len(), row.frames.len());
            assert!(row.symbols.iter().any(|s| s.starts_with("leaker+0x")));
        }
    }
}

#[test]
fn each_build_has_its_stacks() {
    let eras: [(&Era, bool); 8] = [
        (&WIN7, false),
        (&WIN81, true),
        (&WIN10_1607, false),
        (&WIN10_1809, true),
        (&WIN10_1903, false),
        (&WIN10_2004, true),
        (&SERVER_2022, false),
        (&WIN11, true),
    ];
    for (era, newest_at_index) in eras {
        let scene = Scene::new(era, newest_at_index);
        let found = scene.of_tag();
        scene.check(&found);
        assert_eq!(found.warnings, [""; 0], "build {}", era.build);
        let c = &found.coverage;
        assert_eq!((c.in_log, c.in_pool, c.damaged), (15, 18, 0));
        assert_eq!(c.log_entries, u64::from(LENGTH));
        assert_eq!(c.log_frames, if era.build < 22000 { 13 } else { 50 });
        let live = scene.machine.truth.blocks.iter();
        let live = live.filter(|b| b.tag == *b"Leak" && b.state == State::Allocated);
        assert_eq!(c.live_blocks, Some(live.count() as u64));
        let bytes: u64 = scene.live[12..15].iter().map(|b| b.1).sum();
        let second = found.rows.iter().find(|r| r.count == SECOND).unwrap();
        assert_eq!(second.bytes, bytes);
        let function = second.functions[0].as_deref();
        assert_eq!(function, Some("nt!VerifierExAllocatePoolWithTag+0x5"));
    }
}

#[test]
fn an_address_has_all_its_records() {
    for at_index in [false, true] {
        let scene = Scene::new(&WIN10_2004, at_index);
        let (block, size) = scene.live[17];
        let found = scene.ask(&StacksOf::Address(block.add(size - 1)));
        let [first, second, freed] = &scene.stacks;
        let log = found.rows.iter().filter(|r| r.source == Recorder::Log);
        let mut got: Vec<_> = log
            .map(|r| (r.event.unwrap(), r.frames.clone(), r.count))
            .collect();
        got.sort();
        let mut wanted = vec![
            (Event::Allocated, first.clone(), 1),
            (Event::Allocated, second.clone(), 1),
            (Event::Freed, freed.clone(), 1),
        ];
        wanted.sort();
        assert_eq!(got, wanted);
        let pool = found.rows.iter().filter(|r| r.source == Recorder::Pool);
        assert_eq!(pool.count(), 1);
        let behind = scene.ask(&StacksOf::Address(block.add(size)));
        assert_eq!(behind.rows, []);
    }
}

#[test]
fn a_tag_of_an_unverified_driver_has_no_stacks() {
    let scene = Scene::new(&WIN7, false);
    let found = scene.ask(&StacksOf::Tag(TagPattern::parse("CM31").unwrap()));
    assert_eq!(found.rows, []);
    assert_eq!(found.warnings, [""; 0]);
    let machine = machines::whole(&WIN7);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapFull).unwrap();
    let output =
        crate::demo::poolscope(&["stacks", path.to_str().unwrap(), "Leak", "--format", "json"])
            .output()
            .unwrap();
    assert!(output.status.success());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["stacks"], serde_json::json!([]));
    assert_eq!(json["coverage"]["drivers"], serde_json::json!([]));
}

#[test]
fn the_command_answers_in_all_its_forms() {
    let scene = Scene::new(&WIN10_2004, false);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    scene.write(&path);
    let file = path.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let output = crate::demo::poolscope(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?} {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let json: serde_json::Value =
        serde_json::from_str(&run(&["stacks", file, "Leak", "--format", "json"])).unwrap();
    let rows = json["stacks"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0]["count"], FIRST);
    assert_eq!(rows[0]["event"], "allocated");
    let text = run(&["stacks", file, "Leak"]);
    assert!(text.contains("leaker+0x13b9"), "{text}");
    assert!(text.contains("15 of"), "{text}");
    let csv = run(&["stacks", file, "Leak", "--format", "csv"]);
    assert_eq!(csv.lines().count(), 5, "{csv}");
    assert!(run(&["stacks", file, "Leak", "--format", "markdown"]).contains("| 12 |"));
    let block = format!("{:x}", scene.live[17].0.0);
    let of_address = run(&["run", file, &format!("!verifier 80 {block}")]);
    assert!(of_address.contains("freed (verifier-log)"), "{of_address}");
    assert_eq!(of_address, run(&["stacks", file, &block]));
    let log = run(&["run", file, "!verifier 80"]);
    assert!(
        log.starts_with("Pool block") || log.contains("\nPool block"),
        "{log}"
    );
    let blocks = run(&["run", file, "!verifier 3 leaker.sys"]);
    assert!(blocks.contains("leaker+0x13b9"), "{blocks}");
    let state = run(&["run", file, "!verifier"]);
    assert!(state.contains("leaker: nonpaged allocations"), "{state}");
}

/// Pool events of a trace session: allocations without a later free, by stack.
#[test]
fn trace_buffers_show_current_allocators() {
    for era in [&WIN7, &WIN10_1607, &WIN10_2004] {
        let mut machine = machines::whole(era).clone();
        let truth = &machine.truth;
        let leaker = truth.modules.iter().find(|m| m.file == "leaker.sys");
        let base = leaker.unwrap().base;
        let block = |n: u64| Va(0xffff_fa80_0900_0000 + n * 0x100);
        let stack = vec![truth.kernel_base.add(0x1234), base.add(0x13b9)];
        let event = |time: u64, is_free: bool, n: u64| etw::Event {
            time: 1000 + time * 10,
            is_free,
            tag: *b"Leak",
            bytes: 0x80,
            address: block(n),
            frames: if is_free { Vec::new() } else { stack.clone() },
        };
        let mut events: Vec<_> = (0..10).map(|n| event(n, false, n)).collect();
        events.extend([event(10, true, 2), event(11, true, 3), event(12, false, 3)]);
        events.push(etw::Event {
            tag: *b"Othr",
            ..event(13, false, 40)
        });
        etw::add(&mut machine, era, &events);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("MEMORY.DMP");
        machine.write(&path, Container::BitmapFull).unwrap();
        let engine = Engine::open(&path, &Options::default()).unwrap();
        let index = engine.index(Arc::default()).unwrap();
        let of = StacksOf::Tag(TagPattern::parse("Leak").unwrap());
        let found = engine.stacks(Some(&index), &of, &|| true).unwrap();
        assert_eq!(found.rows, []);
        assert_eq!(found.coverage.trace_on, Some(true), "build {}", era.build);
        assert_eq!(found.coverage.trace_events, 14, "{:?}", found.notes);
        let traced: Vec<_> = found.traced.iter().map(|r| (r.count, &r.frames)).collect();
        assert_eq!(traced, [(9, &stack)], "build {}", era.build);
        let said = found.notes.join("\n");
        assert!(said.contains("NT Kernel Logger"), "{said}");
    }
}

/// Without symbols, the records are found by their structure.
#[test]
fn records_are_found_by_structure_without_symbols() {
    for era in [&WIN11_22H2, &WIN11_24H2] {
        let mut machine = machines::whole(era).clone();
        verifier::watch_leaker(&mut machine, era);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("MEMORY.DMP");
        machine.write(&path, Container::BitmapFull).unwrap();
        let engine = Engine::open(&path, &Options::default()).unwrap();
        let index = engine.index(Arc::default()).unwrap();
        let of = StacksOf::Tag(TagPattern::parse("Leak").unwrap());
        let found = engine.stacks(Some(&index), &of, &|| true).unwrap();
        let said = found.notes.join("\n");
        assert!(said.contains("found by structure"), "{said}");
        let pool = found.rows.iter().filter(|r| r.source == Recorder::Pool);
        assert_eq!(pool.clone().count(), 3, "build {} {said}", era.build);
        let listed = machine.truth.blocks.iter();
        let listed = listed.filter(|b| b.tag == *b"Leak" && !b.big);
        assert!(pool.map(|r| r.count).sum::<u64>() <= listed.count() as u64);
        // The functions of these kernels are unknown, so the event of a log record is unknown.
        let mut log = found.rows.iter().filter(|r| r.source == Recorder::Log);
        assert!(log.clone().count() > 0, "{said}");
        assert!(log.all(|r| r.event.is_none()));
    }
}

/// The lines of a screen that contain a word.
fn lines(screen: &str, word: &str) -> Vec<String> {
    let found = screen.lines().filter(|line| line.contains(word));
    found.map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn the_tag_screen_shows_its_stacks() {
    let scene = Scene::new(&WIN10_2004, false);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    scene.write(&path);
    let mut screens = Screens::open(&path).unwrap();
    screens.keys("/Leak\r\r");
    screens.keys("C");
    screens.wait_for("verifier-pool");
    let shown = lines(&screens.screen(), "verifier-");
    assert_eq!(shown.len(), 4, "{shown:#?}");
    let first = shown.iter().all(|line| line.contains("leaker+0x1"));
    assert!(first, "{shown:#?}");
    let block = format!("{:x}", scene.live[17].0.0);
    screens.keys(&format!(":!verifier 80 {block}\r"));
    screens.wait_for("freed (verifier-log)");
}

#[test]
fn evidence_and_datasets_include_the_stacks() {
    let scene = Scene::new(&WIN10_2004, false);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    scene.write(&path);
    let kept = folder.path().join("case.zip");
    let tables = folder.path().join("tables");
    let run = |arguments: &[&str]| {
        let output = crate::demo::poolscope(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?} {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (file, kept, tables) = (text(&path), text(&kept), text(&tables));
    run(&["evidence", &file, "--out", &kept]);
    let rows = |file: &str, tag: &str| {
        let json = run(&["stacks", file, tag, "--format", "json"]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        json["stacks"].clone()
    };
    assert_eq!(rows(&kept, "Leak"), rows(&file, "Leak"));
    assert_eq!(rows(&kept, "CM31"), serde_json::json!([]));
    run(&["export", &file, "--out", &tables, "--format", "csv"]);
    let mut found = Vec::new();
    let mut folders = vec![Path::new(&tables).join("stacks")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => found.push(std::fs::read_to_string(path).unwrap()),
            }
        }
    }
    let table = found.join("");
    assert!(table.contains("leaker+0x13b9"), "{table}");
    assert!(table.contains("verifier-pool"), "{table}");
}

#[test]
fn recorded_callers_name_the_owner() {
    let era = &WIN10_2004;
    let mut machine = machines::whole(era).clone();
    let truth = &machine.truth;
    let other = truth.modules.iter().find(|m| m.file == "other.sys");
    let other = other.unwrap().clone();
    let live = truth.blocks.iter();
    let live = live.filter(|b| b.tag == *b"netv" && b.state == State::Allocated);
    let blocks = live.map(|b| Block {
        address: b.body(),
        caller: other.base.add(0x1111),
        bytes: 0x10,
        tag: *b"netv",
    });
    let driver = Driver {
        base: other.base,
        size: other.size,
        blocks: blocks.collect(),
        freed: Vec::new(),
    };
    let all = driver.blocks.len() as u64;
    assert!(all > 20);
    let plan = Verifier {
        level: 8,
        drivers: vec![driver],
        ..Verifier::default()
    };
    verifier::add(&mut machine, era, &plan);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapFull).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::default()).unwrap();
    let tag = Tag::of("netv").unwrap();
    let made = engine.attribution(tag, Some(&index));
    let best = made.owners.best().unwrap();
    assert_eq!(best.module, "other");
    assert_eq!(best.certainty, Certainty::Certain);
    assert!(
        best.reasons[0].contains("Driver Verifier recorded"),
        "{best:?}"
    );
    // A tag without records is attributed as before.
    let leak = engine.attribution(Tag::of("Leak").unwrap(), Some(&index));
    let owners = leak.owners.ranked.iter().flat_map(|o| &o.reasons);
    assert!(owners.clone().count() > 0);
    assert!(owners.into_iter().all(|r| !r.contains("recorded")));
}

/// The nodes of Server 2022's stack database are not documented. Its existence is reported,
/// and Driver Verifier then counts as on.
#[test]
fn a_stack_database_is_recognised() {
    let mut machine = machines::whole(&SERVER_2022).clone();
    let folder = tempfile::tempdir().unwrap();
    let said = |machine: &Machine, name: &str| {
        let path = folder.path().join(name);
        machine.write(&path, Container::BitmapFull).unwrap();
        let engine = Engine::open(&path, &Options::default()).unwrap();
        engine.verifier().notes.join("\n")
    };
    let before = said(&machine, "before.dmp");
    assert!(before.contains("Driver Verifier was off"), "{before}");
    let path = folder.path().join("trees.dmp");
    machine.write(&path, Container::BitmapFull).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let trees = ["ViPoolInfoAvl", "ViPoolStackInfoAvl"];
    let trees = trees.map(|name| engine.kernel().symbol(name).unwrap());
    drop(engine);
    for (tree, count) in trees.into_iter().zip([12_345u64, u64::MAX]) {
        if machine.memory.frame(tree).is_none() {
            machine.memory.map_new(tree.page(), 1);
        }
        // NodeCount and Tables.
        machine.memory.u64(tree.add(0x08), count);
        let table = machine.truth.kernel_base;
        machine.memory.pointer(tree.add(0x10), table);
    }
    let after = said(&machine, "after.dmp");
    assert!(
        after.contains("database of stacks (12345 blocks, a damaged count of stacks)"),
        "{after}"
    );
    assert!(!after.contains("was off"), "{after}");
}

/// All sessions have their pool at the same addresses, and records do not contain the session.
#[test]
fn session_pool_records_are_joined_if_only_one_session_has_the_block() {
    let mut spec = poolscope::synth::small::of_era(&WIN7);
    spec.processes = ["System", "a.exe", "b.exe"].map(String::from).to_vec();
    spec.allocations = poolscope::synth::small::allocations(&spec);
    let mut machine = Machine::build(&spec).unwrap();
    let blocks = sessions::add(&mut machine, &WIN7, &[sessions::Fault::None; 2]);
    let live: Vec<_> = blocks.iter().filter(|b| !b.parked).collect();
    let tag = live[0].tag;
    let of = |session: u32| {
        live.iter()
            .filter(move |b| b.session == session && b.tag == tag)
    };
    let in_second: Vec<Va> = of(2).map(|b| b.va).collect();
    let (shared, own): (Vec<_>, Vec<_>) = of(1).partition(|b| in_second.contains(&b.va));
    assert!(own.len() >= 2, "{} own, {} shared", own.len(), shared.len());
    let leaker = machine
        .truth
        .modules
        .iter()
        .find(|m| m.file == "leaker.sys");
    let leaker = leaker.unwrap().clone();
    let caller = leaker.base.add(0x13b9);
    let listed = |b: &&&sessions::SessionBlock| Block {
        address: b.va.add(0x10),
        caller,
        bytes: b.bytes - 0x10,
        tag,
    };
    let mine: Vec<Block> = own.iter().chain(&shared).map(|b| listed(&b)).collect();
    let plan = Verifier {
        level: 0x8,
        drivers: vec![Driver {
            base: leaker.base,
            size: leaker.size,
            blocks: mine.clone(),
            freed: Vec::new(),
        }],
        others: Vec::new(),
        log: None,
    };
    verifier::add(&mut machine, &WIN7, &plan);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapFull).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::default()).unwrap();
    let pattern = TagPattern::of(Tag::new(u32::from_le_bytes(tag)));
    let of = StacksOf::Tag(pattern);
    let found = engine.stacks(Some(&index), &of, &|| true).unwrap();
    assert_eq!(
        found.coverage.in_pool,
        own.len() as u64,
        "{:?}",
        found.notes
    );
    let said = found.notes.join("\n");
    let ambiguous = format!("{} records name an address at which several", shared.len());
    assert_eq!(said.contains(&ambiguous), !shared.is_empty(), "{said}");
    let counted: u64 = found.rows.iter().map(|row| row.count).sum();
    assert_eq!(counted, mine.len() as u64);
}

/// The answer in each form.
#[test]
fn stacks_are_written_in_every_format() {
    let scene = Scene::new(&WIN7, false);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    scene.write(&path);
    let file = path.to_str().unwrap();
    let run = |format: &str| {
        let arguments = ["stacks", file, "Leak", "--format", format];
        let output = crate::demo::poolscope(&arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    insta::assert_snapshot!("text", run("text"));
    insta::assert_snapshot!("csv", run("csv"));
    insta::assert_snapshot!("markdown", run("markdown"));
    let mut json: serde_json::Value = serde_json::from_str(&run("json")).unwrap();
    json.sort_all_objects();
    let own = serde_json::json!({"stacks": json["stacks"], "coverage": json["coverage"]});
    let text = serde_json::to_string_pretty(&own).unwrap();
    insta::assert_snapshot!("json", text);
}
