//! A dump that is not in the page cache is read in file order, ahead of the walk; the
//! result must not depend on it.

use std::path::Path;
use std::sync::Arc;

use poolscope::engine::{Engine, Options};
use poolscope::pool::TagPattern;
use poolscope::pool::block::Block;
use poolscope::pool::index::{Progress, Snapshot};
use poolscope::synth::era::{Era, SERVER_2022, WIN7, WIN10_1607, WIN10_2004};
use poolscope::synth::{Container, Machine, small};

fn blocks(index: &Snapshot) -> Vec<Block> {
    index.matching(&TagPattern::any()).collect()
}

/// Compares walks with and without reading ahead, with memory for all windows at once and
/// for only one window at a time.
fn holds_for(file: &Path) {
    let engine = Engine::open(file, &Options::default()).unwrap();
    let straight = engine.index(Arc::new(Progress::default())).unwrap();
    assert!(!straight.segments.is_empty());
    for room in [u64::MAX, 1] {
        let builder = engine.index_builder(Arc::new(Progress::default()));
        builder.run_ahead(&engine.thread_pool().unwrap(), room);
        let ahead = builder.snapshot();
        assert!(ahead.is_complete());
        assert_eq!(blocks(&ahead), blocks(&straight));
        assert_eq!(ahead.notes, straight.notes);
    }
}

fn machine(era: &'static Era) -> Machine {
    let mut spec = small::of_era(era);
    spec.options.shuffle = true;
    Machine::build(&spec).unwrap()
}

#[test]
fn the_result_does_not_depend_on_reading_ahead() {
    let directory = tempfile::tempdir().unwrap();
    for era in [&WIN7, &WIN10_1607, &WIN10_2004, &SERVER_2022] {
        let file = directory.path().join(format!("{}.dmp", era.build));
        machine(era).write(&file, Container::BitmapKernel).unwrap();
        holds_for(&file);
    }
}

#[test]
fn a_truncated_file_ends_reading_ahead_but_not_the_walk() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cut.dmp");
    let length = machine(&WIN10_2004)
        .write(&file, Container::BitmapKernel)
        .unwrap();
    // The kernel's own pages come first in the file; pool is at the end.
    let cut = std::fs::File::options().write(true).open(&file).unwrap();
    cut.set_len(length - 200 * 0x1000).unwrap();
    holds_for(&file);
}

#[test]
fn a_cancelled_walk_does_not_wait_for_the_reader() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cancelled.dmp");
    machine(&WIN7)
        .write(&file, Container::BitmapKernel)
        .unwrap();
    let engine = Engine::open(&file, &Options::default()).unwrap();
    let progress = Arc::new(Progress::default());
    let builder = engine.index_builder(Arc::clone(&progress));
    progress.cancel();
    builder.run_ahead(&engine.thread_pool().unwrap(), 1);
    let index = builder.snapshot();
    assert!(!index.is_complete());
    assert!(index.notes.iter().any(|note| note.contains("cancelled")));
}
