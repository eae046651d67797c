use std::io::Cursor;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::symbols::fixture::{self, PDB};

fn read_as(bytes: &[u8], id: &PdbId) -> Result<Pdb, Refusal> {
    Pdb::read(Cursor::new(bytes.to_vec()), id, Want::SymbolsAndTypes)
}

fn driver() -> Pdb {
    read_as(PDB, &fixture::id()).unwrap()
}

fn field(offset: u32, size: u32) -> Option<Field> {
    Some(Field {
        offset,
        size,
        bits: None,
    })
}

fn bits(offset: u32, size: u32, position: u8, length: u8) -> Option<Field> {
    Some(Field {
        offset,
        size,
        bits: Some((position, length)),
    })
}

/// Offset of a stream in the fixture, found by its first bytes.
fn find(needle: &[u8]) -> usize {
    memchr::memmem::find(PDB, needle).unwrap()
}

/// The fixture with other ages in its information stream and its debug stream.
fn with_ages(information: u32, debug: u32) -> Vec<u8> {
    let mut bytes = PDB.to_vec();
    // Version, signature, age, GUID.
    let at = find(&fixture::id().guid) - 4;
    bytes[at..at + 4].copy_from_slice(&information.to_le_bytes());
    // Signature -1, version 19990903, age.
    let mut head = (-1i32).to_le_bytes().to_vec();
    head.extend(19_990_903u32.to_le_bytes());
    let at = find(&head) + 8;
    bytes[at..at + 4].copy_from_slice(&debug.to_le_bytes());
    bytes
}

#[test]
fn fields_have_the_offsets_of_the_compiler() {
    let pdb = driver();
    let field_of = |ty: &str, path: &str| pdb.field(ty, path);
    assert_eq!(field_of("_PS_LINK", "Blink"), field(8, 8));
    assert_eq!(field_of("_PS_HEADER", "Whole"), field(0, 4));
    assert_eq!(field_of("_PS_HEADER", "Tag"), field(4, 4));
    assert_eq!(field_of("_PS_HEADER", "Owner"), field(8, 8));
    assert_eq!(field_of("_PS_HEADER", "Hash"), field(10, 2));
    assert_eq!(field_of("_PS_DEVICE", "Opaque"), field(16, 8));
    assert_eq!(field_of("_PS_DEVICE", "Frame"), field(24, 8));
    assert_eq!(field_of("_PS_DEVICE", "Callback"), field(32, 8));
    assert_eq!(field_of("_PS_FRAME", "Last"), field(70080, 8));
    assert_eq!(field_of("_PS_FRAME", "Pool"), field(76, 4));
    assert_eq!(field_of("_PS_FRAME", "None"), None);
    assert_eq!(field_of("_PS_NONE", "Last"), None);
}

#[test]
fn bit_fields_have_container_and_position() {
    let pdb = driver();
    assert_eq!(pdb.field("_PS_HEADER", "Previous"), bits(0, 4, 0, 8));
    assert_eq!(pdb.field("_PS_HEADER", "Kind"), bits(0, 4, 24, 8));
    assert_eq!(pdb.field("_PS_ENTRY", "Frame"), bits(0, 8, 12, 36));
    assert_eq!(pdb.field("_PS_ENTRY", "NoExecute"), bits(0, 8, 63, 1));
    assert_eq!(pdb.field("_PS_DEVICE", "Rest"), bits(40, 1, 3, 5));
    let frame = pdb.field("_PS_ENTRY", "Frame").unwrap();
    assert_eq!(frame.extract(0x8000_0123_4567_8FFF), 0x1234_5678);
}

#[test]
fn a_dot_steps_into_named_members_arrays_and_constants() {
    let pdb = driver();
    let field_of = |path: &str| pdb.field("_PS_FRAME", path);
    assert_eq!(field_of("u1.Flink"), field(0, 8));
    assert_eq!(field_of("u1.Pair.Depth"), field(4, 4));
    assert_eq!(field_of("Entry.Frame"), bits(8, 8, 12, 36));
    assert_eq!(field_of("Links"), field(16, 48));
    assert_eq!(field_of("Links.Blink"), field(24, 8));
    assert_eq!(field_of("Inner"), field(64, 12));
    assert_eq!(field_of("Inner.Mixed"), field(66, 10));
    assert_eq!(field_of("Inner.Named.Second"), field(68, 2));
    assert_eq!(pdb.field("_PS_DEVICE", "Header.Index"), bits(0, 4, 8, 8));
    for none in [
        "u1.",
        ".u1",
        "",
        "u1.Pair.Depth.x",
        "Links..Blink",
        "Entry ",
    ] {
        assert_eq!(field_of(none), None, "{none:?}");
    }
    // A pointer leads to another structure.
    assert_eq!(pdb.field("_PS_DEVICE", "Frame.Last"), None);
}

#[test]
fn sizes_and_enumerators() {
    let pdb = driver();
    for (ty, size) in [
        ("_PS_LINK", 16),
        ("_PS_HEADER", 16),
        ("_PS_ENTRY", 8),
        ("_PS_FRAME", 70088),
        ("_PS_DEVICE", 48),
    ] {
        assert_eq!(pdb.size_of(ty), Some(size), "{ty}");
        assert!(pdb.has_type(ty));
    }
    assert_eq!(pdb.size_of("_PS_OPAQUE"), None);
    assert_eq!(pdb.size_of("_PS_POOL"), None);
    assert_eq!(pdb.enumerator("_PS_POOL", "PagedPool"), Some(1));
    assert_eq!(pdb.enumerator("_PS_POOL", "NonPagedPool"), Some(0));
    assert_eq!(pdb.enumerator("_PS_POOL", "NonPagedPoolNx"), Some(512));
    assert_eq!(pdb.enumerator("_PS_WIDE", "High"), Some(0x8000_0000));
    assert_eq!(pdb.enumerator("_PS_LINK", "Flink"), None);
}

#[test]
fn public_symbols_are_at_their_rvas() {
    let pdb = driver();
    // Section and offset from llvm-pdbutil, section starts from llvm-readobj.
    for (name, rva) in [
        ("PsCallback", 0x1000),
        ("PsStart", 0x1020),
        ("DriverEntry", 0x1080),
        ("PsCounters", 0x3000),
        ("PsPool", 0x3010),
        ("PsDevice", 0x3018),
        ("PsFrame", 0x3048),
        ("PsEntry", 0x3000 + 70160),
    ] {
        assert_eq!(pdb.rva(name), Some(rva), "{name}");
        assert_eq!(pdb.nearest(rva), Some((name, 0)));
    }
    assert_eq!(pdb.rva("PsNothing"), None);
    assert_eq!(pdb.rva(""), None);
    assert_eq!(pdb.nearest(0x1025), Some(("PsStart", 5)));
    assert_eq!(pdb.nearest(0x3049), Some(("PsFrame", 1)));
    // Below all sections, between two, in one without symbols, after the last.
    for rva in [0, 0xFFF, 0x1800, 0x2000, 0x2010, 0x3000 + 0x1121C, u32::MAX] {
        assert_eq!(pdb.nearest(rva), None, "{rva:#x}");
    }
}

#[test]
fn a_pdb_of_another_image_is_refused_with_both_identities() {
    let wanted = fixture::other_id();
    let said = read_as(PDB, &wanted).err().unwrap().to_string();
    assert!(said.contains(fixture::KEY), "{said}");
    assert!(said.contains(&wanted.key()), "{said}");
    let said = Pdb::check(Cursor::new(PDB), &wanted).unwrap_err();
    assert!(matches!(said, Refusal::OtherImage { .. }));
    assert!(Pdb::check(Cursor::new(PDB), &fixture::id()).is_ok());
}

#[test]
fn the_age_of_the_debug_stream_counts_and_may_be_higher() {
    let aged = |age| PdbId {
        age,
        ..fixture::id()
    };
    for (information, debug, wanted, fits) in [
        (1, 1, 1, true),
        (1, 1, 2, false),
        // Rewritten after linking.
        (1, 5, 3, true),
        // Streams added by a source indexer: only the PDB stream's age increases.
        (9, 2, 2, true),
        (9, 2, 3, false),
    ] {
        let bytes = with_ages(information, debug);
        let read = read_as(&bytes, &aged(wanted));
        assert_eq!(read.is_ok(), fits, "{information} {debug} {wanted}");
        let checked = Pdb::check(Cursor::new(&bytes), &aged(wanted));
        assert_eq!(checked.is_ok(), fits, "{information} {debug} {wanted}");
    }
}

#[test]
fn other_files_are_refused_with_their_format() {
    let said = |bytes: &[u8]| read_as(bytes, &fixture::id()).err().unwrap().to_string();
    let mut msfz = b"Microsoft MSFZ Container\r\n\x1aALD\0\0".to_vec();
    msfz.extend([0; 400]);
    assert!(said(&msfz).contains("MSFZ"));
    assert!(said(b"<html>not found</html>").contains("web page (HTML)"));
    for junk in [&b""[..], b"MZ", &[0; 4096]] {
        assert!(said(junk).contains("not a readable PDB"), "{junk:?}");
        assert!(Pdb::check(Cursor::new(junk), &fixture::id()).is_err());
    }
}

#[test]
fn a_truncated_pdb_is_never_accepted_as_complete() {
    let id = fixture::id();
    let started = Instant::now();
    for length in (0..PDB.len()).step_by(997).chain([PDB.len() - 1]) {
        let cut = &PDB[..length];
        assert!(Pdb::check(Cursor::new(cut), &id).is_err(), "{length}");
        let _ = read_as(cut, &id);
    }
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(Pdb::check(Cursor::new(PDB), &id).is_ok());
}

#[test]
fn huge_counts_in_the_container_allocate_nothing() {
    // The header's page count and directory size, and the first words of the directory.
    for at in [32, 36, 40, 44, 48, 52] {
        for value in [0, 1, 0x7FFF_FFFF, 0x8000_0000, u32::MAX] {
            let mut bytes = PDB.to_vec();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let _ = read_as(&bytes, &fixture::id());
            let _ = Pdb::check(Cursor::new(&bytes), &fixture::id());
        }
    }
}

/// Runs all queries that a damaged table could answer wrongly or never.
fn ask_all(pdb: &Pdb) {
    for ty in [
        "_PS_LINK",
        "_PS_HEADER",
        "_PS_ENTRY",
        "_PS_FRAME",
        "_PS_DEVICE",
        "_PS_POOL",
    ] {
        let _ = pdb.size_of(ty);
        let _ = pdb.enumerator(ty, "PagedPool");
        for path in [
            "Flink.Flink",
            "Kind",
            "Links.Blink",
            "Inner.Named.Second",
            "Header.Tag",
        ] {
            let _ = pdb.field(ty, path);
        }
    }
    for rva in [0, 0x1000, 0x1025, 0x3048, u32::MAX] {
        let _ = pdb.nearest(rva);
    }
    let _ = pdb.rva("PsFrame");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_damaged_pdb_is_read_or_refused(
        flips in proptest::collection::vec((0..PDB.len(), any::<u8>()), 1..40),
        length in prop_oneof![4 => Just(PDB.len()), 1 => 0..PDB.len()],
    ) {
        let mut bytes = PDB.to_vec();
        for (at, value) in flips {
            bytes[at] = value;
        }
        bytes.truncate(length);
        if let Ok(pdb) = read_as(&bytes, &fixture::id()) {
            ask_all(&pdb);
        }
        let _ = Pdb::check(Cursor::new(&bytes), &fixture::id());
    }

    #[test]
    fn a_damaged_type_stream_is_read_or_refused(
        flips in proptest::collection::vec((0usize..6000, any::<u8>()), 1..30),
    ) {
        let mut file = PDB::open(Cursor::new(PDB)).unwrap();
        let mut bytes = file.raw_stream(TYPE_STREAM).unwrap().unwrap().to_vec();
        for (at, value) in flips {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let types = Types::parse(&bytes);
        ask_all(&Pdb { publics: Publics::default(), types });
    }
}
