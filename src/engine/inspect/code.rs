//! Disassembly before an address, and of whole functions.

use crate::command::Refusal;
use crate::engine::Engine;
use crate::kernel::functions::Functions;
use crate::kernel::image::Image;
use crate::kernel::modules::Module;
use crate::memory::Va;

use super::listing::Listing;

/// Maximum length of an x64 instruction, in bytes.
const LONGEST: u64 = 15;
/// Maximum number of bytes to list per function.
const MOST_BYTES: u64 = 1 << 16;
/// Maximum number of parts per function.
const MOST_PARTS: usize = 64;

impl Engine {
    /// `ub`: the instructions that end at `at`. In a function of the unwind table, decoding
    /// starts at the function's start; elsewhere at the nearest earlier address from which it
    /// reaches `at`.
    ///
    /// # Errors
    /// If the bytes before the address can't be read, or no decoding reaches it.
    pub(super) fn code_before(&self, at: Va, count: u64) -> Result<Listing, Refusal> {
        let begin = self.function_part(at).map(|(start, _)| start);
        let whole = begin.filter(|start| *start < at && at.0 - start.0 <= MOST_BYTES);
        let (starts, exact) = match whole {
            Some(start) => (vec![start], true),
            None => {
                // A guess, as in WinDbg: from far enough back, decoding synchronizes with the
                // real instructions.
                let furthest = count.saturating_mul(LONGEST).min(MOST_BYTES);
                let nearest = count.min(furthest);
                let back = (nearest..=furthest).rev();
                (back.map(|n| Va(at.0.saturating_sub(n))).collect(), false)
            }
        };
        for start in starts {
            let Ok(all) = self.code_to(start, at) else {
                continue;
            };
            let skip = all.rows.len().saturating_sub(count as usize);
            if !exact && all.rows.len() < count as usize {
                continue;
            }
            let mut out = all;
            out.title = format!("instructions before {at}");
            out.rows.drain(..skip);
            if let Some(lines) = &mut out.lines {
                // The first line is the symbol.
                let last = lines.len().saturating_sub(out.rows.len());
                lines.drain(..last);
                let first = out.rows.first().and_then(|row| match row.first() {
                    Some(super::listing::Value::Address(va)) => Some(*va),
                    _ => None,
                });
                if let Some(first) = first {
                    let name = self.symbol_at(first).unwrap_or_else(|| first.to_string());
                    lines.insert(0, format!("{name}:"));
                }
            }
            if !exact {
                out.notes.push(
                    "the address is not in a function of the unwind table: the first instruction \
                        is a guess"
                        .into(),
                );
            }
            return Ok(out);
        }
        Err(Refusal(format!(
            "no instruction before {at} ends there: the address may be inside one; `uf {at}` lists the function"
        )))
    }

    /// Instructions from `start` of which the last ends exactly at `end`.
    fn code_to(&self, start: Va, end: Va) -> Result<Listing, Refusal> {
        let bytes = end.0.saturating_sub(start.0);
        // Each instruction has at least one byte, so this limit suffices.
        let (listing, stop) = self.code_within(start, bytes)?;
        let last = listing.rows.last().and_then(|row| row.last());
        let is_cut = last == Some(&super::listing::Value::Text("???".into()));
        match stop == end && !is_cut {
            true => Ok(listing),
            false => Err(Refusal("the instructions do not end there".into())),
        }
    }

    /// `uf`: the function that contains an address, with all its parts.
    ///
    /// # Errors
    /// If no image or function contains the address, or its bytes are not in the dump.
    pub(super) fn function_at(&self, at: Va) -> Result<Listing, Refusal> {
        let no_function = || {
            Refusal(format!(
                "{at} is not in a function with unwind data (leaf functions have none); `u {at} \
                    L20` disassembles from there"
            ))
        };
        let (module, image) = self.image_at(at).ok_or_else(no_function)?;
        let space = &self.kernel().space;
        let functions = Functions::read(space, image);
        let rva = |va: Va| u32::try_from(va.0 - module.base.0).ok();
        let entry = rva(at)
            .and_then(|rva| functions.at(rva))
            .ok_or_else(no_function)?;
        let first = functions.start_of(space, image, entry);
        let head = functions.at(first).unwrap_or(entry);
        let mut parts = vec![head];
        // List the consecutive parts, and the requested part if it lies elsewhere.
        let mut next = functions.at(head.end);
        while let Some(part) = next {
            let same = functions.start_of(space, image, part) == first;
            if !same || parts.len() >= MOST_PARTS || part.start == head.start {
                break;
            }
            parts.push(part);
            next = functions.at(part.end);
        }
        if parts.iter().all(|p| p.start != entry.start) {
            parts.push(entry);
        }
        let mut out: Option<Listing> = None;
        for part in parts {
            let start = module.base.add(part.start.into());
            let length = u64::from(part.end.saturating_sub(part.start)).min(MOST_BYTES);
            let (listing, _) = self.code_within(start, length)?;
            match &mut out {
                None => out = Some(listing),
                Some(all) => {
                    all.rows.extend(listing.rows);
                    all.notes.extend(listing.notes);
                    if let (Some(lines), Some(more)) = (&mut all.lines, listing.lines) {
                        lines.push(String::new());
                        lines.extend(more);
                    }
                }
            }
        }
        let mut out = out.ok_or_else(no_function)?;
        out.title = format!("function at {}", module.base.add(first.into()));
        if functions.pages_missing > 0 {
            out.notes.push(format!(
                "{} pages of the image's function table are not in the dump: parts of the function may be missing",
                functions.pages_missing
            ));
        }
        Ok(out)
    }

    /// The range of the unwind table entry that contains the byte before an address.
    fn function_part(&self, at: Va) -> Option<(Va, Va)> {
        let (module, image) = self.image_at(at)?;
        let functions = Functions::read(&self.kernel().space, image);
        // The requested instructions end at the address.
        let last = at.0.checked_sub(1)?.checked_sub(module.base.0)?;
        let part = functions.at(u32::try_from(last).ok()?)?;
        Some((
            module.base.add(part.start.into()),
            module.base.add(part.end.into()),
        ))
    }

    fn image_at(&self, at: Va) -> Option<(&Module, &Image)> {
        let module = self.kernel().module_at(at)?;
        Some((module, module.image.as_ref()?))
    }
}
