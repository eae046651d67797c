//! Segment heaps: pool state, heaps, contexts, segments and their descriptors, subsegments
//! of both kinds, and block headers.

use std::path::Path;
use std::sync::{Mutex, OnceLock};

use poolscope::memory::Va;
use poolscope::pool::big::BigTable;
use poolscope::pool::heap::{
    Area, Content, Context, Heaps, KnownTags, Parking, View, walk_orphans, walk_segment,
};
use poolscope::pool::regions::Regions;
use poolscope::pool::tracker;
use poolscope::synth::{Spec, era, small};

use super::bed::{Bed, Place};
use super::locate::{self, Whole};
use super::machines;
use super::shown;

fn beds() -> &'static [Mutex<Bed>] {
    static BEDS: OnceLock<Vec<Mutex<Bed>>> = OnceLock::new();
    BEDS.get_or_init(|| {
        let eras = [
            &era::WIN10_1809,
            &era::WIN10_2004,
            &era::WIN11,
            &era::WIN11_24H2,
        ];
        let spec = |era| {
            let mut spec: Spec = small::of_era(era);
            // Only heaps matter here: large allocations would only take time.
            spec.allocations.retain(|demand| demand.bytes < 0x10_0000);
            spec
        };
        eras.iter()
            .map(|era| machines::bed(&spec(era), groups))
            .collect()
    })
}

fn groups(whole: &Whole) -> Vec<Vec<Place>> {
    let kernel = whole.engine.kernel();
    let pool = whole.engine.heaps().unwrap();
    let heaps = &pool.heaps;
    let state = kernel.symbol("ExPoolState").unwrap();
    let mut owners: Vec<Va> = heaps.contexts.iter().map(|c| c.heap).collect();
    owners.dedup();
    let mut states = whole.memory(state, 0x80);
    for node in &heaps.nodes {
        states.extend(whole.memory(*node, 0x40));
    }
    let contexts = heaps.contexts.iter();
    let contexts = contexts.flat_map(|c| whole.memory(c.at, 0x60)).collect();
    let owners = owners
        .iter()
        .flat_map(|va| whole.memory(*va, 0x400))
        .collect();
    let size = |va: Va| heaps.contexts[heaps.holding(va).unwrap().context].segment_bytes;
    let segments = || heaps.segments.iter();
    let heads = segments().flat_map(|s| whole.memory(s.va, 0x40));
    let descriptors = segments().flat_map(|s| whole.memory(s.va, 0x2000));
    // Subsegment headers are at the start of units.
    let units = segments().flat_map(|s| {
        let units = (0x2000..size(s.va)).step_by(0x1000);
        units.flat_map(|at| whole.memory(s.va.add(at), 0x40))
    });
    let all = segments().flat_map(|s| whole.memory(s.va, size(s.va)));
    vec![
        states,
        owners,
        contexts,
        heads.collect(),
        descriptors.collect(),
        units.collect(),
        all.collect(),
    ]
}

/// The first byte chooses the machine; the rest damages its heaps.
pub fn run(data: &[u8]) {
    machines::run_on(beds(), data, ask);
}

/// The undamaged machines.
pub fn seeds() -> Vec<Vec<u8>> {
    machines::untouched(beds().len())
}

fn ask(path: &Path) {
    let Some(kernel) = locate::kernel(path) else {
        return;
    };
    let regions = Regions::find(&kernel);
    let area = |r: &poolscope::pool::regions::Region| Area {
        start: r.start,
        end: r.end,
        kind: r.kind,
    };
    let areas: Vec<Area> = regions.regions.iter().map(area).collect();
    let Some(mut heaps) = Heaps::find(&kernel, &areas) else {
        return;
    };
    heaps.tags = KnownTags::of(&tracker::read(&kernel));
    heaps.notes.iter().for_each(|note| shown::check(note));
    let big = BigTable::read(&kernel, &regions);
    let parking = Parking::read(&kernel, &heaps);
    assert!(heaps.segments.is_sorted_by(|a, b| a.va < b.va));
    let mut content = Content {
        keep_free: true,
        ..Content::default()
    };
    for segment in heaps.segments.iter().take(64).copied() {
        let bytes = heaps.contexts[segment.context].segment_bytes;
        let end = Va(segment.va.0.saturating_add(bytes));
        let view = View::load(&kernel.space, segment.va, end);
        content.clear();
        walk_segment(&heaps, segment, &view, &big, &mut content);
        for block in &content.blocks {
            assert!(block.va >= segment.va && block.va < end, "{block:?}");
            assert!(block.bytes > 0, "{block:?}");
        }
        parking.mark(segment.va, end, &mut content.blocks);
    }
    for (chunk, kind) in heaps.orphans.iter().take(8) {
        let context = Context::unknown(*kind);
        let end = chunk.va.add(poolscope::memory::CHUNK_SIZE);
        let view = View::load(&kernel.space, chunk.va, end);
        content.clear();
        walk_orphans(&heaps, &context, (chunk.va, end), &view, &big, &mut content);
    }
}
