//! Finds Windows in memory without a dump header: the root of the page tables, the kernel's
//! image, the debugger data block, and the facts of a dump header.
//!
//! Every step proposes candidates and proves them. A root is valid if shared user data
//! translates through it and has content that only Windows writes, and if the kernel's image,
//! with a kernel's PDB name or export name, is mapped through it. This excludes roots of the
//! user half (with KVA shadow), tables of other machines, and images of previously booted
//! kernels.

mod block;
mod facts;
mod image;
mod root;
mod shared;

use std::sync::Arc;

use crate::dump::{Cpu, Dump};
use crate::memory::{AddressSpace, Va};

use super::KernelError;
use super::image::Image;
use super::kdbg::Kdbg;
use super::machine::Machine;

use shared::Shared;

/// The kernel of an image, and how it was found.
#[derive(Debug)]
pub struct Located {
    /// Its address space.
    pub space: AddressSpace,
    /// Base of nt.
    pub base: Va,
    /// The debugger data block, decoded.
    pub kdbg: Option<Kdbg>,
    /// The facts of a dump header.
    pub machine: Machine,
    /// How it was found.
    pub how: How,
    /// Remarks for users.
    pub notes: Vec<String>,
}

/// How Windows was found in an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// The source of the page-table root.
    pub root: &'static str,
    /// The source of the kernel's base.
    pub base: &'static str,
    /// The source of the debugger data block.
    pub block: &'static str,
}

/// A proven root.
struct Proof {
    space: AddressSpace,
    shared: Shared,
    base: Va,
    image: Image,
    how: How,
}

/// Finds the debugger data block of a kernel with a known base, if the dump header does not
/// lead to it: its address, and the block.
pub fn debugger_data(space: &AddressSpace, base: Va) -> Option<(Va, Kdbg)> {
    let image = Image::read(space, base).ok()?;
    let found = block::find(space, &image)?;
    Some((found.at, found.kdbg))
}

/// Finds Windows.
///
/// # Errors
/// [`KernelError::NoWindows`] if no kernel is found.
pub fn find(dump: &Arc<Dump>) -> Result<Located, KernelError> {
    let mut notes = Vec::new();
    let mut bare = Vec::new();
    let proof = by_processors(dump, &mut notes, &mut bare)
        .or_else(|| root::search(dump, &mut bare))
        .or_else(|| by_record(dump, bare));
    match proof {
        Some(proof) => Ok(describe(dump, proof, notes)),
        None => Err(KernelError::NoWindows {
            image: dump.image(),
            processors: dump.cpus().iter().filter(|c| c.root().is_some()).count(),
            zeros: dump
                .page(crate::memory::Pfn(0))
                .is_some_and(|p| crate::bytes::is_zero(p))
                && dump.kind() == crate::dump::Format::Raw,
        }),
    }
}

/// Uses the state of the processors, those in kernel mode first.
fn by_processors(dump: &Arc<Dump>, notes: &mut Vec<String>, bare: &mut Vec<Bare>) -> Option<Proof> {
    let mut cpus: Vec<&Cpu> = dump.cpus().iter().filter(|c| c.root().is_some()).collect();
    cpus.sort_by_key(|cpu| !cpu.is_in_kernel());
    for cpu in &cpus {
        let how = How {
            root: "CR3 of a processor",
            ..How::default()
        };
        if let Some(space) = root::of(dump, cpu)
            && let Some(proof) = prove(space, Some(cpu), how, bare)
        {
            return Some(proof);
        }
    }
    // All of them ran user code, so their roots map only a small part of the kernel.
    for cpu in &cpus {
        for space in root::behind_shadow(dump, cpu) {
            let how = How {
                root: "KPRCB.KernelDirectoryTableBase of a processor in user mode",
                ..How::default()
            };
            if let Some(proof) = prove(space, Some(cpu), how, bare) {
                return Some(proof);
            }
        }
    }
    if !cpus.is_empty() {
        notes.push(format!(
            "the roots of {} processors lead to no Windows kernel: memory was searched for one",
            cpus.len()
        ));
    }
    None
}

/// A root with valid shared user data but without a kernel.
struct Bare {
    space: AddressSpace,
    shared: Shared,
    how: How,
}

/// Number of roots that are stored for the search by debug records.
const MOST_BARE: usize = 8;

/// Proves a root, using the processor's interrupt table if it is known.
fn prove(space: AddressSpace, cpu: Option<&Cpu>, how: How, bare: &mut Vec<Bare>) -> Option<Proof> {
    let shared = Shared::read(&space)?;
    let Some((base, image, by)) = image::find(&space, cpu) else {
        if bare.len() < MOST_BARE {
            bare.push(Bare { space, shared, how });
        }
        return None;
    };
    Some(Proof {
        shared,
        base,
        image,
        how: How { base: by, ..how },
        space,
    })
}

/// Finds the kernel of one of the remaining roots, by the debug record of its image.
fn by_record(dump: &Dump, mut bare: Vec<Bare>) -> Option<Proof> {
    let spaces: Vec<AddressSpace> = bare.iter().map(|b| b.space.clone()).collect();
    let (nth, base, image) = match spaces.is_empty() {
        true => return None,
        false => image::by_record(dump, &spaces)?,
    };
    let Bare { space, shared, how } = bare.swap_remove(nth);
    Some(Proof {
        space,
        shared,
        base,
        image,
        how: How {
            base: "the debug record of its image",
            ..how
        },
    })
}

fn describe(dump: &Arc<Dump>, proof: Proof, mut notes: Vec<String>) -> Located {
    let Proof {
        space,
        shared,
        base,
        image,
        mut how,
    } = proof;
    let found = block::find(&space, &image);
    how.block = match &found {
        Some(found) if found.encoded => "found encoded in nt's data, and decoded",
        Some(_) => "found in nt's data",
        None => "not found",
    };
    if found.is_none() {
        notes.push(
            "the debugger data block was not found in the kernel's data: its values are taken \
                from symbols, or searched for"
                .into(),
        );
    }
    let (debugger_data, kdbg) = match found {
        Some(found) => (found.at, Some(found.kdbg)),
        None => (Va(0), None),
    };
    let machine = facts::read(dump, &space, &image, &shared, kdbg.as_ref());
    let machine = Machine {
        debugger_data,
        directory_table: space.root().base().0,
        ..machine
    };
    notes.extend(facts::doubts(dump, &shared, &machine));
    Located {
        space,
        base,
        kdbg,
        machine,
        how,
        notes,
    }
}
