//! Time of answers from a finished index: 10 million blocks of one tag among 12 million,
//! always the same ones, made without a dump.
//!
//! `cargo bench --bench answers`. Limits: opening a list 50 ms, sorting it 300 ms, a page
//! of rows 16 ms, reopening a cached index 200 ms.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use divan::Bencher;
use poolscope::memory::Va;
use poolscope::pool::block::{Backend, Block, PoolKind, State};
use poolscope::pool::index::file::{Stamp, Terms, read, write};
use poolscope::pool::index::sort;
use poolscope::pool::index::{Collector, Owner, Snapshot, Totals, WINDOW};
use poolscope::pool::{Tag, TagPattern};

const WINDOWS: u64 = 60;
const BLOCKS: u64 = 200_000;
/// Number of rows on a large screen; each row is a block.
const PAGE: u64 = 200;

fn main() {
    divan::main();
}

fn tag() -> Tag {
    Tag::of("Leak").unwrap()
}

static INDEX: LazyLock<Snapshot> = LazyLock::new(|| {
    let mut totals = Totals::default();
    let mut segments = Vec::new();
    let owner = Arc::new(Owner::default());
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for window in 0..WINDOWS {
        let base = Va(0xffff_8a00_0000_0000 + window * WINDOW);
        let blocks: Vec<Block> = (0..BLOCKS)
            .map(|i| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                Block {
                    va: base.add(i * 0x140),
                    bytes: 0x20 + (random >> 40) % 250 * 16,
                    tag: if i % 6 == 0 {
                        Tag::new(i as u32 % 97)
                    } else {
                        tag()
                    },
                    protected: false,
                    kind: PoolKind::NonPagedNx,
                    backend: Backend::Vs,
                    state: State::Allocated,
                    session: None,
                    heuristic: false,
                }
            })
            .collect();
        let (segment, counted) = Collector::all(base, Arc::clone(&owner), &blocks);
        totals.add(&counted);
        segments.push(Arc::new(segment));
    }
    Snapshot {
        segments: segments.into(),
        totals: totals.into(),
        windows_done: WINDOWS as usize,
        windows_all: WINDOWS as usize,
        ..Snapshot::default()
    }
});

#[divan::bench]
fn open_the_list(bencher: Bencher<'_, '_>) {
    let index = &*INDEX;
    bencher.bench_local(|| {
        let list = index.blocks(tag());
        assert!(list.len() >= 9_990_000);
        black_box(list.get(list.len() / 2))
    });
}

#[divan::bench(sample_count = 20)]
fn sort_by_size(bencher: Bencher<'_, '_>) {
    let list = INDEX.blocks(tag());
    bencher.bench_local(|| sort::by_size(&list, None, true, &|| true).unwrap());
}

#[divan::bench(sample_count = 10)]
fn filter_and_sort_by_size(bencher: Bencher<'_, '_>) {
    let list = INDEX.blocks(tag());
    bencher.bench_local(|| {
        let keep = |row: u32| list.get(row.into()).is_some_and(|b| b.bytes > 0x400);
        let kept = sort::filter(list.len(), &keep, &|| true).unwrap();
        sort::by_size(&list, Some(&kept), true, &|| true).unwrap()
    });
}

#[divan::bench]
fn a_page_in_the_middle(bencher: Bencher<'_, '_>) {
    let list = INDEX.blocks(tag());
    let rows = sort::by_size(&list, None, true, &|| true).unwrap();
    let first = rows.len() / 2;
    bencher.bench_local(|| {
        let page = rows.iter().skip(first).take(PAGE as usize);
        page.map(|&row| list.get(row.into()).unwrap().bytes)
            .sum::<u64>()
    });
}

#[divan::bench(sample_count = 20)]
fn sizes_of_the_tag(bencher: Bencher<'_, '_>) {
    let pattern = TagPattern::parse("Leak").unwrap();
    let index = &*INDEX;
    bencher.bench_local(|| index.sizes(&pattern));
}

#[divan::bench(sample_count = 10)]
fn occupancy_of_all_pages(bencher: Bencher<'_, '_>) {
    let index = &*INDEX;
    bencher.bench_local(|| index.page_use(&|| true).unwrap());
}

#[divan::bench]
fn sums_of_all_tags(bencher: Bencher<'_, '_>) {
    let index = &*INDEX;
    bencher.bench_local(|| {
        let mut rows: Vec<_> = index.totals.tags.iter().collect();
        rows.sort_unstable_by_key(|r| std::cmp::Reverse(r.1.nonpaged.bytes));
        rows.len()
    });
}

fn stamp() -> Stamp {
    Stamp {
        key: 1,
        modified: SystemTime::UNIX_EPOCH,
        opened: SystemTime::UNIX_EPOCH,
    }
}

#[divan::bench(sample_count = 10)]
fn reopen_the_kept_index(bencher: Bencher<'_, '_>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write(&INDEX, &stamp(), file.as_file_mut()).unwrap();
    let terms = Terms {
        key: 1,
        limit: u64::MAX,
        is_current: &|_, _| true,
        wanted: &|| true,
    };
    bencher.bench_local(|| read(&File::open(file.path()).unwrap(), &terms).unwrap());
}

#[divan::bench(sample_count = 10)]
fn keep_the_index(bencher: Bencher<'_, '_>) {
    let index = &*INDEX;
    bencher.bench_local(|| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write(index, &stamp(), file.as_file_mut()).unwrap();
    });
}
