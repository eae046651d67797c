//! Private pools (`ExCreatePool`, Windows 11 24H2): separate heaps that are in no node of the
//! pool. `ExPoolState.PrivatePools` are list heads of `_EXP_POOL_CONTEXT`s (public types of
//! such a kernel). The target of a context's `Node` is not public. Both a pool node and a list
//! of pointers are tried, and heaps are recognised by their signature.

use rustc_hash::FxHashSet;

use crate::kernel::Kernel;
use crate::memory::Va;

use super::heaps::{HEAP_SIGNATURE, Heaps};

const STATE: &str = "_EX_POOL_HEAP_MANAGER_STATE";
const CONTEXT: &str = "_EXP_POOL_CONTEXT";
/// Limit far above what drivers create.
const MOST: usize = 4096;
/// Largest number of nodes of a machine.
const MAX_NODES: u64 = 64;
/// Size of a list head in bytes.
const LIST_HEAD: u64 = 16;

/// The parts of private pools that the walk needs.
#[derive(Debug, Default)]
pub(super) struct Private {
    /// Nodes with the structure of the pool's own nodes.
    pub nodes: Vec<Va>,
    /// Heaps that are in no such node.
    pub heaps: Vec<Va>,
    /// Remarks on missing data.
    pub notes: Vec<String>,
}

/// Walks the lists; empty on kernels without private pools.
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
            // Requires at least two heaps, because a list of pointers to one heap each starts
            // like a node.
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
