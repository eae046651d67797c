#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use proptest::prelude::*;
use std::io::Write;

fn open(bytes: &[u8]) -> Result<Dump, DumpError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Dump::open(file.path())
}

fn header(dump_type: u32) -> Vec<u8> {
    let mut bytes = b"PAGE".repeat(HEADER_SIZE / 4);
    let mut put = |at: usize, v: &[u8]| bytes[at..at + v.len()].copy_from_slice(v);
    put(4, b"DU64");
    put(0x0c, &7601u32.to_le_bytes());
    put(0x10, &0x1000u64.to_le_bytes());
    put(0x30, &0x8664u32.to_le_bytes());
    put(0x88, &1u32.to_le_bytes());
    put(0x98, &1u64.to_le_bytes());
    put(0xa0, &3u64.to_le_bytes());
    put(0xf98, &dump_type.to_le_bytes());
    bytes
}

#[test]
fn filler_is_unset_not_a_number() {
    let mut bytes = header(1);
    bytes.resize(HEADER_SIZE + 0x3000, 0);
    let dump = open(&bytes).unwrap();
    assert_eq!(dump.header().unwrap().system_time, None);
    assert_eq!(dump.header().unwrap().uptime, None);
    assert_eq!(dump.header().unwrap().attributes, 0);
    assert_eq!(dump.header().unwrap().physical_pages, Some(3));
    assert_eq!(dump.pages_present(), 3);
    assert!(
        dump.page(Pfn(0)).is_none() && dump.page(Pfn(3)).is_some() && dump.page(Pfn(4)).is_none()
    );
}

#[test]
fn a_cut_full_dump_counts_what_is_missing() {
    let mut bytes = header(1);
    bytes.resize(HEADER_SIZE + 0x1fff, 0);
    let dump = open(&bytes).unwrap();
    assert_eq!((dump.pages_present(), dump.pages_cut_off()), (1, 2));
    assert!(dump.page(Pfn(1)).is_some() && dump.page(Pfn(2)).is_none());
}

#[test]
fn the_wrong_bitmap_count_is_refused() {
    let mut bytes = header(6);
    bytes.extend(b"SDMPDUMP");
    bytes.resize(HEADER_SIZE + 0x20, 0);
    for v in [0x4000u64, 2, 64] {
        bytes.extend(v.to_le_bytes());
    }
    bytes.extend([0b111u8]);
    bytes.resize(0x4000 + 0x3000, 0);
    assert!(
        matches!(open(&bytes), Err(DumpError::Damaged { what }) if what.contains("marks 3 pages"))
    );
}

#[test]
fn the_mapping_survives_a_file_that_shrinks() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut bytes = header(1);
    bytes.resize(HEADER_SIZE + 0x3000, 7);
    file.write_all(&bytes).unwrap();
    let dump = Dump::open(file.path()).unwrap();
    file.as_file().set_len(HEADER_SIZE as u64).unwrap();
    let before = dump.faults();
    let page = dump.page(Pfn(2)).unwrap();
    let sum: u64 = page.iter().map(|&b| u64::from(b)).sum();
    assert_eq!(sum, 0);
    assert!(dump.faults() > before, "the hole was counted");
}

proptest! {
    #[test]
    fn no_header_panics(noise in proptest::collection::vec((0usize..0x4000, any::<u8>()), 0..200), kind in 0u32..12, length in 0usize..0x8000) {
        let mut bytes = header(kind);
        bytes.resize(0x8000, 0);
        bytes[HEADER_SIZE..HEADER_SIZE + 8].copy_from_slice(b"SDMPDUMP");
        for (at, b) in noise {
            bytes[at] = b;
        }
        bytes.truncate(length);
        if let Ok(dump) = open(&bytes) {
            for pfn in [0, 1, 2, 100, u64::MAX >> 12, u64::MAX] {
                let _ = dump.page(Pfn(pfn));
            }
        }
    }
}
