//! Function names and source lines from the PDBs of drivers, found through the same symbol
//! path as nt's PDB.

use std::fs;
use std::path::Path;

use poolscope::analysis::references::Confidence;
use poolscope::engine::{Engine, Options};
use poolscope::memory::Va;
use poolscope::pool::Tag;
use poolscope::report::{Answer, Refs};
use poolscope::symbols::SymbolPath;
use poolscope::synth::code::{Site, Use};
use poolscope::synth::image::{Data, Pdb};
use poolscope::synth::legacy::Allocation;
use poolscope::synth::truth::Pool;
use poolscope::synth::{Container, Machine, small};
use serde_json::Value;

/// Our own private PDB and its identity; see `tests/fixtures/pdb`.
const PDB: &[u8] = include_bytes!("../fixtures/pdb/driver.pdb");
const GUID: [u8; 16] = *b"\xD0\xAD\x6D\x4D\x9D\xBE\x0A\x9ALLD PDB.";
/// From `llvm-pdbutil dump -l`: the function PsStart, and lines 128 and 129 in it.
const START: u32 = 0x1020;

/// sub rsp,28h; mov eax,[rcx+8]; mov ecx,1000h; nop; mov r8d,tag; cmp; cmovb; xor ecx,ecx;
/// mov edx,eax; call the import at START + 1Eh; add rsp,28h; ret.
const CODE: &[u8] = &[
    0x48, 0x83, 0xec, 0x28, 0x8b, 0x41, 0x08, 0xb9, 0, 0x10, 0, 0, 0x0f, 0x1f, 0, 0x41, 0xb8, 0, 0,
    0, 0, 0x3b, 0xc1, 0x0f, 0x42, 0xc1, 0x33, 0xc9, 0x8b, 0xd0, 0xff, 0x15, 0, 0, 0, 0, 0x48, 0x83,
    0xc4, 0x28, 0xc3,
];

/// Writes a dump of a machine with `driver.sys`, which matches the PDB.
fn dump(folder: &Path) -> (std::path::PathBuf, Va) {
    let mut spec = small::spec();
    let driver = spec.modules.last_mut().unwrap();
    driver.file = "driver.sys".into();
    driver.sites.push(Site {
        tag: *b"PsLn",
        what: Use::Literal {
            code: CODE,
            tag_at: 0x11,
            call_at: 0x20,
        },
        rva: Some(START),
    });
    driver.data.push(Data::Pdb(Pdb {
        name: "driver.pdb".into(),
        guid: GUID,
        age: 1,
    }));
    let base = driver.base;
    // The tag list shows tags that the trackers count.
    spec.allocations
        .extend((0..8).map(|_| Allocation::new(*b"PsLn", Pool::NonPaged, 0x60)));
    let path = folder.join("MEMORY.DMP");
    let machine = Machine::build(&spec).unwrap();
    machine.write(&path, Container::BitmapKernel).unwrap();
    (path, base)
}

fn options(symbols: &Path) -> Options {
    Options {
        symbols: SymbolPath::parse(&symbols.to_string_lossy()),
        ..Options::default()
    }
}

fn open(dump: &Path, symbols: &Path) -> Engine {
    Engine::open(dump, &options(symbols)).unwrap()
}

fn refs(engine: &Engine) -> (Value, String) {
    let machine: &dyn poolscope::engine::Machine = engine;
    let found = machine.tag_references(Tag::of("PsLn").unwrap());
    let report = Refs::of(&found);
    let mut text = Vec::new();
    report.text(&mut text).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    (json, String::from_utf8(text).unwrap())
}

#[test]
fn a_private_pdb_names_the_function_and_the_line_of_the_allocation() {
    let folder = tempfile::tempdir().unwrap();
    let (path, base) = dump(folder.path());
    let symbols = folder.path().join("symbols");
    fs::create_dir_all(&symbols).unwrap();
    fs::write(symbols.join("driver.pdb"), PDB).unwrap();
    let engine = open(&path, &symbols);
    let (json, text) = refs(&engine);
    let place = &json["references"][0];
    assert_eq!(place["function"], "driver!PsStart", "{json:#}");
    assert_eq!(place["symbol"], "driver!PsStart+0x11");
    assert_eq!(place["source"]["file"], "c:\\src\\driver.c");
    assert_eq!(place["source"]["line"], 129);
    assert_eq!(place["confidence"], Confidence::Certain.word());
    assert!(text.contains("source: c:\\src\\driver.c:129"), "{text}");
    // Every other output that names addresses uses the same name.
    let at = base.add(u64::from(START) + 0x1e);
    let name = Some("driver!PsStart+0x1e".to_owned());
    assert_eq!(engine.symbol_at(at), name);
    assert_eq!(engine.points_at(at), name);
    // The disassembly on screen, opened from the references: the tag and the call are marked.
    let mut screens = crate::screens::Screens::open_with(&path, &options(&symbols)).unwrap();
    screens.keys("/PsLn\r\r");
    screens.wait_for("driver!PsStart");
    screens.keys("\tu");
    screens.wait_for("Code that references PsLn");
    let screen = screens.screen();
    let line = |words: &[&str]| {
        let has = |line: &&str| words.iter().all(|word| line.contains(word));
        assert!(screen.lines().any(|l| has(&l)), "{words:?}\n{screen}");
    };
    line(&["*fff", " tag ", "mov r8d, 6E4C7350h"]);
    line(&["*fff", "takes tag", "call", "ExAllocatePoolWithTag"]);
    line(&["source: c:\\src\\driver.c:129"]);
    // The data section of a driver has no functions, and no name is invented for it.
    let data = engine.symbol_at(base.add(0x10)).unwrap();
    assert_eq!(data, "driver+0x10");
}

#[test]
fn a_pdb_of_another_build_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (path, base) = dump(folder.path());
    let symbols = folder.path().join("symbols");
    fs::create_dir_all(&symbols).unwrap();
    let mut wrong = PDB.to_vec();
    let at = memchr::memmem::find(&wrong, &GUID).unwrap();
    wrong[at] ^= 0x55;
    fs::write(symbols.join("driver.pdb"), wrong).unwrap();
    let engine = open(&path, &symbols);
    let (json, _) = refs(&engine);
    let place = &json["references"][0];
    assert_eq!(place["function"], "driver+0x1020", "{json:#}");
    assert_eq!(place["source"], Value::Null);
    let notes = json["notes"].to_string();
    assert!(notes.contains("belongs to another image"), "{notes}");
    assert_eq!(
        engine.symbol_at(base.add(u64::from(START) + 4)).unwrap(),
        "driver+0x1024"
    );
}
