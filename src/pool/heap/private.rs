//! Private pools (`ExCreatePool`, Windows 11 24H2): heaps of their own, which no node of
//! the pool names. `ExPoolState.PrivatePools` are list heads of `_EXP_POOL_CONTEXT`s
//! (public types of such a kernel). What a context's `Node` points at is not public, so a
//! node of the pool and a list of pointers are both tried, and heaps are known by their
//! signature.

use rustc_hash::FxHashSet;

use crate::kernel::Kernel;
use crate::memory::Va;

use super::heaps::{HEAP_SIGNATURE, Heaps};

const STATE: &str = "_EX_POOL_HEAP_MANAGER_STATE";
const CONTEXT: &str = "_EXP_POOL_CONTEXT";
/// Far more than drivers create.
const MOST: usize = 4096;
/// Nodes that a machine can have.
const MAX_NODES: u64 = 64;
/// Bytes of a list head.
const LIST_HEAD: u64 = 16;

/// What private pools add to the pool.
#[derive(Debug, Default)]
pub(super) struct Private {
    /// Nodes shaped as the pool's own.
    pub nodes: Vec<Va>,
    /// Heaps that no such node names.
    pub heaps: Vec<Va>,
    /// Sentences.
    pub notes: Vec<String>,
}

/// Walks the lists; nothing on kernels that have none.
pub(super) fn find(kernel: &Kernel, heaps: &Heaps, state: Va) -> Private {
    let mut out = Private::default();
    let (Some(lists), Some(link)) = (
        kernel.symbols.field(STATE, "PrivatePools"),
        kernel.offset(CONTEXT, "PoolLink"),
    ) else {
        return out;
    };
    let mut seen = FxHashSet::default();
    for i in 0..u64::from(lists.size) / LIST_HEAD {
        let head = state.add(u64::from(lists.offset) + i * LIST_HEAD);
        let mut at = head;
        loop {
            let next = kernel.space.pointer(at);
            match next {
                // A list that was never filled.
                Ok(next) if next == head || (at == head && next.0 == 0) => break,
                Ok(next) if next.is_kernel() && seen.len() < MOST && seen.insert(next) => {
                    out.add(kernel, heaps, Va(next.0.wrapping_sub(link)));
                    at = next;
                }
                _ => {
                    out.notes.push(format!(
                        "the list of private pools is damaged after {}: those after it are missing",
                        seen.len()
                    ));
                    break;
                }
            }
        }
    }
    out
}

impl Private {
    fn add(&mut self, kernel: &Kernel, heaps: &Heaps, context: Va) {
        let read = |name| kernel.field(context, CONTEXT, name).ok();
        let count = read("NodeCount").filter(|n| (1..=MAX_NODES).contains(n));
        let node = read("Node").map(Va).filter(|va| va.is_kernel());
        let found = count.zip(node).is_some_and(|(count, node)| {
            let before = self.nodes.len() + self.heaps.len();
            self.add_nodes(heaps, node, count);
            self.nodes.len() + self.heaps.len() > before
        });
        if !found {
            self.notes.push(format!(
                "the private pool at {context} leads to no heap: its small blocks are missing"
            ));
        }
    }

    fn add_nodes(&mut self, heaps: &Heaps, first: Va, count: u64) {
        let l = &heaps.layout.state;
        let is_heap = |heap: Va| {
            let signature = heaps.space.u32(heap.add(heaps.layout.heap.signature));
            heap.is_kernel() && heap.offset() == 0 && signature == Ok(HEAP_SIGNATURE)
        };
        let named = |at: Va| heaps.space.pointer(at).ok().filter(|heap| is_heap(*heap));
        let nodes = (0..count).map(|i| first.add(i * l.node_size));
        let shaped: Vec<Va> = nodes
            // Two heaps at least, as a list of pointers to one heap each begins alike.
            .filter(|node| {
                named(node.add(l.heaps)).is_some() && named(node.add(l.heaps + 8)).is_some()
            })
            .collect();
        if shaped.len() as u64 == count && l.heaps == 0 {
            self.nodes.extend(shaped);
            return;
        }
        let listed = (0..count).filter_map(|i| named(first.add(i * 8)));
        self.heaps
            .extend(listed.chain(is_heap(first).then_some(first)));
    }
}
