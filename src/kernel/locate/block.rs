//! Finds the debugger data block, plain or encoded.
//!
//! From Windows 8, a running kernel keeps the block encoded until a debugger or a bug check
//! needs it: each qword is XORed with KiWaitNever, rotated by its low byte, XORed with an
//! address, byte-swapped and XORed with KiWaitAlways (`contrib/elf2dmp` of QEMU). All steps
//! except the rotation cancel out in the XOR of two qwords. One qword is known: the kernel's
//! own base at 0x18. So the block is found and decoded without symbols, by the owner tag next
//! to the base, under each of 64 rotations.

use crate::bytes::u64_at;
use crate::memory::{AddressSpace, Va};

use super::super::image::Image;
use super::super::kdbg::{Kdbg, field};

const TAG: u32 = u32::from_le_bytes(*b"KDBG");
/// Offset of the owner tag (u32) and the size (u32).
const TAG_AND_SIZE: usize = 0x10;
/// Possible sizes of the block in bytes, from Windows 7.
const SIZES: std::ops::RangeInclusive<u32> = 0x280..=0x800;
/// Limit in bytes, above the data size of any kernel.
const MOST: u64 = 64 << 20;

/// A block that was found.
pub(super) struct FoundBlock {
    pub at: Va,
    pub kdbg: Kdbg,
    pub encoded: bool,
}

/// Searches nt's data.
pub(super) fn find(space: &AddressSpace, image: &Image) -> Option<FoundBlock> {
    let data = |writable: bool| {
        let sections = image.sections.iter().filter(move |section| {
            section.writable == writable && !section.discardable && !section.executable
        });
        sections.map(|s| (image.base.add(s.rva.into()), u64::from(s.size).min(MOST)))
    };
    data(true)
        .chain(data(false))
        .find_map(|(start, bytes)| in_section(space, image, start, bytes))
}

/// The bytes of a section; unreadable pages are zeros and so can't match.
pub(super) fn section(space: &AddressSpace, start: Va, bytes: u64) -> Vec<u8> {
    let mut out = vec![0; bytes as usize];
    for (at, piece) in space.pieces(start, bytes) {
        let offset = (at.0 - start.0) as usize;
        if let Ok(piece) = piece
            && let Some(to) = out.get_mut(offset..offset + piece.len())
        {
            to.copy_from_slice(piece);
        }
    }
    out
}

fn in_section(space: &AddressSpace, image: &Image, start: Va, bytes: u64) -> Option<FoundBlock> {
    let data = section(space, start, bytes);
    let base = image.base.0;
    // The byte-swapped XOR of the two qwords before the rotation.
    let wanted = (TAG ^ base as u32).swap_bytes();
    let words: Vec<u64> = data
        .chunks_exact(8)
        .map(|c| u64_at(c, 0).unwrap_or(0))
        .collect();
    for (index, pair) in words.windows(2).enumerate() {
        let [tag, own] = pair else { continue };
        let Some(at) = index.checked_sub(TAG_AND_SIZE / 8) else {
            continue;
        };
        let place = start.add(at as u64 * 8);
        let here = words.get(at..).unwrap_or_default();
        if *own == base
            && *tag as u32 == TAG
            && let Some(kdbg) = block(here, image, |word| word)
        {
            return Some(FoundBlock {
                at: place,
                kdbg,
                encoded: false,
            });
        }
        let difference = tag ^ own;
        if difference == 0 {
            continue;
        }
        for turn in 0..64 {
            if (difference.rotate_left(turn) >> 32) as u32 != wanted {
                continue;
            }
            let decode = |word: u64| base ^ (word ^ own).rotate_left(turn).swap_bytes();
            if let Some(kdbg) = block(here, image, decode) {
                return Some(FoundBlock {
                    at: place,
                    kdbg,
                    encoded: true,
                });
            }
        }
    }
    None
}

/// The block that starts with these words, if it belongs to this kernel.
fn block(words: &[u64], image: &Image, decode: impl Fn(u64) -> u64) -> Option<Kdbg> {
    let size = (decode(*words.get(TAG_AND_SIZE / 8)?) >> 32) as u32;
    if !SIZES.contains(&size) {
        return None;
    }
    let words = words.get(..(size as usize).div_ceil(8))?;
    let mut bytes: Vec<u8> = words
        .iter()
        .flat_map(|w| decode(*w).to_le_bytes())
        .collect();
    bytes.truncate(size as usize);
    let kdbg = Kdbg::of_bytes(bytes).ok()?;
    let inside = |field| {
        let at = kdbg.address(field)?;
        let offset = at.0.checked_sub(image.base.0)?;
        (offset < u64::from(image.size)).then_some(at)
    };
    inside(field::LOADED_MODULES)?;
    inside(field::ACTIVE_PROCESSES)?;
    Some(kdbg)
}

#[cfg(test)]
mod tests {
    /// The published formula, in the direction of the kernel's encoding.
    fn encode(word: u64, never: u64, always: u64, address: u64) -> u64 {
        let swapped = (word ^ always).swap_bytes() ^ address;
        swapped.rotate_right((never & 0xff) as u32 % 64) ^ never
    }

    #[test]
    fn the_keys_cancel_out_in_a_difference() {
        let (never, always, address) = (
            0x1234_5678_9abc_de5f,
            0xfeed_f00d_dead_beef,
            0xffff_f803_1122_3344,
        );
        let (base, other) = (0xffff_f803_1100_0000u64, 0x0000_0380_4742_444bu64);
        let [a, b] = [base, other].map(|word| encode(word, never, always, address));
        let turn = (never & 0xff) as u32 % 64;
        assert_eq!(base ^ (a ^ b).rotate_left(turn).swap_bytes(), other);
    }
}
