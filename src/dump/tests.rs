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
fn header_filler_counts_as_unset() {
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
fn a_truncated_full_dump_counts_missing_pages() {
    let mut bytes = header(1);
    bytes.resize(HEADER_SIZE + 0x1fff, 0);
    let dump = open(&bytes).unwrap();
    assert_eq!((dump.pages_present(), dump.pages_cut_off()), (1, 2));
    assert!(dump.page(Pfn(1)).is_some() && dump.page(Pfn(2)).is_none());
}

#[test]
fn a_wrong_bitmap_count_is_refused() {
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

#[cfg(unix)]
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
    fn arbitrary_headers_do_not_panic(noise in proptest::collection::vec((0usize..0x4000, any::<u8>()), 0..200), kind in 0u32..12, length in 0usize..0x8000) {
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

mod images {
    //! Hostile images: each header field of each container, set to numbers that break
    //! arithmetic.

    use super::*;
    use crate::synth::snapshot::{self, Image, Method, Qemu, Registers, Vmware};

    const VMWARE: Vmware = Vmware {
        inside: true,
        old: false,
        one_by_one: false,
        padding: 0,
    };
    const QEMU: Qemu = Qemu {
        old: false,
        many: false,
        sections_last: false,
    };
    const ALL: [Image; 9] = [
        Image::Lime,
        Image::Vmware(VMWARE),
        Image::Vmware(Vmware {
            old: true,
            one_by_one: true,
            ..VMWARE
        }),
        Image::Qemu(QEMU),
        Image::VirtualBox,
        Image::Kdump(Method::Zlib, false),
        Image::Kdump(Method::Snappy, true),
        Image::HyperV(false),
        Image::HyperV(true),
    ];

    fn bytes(image: Image) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let cpu = Registers {
            cr0: 0x8005_0031,
            cr3: 0x2000,
            cr4: 0x6f8,
            ..Registers::default()
        };
        snapshot::of_pages(&path, &[cpu; 2], image).unwrap();
        std::fs::read(&path).unwrap()
    }

    /// Opens the file and reads everything in it.
    fn read(path: &std::path::Path) -> Result<u64, DumpError> {
        let dump = Dump::open(path)?;
        let mut sum = 0;
        for pfn in (0..0x48)
            .chain(0x280..0x288)
            .chain((0..64).map(|bit| 1 << bit))
        {
            let page = dump.page(Pfn(pfn));
            sum += page.map_or(0, |p| {
                u64::from(p[0]) + u64::from(p[0x5ff]) + u64::from(p[4095])
            });
        }
        let _ = (
            dump.memory(),
            dump.contents(),
            dump.written_frames(64).len(),
        );
        Ok(sum)
    }

    #[test]
    fn no_number_in_a_header_breaks_a_reader() {
        for image in ALL {
            let whole = bytes(image);
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&whole).unwrap();
            let sum = read(file.path()).unwrap();
            assert!(sum > 0, "{image:?}");
            let starts = [0, 0x1000, 0x2000, whole.len().saturating_sub(0x3000)];
            let mut places: Vec<usize> = starts.iter().flat_map(|at| *at..at + 0x180).collect();
            places.retain(|at| at + 8 <= whole.len() && at % 4 == 0);
            let put = |at: usize, bytes: &[u8]| {
                let file = super::super::mapping::Positioned::new(file.reopen().unwrap());
                file.write_all_at(bytes, at as u64).unwrap();
            };
            for at in places {
                for value in [0, u64::MAX, 1 << 60, 0x7fff_ffff_ffff_f000] {
                    put(at, &u64::to_le_bytes(value));
                    let _ = read(file.path());
                }
                put(at, &whole[at..at + 8]);
            }
            assert_eq!(read(file.path()).unwrap(), sum);
            for part in (0..16).rev() {
                file.as_file()
                    .set_len((whole.len() * part / 16) as u64)
                    .unwrap();
                let _ = read(file.path());
            }
        }
    }

    #[test]
    fn data_that_inflates_beyond_a_page_is_damaged() {
        use flate2::{Compression, write::ZlibEncoder};
        let mut bytes = bytes(Image::Kdump(Method::Zlib, false));
        let mut bomb = ZlibEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![7; 4 << 20]).unwrap();
        let bomb = bomb.finish().unwrap();
        // Append the data; the descriptor of the first page points to it.
        let blocks = u64::from(crate::bytes::u32_at(&bytes, 0x1b0).unwrap());
        let bitmaps = u64::from(crate::bytes::u32_at(&bytes, 0x1b4).unwrap());
        let descriptor = ((1 + blocks + bitmaps) * PAGE_SIZE) as usize;
        let at = bytes.len() as u64;
        bytes[descriptor..descriptor + 8].copy_from_slice(&at.to_le_bytes());
        bytes[descriptor + 8..descriptor + 12].copy_from_slice(&(bomb.len() as u32).to_le_bytes());
        bytes[descriptor + 12..descriptor + 16].copy_from_slice(&1u32.to_le_bytes());
        bytes.extend(&bomb);
        let dump = open(&bytes).unwrap();
        assert!(bomb.len() < 0x2000 && dump.page(Pfn(0)).is_none());
        assert!(dump.page(Pfn(2)).is_some());
        assert!(
            dump.notes()
                .iter()
                .any(|note| note.contains("1 pages could not"))
        );
    }

    #[test]
    fn contradictory_page_offsets_are_refused() {
        let mut lime = bytes(Image::Lime);
        let again = lime[..0x3020].to_vec();
        lime.extend(again);
        let error = open(&lime).unwrap_err().to_string();
        assert!(error.contains("stored at"), "{error}");
    }
}
