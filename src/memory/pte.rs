//! Page-table entries: valid ones as the processor decodes them, the others as Windows encodes
//! them.
//!
//! The formats are those of `_MMPTE_HARDWARE`, `_MMPTE_TRANSITION`, `_MMPTE_PROTOTYPE` and
//! `_MMPTE_SOFTWARE` in the public symbols. Since the L1TF updates of 2018, entries that are
//! not valid are XORed with a mask, unless bit 4 is set.

use crate::addr::{Pfn, Va};

const VALID: u64 = 1;
const LARGE: u64 = 1 << 7;
const SWIZZLE: u64 = 1 << 4;
const PROTOTYPE: u64 = 1 << 10;
const TRANSITION: u64 = 1 << 11;
/// Bits 12..51: the frame number of a valid or transition entry.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// The mask that Windows XORs into entries that are not valid (`MiInvalidPteMask`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidMask {
    /// Read from the kernel.
    Known(u64),
    /// Not found. In this case the usual bit may be cleared where it is impossible, but is
    /// never set.
    Unknown,
}

/// The bit that Windows uses on most Intel machines (bit 45).
const USUAL_MASK: u64 = 0x0000_2000_0000_0000;

/// The encoding of entries on this kernel.
#[derive(Clone, Copy, Debug)]
pub struct PteRules {
    /// The mask of entries that are not valid.
    pub mask: InvalidMask,
    /// The machine's highest frame, if known: a higher number is not a frame.
    pub highest_frame: Option<Pfn>,
}

/// A decoded entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Valid: a frame or a table. `large` is bit 7: a large page at the upper levels, the PAT
    /// bit at the last.
    Valid {
        /// The frame number, still with the low bits of a large page.
        pfn: Pfn,
        /// Bit 7.
        large: bool,
    },
    /// On the standby or modified list: the frame still contains the page.
    Transition(Pfn),
    /// Shared: the real entry is at this address.
    Prototype(Va),
    /// In a page file.
    PagedOut,
    /// Reads as zeros, by definition.
    DemandZero,
    /// Not mapped.
    Empty,
}

/// An entry as the search for the mask classifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// In transition and XORed with the mask: these bits are above the highest frame.
    Mixed(u64),
    /// Any other entry.
    Other,
}

impl PteRules {
    /// The bits above the highest frame of a transition entry that is XORed with the mask.
    /// These are the whole mask, because it has only high bits.
    pub(super) fn transition_bits(&self, raw: u64, highest: Pfn) -> Transition {
        let is_transition = raw & (VALID | PROTOTYPE | TRANSITION | SWIZZLE) == TRANSITION;
        let frames = highest.0.checked_add(1).map(u64::next_power_of_two);
        match frames.filter(|_| is_transition) {
            Some(frames) => Transition::Mixed(raw & FRAME & !((frames << 12) - 1)),
            None => Transition::Other,
        }
    }

    /// Decodes an entry.
    pub fn decode(&self, raw: u64) -> Entry {
        if raw & VALID != 0 {
            return Entry::Valid {
                pfn: frame(raw),
                large: raw & LARGE != 0,
            };
        }
        if raw == 0 {
            return Entry::Empty;
        }
        let pte = self.unswizzle(raw);
        if pte & PROTOTYPE != 0 {
            // A sign-extended 48-bit field.
            return Entry::Prototype(Va(((pte as i64) >> 16) as u64));
        }
        if pte & TRANSITION != 0 {
            return match self.plausible_frame(pte) {
                Some(pfn) => Entry::Transition(pfn),
                None => Entry::Empty,
            };
        }
        self.software(pte)
    }

    /// Like [`PteRules::decode`], for an entry that was reached through a prototype pointer:
    /// there, bit 10 marks a page of a mapped file, which is `None` here.
    pub fn decode_prototype(&self, raw: u64) -> Option<Entry> {
        match self.decode(raw) {
            Entry::Prototype(_) => None,
            entry => Some(entry),
        }
    }

    fn unswizzle(&self, raw: u64) -> u64 {
        match self.mask {
            InvalidMask::Known(mask) if raw & SWIZZLE == 0 => raw ^ mask,
            _ => raw,
        }
    }

    fn plausible_frame(&self, pte: u64) -> Option<Pfn> {
        let pfn = frame(pte);
        let fits = |pfn: Pfn| self.highest_frame.is_none_or(|highest| pfn <= highest);
        if fits(pfn) {
            return Some(pfn);
        }
        let without = frame(pte & !USUAL_MASK);
        (self.mask == InvalidMask::Unknown && pte & SWIZZLE == 0 && fits(without))
            .then_some(without)
    }

    fn software(&self, pte: u64) -> Entry {
        let guess = match self.mask {
            InvalidMask::Unknown if pte & SWIZZLE == 0 => USUAL_MASK,
            _ => 0,
        };
        let page_file_high = (pte & !guess) >> 32;
        let protection = pte >> 5 & 0x1f;
        match (page_file_high, protection) {
            (0, 0) => Entry::Empty,
            (0, _) => Entry::DemandZero,
            (_, 0) => Entry::Empty,
            _ => Entry::PagedOut,
        }
    }
}

fn frame(entry: u64) -> Pfn {
    Pfn((entry & FRAME) >> 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(mask: InvalidMask) -> PteRules {
        PteRules {
            mask,
            highest_frame: Some(Pfn(0x10_0000)),
        }
    }

    #[test]
    fn valid_entries_ignore_the_mask() {
        let decoded = rules(InvalidMask::Known(USUAL_MASK)).decode(0x8000_0000_1234_5867);
        assert_eq!(
            decoded,
            Entry::Valid {
                pfn: Pfn(0x12345),
                large: false
            }
        );
    }

    #[test]
    fn a_known_mask_is_removed_unless_bit_4_is_set() {
        let rules = rules(InvalidMask::Known(USUAL_MASK));
        let plain = 0x0000_0000_1234_5880 | TRANSITION;
        assert_eq!(
            rules.decode(plain ^ USUAL_MASK),
            Entry::Transition(Pfn(0x12345))
        );
        assert_eq!(
            rules.decode(plain | SWIZZLE),
            Entry::Transition(Pfn(0x12345))
        );
    }

    #[test]
    fn a_guessed_mask_only_clears_bits() {
        let rules = rules(InvalidMask::Unknown);
        let plain = 0x0000_0000_1234_5880 | TRANSITION;
        assert_eq!(rules.decode(plain), Entry::Transition(Pfn(0x12345)));
        assert_eq!(
            rules.decode(plain | USUAL_MASK),
            Entry::Transition(Pfn(0x12345))
        );
        assert_eq!(rules.decode(plain | 1 << 44), Entry::Empty, "no such frame");
    }

    #[test]
    fn page_file_and_demand_zero_differ() {
        let rules = rules(InvalidMask::Known(0));
        assert_eq!(rules.decode(0x0000_1234_0000_0080), Entry::PagedOut);
        assert_eq!(rules.decode(0x80), Entry::DemandZero);
        assert_eq!(rules.decode(0), Entry::Empty);
        assert_eq!(
            rules.decode(0x0000_1234_0000_0000),
            Entry::Empty,
            "a free-list link"
        );
    }

    #[test]
    fn a_prototype_pointer_is_sign_extended() {
        let pte = 0xf8a0_0012_3450_0000 | PROTOTYPE;
        let decoded = rules(InvalidMask::Known(0)).decode(pte);
        assert_eq!(decoded, Entry::Prototype(Va(0xffff_f8a0_0012_3450)));
        assert_eq!(rules(InvalidMask::Known(0)).decode_prototype(pte), None);
    }
}
