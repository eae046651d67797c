//! Owners attributed from block contents, and kernel objects from what refers to them, on
//! machines with a known cause.

use std::sync::Arc;

use poolscope::analysis::attribution::suspects::Certainty;
use poolscope::analysis::census::{Progress as Reading, Question};
use poolscope::analysis::judgement::Verdict;
use poolscope::analysis::judgement::diagnosis::{Diagnosis, Finding};
use poolscope::engine::{Engine, Options};
use poolscope::memory::Va;
use poolscope::pool::Tag;
use poolscope::pool::index::{Progress, Snapshot};
use poolscope::synth::era::{Era, WIN7, WIN10_1809, WIN10_2004, WIN11, WIN81};
use poolscope::synth::legacy::{Allocation, Holds};

use poolscope::synth::truth::{Block, Pool, State};
use poolscope::synth::{Container, Machine, ModuleSpec, Spec, small};

const HOUR: u64 = 3600 * 10_000_000;
const DRIVER: u64 = 0xffff_f880_0180_0000;
/// The size of the optional headers of the builder's objects, and of the object header.
const OBJECT: (u64, u64) = (0x20, 0x30);

fn driver(file: &str, nth: u64) -> ModuleSpec {
    ModuleSpec {
        file: file.into(),
        folder: "\\SystemRoot\\system32\\drivers\\",
        base: Va(DRIVER + nth * 0x10_0000),
        size: 0x8000,
        exports: Vec::new(),
        sites: Vec::new(),
        imports: Vec::new(),
        data: Vec::new(),
        names_in_init: false,
    }
}

/// The small machine with more memory, two drivers, and these blocks.
fn machine(era: &'static Era, more: &[(&[u8; 4], Pool, u64, u64)]) -> Spec {
    let mut spec = small::of_era(era);
    let pages = 0x1_0000;
    spec.runs = vec![(1, 0x9e), (0x100, pages)];
    spec.vm.physical_memory = 0x9e + pages;
    spec.vm.committed = pages;
    spec.vm.commit_limit = 2 * pages;
    spec.options.gigabyte_page = false;
    spec.uptime = 100 * HOUR;
    spec.modules.push(driver("amdacpbus2.sys", 0));
    spec.modules.push(driver("scanflt.sys", 1));
    spec.allocations = small::allocations(&spec);
    // So little room that `!vm` warns about the leak.
    let leaked = more.iter().filter(|m| m.1 == Pool::NonPaged);
    let leaked: u64 = leaked.map(|(_, _, count, bytes)| count * bytes).sum();
    spec.vm.nonpaged_max = (leaked / 0x1000 * 11 / 10 + 0x180).max(0x600);
    for (tag, pool, count, bytes) in more {
        for _ in 0..*count {
            spec.allocations.push(Allocation::new(**tag, *pool, *bytes));
        }
    }
    spec
}

fn open(machine: &Machine) -> (tempfile::TempDir, Engine, Snapshot) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapFull).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::new(Progress::default())).unwrap();
    (folder, engine, index)
}

fn tag(text: &str) -> Tag {
    Tag::of(text).unwrap()
}

fn of<'a>(diagnosis: &'a Diagnosis, text: &str) -> &'a Finding {
    let found = diagnosis.findings.iter().find(|f| f.tag() == tag(text));
    found.unwrap_or_else(|| panic!("{}", diagnosis.summary))
}

fn blocks<'a>(machine: &'a Machine, tag: &'a [u8; 4]) -> impl Iterator<Item = &'a Block> {
    let mine = move |b: &&Block| b.tag == *tag && b.state == State::Allocated && !b.big;
    machine.truth.blocks.iter().filter(mine)
}

/// The object header in a block of the builder's objects.
fn header(block: &Block) -> Va {
    block.body().add(OBJECT.0)
}

#[test]
fn a_tag_in_no_image_is_attributed_by_its_block_pointers() {
    for era in [&WIN7, &WIN10_1809, &WIN10_2004, &WIN11] {
        // A tag that no rule derives from a name.
        let mut spec = machine(era, &[(b"Qx7z", Pool::NonPaged, 30_000, 0x1d0)]);
        spec.options.holds = vec![Holds {
            tag: *b"Qx7z",
            bytes: 0,
            words: vec![(0xb0, DRIVER + 0x2468), (0x30, 0x1122_3344)],
        }];
        let machine = Machine::build(&spec).unwrap();
        let (_folder, engine, index) = open(&machine);
        let census = engine
            .contents(
                &index,
                Question::of(tag("Qx7z")),
                &|| true,
                &Reading::default(),
            )
            .unwrap()
            .unwrap();
        assert_eq!(census.population, census.sampled, "all were read");
        let pointing = census.pointing("amdacpbus2").unwrap();
        assert_eq!(pointing.offset, 0xb0);
        assert!(
            // The builder leaves some blocks blank: those with a second header.
            pointing.shares(&census).1 > 0.85,
            "{}",
            pointing.sentence(&census)
        );
        assert_eq!(pointing.place.as_ref().unwrap().0.name, "amdacpbus2+0x2468");
        let by_images = engine.attribution(tag("Qx7z"), None);
        assert!(
            by_images.owners.best().is_none(),
            "only block contents name the owner"
        );
        let attribution = engine.attribution(tag("Qx7z"), Some(&index));
        let owner = attribution.owners.best().unwrap();
        assert_eq!(
            (owner.module.as_str(), owner.certainty),
            ("amdacpbus2", Certainty::Likely),
            "{}",
            era.build
        );
        assert!(owner.reasons[0].contains("at +0xb0"), "{:?}", owner.reasons);
        if era.build != WIN7.build {
            continue;
        }
        let diagnosis = engine.diagnose(&index);
        let finding = of(&diagnosis, "Qx7z");
        assert_eq!(
            finding.attribution.owners.best().unwrap().module,
            "amdacpbus2"
        );
        assert!(
            diagnosis.summary.contains("amdacpbus2"),
            "{}",
            diagnosis.summary
        );
    }
}

#[test]
fn blocks_of_a_kernel_tag_belong_to_their_callers() {
    let mut spec = machine(&WIN7, &[(b"Se  ", Pool::NonPaged, 20_000, 0x160)]);
    spec.options.holds = vec![Holds {
        tag: *b"Se  ",
        bytes: 0,
        words: vec![(0x40, DRIVER + 0x10_0000 + 0x1230)],
    }];
    let machine = Machine::build(&spec).unwrap();
    let (_folder, engine, index) = open(&machine);
    let diagnosis = engine.diagnose(&index);
    let finding = of(&diagnosis, "Se  ");
    assert_eq!(finding.attribution.owners.best().unwrap().module, "scanflt");
    let kernel = finding
        .attribution
        .owners
        .ranked
        .iter()
        .any(|o| o.module == "nt");
    let said = finding
        .attribution
        .owners
        .notes
        .iter()
        .any(|n| n.contains("on behalf of callers"));
    assert_eq!(kernel, said, "{:?}", finding.attribution.owners);
}

#[test]
fn two_leaks_under_one_tag_have_two_layouts() {
    let mut spec = machine(
        &WIN7,
        &[
            (b"Two ", Pool::NonPaged, 8_000, 0x300),
            (b"Two ", Pool::NonPaged, 4_000, 0x5c0),
        ],
    );
    spec.options.holds = vec![
        Holds {
            tag: *b"Two ",
            bytes: 0x300,
            words: vec![(0x48, DRIVER + 0x1000)],
        },
        Holds {
            tag: *b"Two ",
            bytes: 0x5c0,
            words: vec![(0x80, DRIVER + 0x2000), (0x88, DRIVER + 0x3000)],
        },
    ];
    let machine = Machine::build(&spec).unwrap();
    let (_folder, engine, index) = open(&machine);
    let census = engine
        .contents(
            &index,
            Question::of(tag("Two ")),
            &|| true,
            &Reading::default(),
        )
        .unwrap()
        .unwrap();
    for (size, count, offset) in [(0x300, 8_000, 0x48), (0x5c0, 4_000, 0x80)] {
        let of_size: u64 = census
            .families
            .iter()
            .filter(|f| f.sizes == (size, size))
            .filter(|f| f.modules.contains(&(offset, "amdacpbus2".into())))
            .map(|f| f.blocks)
            .sum();
        assert!(
            of_size * 10 >= count * 9,
            "{size:#x}: {:#?}",
            census.families
        );
    }
    let finding = engine.diagnose(&index);
    let finding = of(&finding, "Two ");
    assert!(
        finding.contents.iter().any(|s| s.contains("768 bytes")),
        "{:?}",
        finding.contents
    );
}

#[test]
fn pointers_to_many_modules_name_no_owner() {
    let mut spec = machine(&WIN7, &[(b"Mixd", Pool::NonPaged, 12_000, 0x1d0)]);
    let nt = spec.modules[0].base;
    spec.options.holds = vec![Holds {
        tag: *b"Mixd",
        bytes: 0,
        words: vec![(0x60, nt.0 + 0x1234)],
    }];
    let machine = Machine::build(&spec).unwrap();
    let (_folder, engine, index) = open(&machine);
    let diagnosis = engine.diagnose(&index);
    let finding = of(&diagnosis, "Mixd");
    assert!(
        finding.attribution.owners.best().is_none(),
        "{:?}",
        finding.attribution.owners.ranked
    );
    assert!(finding.contents.iter().any(|s| s.starts_with("nt: ")));
}

/// A filter references tokens and never dereferences them: no handle refers to them, but
/// its contexts point to them.
#[test]
fn tokens_referenced_by_a_filter_are_a_reference_leak() {
    for era in [&WIN7, &WIN81, &WIN10_2004] {
        let spec = machine(
            era,
            &[
                (b"Toke", Pool::NonPaged, 9_000, 0x480),
                (b"ScnC", Pool::NonPaged, 9_000, 0x90),
            ],
        );
        let mut machine = Machine::build(&spec).unwrap();
        let tokens: Vec<Va> = blocks(&machine, b"Toke").map(header).collect();
        let contexts: Vec<Va> = blocks(&machine, b"ScnC").map(Block::body).collect();
        for token in &tokens {
            machine.memory.u64(token.add(8), 0);
            machine.memory.u64(*token, 1);
        }
        for (context, token) in contexts.iter().zip(&tokens) {
            machine
                .memory
                .pointer(context.add(0x38), token.add(OBJECT.1));
            machine
                .memory
                .u64(context.add(0x50), DRIVER + 0x10_0000 + 0x20);
        }
        let (_folder, engine, index) = open(&machine);
        let found = engine.objects(&index, tag("Toke"), 0, &|| true).unwrap();
        assert_eq!(found.kind.as_ref().unwrap().name, "Token", "{}", era.build);
        assert!(found.objects * 100 >= found.blocks * 85, "{found:?}");
        assert!(found.with_handles * 100 < found.objects, "{found:?}");
        assert!(found.verdict().unwrap().contains("probable reference leak"));
        if era.build != WIN7.build {
            continue;
        }
        let diagnosis = engine.diagnose(&index);
        assert!(diagnosis.verdict >= Verdict::Suspicious);
        let finding = of(&diagnosis, "Toke");
        let said = finding.objects.join("\n");
        assert!(
            said.contains("ScnC blocks point at one of these at +0x38")
                && said.contains("scanflt (likely)"),
            "{said}"
        );
    }
}

const PINNED_COUNT: u64 = 3_000;
/// The blocks of a filter, and the blocks that they keep alive.
const PINNED: [(&[u8; 4], Pool, u64); 7] = [
    (b"Zqsc", Pool::NonPaged, 0xa0),
    (b"Zqfc", Pool::NonPaged, 0x90),
    (b"Zqri", Pool::Paged, 0x70),
    (b"Rfcb", Pool::NonPaged, 0xc0),
    (b"File", Pool::NonPaged, 0x180),
    (b"Toke", Pool::Paged, 0x480),
    (b"SeTd", Pool::Paged, 0x90),
];

/// A machine on which the contexts of a filter keep a file system's blocks and file objects
/// alive, and those keep tokens alive.
pub fn pinned(era: &'static Era) -> Machine {
    let more: Vec<_> = PINNED
        .iter()
        .map(|(t, p, size)| (*t, *p, PINNED_COUNT, *size))
        .collect();
    let mut spec = machine(era, &more);
    spec.vm.nonpaged_max = 0x4000;
    spec.options.unfreed = [b"Zqsc", b"Zqfc", b"Zqri", b"Rfcb"].map(|t| *t).to_vec();
    let mut machine = Machine::build(&spec).unwrap();
    let of_size = |machine: &Machine, nth: usize| -> Vec<Block> {
        let (tag, _, size) = PINNED[nth];
        let own = blocks(machine, tag).filter(|b| b.bytes >= size);
        own.take(PINNED_COUNT as usize).cloned().collect()
    };
    let laid: Vec<Vec<Block>> = (0..PINNED.len()).map(|i| of_size(&machine, i)).collect();
    let [contexts, instances, names, fcbs, files, tokens, parts] = &laid[..] else {
        panic!("seven tags");
    };
    let object = |block: &Block| header(block).add(OBJECT.1);
    for (i, context) in contexts.iter().enumerate() {
        let memory = &mut machine.memory;
        let body = context.body();
        memory.pointer(body.add(0x18), fcbs[i % fcbs.len()].body());
        memory.pointer(body.add(0x28), object(&files[i % files.len()]));
        memory.pointer(body.add(0x38), instances[i % instances.len()].body());
        memory.pointer(body.add(0x48), names[i % names.len()].body());
        memory.u64(body.add(0x58), DRIVER + 0x10_0000 + 0x1230);
    }
    for (i, file) in files.iter().enumerate() {
        machine.memory.u64(header(file).add(8), 0);
        let at = object(file).add(0x68);
        machine
            .memory
            .pointer(at, object(&tokens[i % tokens.len()]));
    }
    for (i, token) in tokens.iter().enumerate() {
        machine.memory.u64(header(token).add(8), 0);
        let at = object(token).add(0x80);
        machine.memory.pointer(at, parts[i % parts.len()].body());
    }
    machine
}

/// There is one finding with the filter first, whatever the names of the tags.
#[test]
fn a_filter_that_pins_files_and_tokens_is_one_finding() {
    for era in [&WIN7, &WIN10_2004] {
        let machine = pinned(era);
        let (_folder, engine, index) = open(&machine);
        let diagnosis = engine.diagnose(&index);
        let finding = &diagnosis.findings[0];
        assert_eq!(finding.tag(), tag("Zqsc"), "{}", diagnosis.summary);
        let chain = finding.chain.as_ref().unwrap();
        let sentence = chain.sentence();
        let whole: u64 = PINNED
            .iter()
            .map(|(t, _, size)| {
                let name = std::str::from_utf8(*t).unwrap();
                assert!(chain.holds(tag(name)), "{}: {name}: {sentence}", era.build);
                PINNED_COUNT * size
            })
            .sum();
        assert!(finding.bytes() >= whole, "{} of {whole}", finding.bytes());
        let owner = finding.attribution.owners.best().unwrap();
        assert_eq!(owner.module, "scanflt");
        assert_eq!(diagnosis.verdict, Verdict::Leak, "{}", diagnosis.summary);
        assert!(
            diagnosis.summary.contains("scanflt"),
            "{}",
            diagnosis.summary
        );
        for name in ["File", "Toke"] {
            let said = finding
                .objects
                .iter()
                .any(|s| s.starts_with(name) && s.contains("have no open handles"));
            assert!(said, "{name}: {:?}", finding.objects);
        }
        for other in &diagnosis.findings[1..] {
            assert!(!chain.holds(other.tag()), "{} is in the chain", other.tag());
        }
        // The head of the chain is the first suspect for all that it keeps alive; the
        // allocator stays the same.
        let kept = engine.attribution(tag("Toke"), Some(&index));
        assert_eq!(kept.owners.best().unwrap().module, "scanflt");
        assert_ne!(kept.allocator(), Some("scanflt"));
        let answer = poolscope::report::Diagnose::of(&engine, &diagnosis);
        let mut out = Vec::new();
        poolscope::report::write(&engine, &answer, poolscope::report::Format::Json, &mut out)
            .unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let first = &answer["findings"][0];
        let said = format!("{}{}", first["reasons"], first["lockstep"]);
        for (name, ..) in &PINNED[1..] {
            let name = std::str::from_utf8(*name).unwrap();
            assert!(said.contains(name), "{name}: {said}");
        }
        assert_eq!(first["owners"][0]["module"], "scanflt");
    }
}

/// Offsets of Windows 7 (public symbols).
mod win7 {
    pub const OBJECT_TABLE: u64 = 0x200;
    pub const EXIT_TIME: u64 = 0x170;
    pub const NEXT_HANDLE: u64 = 0x5c;
}

/// A handle table with two levels: a page of pointers, and pages of entries.
fn handle_table(machine: &mut Machine, process: Va, objects: &[Va]) {
    let pages: Vec<Va> = machine
        .truth
        .blocks
        .iter()
        .filter(|b| b.tag == *b"HndT" && b.state == State::Allocated)
        .map(|b| b.body())
        .collect();
    let (table, pages) = pages.split_first().unwrap();
    let (root, pages) = pages.split_first().unwrap();
    let memory = &mut machine.memory;
    memory.u64(*table, root.0 | 1);
    let used = objects.len().div_ceil(255);
    for (i, page) in pages.iter().take(used).enumerate() {
        memory.pointer(root.add(i as u64 * 8), *page);
        let here = objects.iter().skip(i * 255).take(255);
        for (j, object) in here.enumerate() {
            let entry = page.add((j as u64 + 1) * 16);
            memory.u64(entry, object.0 | 1);
            memory.u64(entry.add(8), 0x1f_0003);
        }
    }
    memory.write(root.add(used as u64 * 8), &[0; 8]);
    memory.u32(table.add(win7::NEXT_HANDLE), used as u32 * 256 * 4);
    memory.pointer(process.add(win7::OBJECT_TABLE), *table);
}

#[test]
fn a_process_with_a_handle_leak_is_named_with_its_share() {
    let spec = machine(
        &WIN7,
        &[
            (b"Even", Pool::NonPaged, 2_000, 0xa0),
            (b"HndT", Pool::Paged, 12, 0x1000),
        ],
    );
    let mut machine = Machine::build(&spec).unwrap();
    let events: Vec<Va> = blocks(&machine, b"Even").map(header).collect();
    let process = blocks(&machine, b"Proc").nth(1).map(header).unwrap();
    for event in &events {
        machine.memory.u64(event.add(8), 1);
    }
    let object = process.add(OBJECT.1);
    handle_table(&mut machine, object, &events);
    let (_folder, engine, index) = open(&machine);
    let found = engine.objects(&index, tag("Even"), 0, &|| true).unwrap();
    let first = found.holders.first().expect("no tag points to the blocks");
    assert_eq!(first.process.at, object);
    assert_eq!(first.handles, events.len() as u64);
    assert!(!first.process.image.is_empty());
    let verdict = found.verdict().unwrap();
    assert!(
        verdict.contains("a handle leak") && verdict.contains(&first.process.image),
        "{verdict}"
    );
}

#[test]
fn reading_a_looping_or_oversized_handle_table_ends() {
    let spec = machine(&WIN7, &[(b"HndT", Pool::Paged, 4, 0x1000)]);
    let mut machine = Machine::build(&spec).unwrap();
    let pages: Vec<Va> = machine
        .truth
        .blocks
        .iter()
        .filter(|b| b.tag == *b"HndT")
        .map(|b| b.body())
        .collect();
    let process = blocks(&machine, b"Proc").nth(1).map(header).unwrap();
    let memory = &mut machine.memory;
    for i in 0..512 {
        memory.pointer(pages[1].add(i * 8), pages[1]);
    }
    memory.u64(pages[0], pages[1].0 | 2);
    memory.u32(pages[0].add(win7::NEXT_HANDLE), u32::MAX);
    memory.pointer(process.add(OBJECT.1 + win7::OBJECT_TABLE), pages[0]);
    let (_folder, engine, index) = open(&machine);
    let started = std::time::Instant::now();
    let found = engine.objects(&index, tag("Proc"), 0, &|| true).unwrap();
    assert!(found.objects > 0);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn files_are_counted_by_path_and_invalid_names_are_ignored() {
    /// `FILE_OBJECT.FileName` on all builds (public symbols).
    const FILE_NAME: u64 = 0x58;
    const PATH: &str = "\\Windows\\Temp\\spool\u{e9}.log";
    for era in [&WIN7, &WIN10_2004] {
        let spec = machine(
            era,
            &[
                (b"File", Pool::NonPaged, 300, 0x150),
                (b"IoNm", Pool::Paged, 300, 0x80),
            ],
        );
        let mut machine = Machine::build(&spec).unwrap();
        let files: Vec<Va> = blocks(&machine, b"File").map(header).collect();
        let texts: Vec<Va> = blocks(&machine, b"IoNm").map(Block::body).collect();
        for (i, (file, text)) in files.iter().zip(&texts).enumerate() {
            let name = file.add(OBJECT.1 + FILE_NAME);
            match i % 6 {
                // A length beyond the capacity, and a control character.
                0 => {
                    machine.memory.unicode_string(name, *text, "never");
                    machine.memory.u16(name.add(2), 4);
                }
                1 => machine.memory.unicode_string(name, *text, "ne\u{1b}[2Jver"),
                _ => machine.memory.unicode_string(name, *text, PATH),
            }
        }
        let (_folder, engine, index) = open(&machine);
        let found = engine.objects(&index, tag("File"), 0, &|| true).unwrap();
        let first = found.names.first().expect("files have paths");
        assert_eq!(first.name, PATH, "{}", era.build);
        assert!(first.count >= 150, "{first:?}");
        assert!(!found.names.iter().any(|n| n.name.contains("ver")));
    }
}

#[test]
fn terminated_processes_are_counted_by_image() {
    let mut machine = Machine::build(&machine(&WIN7, &[])).unwrap();
    let processes: Vec<Va> = blocks(&machine, b"Proc").map(header).collect();
    let ended = &processes[1..];
    for header in ended {
        let exit = header.add(OBJECT.1 + win7::EXIT_TIME);
        machine.memory.u64(exit, 0x1cd_aaaa_bbbb_cccc);
    }
    let (_folder, engine, index) = open(&machine);
    let found = engine.objects(&index, tag("Proc"), 0, &|| true).unwrap();
    assert_eq!(found.ended, ended.len() as u64, "{found:?}");
    let by_image: u64 = found.ended_by_image.iter().map(|n| n.count).sum();
    assert_eq!(by_image, found.ended);
    assert!(found.sentences().iter().any(|s| s.contains("have ended")));
}

#[test]
fn a_healthy_machine_has_no_leak_evidence() {
    for era in [&WIN7, &WIN10_2004] {
        let machine = crate::machines::of_era(era);
        let (_folder, engine, index) = open(machine);
        assert_eq!(engine.diagnose(&index).verdict, Verdict::Normal);
        let found = engine.objects(&index, tag("Even"), 0, &|| true).unwrap();
        assert_eq!(found.verdict(), None, "{found:?}");
        let none = engine.objects(&index, tag("CM31"), 0, &|| true).unwrap();
        assert_eq!((none.objects, none.verdict()), (0, None));
    }
}
