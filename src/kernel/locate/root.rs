//! Candidates for the root of the page tables.

use std::sync::Arc;

use rayon::prelude::*;
use rustc_hash::FxHashSet;

use crate::bytes::u64_at;
use crate::dump::{Cpu, Dump, self_map};
use crate::memory::{AddressSpace, Pa, Pfn, Va};

use super::shared::Shared;
use super::{Bare, How, Proof, prove};

/// Offset of KPRCB.KernelDirectoryTableBase from KPCR, by build: 7601; 9600 to 18362; 19041;
/// 20348 and later.
const KERNEL_ROOT: [u64; 4] = [0x6000, 0x7000, 0x9000, 0xa000];
const ROOT_MASK: u64 = 0x000f_ffff_ffff_f000;

/// The address space of a processor's CR3.
pub(super) fn of(dump: &Arc<Dump>, cpu: &Cpu) -> Option<AddressSpace> {
    let space = AddressSpace::new(Arc::clone(dump), Pa(cpu.root()?));
    Some(match cpu.has_five_levels() {
        true => space.with_levels(5),
        false => space,
    })
}

/// The kernel's roots in a processor's control block: its page is mapped in the shadow too, and
/// GS points to it.
pub(super) fn behind_shadow(dump: &Arc<Dump>, cpu: &Cpu) -> Vec<AddressSpace> {
    let Some(space) = of(dump, cpu) else {
        return Vec::new();
    };
    let bases = [cpu.gs, cpu.other_gs];
    let kernel = bases
        .into_iter()
        .flatten()
        .map(Va)
        .filter(|va| va.is_kernel());
    let mut out = Vec::new();
    for block in kernel {
        for offset in KERNEL_ROOT {
            let root = space.u64(block.add(offset)).unwrap_or(0) & ROOT_MASK;
            if root != 0 {
                out.push(space.with_root(Pa(root)));
            }
        }
    }
    out
}

/// Usual physical addresses of System's page-table root, most likely first.
const USUAL: [(u64, u64); 4] = [
    (0x1a_0000, 0x1b_0000),
    (0x15_0000, 0x2a_0000),
    (0x65_0000, 0x6f_0000),
    (0, 0x100_0000),
];
/// Number of frames that are searched before their candidates are tried.
const WINDOW: u64 = 0x4_0000;
/// Largest number of roots that are tried per window. All processes share the kernel half, so
/// equal roots are tried only once.
const MOST: usize = 4096;

const BY_LOW_STUB: &str = "CR3 in the real-mode start block";
const BY_SELF_MAP: &str = "search for page tables that map themselves";

/// Searches memory: first the low stub and the usual places, then everything for pages with a
/// self-map entry. A kernel without a module list is accepted only if there is nothing better.
pub(super) fn search(dump: &Arc<Dump>, bare: &mut Vec<Bare>) -> Option<Proof> {
    // The low stub and the usual places are tried together: one may still have a root of an
    // earlier boot while the other has the current one.
    let mut usual: Vec<(Pfn, &'static str)> = low_stub(dump)
        .into_iter()
        .map(|pfn| (pfn, BY_LOW_STUB))
        .collect();
    let mut frames: Vec<u64> = USUAL
        .iter()
        .flat_map(|(from, to)| from >> 12..to >> 12)
        .collect();
    frames.sort_unstable();
    frames.dedup();
    let roots = frames
        .into_par_iter()
        .map(Pfn)
        .filter(|pfn| is_root(dump, *pfn));
    usual.par_extend(roots.map(|pfn| (pfn, BY_SELF_MAP)));
    let mut spare = match best(dump, &usual, bare) {
        Some((true, proof)) => return Some(proof),
        found => found,
    };
    dump.expect_walk();
    for frames in dump.written_frames(WINDOW) {
        let mut roots: Vec<(Pfn, &'static str)> = frames
            .into_par_iter()
            .map(Pfn)
            .filter(|pfn| is_root(dump, *pfn))
            .map(|pfn| (pfn, BY_SELF_MAP))
            .collect();
        roots.truncate(MOST);
        match best(dump, &roots, bare) {
            Some((true, proof)) => return Some(proof),
            found => spare = spare.or(found),
        }
    }
    spare.map(|(_, proof)| proof)
}

fn is_root(dump: &Dump, pfn: Pfn) -> bool {
    dump.peek(pfn, |page| self_map(page, pfn.base().0).is_some())
        .unwrap_or(false)
}

/// CR3 in the start block of further processors, which is below 1 MB: it starts with a jump,
/// has the address of 64-bit code at 0x70, and CR3 at 0xA0.
fn low_stub(dump: &Dump) -> Vec<Pfn> {
    let cr3 = |pfn: u64| {
        let page = dump.page(Pfn(pfn))?;
        let q = |at| u64_at(page, at);
        let jump = q(0)? & 0xffff_ffff_ffff_00ff == 0x0000_0001_0006_00e9;
        let target = q(0x70)? & 0xffff_f800_0000_0003 == 0xffff_f800_0000_0000;
        let root = q(0xa0)?;
        (jump && target && root & 0xffff_ff00_0000_0fff == 0 && root != 0)
            .then_some(Pfn(root >> 12))
    };
    (1..0xa0).filter_map(cr3).collect()
}

/// The best root: of those that lead to a kernel with a module list, the one with the latest
/// time. A root of an earlier boot has an earlier time. The first value is true if the kernel
/// has its module list.
fn best(
    dump: &Arc<Dump>,
    roots: &[(Pfn, &'static str)],
    bare: &mut Vec<Bare>,
) -> Option<(bool, Proof)> {
    let mut proven: Vec<(bool, u64, Proof)> = Vec::new();
    // The key is the frame of shared user data and the entries of the kernel part, which are
    // equal for all processes of a machine.
    let mut tried: FxHashSet<(Pfn, u64)> = FxHashSet::default();
    for (root, how) in roots {
        let four = AddressSpace::new(Arc::clone(dump), root.base());
        // A table does not record the number of levels below it.
        let five = four.clone().with_levels(5);
        let read = |space: AddressSpace| Some((Shared::read(&space)?, space));
        let Some((shared, space)) = read(four).or_else(|| read(five)) else {
            continue;
        };
        let slot = match space.levels() {
            5 => 0x1ff,
            _ => 0x1f0,
        };
        let entry = dump.page(*root).and_then(|page| u64_at(page, slot * 8));
        if !tried.insert((shared.frame, entry.unwrap_or(0))) {
            continue;
        }
        let how = How {
            root: how,
            ..How::default()
        };
        if let Some(proof) = prove(space, None, how, bare) {
            let whole = super::facts::has_modules(&proof.space, &proof.image);
            proven.push((whole, proof.shared.system_time, proof));
        }
    }
    proven.sort_by_key(|(whole, time, _)| (*whole, *time));
    proven.pop().map(|(whole, _, proof)| (whole, proof))
}
