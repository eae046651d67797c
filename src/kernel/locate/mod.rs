//! Finding Windows in memory that has no dump header: the root of the page tables, the
//! kernel's image, the debugger data block, and what the header would have said.
//!
//! Every step makes candidates and proves them. A root is one when shared user data
//! translates through it and says what only Windows says there, and when the kernel's
//! image, with the PDB name or the export name of one, is mapped through it. So roots of
//! the user half (with KVA shadow), tables of other machines, and images of kernels that
//! ran before are left out: nothing leads to them.

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
    /// What a header would have said.
    pub machine: Machine,
    /// How it was found.
    pub how: How,
    /// Sentences for people.
    pub notes: Vec<String>,
}

/// How Windows was found in an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// What gave the page-table root.
    pub root: &'static str,
    /// What gave the kernel's base.
    pub base: &'static str,
    /// What gave the debugger data block.
    pub block: &'static str,
}

/// A root that is proven.
struct Proof {
    space: AddressSpace,
    shared: Shared,
    base: Va,
    image: Image,
    how: How,
}

/// The debugger data block of a kernel whose base is known, where the dump header does not
/// lead to it: its address, and the block.
pub fn debugger_data(space: &AddressSpace, base: Va) -> Option<(Va, Kdbg)> {
    let image = Image::read(space, base).ok()?;
    let found = block::find(space, &image)?;
    Some((found.at, found.kdbg))
}

/// Finds Windows.
///
/// # Errors
/// [`KernelError::NoWindows`] when nothing leads to it.
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
                .is_some_and(|p| p.iter().all(|&b| b == 0))
                && dump.kind() == crate::dump::Format::Raw,
        }),
    }
}

/// By the state of the processors: those in kernel mode first.
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
    // All of them ran programs, whose roots map hardly anything of the kernel.
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

/// A root through which shared user data is what it is on Windows, and no kernel was found.
struct Bare {
    space: AddressSpace,
    shared: Shared,
    how: How,
}

/// Roots that are kept for the search by debug records.
const MOST_BARE: usize = 8;

/// Proves a root, by the way of the processor's interrupt table where that is known.
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

/// The kernel of one of the roots that are left, by the debug record of its image.
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
