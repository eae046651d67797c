//! Classifies the bytes of a tag outside code: a known structure with a tag, text, a variable
//! that code reads, or none of them.
//!
//! FLT_CONTEXT_REGISTRATION (fltkernel.h), WDF_DRIVER_CONFIG (wdfdriver.h) and
//! NET_BUFFER_LIST_POOL_PARAMETERS (ndis.h) are documented in Microsoft's driver documentation.
//! The layout of lookaside lists comes from nt's symbols.

use rustc_hash::FxHashMap;

use crate::bytes::{u8_at, u16_at, u32_at, u64_at};
use crate::memory::Va;

use super::api::{Role, pool_type};
use super::code::{Code, Images};
use super::site;
use super::{Confidence, Verdict};

/// FLT_CONTEXT_REGISTRATION: size in bytes, offset of the tag, and the terminator of the array.
const CONTEXT: u64 = 0x38;
const CONTEXT_TAG: u64 = 0x18;
const CONTEXT_END: u16 = 0xffff;
/// The context types: single bits, up to FLT_SECTION_CONTEXT.
const CONTEXT_KINDS: u16 = 0x7f;
/// Maximum number of entries in a registration array.
const MAX_CONTEXTS: u64 = 16;
/// Minimum number of consecutive printable bytes that count as text.
const TEXT: usize = 8;
/// Maximum number of instructions to analyse per variable.
const MAX_READERS: usize = 16;
/// Page size, in bytes.
const PAGE: u32 = 0x1000;

/// RVAs of the 4-byte displacements through which code reads variables, by the variable's RVA.
pub type Readers = FxHashMap<u32, Vec<u32>>;

/// Classifies four bytes of a section that is not executable.
pub fn judge(images: &Images, code: &Code, hit: Va, writable: bool, readers: &Readers) -> Verdict {
    recognised(code, hit, writable)
        .or_else(|| variable(images, code, hit, readers))
        .unwrap_or_else(|| Verdict {
            confidence: Some(Confidence::Coincidence),
            reason: "data: not in a known structure with a tag, and no code reads it".into(),
            ..Verdict::default()
        })
}

/// Structures that are recognised without looking at code.
fn recognised(code: &Code, hit: Va, writable: bool) -> Option<Verdict> {
    let lists = match writable {
        true => lookaside(code, hit),
        false => None,
    };
    lists
        .or_else(|| contexts(code, hit))
        .or_else(|| parameters(code, hit))
        .or_else(|| text(code, hit))
}

/// True if these four bytes may be a variable, so that the code that reads it must be analysed.
pub fn may_be_variable(code: &Code, rva: u32, writable: bool) -> bool {
    rva.is_multiple_of(4) && recognised(code, code.va(rva), writable).is_none()
}

/// Finds the instructions of an image that read these variables, in one pass.
pub fn readers(code: &Code, variables: &[u32]) -> Readers {
    let mut out: Readers = variables.iter().map(|rva| (*rva, Vec::new())).collect();
    let (Some(&first), Some(&last)) = (variables.iter().min(), variables.iter().max()) else {
        return out;
    };
    let sections = code.image().map_or(&[][..], |image| &image.sections);
    for section in sections.iter().filter(|s| s.executable) {
        let pages = section.rva / PAGE..section.rva.saturating_add(section.size).div_ceil(PAGE);
        for number in pages {
            let Some(page) = code.pages.page(number as usize) else {
                continue;
            };
            let start = number * PAGE;
            let mut look = |at: u32, displacement: u32| {
                let target = at.wrapping_add(4).wrapping_add(displacement);
                if target.wrapping_sub(first) <= last - first
                    && let Some(found) = out.get_mut(&target)
                    && found.len() < MAX_READERS
                {
                    found.push(at);
                }
            };
            // The four bytes that end with each byte, the last in the high bits.
            let mut window = 0;
            for (end, byte) in (start..).zip(page) {
                window = window >> 8 | u32::from(*byte) << 24;
                if end >= start + 3 {
                    look(end - 3, window);
                }
            }
            for at in start + PAGE - 3..start + PAGE {
                if let Some(window) = code.pages.array(at) {
                    look(at, u32::from_le_bytes(window));
                }
            }
        }
    }
    out
}

fn structure(confidence: Confidence, reason: String) -> Verdict {
    Verdict {
        role: Role::Structure,
        confidence: Some(confidence),
        reason,
        ..Verdict::default()
    }
}

/// A live lookaside list, linked into nt's list of lookaside lists.
fn lookaside(code: &Code, hit: Va) -> Option<Verdict> {
    const TYPE: &str = "_GENERAL_LOOKASIDE";
    let offset = |name| code.kernel.offset(TYPE, name);
    let at = Va(hit.0.checked_sub(offset("Tag")?)?);
    let entry = at.add(offset("ListEntry")?);
    let space = code.space;
    let (next, previous) = (
        space.pointer(entry).ok()?,
        space.pointer(entry.add(8)).ok()?,
    );
    let linked = |at: Va| at.is_kernel() && at != entry;
    if !linked(next) || !linked(previous) {
        return None;
    }
    let links_back = space.pointer(next.add(8)).ok() == Some(entry)
        || space.pointer(previous).ok() == Some(entry);
    if !links_back {
        return None;
    }
    let number = |name| code.kernel.field(at, TYPE, name).ok();
    let counts = match (number("TotalAllocates"), number("TotalFrees")) {
        (Some(allocates), Some(frees)) => {
            format!(", with {allocates} allocations and {frees} frees so far")
        }
        _ => String::new(),
    };
    Some(Verdict {
        role: Role::Lookaside,
        confidence: Some(Confidence::Certain),
        reason: format!("a live lookaside list at {at}{counts}: its blocks have this tag"),
        pool: number("Type").map(pool_type),
        size: number("Size"),
        ..Verdict::default()
    })
}

/// True for null or an address in the image.
fn callback(code: &Code, at: u64) -> bool {
    at == 0 || code.module.contains(Va(at))
}

fn is_context(code: &Code, entry: &[u8]) -> Option<bool> {
    let kind = u16_at(entry, 0)?;
    let size = u64_at(entry, 0x10)?;
    let callbacks = [0x08, 0x20, 0x28].map(|at| u64_at(entry, at));
    Some(
        kind.count_ones() == 1
            && kind & CONTEXT_KINDS != 0
            && u16_at(entry, 2)? <= 1
            && (size == u64::MAX || (1..0x1_0000).contains(&size))
            && callbacks
                .into_iter()
                .all(|c| c.is_some_and(|c| callback(code, c))),
    )
}

/// An array of FLT_CONTEXT_REGISTRATION, up to its terminator.
fn contexts(code: &Code, hit: Va) -> Option<Verdict> {
    let start = Va(hit.0.checked_sub(CONTEXT_TAG)?);
    let bytes = code.bytes(start, CONTEXT * MAX_CONTEXTS);
    for (n, entry) in bytes.chunks(CONTEXT as usize).enumerate() {
        if n > 0 && u16_at(entry, 0)? == CONTEXT_END {
            let size = u64_at(&bytes, 0x10)?;
            let mut verdict = structure(
                Confidence::Likely,
                format!(
                    "the tag of a filter's context (FLT_CONTEXT_REGISTRATION at {start}): FltAllocateContext allocates with it"
                ),
            );
            verdict.api = Some("FltAllocateContext".into());
            verdict.size = Some(size).filter(|&s| s != u64::MAX);
            return Some(verdict);
        }
        if !is_context(code, entry)? {
            return None;
        }
    }
    None
}

/// Structures in static data that drivers usually build on the stack.
fn parameters(code: &Code, hit: Va) -> Option<Verdict> {
    let before = |distance: u64, length: u64| {
        let at = Va(hit.0.checked_sub(distance)?);
        let bytes = code.bytes(at, length);
        (bytes.len() as u64 == length).then_some(bytes)
    };
    if let Some(config) = before(0x1c, 0x20)
        && u32_at(&config, 0) == Some(0x20)
        && u32_at(&config, 4) == Some(0)
        && u64_at(&config, 8).is_some_and(|at| at != 0 && callback(code, at))
        && u64_at(&config, 0x10).is_some_and(|at| callback(code, at))
    {
        return Some(structure(
            Confidence::Likely,
            "the DriverPoolTag of a WDF_DRIVER_CONFIG: the driver framework allocates with it"
                .into(),
        ));
    }
    // NDIS_OBJECT_HEADER: type NDIS_OBJECT_TYPE_DEFAULT, revision 1, the structure's size.
    let header = |bytes: &[u8], sizes: [u16; 2]| {
        u8_at(bytes, 0) == Some(0x80)
            && u8_at(bytes, 1) == Some(1)
            && u16_at(bytes, 2).is_some_and(|size| sizes.contains(&size))
    };
    let lists = before(8, 0x10).is_some_and(|b| header(&b, [0x10, 0x14]));
    let buffers = before(4, 0xc).is_some_and(|b| header(&b, [0xc, 0x10]));
    (lists || buffers).then(|| {
        structure(
            Confidence::Likely,
            "the PoolTag of an NDIS pool's parameters: NDIS allocates with it".into(),
        )
    })
}

/// Text that contains the four bytes.
fn text(code: &Code, hit: Va) -> Option<Verdict> {
    let is_text = |b: &u8| (0x20..0x7f).contains(b);
    let start = Va(hit.0.checked_sub(16)?).max(hit.page());
    let before = code.bytes(start, hit.0 - start.0);
    let after = code.bytes(hit, 24);
    let head = before.iter().rev().take_while(|b| is_text(b)).count();
    let tail = after.iter().take_while(|b| is_text(b)).count();
    if tail < 4 || head + tail < TEXT {
        return None;
    }
    let shown = before
        .iter()
        .skip(before.len() - head)
        .chain(after.iter().take(tail));
    let shown: String = shown.map(|&b| char::from(b)).collect();
    Some(Verdict {
        confidence: Some(Confidence::Coincidence),
        reason: format!("part of the text \u{201c}{}\u{201d}", shown.trim()),
        ..Verdict::default()
    })
}

/// A variable that code reads and passes to a call.
fn variable(images: &Images, code: &Code, hit: Va, readers: &Readers) -> Option<Verdict> {
    let rva = code.rva(hit);
    let mut found: Vec<Verdict> = readers
        .get(&rva)?
        .iter()
        .filter_map(|distance| reader(images, code, *distance, rva))
        .collect();
    found.sort_by_key(|verdict| {
        (
            verdict.confidence.is_none(),
            verdict.confidence,
            verdict.role,
        )
    });
    found.into_iter().next()
}

fn reader(images: &Images, code: &Code, distance_at: u32, variable: u32) -> Option<Verdict> {
    let facts = code.facts_at(distance_at)?;
    let at = facts.instruction_at(distance_at)?;
    let mut verdict = site::read_by(images, code, at, variable)?;
    verdict.reason = format!(
        "a variable that the code at {} reads: {}",
        code.va(at),
        verdict.reason
    );
    Some(verdict)
}
