//! The kind of a place outside code that has the bytes of a tag: a structure that drivers are
//! known to keep tags in, a text, a variable that code reads, or nothing.
//!
//! FLT_CONTEXT_REGISTRATION (fltkernel.h), WDF_DRIVER_CONFIG (wdfdriver.h) and
//! NET_BUFFER_LIST_POOL_PARAMETERS (ndis.h) are in Microsoft's driver documentation; the
//! layout of lookaside lists is asked of nt's symbols.

use rustc_hash::FxHashMap;

use crate::bytes::{u8_at, u16_at, u32_at, u64_at};
use crate::memory::Va;

use super::api::{Role, pool_type};
use super::code::{Code, Images};
use super::site;
use super::{Confidence, Verdict};

/// Bytes of a context's registration, where the tag is in it, and what ends the array.
const CONTEXT: u64 = 0x38;
const CONTEXT_TAG: u64 = 0x18;
const CONTEXT_END: u16 = 0xffff;
/// Kinds of context: single bits, up to FLT_SECTION_CONTEXT.
const CONTEXT_KINDS: u16 = 0x7f;
/// Filters register as many as there are kinds.
const MAX_CONTEXTS: u64 = 16;
/// Printable bytes in a row that make a text.
const TEXT: usize = 8;
/// Instructions that are looked at because they may read one variable.
const MAX_READERS: usize = 16;
/// Bytes of a page.
const PAGE: u32 = 0x1000;

/// Where the code of an image reads some of its variables: the RVAs of the distances, by
/// the variable's RVA.
pub type Readers = FxHashMap<u32, Vec<u32>>;

/// Judges four bytes of a section that is not executable.
pub fn judge(images: &Images, code: &Code, hit: Va, writable: bool, readers: &Readers) -> Verdict {
    recognised(code, hit, writable)
        .or_else(|| variable(images, code, hit, readers))
        .unwrap_or_else(|| Verdict {
            confidence: Some(Confidence::Coincidence),
            reason: "data: not in a known structure with a tag, and no code reads it".into(),
            ..Verdict::default()
        })
}

/// Structures that are recognised without the code that reads them.
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

/// True for four bytes that only code which reads them can tell about.
pub fn may_be_variable(code: &Code, rva: u32, writable: bool) -> bool {
    rva.is_multiple_of(4) && recognised(code, code.va(rva), writable).is_none()
}

/// Looks through all code of an image once for what reads these variables.
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
            let mut look = |at: u32, window: [u8; 4]| {
                let behind = at.wrapping_add(4);
                let target = behind.wrapping_add_signed(i32::from_le_bytes(window));
                if (first..=last).contains(&target)
                    && let Some(found) = out.get_mut(&target)
                    && found.len() < MAX_READERS
                {
                    found.push(at);
                }
            };
            for (at, window) in (start..).zip(page.windows(4)) {
                if let Ok(window) = window.try_into() {
                    look(at, window);
                }
            }
            for at in start + PAGE - 3..start + PAGE {
                if let Some(window) = code.pages.array(at) {
                    look(at, window);
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

/// A live lookaside list: it is linked into nt's list of them.
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

/// True for an address in the image, or none.
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

/// An array of FLT_CONTEXT_REGISTRATION, up to its last entry.
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

/// The parameters of calls that are usually made on the stack, in an image's data.
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

/// A text that the four bytes are part of.
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
