//! Random damage anywhere in a dump: every question gets an answer or an error, without a
//! panic or a hang.

use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use poolscope::engine::{Engine, Options};
use poolscope::memory::Va;
use poolscope::pool::{Tag, TagPattern};
use poolscope::synth::{Container, era, small};
use proptest::prelude::*;

/// A machine with block chains, one with segment heaps, one with an unknown kernel (its
/// variables are found by a search), and one of Server 2003.
fn originals() -> &'static [Vec<u8>; 4] {
    static ORIGINALS: OnceLock<[Vec<u8>; 4]> = OnceLock::new();
    ORIGINALS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let bytes = |spec: poolscope::synth::Spec, name: &str| {
            let path = folder.path().join(name);
            let machine = poolscope::synth::Machine::build(&spec).unwrap();
            machine.write(&path, Container::BitmapKernel).unwrap();
            fs::read(path).unwrap()
        };
        let mut unknown = small::of_era(&era::WIN10_2004);
        unknown.options.unknown_kernel = true;
        [
            bytes(small::spec(), "chains.dmp"),
            bytes(small::of_era(&era::WIN10_2004), "heaps.dmp"),
            bytes(unknown, "unknown.dmp"),
            bytes(small::of_era(&era::SERVER_2003), "2003.dmp"),
        ]
    })
}

/// Damage to one place in the file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// A byte.
    Byte(u8),
    /// An aligned qword: zeros, ones, a kernel address, or its own address.
    Word(u64),
    /// A page filled with one byte.
    Page(u8),
    /// A page overwritten with another page of the file.
    Copy(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<u8>().prop_map(Damage::Byte),
        prop_oneof![
            Just(0),
            Just(u64::MAX),
            (0u64..1 << 30).prop_map(|at| 0xffff_f8a0_0000_0000 + (at & !0xf)),
            any::<u64>(),
        ]
        .prop_map(Damage::Word),
        any::<u8>().prop_map(Damage::Page),
        any::<prop::sample::Index>().prop_map(Damage::Copy),
    ]
}

fn apply(bytes: &mut [u8], at: prop::sample::Index, damage: Damage) {
    let at = at.index(bytes.len());
    let page = at & !0xfff;
    let end = (page + 0x1000).min(bytes.len());
    match damage {
        Damage::Byte(byte) => bytes[at] = byte,
        Damage::Word(word) => {
            let at = (at & !7).min(bytes.len() - 8);
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        Damage::Page(byte) => bytes[page..end].fill(byte),
        Damage::Copy(from) => {
            let from = from.index(bytes.len()) & !0xfff;
            let length = (end - page).min(bytes.len() - from);
            bytes.copy_within(from..from + length, page);
        }
    }
}

/// Asks every question.
fn ask(path: &std::path::Path) {
    let Ok(engine) = Engine::open(path, &Options::default()) else {
        return;
    };
    let index = engine.index(Default::default()).unwrap();
    // A walk that panics normally costs only a window and leaves a note; here it is a failure.
    let lost = index
        .notes
        .iter()
        .find(|n| n.contains("could not be walked"));
    assert_eq!(lost, None);
    let any = TagPattern::any();
    let blocks: Vec<_> = index.matching(&any).take(1 << 20).collect();
    let _ = engine.coverage_of(&any, &index).sentences();
    let _ = engine.warnings();
    let _ = engine.session_trackers();
    let _ = engine.references(Tag::of("Leak").unwrap());
    let _ = engine.all_references(&|| true);
    for block in blocks.iter().step_by(blocks.len() / 8 + 1) {
        let _ = engine.pool_page(block.va);
    }
    let _ = engine.pool_page(Va(0xffff_f8a0_0000_0000));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_question_about_a_damaged_dump_is_answered(
        which in 0usize..4,
        damages in proptest::collection::vec((any::<prop::sample::Index>(), damage()), 1..200),
    ) {
        let mut bytes = originals()[which].clone();
        for (at, damage) in damages {
            apply(&mut bytes, at, damage);
        }
        // Other tests damage the header; this one damages what it leads to.
        bytes[..0x2000].copy_from_slice(&originals()[which][..0x2000]);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &bytes).unwrap();
        let start = Instant::now();
        ask(file.path());
        prop_assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }

    #[test]
    fn every_question_with_a_damaged_header_is_answered(
        damages in proptest::collection::vec((0usize..0x3000, any::<u8>()), 1..64),
        cut in proptest::option::of(0usize..0x8000),
    ) {
        let mut bytes = originals()[0].clone();
        for (at, byte) in damages {
            bytes[at] = byte;
        }
        bytes.truncate(cut.unwrap_or(usize::MAX).min(bytes.len()));
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &bytes).unwrap();
        ask(file.path());
    }
}
