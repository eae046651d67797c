//! The lines that Windows 10 added to `!vm`: the use of committed pages.
//!
//! The counters are fields of `_MI_VISIBLE_STATE`, `_MI_VISIBLE_PARTITION` and related
//! structures (public symbols). The field of each line follows from their names.

use crate::memory::Va;

use super::counter::{Counter, Place, counter};
use super::{Kernel, processes};

/// An additional line, in the debugger's order.
#[derive(Clone, Debug)]
pub struct Extra {
    /// The debugger's label.
    pub label: &'static str,
    /// The counter.
    pub counter: Counter,
}

/// Windows 10 1507: the first build with these lines.
pub(super) const FIRST: u32 = 10240;

/// The lines and their fields. If a build lacks the field, the line is omitted, as in the
/// debugger. If the field's location is unknown, the line stays without a number.
const LINES: &[(&str, &[Place])] = &[
    (
        "Pages For MDLs",
        &[vs("MdlPagesAllocated"), vp("MdlPagesAllocated")],
    ),
    (
        "ContigMem Pages",
        &[
            vs("ContiguousPagesAllocated"),
            vp("ContiguousPagesAllocated"),
        ],
    ),
    ("Pages For AWE", &[vp("VadPhysicalPages")]),
    ("NonPagedPool Commit", &[vs("NonPagedPoolCommit")]),
    ("Boot Commit", &[vs("BootCommit")]),
    ("PFN Array Commit", &[vs("PfnDatabaseCommit")]),
    ("SmallNonPagedPtesCommit", &[vs("SmallNonPagedPtesCommit")]),
    ("SlabAllocatorPages", &[vp("SlabAllocatorPages")]),
    (
        "SkPagesInUnchargedSlabs",
        &[
            vp("SecureKernelPagesFromNonChargedSlabs"),
            Place::Partition("Core", "_MI_PARTITION_CORE", "NonChargedSecurePages"),
        ],
    ),
    ("System PageTables", &[vs("SystemPageTableCommit")]),
    ("ProcessLockedFilePages", &[vp("ProcessLockedFilePages")]),
    ("Pagefile Hash Pages", &[vs("PagefileHashPages")]),
];

const fn vs(name: &'static str) -> Place {
    Place::State("Vs", "_MI_VISIBLE_STATE", name)
}

const fn vp(name: &'static str) -> Place {
    Place::Partition("Vp", "_MI_VISIBLE_PARTITION", name)
}

/// Reads the lines of this build; none before Windows 10.
pub fn read(kernel: &Kernel) -> Vec<Extra> {
    if kernel.build < FIRST {
        return Vec::new();
    }
    let mut out = vec![Extra {
        label: "Processor Commit",
        counter: processor_commit(kernel),
    }];
    for (label, places) in LINES {
        let known = places.iter().any(|p| p.has_layout(kernel));
        if known {
            let counter = counter(kernel, places);
            out.push(Extra { label, counter });
        }
    }
    // The first of the lines that form a group.
    let stacks = out.iter().position(|e| e.label == "Pages For MDLs");
    let unknown = |label, why: &str| Extra {
        label,
        counter: Counter {
            source: why.into(),
            ..Counter::default()
        },
    };
    out.insert(
        stacks.unwrap_or(1),
        unknown("Kernel Stacks", "no counter of any build is known for it"),
    );
    let sum = "it includes the kernel stacks, for which no counter is known";
    out.push(unknown("Sum System Commit", sum));
    out.push(Extra {
        label: "Total Private",
        counter: total_private(kernel),
    });
    out.push(unknown(
        "Misc/Transient Commit",
        "it is the rest after system and process commit, and these are not known",
    ));
    out
}

/// `MiState.SystemPtes.StackGrowthFailures`; `None` if the layout is not exactly this kernel's,
/// or it can't be read.
pub fn stack_growth_failures(kernel: &Kernel) -> Option<u64> {
    let place = Place::State("SystemPtes", "_MI_SYSTEM_PTE_STATE", "StackGrowthFailures");
    let read = counter(kernel, &[place]);
    read.pages.filter(|_| !read.guessed)
}

/// The sum of `KPRCB.CachedCommit` over the processors.
fn processor_commit(kernel: &Kernel) -> Counter {
    let processors = kernel.processor_blocks();
    let sum = || {
        let offset = kernel
            .offset("_KPRCB", "CachedCommit")
            .ok_or("its offset is not known")?;
        if processors.is_empty() {
            return Err("the processors' control blocks were not found");
        }
        let cached = |prcb: &Va| kernel.space.u32(prcb.add(offset)).ok().map(u64::from);
        let all: Option<Vec<u64>> = processors.iter().map(cached).collect();
        Ok(all
            .ok_or("a processor's control block can't be read")?
            .iter()
            .sum())
    };
    named("sum of KPRCB.CachedCommit", sum())
}

/// The sum of `EPROCESS.CommitCharge` over the processes.
fn total_private(kernel: &Kernel) -> Counter {
    let sum = || {
        let charge = kernel
            .offset("_EPROCESS", "CommitCharge")
            .ok_or("its offset is not known")?;
        let list = processes::list(kernel)?;
        if list.broken.is_some() {
            return Err("the list of processes is damaged");
        }
        let pages = |process: &Va| kernel.space.u64(process.add(charge)).ok();
        let all: Option<Vec<u64>> = list.all.iter().map(pages).collect();
        let all = all.ok_or("a process can't be read")?;
        Ok(all
            .iter()
            .fold(0, |sum: u64, pages| sum.saturating_add(*pages)))
    };
    named("sum of EPROCESS.CommitCharge", sum())
}

fn named(what: &str, sum: Result<u64, &'static str>) -> Counter {
    match sum {
        Ok(pages) => Counter {
            pages: Some(pages),
            source: what.into(),
            ..Counter::default()
        },
        Err(why) => Counter {
            pages: None,
            source: format!("{what}: {why}"),
            ..Counter::default()
        },
    }
}
