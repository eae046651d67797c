//! Finds ExPoolState: a small count, then pointers to heaps with the signature of a heap.

use crate::kernel::Kernel;
use crate::memory::Va;

use super::{Data, Found};

/// `_SEGMENT_HEAP.Signature`.
const SIGNATURE: u32 = 0xddee_ddee;

/// Finds ExPoolState.
pub fn find(kernel: &Kernel, data: &Data, out: &mut Found) {
    const STATE: &str = "_EX_POOL_HEAP_MANAGER_STATE";
    let offsets = || {
        Some((
            kernel.offset(STATE, "NumberOfPools")?,
            kernel.offset(STATE, "PoolNode")? + kernel.offset("_EX_HEAP_POOL_NODE", "Heaps")?,
            kernel.offset("_SEGMENT_HEAP", "Signature")?,
        ))
    };
    let Some((pools, heaps, signature)) = offsets() else {
        return;
    };
    let is_heap = |at: Va| {
        data.pointer(at).is_some_and(|heap| {
            heap.offset() == 0 && kernel.space.u32(heap.add(signature)) == Ok(SIGNATURE)
        })
    };
    let found = data.every(64).find(|at| {
        data.dword(at.add(pools))
            .is_some_and(|n| (1..=64).contains(&n))
            && is_heap(at.add(heaps))
            && is_heap(at.add(heaps + 8))
    });
    if let Some(at) = found {
        out.put("ExPoolState", at);
    }
}
