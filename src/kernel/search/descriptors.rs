//! The nonpaged pool descriptor: 256 list heads, most of which point at themselves.

use crate::kernel::Kernel;
use crate::memory::Va;

use super::{Data, Found};

/// Empty lists that prove a descriptor.
const EMPTY_LISTS: usize = 32;
/// List heads of a descriptor.
const LISTS: u64 = 256;

/// Finds NonPagedPoolDescriptor.
pub fn find(kernel: &Kernel, data: &Data, out: &mut Found) {
    const TYPE: &str = "_POOL_DESCRIPTOR";
    let (Some(lists), Some(kind)) = (
        kernel.offset(TYPE, "ListHeads"),
        kernel.offset(TYPE, "PoolType"),
    ) else {
        return;
    };
    let is_empty =
        |head: Va| data.word(head) == Some(head.0) && data.word(head.add(8)) == Some(head.0);
    let is_descriptor = |at: &Va| {
        let heads = (0..LISTS).map(|i| at.add(lists + i * 16));
        data.dword(at.add(kind)) == Some(0) && heads.filter(|h| is_empty(*h)).count() >= EMPTY_LISTS
    };
    // Cheap first: the last list, of blocks of nearly a page, is empty on most machines.
    let found = data
        .every(64)
        .filter(|at| (0..8).any(|i| is_empty(at.add(lists + (LISTS - 1 - i) * 16))))
        .find(is_descriptor);
    if let Some(at) = found {
        out.put("NonPagedPoolDescriptor", at);
    }
}
