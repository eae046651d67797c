//! Classifies a 64-bit word of a block by its value.

use std::ops::Range;

use crate::kernel::Kernel;
use crate::kernel::modules::Module;
use crate::memory::Va;

/// The class of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Zero.
    Zero,
    /// Text: ASCII or UTF-16LE that fills the word or is followed by zeros.
    Text,
    /// An address in a loaded image: index in the kernel's module list, and the RVA.
    Module(u32, u32),
    /// An address in the block itself, such as the links of an empty list.
    Own,
    /// Another kernel address.
    Kernel,
    /// An address in the range of a process's images and stacks (the top 16 TB of user space).
    User,
    /// Anything else: counts, flags, times, and addresses that are not recognisable as such.
    Number,
}

/// The address ranges of images.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// First address, last address and module index; sorted.
    ranges: Vec<(u64, u64, u32)>,
}

impl Images {
    /// The images that are loaded at the time of the dump, and unloaded images whose range no
    /// other module has used since. A pointer into a reused range is inconclusive.
    pub fn of(kernel: &Kernel) -> Images {
        let range = |(i, m): (usize, &Module)| {
            let last = m.base.0.saturating_add(u64::from(m.size) - 1);
            (m.base.0, last, i as u32)
        };
        let modules = || {
            kernel
                .modules
                .iter()
                .enumerate()
                .filter(|(_, m)| m.size > 0)
        };
        let loaded = modules().filter(|(_, m)| !m.unloaded).map(range);
        let mut gone: Vec<(usize, &Module)> = modules().filter(|(_, m)| m.unloaded).collect();
        // For overlapping unloaded images, the one unloaded last used the range last.
        gone.sort_by_key(|(_, m)| std::cmp::Reverse(m.unloaded_at));
        Images::new(loaded).with_gone(gone.into_iter().map(range))
    }

    /// Adds ranges that do not overlap existing ones.
    fn with_gone(mut self, gone: impl Iterator<Item = (u64, u64, u32)>) -> Images {
        for (first, last, module) in gone {
            let after = self.ranges.partition_point(|r| r.0 <= last);
            let before = after.checked_sub(1).and_then(|i| self.ranges.get(i));
            if before.is_none_or(|r| r.1 < first) {
                self.ranges.insert(after, (first, last, module));
            }
        }
        self
    }

    fn new(ranges: impl Iterator<Item = (u64, u64, u32)>) -> Images {
        let mut ranges: Vec<_> = ranges.collect();
        ranges.sort_unstable();
        Images { ranges }
    }

    /// The image that contains an address, and the RVA.
    pub fn at(&self, va: Va) -> Option<(u32, u32)> {
        let after = self.ranges.partition_point(|r| r.0 <= va.0);
        let (first, last, module) = *self.ranges.get(after.checked_sub(1)?)?;
        (va.0 <= last).then_some((module, (va.0 - first) as u32))
    }
}

/// From this value on, a negative number is likelier than an address.
const NEGATIVE: u64 = 0xffff_ffff_0000_0000;
/// The range in which 64-bit processes have their images and stacks.
const USER: Range<u64> = 0x7ff0_0000_0000..0x7fff_ffff_0000;

/// Classifies a word; `own` is the address range of its block.
pub fn classify(value: u64, images: &Images, own: &Range<u64>) -> Word {
    let va = Va(value);
    if value == 0 {
        Word::Zero
    } else if va.is_kernel() && value < NEGATIVE {
        match images.at(va) {
            Some((module, rva)) => Word::Module(module, rva),
            None if own.contains(&value) => Word::Own,
            None => Word::Kernel,
        }
    } else if text_form(value).is_some() {
        Word::Text
    } else if USER.contains(&value) {
        Word::User
    } else {
        Word::Number
    }
}

/// The number of characters of the text in a word, and its bytes per character: at least five
/// ASCII or three UTF-16LE printable characters, followed by zeros only.
fn text_form(value: u64) -> Option<(usize, usize)> {
    // All bytes at once, because every word of every block comes here: bit 7 of a byte is the
    // answer for this byte. Sums stay inside their bytes, as the low bits are at most 0x7f.
    const EVERY: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EVERY;
    let low = value & !HIGH;
    let is_ascii = !value & HIGH;
    let printable = (low + 0x60 * EVERY) & !(low + EVERY) & is_ascii;
    let zero = !(low + 0x7f * EVERY) & is_ascii;
    let ends = |from: u32| value.checked_shr(8 * from).unwrap_or(0) == 0;

    let ascii = (!printable & HIGH).trailing_zeros() / 8;
    if ascii >= 5 {
        return ends(ascii).then_some((ascii as usize, 1));
    }
    // A printable byte with a zero behind it.
    let units = printable & (zero >> 8);
    let wide = (!units & 0x0080_0080_0080_0080).trailing_zeros() / 16;
    (wide >= 3 && ends(2 * wide)).then_some((wide as usize, 2))
}

/// The text in a word: ASCII or UTF-16LE that fills the word or is followed by zeros.
pub fn text_of(value: u64) -> Option<String> {
    let (characters, step) = text_form(value)?;
    let bytes = value.to_le_bytes();
    let letters = bytes.iter().step_by(step).take(characters);
    Some(letters.map(|byte| char::from(*byte)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0xffff_f880_0100_0000;

    fn word(value: u64) -> Word {
        let images =
            Images::new([(BASE, BASE + 0x7fff, 7), (BASE + 0x9000, BASE + 0x9fff, 3)].into_iter());
        classify(
            value,
            &images,
            &(0xffff_fa80_0000_1000..0xffff_fa80_0000_1100),
        )
    }

    #[test]
    fn words_are_classified_by_value() {
        assert_eq!(word(0), Word::Zero);
        assert_eq!(word(BASE), Word::Module(7, 0));
        assert_eq!(word(BASE + 0x7fff), Word::Module(7, 0x7fff));
        assert_eq!(word(BASE + 0x8000), Word::Kernel);
        assert_eq!(word(BASE + 0x9010), Word::Module(3, 0x10));
        assert_eq!(word(BASE - 1), Word::Kernel);
        assert_eq!(word(0xffff_fa80_0000_1010), Word::Own);
        assert_eq!(word(0xffff_fa80_0000_1100), Word::Kernel);
        assert_eq!(word(u64::MAX), Word::Number);
        assert_eq!(word(0x1234), Word::Number);
        assert_eq!(word(0x7fff_0123_4560), Word::User);
        assert_eq!(word(0x01cd_aaaa_bbbb_cccc), Word::Number);
    }

    #[test]
    fn a_reused_range_does_not_belong_to_the_unloaded_driver() {
        let loaded = [(BASE, BASE + 0xfff, 1), (BASE + 0x4000, BASE + 0x4fff, 2)];
        let gone = [
            (BASE + 0x2000, BASE + 0x2fff, 3),
            (BASE + 0x2800, BASE + 0x37ff, 4),
            (BASE + 0x3000, BASE + 0x4000, 5),
            (BASE - 0x1000, BASE, 6),
            (BASE + 0x6000, BASE + 0x6fff, 7),
        ];
        let images = Images::new(loaded.into_iter()).with_gone(gone.into_iter());
        let at = |offset: u64| images.at(Va(BASE + offset)).map(|(module, _)| module);
        assert_eq!(
            [at(0x2000), at(0x2fff), at(0x3000)],
            [Some(3), Some(3), None]
        );
        assert_eq!([at(0), at(0x4000), at(0x6010)], [Some(1), Some(2), Some(7)]);
    }

    #[test]
    fn text_is_printable_from_space_to_tilde() {
        for byte in 0..=u8::MAX {
            let printable = (b' '..=b'~').contains(&byte);
            for at in 0..8 {
                let mut ascii = *b"poolleak";
                ascii[at] = byte;
                // Fewer than five characters are no text, nor are characters after a zero.
                let expected = printable || (byte == 0 && at == 7);
                let found = text_form(u64::from_le_bytes(ascii)).is_some();
                assert_eq!(found, expected, "{byte:#x} at {at}");
                let mut wide = *b"p\0o\0o\0l\0";
                wide[at] = byte;
                let expected = match at {
                    6 => printable || byte == 0,
                    at if at % 2 == 0 => printable,
                    _ => byte == 0,
                };
                let found = text_form(u64::from_le_bytes(wide)).is_some();
                assert_eq!(found, expected, "{byte:#x} at {at} of a wide text");
            }
        }
    }

    #[test]
    fn text_must_fill_the_word_or_end_in_zeros() {
        let text = |bytes: &[u8; 8]| text_of(u64::from_le_bytes(*bytes));
        assert_eq!(text(b"myfault ").as_deref(), Some("myfault "));
        assert_eq!(text(b"a\0b\0c\0\0\0").as_deref(), Some("abc"));
        assert_eq!(text(b"abcd\0\0\0\0"), None);
        let ascii = |text: &[u8; 8]| word(u64::from_le_bytes(*text));
        assert_eq!(ascii(b"myfault "), Word::Text);
        assert_eq!(ascii(b"hello\0\0\0"), Word::Text);
        assert_eq!(ascii(b"four\0\0\0\0"), Word::Number);
        assert_eq!(ascii(b"hello\0\0\x01"), Word::Number);
        assert_eq!(ascii(b"\\\0D\0e\0v\0"), Word::Text);
        assert_eq!(ascii(b"a\0b\0c\0\0\0"), Word::Text);
        assert_eq!(ascii(b"a\0b\0\0\0\0\0"), Word::Number);
    }
}
