//! Where the pools are: ranges of addresses, by the build's own variables.

use crate::kernel::Kernel;
use crate::kernel::kdbg::field;
use crate::memory::Va;

use super::block::PoolKind;

/// A range of addresses that holds one kind of pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub start: Va,
    /// The first address behind it.
    pub end: Va,
    /// What is in it.
    pub kind: PoolKind,
    /// What the bounds were read from.
    pub source: &'static str,
}

impl Region {
    /// True for an address inside it.
    pub fn contains(&self, va: Va) -> bool {
        va >= self.start && va < self.end
    }
}

/// The pool regions, in order of address, and what is not known about them.
#[derive(Clone, Debug, Default)]
pub struct Regions {
    /// Disjoint, in order of address.
    pub regions: Vec<Region>,
    /// Sentences.
    pub notes: Vec<String>,
}

/// Windows 7: paged pool has had this address on every machine (128 GB).
const WIN7_PAGED: (Va, Va) = (Va(0xffff_f8a0_0000_0000), Va(0xffff_f8c0_0000_0000));

impl Regions {
    /// The region that holds an address.
    pub fn at(&self, va: Va) -> Option<&Region> {
        self.regions.iter().find(|r| r.contains(va))
    }

    /// Finds the regions of this kernel.
    pub fn find(kernel: &Kernel) -> Regions {
        let mut out = Regions::default();
        match nonpaged(kernel) {
            Some(region) => out.regions.push(region),
            None => out.notes.push(
                "the bounds of nonpaged pool were not found: its small blocks are missing".into(),
            ),
        }
        match paged(kernel) {
            Some(region) => out.regions.push(region),
            None => out.notes.push(
                "the bounds of paged pool were not found: its small blocks are missing".into(),
            ),
        }
        out.regions.sort_by_key(|r| r.start);
        if out.regions.windows(2).any(|w| w[0].end > w[1].start) {
            out.notes.push("the pool regions overlap".into());
        }
        out
    }
}

fn region(start: Va, end: Va, kind: PoolKind, source: &'static str) -> Option<Region> {
    (start.is_kernel() && end.is_kernel() && start < end).then_some(Region {
        start: start.page(),
        end,
        kind,
        source,
    })
}

/// Windows 7: MmNonPagedPoolStart (or its aligned twin) to MiNonPagedPoolEnd.
fn nonpaged(kernel: &Kernel) -> Option<Region> {
    let start = kernel
        .pointer_in("MmNonPagedPoolStart", Some(field::NONPAGED_START))
        .or_else(|| kernel.pointer_in("MiNonPagedPoolStartAligned", None))?;
    let end = kernel.pointer_in("MiNonPagedPoolEnd", Some(field::NONPAGED_END))?;
    region(
        start,
        end,
        PoolKind::NonPaged,
        "nt!MmNonPagedPoolStart and nt!MiNonPagedPoolEnd",
    )
}

/// MmPagedPoolEnd is the last byte, not the one behind it.
fn paged(kernel: &Kernel) -> Option<Region> {
    let end = kernel.pointer_in("MmPagedPoolEnd", Some(field::PAGED_END));
    let start = kernel.pointer_in("MiPagedPoolStart", Some(field::PAGED_START));
    if kernel.build < 9200 {
        let (fixed_start, fixed_end) = WIN7_PAGED;
        let end = end
            .filter(|&e| e > fixed_start && e < fixed_end)
            .map_or(fixed_end, |e| e.add(1));
        return region(
            fixed_start,
            end,
            PoolKind::Paged,
            "the fixed address of Windows 7 and nt!MmPagedPoolEnd",
        );
    }
    region(
        start?,
        end?.add(1),
        PoolKind::Paged,
        "nt!MiPagedPoolStart and nt!MmPagedPoolEnd",
    )
}
