use proptest::prelude::*;

use super::*;

fn bytes(kind: u16, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = kind.to_le_bytes().to_vec();
    parts.iter().for_each(|p| out.extend(*p));
    out
}

fn entries(body: &[u8]) -> Vec<Member<'_>> {
    let mut members = Members(Cursor(body));
    std::iter::from_fn(|| members.next()).collect()
}

#[test]
fn numbers_of_every_width_are_read() {
    for (encoded, value) in [
        (&[0x34, 0x12][..], 0x1234),
        (&[0xFF, 0x7F], 0x7FFF),
        (&[0x00, 0x80, 0xFF], -1),
        (&[0x01, 0x80, 0xFE, 0xFF], -2),
        (&[0x02, 0x80, 0xFF, 0xFF], 0xFFFF),
        (&[0x03, 0x80, 0xFF, 0xFF, 0xFF, 0xFF], -1),
        (&[0x04, 0x80, 0xFF, 0xFF, 0xFF, 0xFF], 0xFFFF_FFFF),
        (&[0x09, 0x80, 0, 0, 0, 0, 1, 0, 0, 0], 1 << 32),
        (&[0x0A, 0x80, 1, 0, 0, 0, 0, 0, 0, 0], 1),
    ] {
        assert_eq!(Cursor(encoded).number(), Some(value), "{encoded:x?}");
        assert_eq!(Cursor(&encoded[..encoded.len() - 1]).number(), None);
    }
    // A float, a string, an undefined kind.
    for kind in [0x8005u16, 0x8006, 0x8010, 0xFFFF] {
        assert_eq!(Cursor(&bytes(kind, &[&[0; 16]])).number(), None);
    }
    assert_eq!(Cursor(&[0x00, 0x80, 0xFF]).unsigned(), None);
}

#[test]
fn old_and_new_forms_of_a_structure_decode_equally() {
    let fields = 0x1234u32.to_le_bytes();
    let old = bytes(
        0x1505,
        &[
            &[2, 0],
            &0x200u16.to_le_bytes(),
            &fields,
            &[0; 8],
            &[24, 0],
            b"N\0U\0",
        ],
    );
    let new = bytes(
        0x1609,
        &[
            &0x200u32.to_le_bytes(),
            &fields,
            &[0; 8],
            &[2, 0],
            &[24, 0],
            b"N\0U\0",
        ],
    );
    let named = Named {
        name: b"N",
        unique: Some(b"U"),
        forward: false,
        fields: 0x1234,
        size: 24,
    };
    assert_eq!(Record::parse(&old), Some(Record::Composite(named)));
    assert_eq!(Record::parse(&new), Record::parse(&old));
}

#[test]
fn entries_without_data_are_skipped() {
    let field = bytes(0x150D, &[&[3, 0], &[0x75, 0, 0, 0], &[8, 0], b"F\0"]);
    let expected = || Member::Data {
        name: b"F",
        ty: 0x75,
        offset: 8,
    };
    for before in [
        // Static member, methods, nested type.
        bytes(0x150E, &[&[0; 6], b"Static\0"]),
        bytes(0x150F, &[&[0; 6], b"Methods\0"]),
        bytes(0x1510, &[&[0; 6], b"Type\0"]),
        // One method: normal, and virtual with a new slot.
        bytes(0x1511, &[&[3, 0], &[0; 4], b"M\0"]),
        bytes(0x1511, &[&[0x13, 0], &[0; 8], b"M\0"]),
        // Virtual base class, method table.
        bytes(0x1401, &[&[0; 10], &[4, 0], &[1, 0]]),
        bytes(0x1409, &[&[0; 6]]),
        bytes(0x140C, &[&[0; 10]]),
    ] {
        let padding = [0xF3, 0xF2, 0xF1];
        let list = [&before[..], &padding, &field].concat();
        let all = entries(&list);
        assert_eq!(all, [Member::Other, expected()], "{before:x?}");
    }
}

#[test]
fn an_unknown_entry_ends_the_list() {
    let field = bytes(0x150D, &[&[3, 0], &[0x75, 0, 0, 0], &[8, 0], b"F\0"]);
    let list = [&field[..], &[0x34, 0x12, 0, 0], &field].concat();
    assert_eq!(entries(&list).len(), 1);
}

#[test]
fn simple_types_and_pointers_to_them_have_their_sizes() {
    for (index, size) in [
        (0x03, 0),
        (0x10, 1),
        (0x21, 2),
        (0x75, 4),
        (0x77, 8),
        (0x79, 16),
        (0x0403, 4),
        (0x0603, 8),
        (0x0675, 8),
    ] {
        assert_eq!(simple_size(index), size, "{index:#x}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_decode_or_are_none(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Record::parse(&bytes);
        if let Some(members) = Members::of(&bytes) {
            prop_assert!(members.count() <= bytes.len());
        }
    }

    #[test]
    fn arbitrary_field_lists_end(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(entries(&body).len() <= body.len());
    }
}
