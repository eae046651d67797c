//! The parts of nonpaged pool: executable and non-executable, and by node.
//!
//! From Windows 8, there are two nonpaged pools. Their common counter is reliable. The division
//! comes from the allocator, and is shown only if its sum matches the counter.

use crate::memory::Va;

use super::Kernel;
use super::counter::Counter;

/// A part of nonpaged pool.
#[derive(Clone, Debug)]
pub struct Part {
    /// The node, if there are several.
    pub node: Option<u64>,
    /// True for the non-executable pool.
    pub nx: bool,
    /// Number of pages.
    pub counter: Counter,
}

/// Limit for nodes; Windows allows 64.
const MAX_NODES: u64 = 64;

/// Reads the parts; none before Windows 8, or if their sum does not match the counter.
pub fn parts(kernel: &Kernel, total: &Counter) -> Vec<Part> {
    let Some(total) = total.pages.filter(|pages| *pages > 0) else {
        return Vec::new();
    };
    let adds_up = |parts: &Vec<Part>| {
        let sum = parts.iter().fold(0u64, |sum, p| {
            sum.saturating_add(p.counter.pages.unwrap_or(u64::MAX))
        });
        sum.abs_diff(total) <= total / 20
    };
    // It is not public whether a heap's pages include its large allocations, so both are tried.
    let heaps = [true, false].map(|with_large| by_heaps(kernel, with_large));
    let all = heaps.into_iter().chain([by_descriptors(kernel)]).flatten();
    all.into_iter().find(adds_up).unwrap_or_default()
}

/// Segment heaps: `ExPoolState.PoolNode[n].Heaps[0]` and `[1]`, each with its committed pages.
fn by_heaps(kernel: &Kernel, with_large: bool) -> Option<Vec<Part>> {
    const STATE: &str = "_EX_POOL_HEAP_MANAGER_STATE";
    let state = kernel.symbol("ExPoolState")?;
    let count = kernel.field(state, STATE, "NumberOfPools").ok()?;
    let nodes = kernel.symbols.field(STATE, "PoolNode")?;
    let size = u64::from(kernel.symbols.size_of("_EX_HEAP_POOL_NODE")?);
    let heaps = kernel.offset("_EX_HEAP_POOL_NODE", "Heaps")?;
    if count == 0 || count > MAX_NODES || u64::from(nodes.size) < count * size {
        return None;
    }
    let stats = kernel.offset("_SEGMENT_HEAP", "MemStats")?;
    let committed = kernel.offset("_HEAP_RUNTIME_MEMORY_STATS", "TotalCommittedPages")?;
    let large = kernel.offset("_SEGMENT_HEAP", "LargeCommittedPages")?;
    let pages = |heap: Va| {
        let pages = kernel.space.u64(heap.add(stats + committed)).ok()?;
        match with_large {
            true => Some(pages.saturating_add(kernel.space.u64(heap.add(large)).ok()?)),
            false => Some(pages),
        }
    };
    let mut out = Vec::new();
    for node in 0..count {
        for (heap, nx) in [(0, false), (1, true)] {
            let place = state.add(u64::from(nodes.offset) + node * size + heaps + heap * 8);
            let at = kernel
                .space
                .pointer(place)
                .ok()
                .filter(|va| va.is_kernel())?;
            let source = format!("committed pages of heap {heap} of pool node {node}");
            out.push(part((count > 1).then_some(node), nx, pages(at)?, source));
        }
    }
    Some(out)
}

/// Chains (1607 and 1809): two adjacent descriptors; on 8.1, their distance is not public.
fn by_descriptors(kernel: &Kernel) -> Option<Vec<Part>> {
    const TYPE: &str = "_POOL_DESCRIPTOR";
    let first = kernel.symbol("NonPagedPoolDescriptor")?;
    let size = u64::from(kernel.symbols.size_of(TYPE)?);
    kernel.offset(TYPE, "PagesAllocated")?;
    let mut out = Vec::new();
    for (index, nx) in [(0, false), (1, true)] {
        let at = first.add(index * size);
        let get = |name| kernel.field(at, TYPE, name).ok();
        let small = get("PagesAllocated")?.wrapping_sub(get("PagesDeallocated")?);
        let big = get("BigPagesAllocated")?.wrapping_sub(get("BigPagesDeallocated")?);
        let source = format!("nt!NonPagedPoolDescriptor[{index}]");
        out.push(part(None, nx, small.wrapping_add(big), source));
    }
    Some(out)
}

fn part(node: Option<u64>, nx: bool, pages: u64, source: String) -> Part {
    Part {
        node,
        nx,
        counter: Counter {
            pages: Some(pages),
            source,
            ..Counter::default()
        },
    }
}
