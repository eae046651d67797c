//! Hand-made type streams that no compiler writes.

use std::time::{Duration, Instant};

use super::*;

const STRUCTURE: u16 = 0x1505;
const FIELD_LIST: u16 = 0x1203;

/// A type stream of these records; the first has index 0x1000.
fn stream(records: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for record in records {
        body.extend(u16::try_from(record.len()).unwrap().to_le_bytes());
        body.extend(record);
    }
    let last = FIRST_INDEX + u32::try_from(records.len()).unwrap();
    let mut bytes = Vec::new();
    for number in [
        20_040_203,
        56,
        FIRST_INDEX,
        last,
        u32::try_from(body.len()).unwrap(),
    ] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.resize(56, 0);
    bytes.extend(body);
    bytes
}

fn types(records: &[Vec<u8>]) -> Types {
    Types::parse(&stream(records)).unwrap()
}

fn record(kind: u16, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    parts.iter().for_each(|p| bytes.extend(*p));
    bytes
}

/// A structure with its fields in the record of index `fields`.
fn structure(name: &str, fields: u32, size: u16) -> Vec<u8> {
    let head = [1, 0, 0, 0];
    let name = [name.as_bytes(), b"\0"].concat();
    let rest = [
        fields.to_le_bytes().as_slice(),
        &[0; 8],
        &size.to_le_bytes(),
    ]
    .concat();
    record(STRUCTURE, &[&head, &rest, &name])
}

fn member(name: &str, ty: u32, offset: u16) -> Vec<u8> {
    let name = [name.as_bytes(), b"\0"].concat();
    record(
        0x150D,
        &[&[3, 0], &ty.to_le_bytes(), &offset.to_le_bytes(), &name],
    )
}

fn field_list(members: &[Vec<u8>]) -> Vec<u8> {
    record(FIELD_LIST, &[&members.concat()])
}

fn continued(list: u32) -> Vec<u8> {
    record(0x1404, &[&[0, 0], &list.to_le_bytes()])
}

const UINT: u32 = 0x75;

fn offset(types: &Types, path: &str) -> Option<u32> {
    types.field("S", path).map(|f| f.offset)
}

#[test]
fn a_field_list_continues_in_another_record() {
    let types = types(&[
        field_list(&[member("Second", UINT, 4)]),
        field_list(&[member("First", UINT, 0), continued(0x1000)]),
        structure("S", 0x1001, 8),
    ]);
    assert_eq!(offset(&types, "First"), Some(0));
    assert_eq!(offset(&types, "Second"), Some(4));
}

#[test]
fn members_of_base_classes_and_unnamed_members_belong_to_the_type() {
    let base = record(
        0x1400,
        &[&[3, 0], &0x1001u32.to_le_bytes(), &8u16.to_le_bytes()],
    );
    let types = types(&[
        field_list(&[member("Inner", UINT, 4)]),
        structure("Base", 0x1000, 8),
        field_list(&[base, member("", 0x1001, 16)]),
        structure("S", 0x1002, 24),
    ]);
    assert_eq!(offset(&types, "Inner"), Some(12));
}

#[test]
fn the_type_index_0xffff_is_an_ordinary_one() {
    let mut records = vec![field_list(&[]); 0xFFFF - 0x1000];
    records.push(field_list(&[member("Field", UINT, 4)]));
    records.push(structure("S", 0xFFFF, 8));
    let types = types(&records);
    assert_eq!(offset(&types, "Field"), Some(4));
}

#[test]
fn a_definition_is_found_through_its_forward_declaration() {
    let forward = |name: &str| {
        let mut bytes = structure(name, 0, 0);
        bytes[4] = 0x80;
        bytes
    };
    let types = types(&[
        forward("Part"),
        field_list(&[member("Part", 0x1000, 4)]),
        structure("S", 0x1001, 12),
        field_list(&[member("Low", UINT, 2)]),
        structure("Part", 0x1003, 8),
    ]);
    assert_eq!(offset(&types, "Part.Low"), Some(6));
    assert_eq!(types.field("S", "Part").unwrap().size, 8);
    // Declared, but not defined anywhere.
    assert!(!Types::parse(&stream(&[forward("S")])).unwrap().has("S"));
}

#[test]
fn the_first_of_two_definitions_counts() {
    let types = types(&[
        field_list(&[member("A", UINT, 4)]),
        structure("S", 0x1000, 8),
        field_list(&[member("A", UINT, 12)]),
        structure("S", 0x1002, 16),
    ]);
    assert_eq!(
        (offset(&types, "A"), types.size_of("S")),
        (Some(4), Some(8))
    );
}

#[test]
fn recursive_types_end() {
    let started = Instant::now();
    let me = 0x1001u32;
    // A structure that contains itself as an unnamed member, thousands of times.
    let many: Vec<_> = (0..5000).map(|_| member("", me, 0)).collect();
    let nested = types(&[field_list(&many), structure("S", 0x1000, 8)]);
    assert_eq!(offset(&nested, "Missing"), None);
    // A field list that continues with itself.
    let looping = types(&[
        field_list(&[member("Field", UINT, 0), continued(0x1000)]),
        structure("S", 0x1000, 8),
    ]);
    assert_eq!(offset(&looping, "Missing"), None);
    // Typedefs and arrays of themselves and of each other, and a bit field of itself.
    let alias = |of: u32| record(0x1001, &[&of.to_le_bytes(), &[0; 4]]);
    let array = |of: u32| {
        record(
            0x1503,
            &[&of.to_le_bytes(), &UINT.to_le_bytes(), &[8, 0], b"\0"],
        )
    };
    let bits = record(0x1205, &[&0x1006u32.to_le_bytes(), &[1, 1]]);
    let chain = types(&[
        field_list(&[
            member("A", 0x1002, 0),
            member("B", 0x1005, 0),
            member("C", 0x1006, 0),
        ]),
        structure("S", 0x1000, 8),
        alias(0x1003),
        alias(0x1004),
        alias(0x1002),
        array(0x1005),
        bits,
    ]);
    for path in ["A", "A.x", "B", "B.x", "C", "C.x"] {
        let _ = offset(&chain, path);
    }
    // A path of arbitrary depth.
    let own = types(&[
        field_list(&[member("Me", me, 0)]),
        structure("S", 0x1000, 8),
    ]);
    let deep = vec!["Me"; 10_000].join(".");
    assert_eq!(offset(&own, &deep), Some(0));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn overflowing_offsets_are_none() {
    let far = |offset: u32| {
        let number = [&0x8004u16.to_le_bytes()[..], &offset.to_le_bytes()].concat();
        record(
            0x150D,
            &[&[3, 0], &0x1001u32.to_le_bytes(), &number, b"Me\0"],
        )
    };
    let types = types(&[field_list(&[far(0xC000_0000)]), structure("S", 0x1000, 8)]);
    assert_eq!(offset(&types, "Me"), Some(0xC000_0000));
    assert_eq!(offset(&types, "Me.Me"), None);
}

#[test]
fn counts_in_the_header_are_checked() {
    let whole = stream(&[
        field_list(&[member("A", UINT, 0)]),
        structure("S", 0x1000, 4),
    ]);
    let with = |at: usize, value: u32| {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        Types::parse(&bytes)
    };
    for value in [0, 1, 0xFFF, 0x7FFF_FFFF, u32::MAX] {
        for at in [0, 4, 8, 12, 16] {
            if let Some(types) = with(at, value) {
                let _ = (types.len(), offset(&types, "A"));
            }
        }
    }
    // The last index in the header is wrong, but the records exist.
    assert_eq!(offset(&with(12, u32::MAX).unwrap(), "A"), Some(0));
    for length in 0..whole.len() {
        if let Some(types) = Types::parse(&whole[..length]) {
            assert_eq!(offset(&types, "A"), None, "{length}");
        }
    }
}
