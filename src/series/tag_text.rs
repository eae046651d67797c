//! Parses tags as logs write them.

use crate::pool::{Tag, TagPattern};

/// A tag, and a mask of its bytes that the text does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadTag {
    /// The tag.
    pub tag: Tag,
    /// The mask; bit 0 is the first byte in memory order.
    pub unsure: u8,
}

/// The placeholder characters that a tool writes for bytes that it can't show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// `?` and the replacement character, for bytes that the code page lacks.
    CodePage,
    /// In addition a dot: `!poolused`.
    Dots,
}

/// The tag of up to four characters, padded with blanks. `None` if the text is empty or longer.
///
/// A character beyond ASCII stands for a byte of at least 0x80 that was converted by a code page,
/// so the byte is uncertain.
pub fn of_text(text: &str, stand: Stand) -> Option<ReadTag> {
    let mut bytes = *b"    ";
    let mut unsure = 0;
    let mut count = 0;
    for (at, c) in text.chars().enumerate() {
        let (byte, certain) = match c {
            '?' | '\u{fffd}' => (b'?', false),
            '.' if stand == Stand::Dots => (b'.', false),
            ' '..='~' => (c as u8, true),
            '\u{80}'..='\u{ff}' => (c as u32 as u8, false),
            _ => (b'?', false),
        };
        *bytes.get_mut(at)? = byte;
        if !certain {
            unsure |= 1 << at;
        }
        count += 1;
    }
    (count > 0).then(|| ReadTag {
        tag: Tag::new(u32::from_le_bytes(bytes)),
        unsure,
    })
}

/// The tag in a table cell: up to four characters, or with `\xNN` for unprintable bytes.
pub fn of_cell(text: &str) -> Option<ReadTag> {
    if text.contains("\\x") && text.chars().count() > 4 {
        let tag = TagPattern::parse(text).ok()?.exact()?;
        return Some(ReadTag { tag, unsure: 0 });
    }
    // Programs that write for spreadsheets put an apostrophe before text that looks like a
    // formula.
    let text = match text.strip_prefix('\'') {
        Some(rest) if text.chars().count() == 5 => rest,
        _ => text,
    };
    let short = text.chars().count() > 4;
    of_text(if short { text.trim() } else { text }, Stand::CodePage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_keep_blanks_and_mark_uncertain_bytes() {
        let of = |text| of_text(text, Stand::Dots).unwrap();
        assert_eq!(
            of("Io"),
            ReadTag {
                tag: Tag::of("Io").unwrap(),
                unsure: 0
            }
        );
        assert_eq!(of(" rx ").tag, Tag::of(" rx ").unwrap());
        assert_eq!(of("rx..").unsure, 0b1100);
        assert_eq!(of_text("rx..", Stand::CodePage).unwrap().unsure, 0);
        assert_eq!(of("L\u{fffd}ak").unsure, 0b10);
        assert_eq!(of("L\u{e9}ak").tag.bytes()[1], 0xe9);
        assert_eq!(of_text("Leaks", Stand::Dots), None);
        assert_eq!(of_text("", Stand::Dots), None);
    }

    #[test]
    fn cells_may_have_escapes_and_apostrophes() {
        assert_eq!(of_cell("Thr\\xe5").unwrap().tag, Tag::of("Thre").unwrap());
        assert_eq!(of_cell("'-UMD").unwrap().tag, Tag::of("-UMD").unwrap());
        assert_eq!(of_cell("\\x4"), of_text("\\x4", Stand::CodePage));
        assert_eq!(of_cell("too long"), None);
    }
}
