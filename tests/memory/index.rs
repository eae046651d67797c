//! Memory of the index, counted by the allocator: 8 bytes per block when finished, and
//! never twice its size while it is built.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use poolscope::engine::{Engine, Options};
use poolscope::memory::Va;
use poolscope::pool::Tag;
use poolscope::pool::block::{Backend, Block, PoolKind, State};
use poolscope::pool::index::sort;
use poolscope::pool::index::{Collector, Owner, Snapshot, WINDOW};

use super::{PEAK, alone, measured};

/// Number of the smallest realistic blocks in a window, and number of tags.
const PER_WINDOW: u64 = WINDOW / 0x20;
const TAGS: u64 = 500;

/// Builds an index as the walk does: window after window, through a worker's buffer.
fn synthetic(blocks: u64) -> Snapshot {
    let owner = Arc::new(Owner::default());
    let mut buffer = Collector::default();
    let mut segments = Vec::new();
    let mut left = blocks;
    while left > 0 {
        let base = Va(0xffff_8a00_0000_0000 + segments.len() as u64 * WINDOW);
        buffer.clear();
        let here = left.min(PER_WINDOW);
        for i in 0..here {
            let block = Block {
                va: base.add(i * 0x20),
                bytes: 0x20,
                tag: Tag::new(
                    0x6161_6161 + (i.wrapping_mul(0x9e37_79b9) >> 7) as u32 % TAGS as u32,
                ),
                protected: false,
                kind: PoolKind::Paged,
                backend: Backend::Vs,
                state: State::Allocated,
                session: None,
                heuristic: false,
            };
            buffer.push(base, &block);
        }
        segments.push(Arc::new(buffer.segment(base, Arc::clone(&owner))));
        left -= here;
    }
    Snapshot {
        segments: segments.into(),
        ..Snapshot::default()
    }
}

fn holds_for(blocks: u64) {
    let _alone = alone();
    let (index, taken, peak) = measured(|| synthetic(blocks));
    let found: usize = index.segments.iter().map(|s| s.len()).sum();
    assert_eq!(found as u64, blocks);
    assert!(taken as u64 <= blocks * 10, "{taken} bytes");
    assert!(taken.abs_diff(index.footprint()) < taken / 20, "{taken}");
    assert!(peak <= taken * 2, "{peak} bytes at most, {taken} at last");
    println!("{blocks} blocks: {taken} bytes, {peak} at most while built");
}

#[test]
fn twenty_million_blocks_stay_within_the_memory_limit() {
    holds_for(20_000_000);
}

/// `cargo test --release --test memory index:: -- --ignored --nocapture`
#[test]
#[ignore = "takes two gigabytes of memory"]
fn two_hundred_million_blocks_fit_in_two_and_a_half_gigabytes() {
    holds_for(200_000_000);
    assert!(PEAK.load(Ordering::SeqCst) < 2_500_000_000);
}

#[test]
fn an_order_takes_four_bytes_per_row_without_copying_blocks() {
    let _alone = alone();
    let index = synthetic(4_000_000);
    let list = index.blocks(Tag::new(0x6161_6161));
    let (rows, taken, peak) = measured(|| sort::by_size(&list, None, true, &|| true).unwrap());
    assert_eq!(rows.len() as u64, list.len());
    assert!(taken <= rows.len() * 4 + (1 << 16), "{taken}");
    // Each work item counts 8,192 sizes.
    assert!(peak <= rows.len() * 8 + (2 << 20), "{peak}");
}

/// The walk of a dump: memory afterwards, and peak memory.
#[test]
fn a_walk_respects_its_memory_limit() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.dmp");
    poolscope::synth::large(&path, 256 << 20).unwrap();
    let walk = |memory| {
        let options = Options {
            memory: Some(memory),
            threads: 1,
            ..Options::default()
        };
        let engine = Engine::open(&path, &options).unwrap();
        // Data that is read on first use, and is not part of the index.
        let _ = (engine.system_pool(), engine.session_pools());
        measured(|| engine.index(Arc::default()).unwrap())
    };
    let (whole, taken, peak) = walk(u64::MAX);
    let blocks = whole.totals.listed;
    assert!(blocks > 500_000, "{blocks}");
    assert!(taken as u64 <= blocks * 10, "{taken} bytes for {blocks}");
    println!("{blocks} blocks: {taken} bytes, {peak} at most");

    let limit = whole.footprint() as u64 / 2;
    let (half, taken, _) = walk(limit);
    assert!(half.footprint() as u64 <= limit + limit / 20);
    assert!((taken as u64) < limit + limit / 4, "{taken} over {limit}");
    let kept: usize = half.segments.iter().map(|s| s.len()).sum();
    assert!(kept > 0);
    assert_eq!(half.left_out + kept as u64, blocks);
    assert_eq!(half.totals.tags, whole.totals.tags);
    assert_eq!(half.totals.listed, blocks);
    let note = half.notes.iter().find(|n| n.contains("reached its limit"));
    assert!(
        note.is_some_and(|n| n.contains("--memory SIZE")),
        "{note:?}"
    );
}
