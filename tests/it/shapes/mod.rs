//! Patterns of code in real drivers, each in a hand-written driver: the tag survives calls
//! and branches, and calls go through tables, thunks and pointers.

mod driver;
pub mod many;
mod random;
mod written;

use poolscope::analysis::TagSearch;
use poolscope::analysis::references::{Confidence, Reference, References, Role, Survey, Targets};
use poolscope::engine::{Engine, Options};
use poolscope::memory::Va;
use poolscope::pool::Tag;
use poolscope::synth::{Container, Machine, Spec, callers};

use driver::{Driver, module};
use written::{SIZES, Writer, fill, frames, more, write};

const NT: &str = "ntoskrnl.exe";
const POOL: &str = "ExAllocatePoolWithTag";
const FREE: &str = "ExFreePoolWithTag";
const SHAPES: Va = Va(0xffff_f880_0400_0000);
const BARE: Va = Va(0xffff_f880_0410_0000);

/// Functions with a tag argument that the other machine's forms do not cover: file, name,
/// and the argument with the tag.
const MORE: [(&str, &str, u8); 14] = [
    ("ndis.sys", "NdisAllocateGenericObject", 2),
    ("ndis.sys", "NdisAllocateCloneOidRequest", 3),
    (NT, "MmUnmapReservedMapping", 2),
    (NT, "ExAllocateCacheAwareRundownProtection", 2),
    ("videoprt.sys", "VideoPortAllocatePool", 4),
    ("usbd.sys", "USBD_CreateHandle", 4),
    ("fltmgr.sys", "FltAllocateExtraCreateParameter", 6),
    ("fltmgr.sys", "FltInitExtraCreateParameterLookasideList", 5),
    ("win32k.sys", "EngAllocMem", 3),
    ("win32k.sys", "EngAllocSectionMem", 4),
    (NT, "ExInitializeLookasideListEx", 7),
    (NT, "FsRtlAllocateExtraCreateParameter", 5),
    (NT, "ExAllocatePoolWithTagPriority", 3),
    ("ndis.sys", "NdisFreeMemoryWithTagPriority", 3),
];

const IMPORTS: [(&str, &str); 10] = [
    (NT, POOL),
    (NT, "ExAllocatePool2"),
    (NT, FREE),
    (NT, "KeSetEvent"),
    (NT, "ExInitializeNPagedLookasideList"),
    (NT, "RtlInitUnicodeString"),
    (NT, "MmGetSystemRoutineAddress"),
    ("ndis.sys", "NdisAllocateNetBufferListPool"),
    ("ndis.sys", "NdisAllocateTimerObject"),
    ("WDFLDR.SYS", "WdfVersionBind"),
];

fn spec() -> Spec {
    let mut spec = callers::spec();
    let base = |n: u64| Va(0xffff_f880_0420_0000 + n * 0x1_0000);
    let mut extra = Vec::new();
    for (n, file) in ["videoprt.sys", "usbd.sys", "win32k.sys"]
        .into_iter()
        .enumerate()
    {
        let mut exporter = module(file, base(n as u64), &[]);
        exporter.size = 0x8000;
        extra.push(exporter);
    }
    let own = [
        "RtlInitUnicodeString",
        "MmGetSystemRoutineAddress",
        "NdisAllocateTimerObject",
    ];
    let files = [NT, NT, "ndis.sys"];
    let more = MORE.iter().map(|m| (m.0, m.1));
    for (file, name) in more.chain(files.into_iter().zip(own)) {
        let mut all = spec.modules.iter_mut().chain(&mut extra);
        let exporter = all.find(|m| m.file == file).unwrap();
        if !exporter.exports.iter().any(|e| e == name) {
            exporter.exports.push(name.into());
        }
    }
    // The builder binds imports only to earlier images.
    spec.modules.extend(extra);
    let mut imports: Vec<(&str, &str)> = IMPORTS.to_vec();
    imports.extend(MORE.iter().map(|m| (m.0, m.1)));
    spec.modules.push(module("shapes.sys", SHAPES, &imports));
    spec.modules.push(module("bare.sys", BARE, &IMPORTS));
    spec.allocations = poolscope::synth::small::allocations(&spec);
    spec
}

fn open(machine: &Machine) -> (tempfile::TempDir, Engine) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapKernel).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    (folder, engine)
}

fn tag(bytes: &[u8; 4]) -> Tag {
    Tag::new(u32::from_le_bytes(*bytes))
}

/// The expected reference: tag, function, role, confidence, RVA of the function.
type Truth = ([u8; 4], &'static str, Role, Confidence, u32);

const CERTAIN: Confidence = Confidence::Certain;

/// Surveys all of these tags in one pass.
fn survey(engine: &Engine, truths: &[Truth]) -> Survey {
    let tags: Vec<Tag> = truths.iter().map(|truth| tag(&truth.0)).collect();
    let (kernel, sessions) = (engine.kernel(), engine.sessions());
    let targets = Targets::of(kernel, sessions);
    let search = TagSearch::run(kernel, sessions, tags.iter().copied(), &|| true).unwrap();
    Survey::of(kernel, sessions, &targets, &search, &tags, &|| true).unwrap()
}

fn check(engine: &Engine, name: &str, truths: &[Truth], starts: bool) -> Vec<String> {
    let module = engine
        .kernel()
        .modules
        .iter()
        .find(|m| m.name() == name)
        .unwrap();
    let survey = survey(engine, truths);
    let mut wrong = Vec::new();
    for (bytes, api, role, confidence, start) in truths {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let sessions = engine.sessions();
        let found = survey
            .references(engine.kernel(), sessions, tag(bytes))
            .unwrap();
        let own: Vec<&Reference> = found
            .found
            .iter()
            .filter(|r| r.module_name == name)
            .collect();
        let [at] = own.as_slice() else {
            wrong.push(format!("{text}: {} places", own.len()));
            continue;
        };
        let verdict = &at.verdict;
        let got = (
            verdict.api.as_deref().unwrap_or(""),
            verdict.role,
            verdict.confidence,
        );
        if got != (*api, *role, Some(*confidence)) {
            wrong.push(format!("{text}: {got:?}: {}", verdict.reason));
        }
        let function = format!("{name}+{start:#x}");
        if starts && verdict.function.as_deref() != Some(&function) {
            wrong.push(format!("{text}: in {:?}, not {function}", verdict.function));
        }
        assert!(at.va >= module.base);
    }
    wrong
}

fn framework_base(spec: &Spec) -> Va {
    spec.modules
        .iter()
        .find(|m| m.file == "Wdf01000.sys")
        .unwrap()
        .base
}

fn only<'f>(found: &'f References, name: &str) -> &'f Reference {
    let mut own = found.found.iter().filter(|r| r.module_name == name);
    own.next().unwrap()
}

#[test]
fn every_code_pattern_is_followed() {
    let spec = spec();
    let mut machine = Machine::build(&spec).unwrap();
    let mut shapes = Driver::new(&spec, &machine, "shapes.sys");
    let mut truths = write(&mut shapes, framework_base(&spec));
    let mut w = Writer {
        driver: &mut shapes,
        truths: Vec::new(),
    };
    more(&mut w);
    truths.extend(w.truths);
    shapes.load(&mut machine, true);
    // The same code in a driver without unwind data.
    let mut bare = Driver::new(&spec, &machine, "bare.sys");
    let in_bare = write(&mut bare, framework_base(&spec));
    bare.load(&mut machine, false);
    let (_folder, engine) = open(&machine);
    let wrong = check(&engine, "shapes", &truths, true);
    assert!(wrong.is_empty(), "{wrong:#?}");
    // A search for a single tag gives the same result.
    let all = survey(&engine, &truths);
    for truth in truths.iter().step_by(5) {
        let found = engine.references(tag(&truth.0)).found;
        assert_eq!(found, all.places(tag(&truth.0)));
    }
    // If a call receives the tag right where it is loaded, the reference is certain even
    // without unwind data.
    let straight = [
        *b"LvLo", *b"LvRg", *b"LvCl", *b"LvLp", *b"TgTh", *b"FrL1", *b"FrLa", *b"KmDi",
    ];
    let in_bare: Vec<Truth> = in_bare
        .into_iter()
        .filter(|truth| straight.contains(&truth.0))
        .collect();
    let wrong = check(&engine, "bare", &in_bare, false);
    assert!(wrong.is_empty(), "{wrong:#?}");

    // If either of two functions may be called, both are named; so are all calls that
    // receive the same constant.
    let both = engine.references(tag(b"TgRt"));
    let both = &only(&both, "shapes").verdict;
    assert!(both.reason.contains("ExAllocatePool2"), "{}", both.reason);
    let names: Vec<_> = both
        .calls
        .iter()
        .filter_map(|c| c.function.as_deref())
        .collect();
    assert!(
        names.contains(&"ExAllocatePool2") && names.contains(&POOL),
        "{names:?}"
    );
    let frees = engine.references(tag(b"TkFr"));
    let roles: Vec<Role> = only(&frees, "shapes")
        .verdict
        .calls
        .iter()
        .map(|c| c.role)
        .collect();
    assert_eq!(roles, [Role::Allocation, Role::Free]);
    // A coincidental match is not evidence for a module.
    let chance = engine.references(tag(b"TkSt"));
    assert!(
        chance
            .modules
            .iter()
            .all(|m| m.confidence == Some(Confidence::Coincidence))
    );
}

#[test]
fn names_of_a_paged_out_export_table_come_from_other_importers() {
    let mut spec = spec();
    // forms.sys still has the names of its imports; shapes.sys has discarded them with its
    // INIT section.
    for module in &mut spec.modules {
        module.names_in_init |= module.file == "plain.sys";
    }
    let mut machine = Machine::build(&spec).unwrap();
    let mut shapes = Driver::new(&spec, &machine, "shapes.sys");
    let mut w = Writer {
        driver: &mut shapes,
        truths: Vec::new(),
    };
    frames(&mut w);
    let truths: Vec<Truth> = w.truths.into_iter().filter(|t| t.0 == *b"FrLg").collect();
    shapes.load(&mut machine, true);
    let ndis = spec.modules.iter().find(|m| m.file == "ndis.sys").unwrap();
    let (base, size) = (ndis.base, ndis.size);
    // All of its read-only data, including the export table.
    for page in 1..size / 0x1000 {
        let va = base.add(u64::from(page) * 0x1000);
        if let Some(frame) = machine.memory.frame(va) {
            machine.memory.physical.omit(frame);
        }
    }
    let (_folder, engine) = open(&machine);
    let wrong = check(&engine, "shapes", &truths, true);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Address of the driver that [`importing`] adds.
const EXPORTER: Va = Va(0xffff_f880_0430_0000);

/// The machine with one more driver, from which shapes.sys imports a function.
fn importing(file: &str, exports: Vec<String>, function: &str) -> Spec {
    let mut spec = spec();
    let mut exporter = module(file, EXPORTER, &[]);
    exporter.exports = exports;
    let at = spec.modules.iter().position(|m| m.file == "shapes.sys");
    let at = at.unwrap();
    let import = (file.to_owned(), function.to_owned());
    spec.modules[at].imports.push(import);
    spec.modules.insert(at, exporter);
    spec.allocations = poolscope::synth::small::allocations(&spec);
    spec
}

/// A driver imports a function under the name of a forwarder. The call is attributed by the
/// name of the destination, also if the destination's export table is paged out.
#[test]
fn a_forwarded_import_has_the_name_of_its_destination() {
    const OWN: &str = "ShimAllocate";
    const API: &str = "NdisAllocateMemoryWithTagPriority";
    let exports = vec![format!("{OWN}=ndis.{API}"), "ShimOther".into()];
    let spec = importing("shim.sys", exports, OWN);
    let mut machine = Machine::build(&spec).unwrap();
    let mut shapes = Driver::new(&spec, &machine, "shapes.sys");
    let mut w = Writer {
        driver: &mut shapes,
        truths: Vec::new(),
    };
    w.add(b"FwEx", OWN, Role::Allocation, CERTAIN, |c, tag| {
        // mov r8d, tag
        c.put(&[0xba, 0, 2, 0, 0]).tag(&[0x41, 0xb8], tag).call(OWN);
    });
    shapes.load(&mut machine, true);
    for paged_out in [false, true] {
        let ndis = spec.modules.iter().find(|m| m.file == "ndis.sys").unwrap();
        for page in (1..ndis.size / 0x1000).filter(|_| paged_out) {
            let va = ndis.base.add(u64::from(page) * 0x1000);
            if let Some(frame) = machine.memory.frame(va) {
                machine.memory.physical.omit(frame);
            }
        }
        let (_folder, engine) = open(&machine);
        let found = engine.references(tag(b"FwEx"));
        let calls = &only(&found, "shapes").verdict.calls;
        let names: Vec<&str> = calls.iter().filter_map(|c| c.function.as_deref()).collect();
        assert_eq!(names, [API], "{paged_out}");
    }
}

/// A large export table with one page after the other missing: each costs only the names on
/// that page.
#[test]
fn a_page_of_an_export_table_costs_its_own_names() {
    const API: &str = "FltAllocatePoolAlignedWithTag";
    let name = |stem: &str, n: usize| format!("{stem}LongNameOfAnExport{n:04}");
    let mut exports: Vec<String> = (0..600).map(|n| name("Aa", n)).collect();
    exports.push(API.into());
    exports.extend((0..600).map(|n| name("Zz", n)));
    let spec = importing("bigexp.sys", exports, API);
    let mut machine = Machine::build(&spec).unwrap();
    let mut shapes = Driver::new(&spec, &machine, "shapes.sys");
    let mut w = Writer {
        driver: &mut shapes,
        truths: Vec::new(),
    };
    w.add(b"PaEx", API, Role::Allocation, CERTAIN, |c, tag| {
        // mov r9d, tag
        c.put(&SIZES).tag(&[0x41, 0xb9], tag).call(API);
    });
    let truths = w.truths;
    shapes.load(&mut machine, true);
    let (_folder, engine) = open(&machine);
    let image = |name: &str| {
        let modules = engine.kernel().modules.iter();
        let found = modules.into_iter().find(|m| m.name() == name).unwrap();
        found.image.clone().unwrap()
    };
    let sections = image("bigexp").sections;
    let data = sections.iter().find(|s| s.name == ".rdata").unwrap();
    assert!(check(&engine, "shapes", &truths, true).is_empty());
    let pages = data.size / 0x1000;
    let mut named = 0;
    for page in 0..pages {
        let mut damaged = machine.clone();
        let va = EXPORTER.add(u64::from(data.rva + page * 0x1000));
        let Some(frame) = damaged.memory.frame(va) else {
            continue;
        };
        damaged.memory.physical.omit(frame);
        let (_folder, engine) = open(&damaged);
        named += u32::from(check(&engine, "shapes", &truths, true).is_empty());
    }
    // Only these pages matter: the directory, the entries of this name in three tables, and
    // the name itself.
    assert!(pages > 8 && named + 5 >= pages, "{named} of {pages}");
}

#[test]
fn a_driver_of_the_framework_is_known_without_the_names_of_its_imports() {
    let mut spec = spec();
    for file in ["amdacpbus2.sys", "amdak8.sys"] {
        let module = spec.modules.iter_mut().find(|m| m.file == file).unwrap();
        module.names_in_init = true;
    }
    let machine = Machine::build(&spec).unwrap();
    let (_folder, engine) = open(&machine);
    let found = engine.references(tag(&callers::DEFAULT));
    let names: Vec<_> = found.default_of.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["amdacpbus2"]);
    assert!(found.default_of[0].is_framework_driver);
}

#[test]
fn instructions_are_listed_from_the_reference_to_the_call() {
    let spec = spec();
    let mut machine = Machine::build(&spec).unwrap();
    let mut shapes = Driver::new(&spec, &machine, "shapes.sys");
    let mut w = Writer {
        driver: &mut shapes,
        truths: Vec::new(),
    };
    w.allocates(b"LiNe", |c, tag| {
        c.tag(&[0xbe], tag).call("KeSetEvent");
        c.put(&SIZES).put(&[0x44, 0x8b, 0xc6]).call(POOL);
    });
    w.allocates(b"LiFr", |c, tag| {
        c.tag(&[0xbe], tag);
        fill(c, 200);
        c.put(&SIZES).put(&[0x44, 0x8b, 0xc6]).call(POOL);
    });
    shapes.load(&mut machine, true);
    let (_folder, engine) = open(&machine);
    let listed = |bytes| {
        let found = engine.references(tag(bytes));
        engine.disassembly(&found).remove(0)
    };
    let lines = listed(b"LiNe");
    let text: Vec<String> = lines
        .iter()
        .map(|l| format!("{}{} {}", u8::from(l.is_tag), u8::from(l.takes_tag), l.text))
        .collect();
    assert_eq!(text[0], "00 sub rsp, 88h", "{text:#?}");
    assert_eq!(text[1], "10 mov esi, 654E694Ch");
    assert_eq!(lines[2].function.as_deref(), Some("KeSetEvent"));
    let call = lines.iter().find(|l| l.takes_tag).unwrap();
    assert_eq!(call.function.as_deref(), Some(POOL));
    assert_eq!(call.bytes[..2], [0xff, 0x15]);
    // If the tag and the call are far apart, the listing shows the instructions around both.
    let far = listed(b"LiFr");
    assert!(far.len() < 40 && far.iter().any(|l| l.gap) && far.iter().any(|l| l.takes_tag));
}

#[test]
fn a_copy_of_a_library_is_marked_as_one() {
    let spec = spec();
    let mut machine = Machine::build(&spec).unwrap();
    let mut shapes = Driver::new(&spec, &machine, "shapes.sys");
    let mut w = Writer {
        driver: &mut shapes,
        truths: Vec::new(),
    };
    for tag in [b"SeSd", b"OwnT"] {
        w.allocates(tag, |c, tag| {
            c.put(&SIZES).tag(&[0x41, 0xb8], tag).call(POOL);
        });
    }
    shapes.load(&mut machine, true);
    let (_folder, engine) = open(&machine);
    let copy = engine.references(tag(b"SeSd"));
    let rank = copy
        .modules
        .iter()
        .find(|m| m.module_name == "shapes")
        .unwrap();
    assert_eq!(rank.library.as_deref(), Some("wdmsec.lib"));
    assert!(rank.note.as_ref().unwrap().contains("copy"));
    let own = engine.references(tag(b"OwnT"));
    assert_eq!(only(&own, "shapes").library, None);
}
