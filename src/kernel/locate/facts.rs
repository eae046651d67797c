//! The facts of a dump header, collected from memory.

use std::sync::Arc;

use crate::dump::{BugCheck, Dump, PhysicalRun};
use crate::memory::{AddressSpace, Pfn, Va};

use super::super::image::{Image, text};
use super::super::kdbg::{Kdbg, field};
use super::super::machine::Machine;
use super::block::section;
use super::shared::Shared;

/// KLDR_DATA_TABLE_ENTRY.DllBase.
const DLL_BASE: u64 = 0x30;
/// KPCR.CurrentPrcb, and the offset of KPRCB in KPCR.
const CURRENT_PRCB: u64 = 0x20;
const PRCB: u64 = 0x180;
/// Limit above the maximum of any x64 Windows version.
const MAX_PROCESSORS: u64 = 2048;
const MAX_RUNS: u32 = 4096;
/// Limit in bytes, above the data size of any kernel.
const MOST: u64 = 64 << 20;

/// Reads the facts. Missing ones are `None`, or 0 for an address.
pub(super) fn read(
    dump: &Arc<Dump>,
    space: &AddressSpace,
    image: &Image,
    shared: &Shared,
    kdbg: Option<&Kdbg>,
) -> Machine {
    let field = |field| kdbg.and_then(|kdbg| kdbg.address(field));
    let head = field(field::LOADED_MODULES).filter(|head| leads_to(space, *head, image.base));
    let memory = field(field::PHYSICAL_MEMORY_BLOCK).map(|at| memory_block(space, at));
    let memory = memory.filter(|runs| !runs.is_empty());
    let counted = Some(u64::from(shared.physical_pages)).filter(|pages| *pages > 0);
    let of_runs = memory
        .as_ref()
        .map(|runs| runs.iter().map(|run| run.pages).sum());
    let in_list = field(field::PROCESSOR_BLOCK).map_or(0, |at| processors(space, at));
    let variable = |at: Va| space.pointer(at).ok().filter(|va| va.is_kernel());
    Machine {
        build: build(space, image, shared, kdbg),
        loaded_modules: head
            .or_else(|| module_list(space, image))
            .unwrap_or_default(),
        processes: field(field::ACTIVE_PROCESSES).unwrap_or_default(),
        pfn_database: field(field::PFN_DATABASE)
            .and_then(variable)
            .unwrap_or_default(),
        processors: match (in_list, shared.processors) {
            (0, 0) => dump.cpus().len() as u32,
            (0, n) => n,
            (n, _) => n,
        },
        bugcheck: field(field::BUGCHECK_DATA).and_then(|at| bugcheck(space, at)),
        memory: memory.unwrap_or_else(|| dump.memory()),
        physical_pages: of_runs.or(counted),
        system_time: Some(shared.system_time),
        uptime: Some(shared.interrupt_time),
        ..Machine::default()
    }
}

/// Contradictions between the numbers, as remarks.
pub(super) fn doubts(dump: &Dump, shared: &Shared, machine: &Machine) -> Vec<String> {
    let mut out = Vec::new();
    let stored = dump.pages_present() + dump.pages_cut_off();
    // Raw memory does not record its own length, but Windows knows the end of its memory.
    let end = dump.frames_end();
    let beyond = machine.memory.iter().fold(0u64, |sum, run| {
        let last = run.first.0.saturating_add(run.pages);
        sum.saturating_add(last.saturating_sub(end.max(run.first.0)))
    });
    if beyond > 0 {
        out.push(format!(
            "the image ends before Windows' memory does: {beyond} pages are missing, at the \
                highest addresses; the image is truncated: copy it again, and compare the sizes"
        ));
    } else if let Some(pages) = machine.physical_pages.filter(|pages| *pages > 0)
        && stored < pages - pages / 20
    {
        out.push(format!(
            "the image has {stored} pages, but Windows counts {pages}: the image is truncated, or \
                omits memory"
        ));
    }
    let running = machine.processors;
    if shared.processors != 0 && shared.processors != running {
        out.push(format!(
            "Windows counts {} active processors and has the control blocks of {running}",
            shared.processors
        ));
    }
    let states = dump.cpus().len() as u32;
    if states != 0 && states != running {
        out.push(format!(
            "the image has the state of {states} processors, and Windows the control blocks of {running}"
        ));
    }
    out
}

/// The build number: from shared user data, the exported variable, the build lab, or derived
/// from the version.
fn build(space: &AddressSpace, image: &Image, shared: &Shared, kdbg: Option<&Kdbg>) -> u32 {
    let known = |build: &u32| (2600..100_000).contains(build);
    let exported = || {
        let exports = image.exports(space);
        let (rva, _) = exports.iter().find(|(_, name)| name == "NtBuildNumber")?;
        let number = space.u32(image.base.add((*rva).into())).ok()?;
        Some(number & 0xffff)
    };
    let lab = || {
        let at = kdbg?.address(field::NT_BUILD_LAB)?;
        let lab = text(space, at, 128)?;
        lab.split('.').next()?.parse::<u32>().ok()
    };
    let by_version = match shared.version {
        (5, _) => 3790,
        (6, 0) => 6002,
        (6, 1) => 7601,
        (6, 2) => 9200,
        (6, 3) => 9600,
        _ => 10240,
    };
    let first = shared.build.filter(known);
    let lab = || lab().filter(known);
    let exported = || exported().filter(known);
    first.or_else(lab).or_else(exported).unwrap_or(by_version)
}

/// KiBugcheckData is zero until a bug check; a snapshot may be of a machine at its blue screen.
fn bugcheck(space: &AddressSpace, at: Va) -> Option<BugCheck> {
    let word = |i: u64| space.u64(at.add(i * 8)).ok();
    let code = u32::try_from(word(0)?).ok().filter(|code| *code != 0)?;
    Some(BugCheck {
        code,
        parameters: [word(1)?, word(2)?, word(3)?, word(4)?],
    })
}

/// MmPhysicalMemoryBlock: the address of a pointer to the runs.
fn memory_block(space: &AddressSpace, variable: Va) -> Vec<PhysicalRun> {
    let read = || {
        let at = space.pointer(variable).ok().filter(|va| va.is_kernel())?;
        let count = space.u32(at).ok().filter(|n| (1..=MAX_RUNS).contains(n))?;
        let mut out = Vec::new();
        let mut next = 0;
        for i in 0..u64::from(count) {
            let run = at.add(0x10 + i * 16);
            let (first, pages) = (space.u64(run).ok()?, space.u64(run.add(8)).ok()?);
            let end = first.checked_add(pages).filter(|end| *end <= 1 << 40)?;
            (first >= next).then_some(())?;
            next = end;
            out.push(PhysicalRun {
                first: Pfn(first),
                pages,
            });
        }
        let total: u64 = out.iter().map(|run| run.pages).sum();
        (space.u64(at.add(8)).ok()? == total).then_some(out)
    };
    read().unwrap_or_default()
}

/// The number of processors in KiProcessorBlock: pointers to control blocks that refer back to
/// themselves.
fn processors(space: &AddressSpace, array: Va) -> u32 {
    let is_one = |i: &u64| {
        let own = |at: Va| {
            let block = space.pointer(at).ok().filter(|va| va.is_kernel())?;
            let kpcr = Va(block.0.checked_sub(PRCB)?);
            (space.pointer(kpcr.add(CURRENT_PRCB)).ok()? == block).then_some(())
        };
        own(array.add(i * 8)).is_some()
    };
    (0..MAX_PROCESSORS).take_while(is_one).count() as u32
}

/// True when this is the head of a list whose first module is the kernel.
fn leads_to(space: &AddressSpace, head: Va, base: Va) -> bool {
    let check = || {
        let first = space.pointer(head).ok().filter(|va| va.is_kernel())?;
        let back = space.pointer(first.add(8)).ok()?;
        let own = space.pointer(first.add(DLL_BASE)).ok()?;
        (back == head && own == base).then_some(())
    };
    check().is_some()
}

/// Finds PsLoadedModuleList by its structure: a list head whose first entry is the kernel's and
/// links back.
fn module_list(space: &AddressSpace, image: &Image) -> Option<Va> {
    let sections = image
        .sections
        .iter()
        .filter(|s| s.writable && !s.discardable);
    for s in sections {
        let start = image.base.add(s.rva.into());
        let data = section(space, start, u64::from(s.size).min(MOST));
        for (index, word) in data.chunks_exact(8).enumerate() {
            let first = crate::bytes::u64_at(word, 0)
                .map(Va)
                .filter(|va| va.is_kernel());
            let head = start.add(index as u64 * 8);
            if first.is_some() && leads_to(space, head, image.base) {
                return Some(head);
            }
        }
    }
    None
}

/// True when the kernel's data contains the module list with the kernel as its first entry.
pub(super) fn has_modules(space: &AddressSpace, image: &Image) -> bool {
    module_list(space, image).is_some()
}
