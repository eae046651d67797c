//! The consistency of an image: an image of a running machine has pages from different moments.
//! Lists show this, because each of their links is stored in two pages.

use super::Kernel;
use crate::memory::Va;

/// Largest number of entries checked per list.
const MOST: u64 = 100_000;

/// Checked links of the kernel's lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consistency {
    /// Number of links that were readable on both sides.
    pub links: u64,
    /// Number of links whose two sides disagree.
    pub broken: u64,
    /// Number of unreadable links.
    pub unreadable: u64,
}

/// Follows the lists of loaded modules and of processes.
pub fn check(kernel: &Kernel) -> Consistency {
    let mut out = Consistency::default();
    for head in [kernel.machine.loaded_modules, kernel.machine.processes] {
        if head.is_kernel() {
            follow(kernel, head, &mut out);
        }
    }
    out
}

fn follow(kernel: &Kernel, head: Va, out: &mut Consistency) {
    let mut at = head;
    for _ in 0..MOST {
        let next = kernel.space.pointer(at).ok().filter(|va| va.is_kernel());
        let back = next.and_then(|next| kernel.space.pointer(next.add(8)).ok());
        let (Some(next), Some(back)) = (next, back) else {
            out.unreadable += 1;
            return;
        };
        out.links += 1;
        out.broken += u64::from(back != at);
        if next == head {
            return;
        }
        at = next;
    }
    out.broken += 1;
}
