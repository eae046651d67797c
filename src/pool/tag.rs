//! Pool tags: four bytes, shown in memory order.

use std::cmp::Ordering;
use std::fmt;

/// The bit of a tag that requires the same tag when freeing. Stored in block headers and in the
/// big page table, cleared in the trackers.
pub const PROTECTED: u32 = 0x8000_0000;

/// A tag with the protected bit cleared, as in the trackers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(from = "u32", into = "u32")]
pub struct Tag(u32);

impl From<u32> for Tag {
    fn from(raw: u32) -> Tag {
        Tag::new(raw)
    }
}

impl From<Tag> for u32 {
    fn from(tag: Tag) -> u32 {
        tag.value()
    }
}

impl Tag {
    /// The tag of a stored value, with or without the protected bit.
    pub fn new(raw: u32) -> Tag {
        Tag(raw & !PROTECTED)
    }

    /// The tag with the text `text`, padded with blanks; `None` if it is longer than four
    /// bytes.
    pub fn of(text: &str) -> Option<Tag> {
        let mut bytes = *b"    ";
        let source = text.as_bytes();
        bytes.get_mut(..source.len())?.copy_from_slice(source);
        Some(Tag::new(u32::from_le_bytes(bytes)))
    }

    /// The value as a little-endian dword.
    pub fn value(self) -> u32 {
        self.0
    }

    /// The bytes in memory order.
    pub fn bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    /// True when every byte is printable ASCII, so that the text represents the whole tag.
    pub fn is_printable(self) -> bool {
        self.bytes().iter().all(|&b| (0x20..0x7f).contains(&b))
    }

    /// The text that a user types for this tag: `\xNN` for an unprintable byte.
    pub fn typed(self) -> String {
        let escape = |b: u8| match b {
            b'\\' | b'*' | b'?' => format!("\\x{b:02x}"),
            0x20..0x7f => char::from(b).to_string(),
            _ => format!("\\x{b:02x}"),
        };
        self.bytes().into_iter().map(escape).collect()
    }
}

impl Ord for Tag {
    fn cmp(&self, other: &Tag) -> Ordering {
        self.0.swap_bytes().cmp(&other.0.swap_bytes())
    }
}

impl PartialOrd for Tag {
    fn partial_cmp(&self, other: &Tag) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Tag {
    /// Four characters; `.` for a byte that is not printable ASCII.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |b: u8| {
            if (0x20..0x7f).contains(&b) {
                b.into()
            } else {
                '.'
            }
        };
        let text: String = self.bytes().into_iter().map(show).collect();
        f.pad(&text)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({self:?})", self = self.typed())
    }
}

/// A tag pattern as users type it: four bytes, `?` for any byte, `*` for any run, `\xNN` for an
/// unprintable byte, padded with blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPattern {
    elements: Vec<Element>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Byte(u8),
    Any,
    Run,
}

/// A pattern that can't match any tag.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatternError {
    /// Five bytes or more without `*`.
    #[error(
        "a tag has four characters; `{0}` has more (write \\xNN for a byte that is not printable)"
    )]
    TooLong(String),
    /// A character outside ASCII.
    #[error("a tag is four bytes; write the bytes of `{0}` as \\xNN")]
    NotAscii(char),
    /// `\x` without two hexadecimal digits.
    #[error("\\x takes two hexadecimal digits, as in \\xe5")]
    BadEscape,
    /// An empty pattern.
    #[error("the tag is empty; write '*' for all tags")]
    Empty,
}

impl TagPattern {
    /// The pattern that matches every tag.
    pub fn any() -> TagPattern {
        TagPattern {
            elements: vec![Element::Run],
        }
    }

    /// The pattern that matches only this tag.
    pub fn of(tag: Tag) -> TagPattern {
        TagPattern {
            elements: tag.bytes().map(Element::Byte).to_vec(),
        }
    }

    /// Parses a typed pattern.
    ///
    /// # Errors
    /// A [`PatternError`] with the reason.
    pub fn parse(text: &str) -> Result<TagPattern, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let mut elements = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            elements.push(match c {
                '*' => Element::Run,
                '?' => Element::Any,
                '\\' if rest.as_str().starts_with('x') => {
                    let digits = rest.as_str().get(1..3).ok_or(PatternError::BadEscape)?;
                    let byte =
                        u8::from_str_radix(digits, 16).map_err(|_| PatternError::BadEscape)?;
                    rest = rest.as_str().get(3..).unwrap_or("").chars();
                    Element::Byte(byte)
                }
                c if c.is_ascii() => Element::Byte(c as u8),
                c => return Err(PatternError::NotAscii(c)),
            });
        }
        let fixed = elements.iter().filter(|e| **e != Element::Run).count();
        if fixed > 4 {
            return Err(PatternError::TooLong(text.into()));
        }
        if !elements.contains(&Element::Run) {
            elements.resize(4, Element::Byte(b' '));
        }
        // The trackers clear the protected bit, so a byte typed with it must match too.
        if let (4, Some(Element::Byte(b))) = (elements.len(), elements.get_mut(3)) {
            *b &= 0x7f;
        }
        Ok(TagPattern { elements })
    }

    /// The tag of these that a pattern without wildcards means. Zero bytes at the end of a tag
    /// are shown as dots and not typed, and people type what is shown: `Pmn` and `Pmn.` both
    /// mean `Pmn\x00`, unless a tag in use has exactly the typed bytes.
    pub fn meant_among(&self, used: impl Iterator<Item = Tag> + Clone) -> Option<Tag> {
        let exact = self.exact()?;
        if used.clone().any(|tag| tag == exact) {
            return Some(exact);
        }
        let blanks = |tag: Tag| tag.bytes().map(|b| if b == 0 { b' ' } else { b });
        if let Some(padded) = used.clone().find(|tag| blanks(*tag) == exact.bytes()) {
            return Some(padded);
        }
        let mut shown = self.shown_alike(used);
        let first = shown.next()?;
        shown.all(|tag| tag == first).then_some(first)
    }

    /// The tags of these that are shown with the same characters.
    fn shown_alike(&self, used: impl Iterator<Item = Tag>) -> impl Iterator<Item = Tag> {
        let text = self.exact().map(|tag| tag.to_string());
        let text = text.filter(|text| text.contains('.'));
        used.filter(move |tag| text.as_ref().is_some_and(|text| *text == tag.to_string()))
    }

    /// Why no tag of these matches, as a sentence: another one may be meant, as tags differ
    /// by case. `None` where one matches, or where there are none at all.
    pub fn unused_among(&self, used: impl Iterator<Item = Tag> + Clone) -> Option<String> {
        let nothing = used.clone().next().is_none();
        if nothing
            || used.clone().any(|tag| self.matches(tag))
            || self.meant_among(used.clone()).is_some()
        {
            return None;
        }
        let typed = self.typed();
        if let Some(one) = self.shown_alike(used.clone()).next() {
            return Some(format!(
                "several tags are shown as {typed}; type one as bytes, for example {}",
                one.typed()
            ));
        }
        let alike = used
            .map(Tag::typed)
            .find(|tag| tag.eq_ignore_ascii_case(&typed));
        Some(match alike {
            Some(alike) => format!(
                "no tag in use matches {typed}; tags are case-sensitive: did you mean {alike}?"
            ),
            None => format!("no tag in use matches {typed}"),
        })
    }

    /// The text to type for this pattern.
    pub fn typed(&self) -> String {
        if let Some(tag) = self.exact() {
            return tag.typed();
        }
        let one = |element: &Element| match element {
            Element::Any => "?".to_owned(),
            Element::Run => "*".to_owned(),
            Element::Byte(b @ (b'\\' | b'*' | b'?')) => format!("\\x{b:02x}"),
            Element::Byte(b @ 0x20..0x7f) => char::from(*b).to_string(),
            Element::Byte(b) => format!("\\x{b:02x}"),
        };
        self.elements.iter().map(one).collect()
    }

    /// The pattern in the characters that lists show: a dot for an unprintable byte.
    pub fn shown(&self) -> String {
        let one = |element: &Element| match element {
            Element::Any | Element::Byte(b'*' | b'?') => '?',
            Element::Run => '*',
            Element::Byte(b @ 0x20..0x7f) => char::from(*b),
            Element::Byte(_) => '.',
        };
        self.elements.iter().map(one).collect()
    }

    /// True when the tag matches, ignoring the protected bit.
    pub fn matches(&self, tag: Tag) -> bool {
        matches(&self.elements, &tag.bytes())
    }

    /// The single matching tag, if the pattern has no wildcard.
    pub fn exact(&self) -> Option<Tag> {
        let mut bytes = [0; 4];
        if self.elements.len() != 4 {
            return None;
        }
        for (to, element) in bytes.iter_mut().zip(&self.elements) {
            match element {
                Element::Byte(b) => *to = *b,
                _ => return None,
            }
        }
        Some(Tag::new(u32::from_le_bytes(bytes)))
    }
}

fn matches(elements: &[Element], bytes: &[u8]) -> bool {
    match elements.split_first() {
        None => bytes.is_empty(),
        Some((Element::Run, rest)) => {
            (0..=bytes.len()).any(|skip| matches(rest, bytes.get(skip..).unwrap_or_default()))
        }
        Some((element, rest)) => match bytes.split_first() {
            Some((b, after)) => {
                (*element == Element::Any || *element == Element::Byte(*b)) && matches(rest, after)
            }
            None => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hits(pattern: &str, tag: &str) -> bool {
        TagPattern::parse(pattern)
            .unwrap()
            .matches(Tag::of(tag).unwrap())
    }

    #[test]
    fn tags_are_shown_in_memory_order() {
        assert_eq!(Tag::of("Leak").unwrap().value(), 0x6b61_654c);
        assert_eq!(
            Tag::new(0xe572_6854),
            Tag::of("Thre").unwrap(),
            "the protected bit is no part of it"
        );
        let mut tags = ["hSVD", "AGP", "8042", "1394"].map(|t| Tag::of(t).unwrap());
        tags.sort();
        assert_eq!(
            tags.map(|t| t.to_string()),
            ["1394", "8042", "AGP ", "hSVD"]
        );
    }

    #[test]
    fn a_tag_is_found_as_it_is_shown_or_typed() {
        let tags = [
            *b"Pmn\0",
            *b"A\x01b\x02",
            *b"\x01\0\0\0",
            *b"\x02\0\0\0",
            *b"Mm  ",
        ];
        let tags = tags.map(|bytes| Tag::new(u32::from_le_bytes(bytes)));
        let used = || tags.iter().copied();
        for (typed, index) in [
            ("Pmn", Some(0)),
            ("Pmn.", Some(0)),
            ("Pmn\\x00", Some(0)),
            ("A.b.", Some(1)),
            ("Mm", Some(4)),
            ("....", None),
            ("Mm..", None),
            ("Pm?", None),
        ] {
            let pattern = TagPattern::parse(typed).unwrap();
            let meant = pattern.meant_among(used());
            assert_eq!(meant, index.map(|at: usize| tags[at]), "{typed}");
            let why = pattern.unused_among(used());
            assert_eq!(why.is_none(), index.is_some(), "{typed}: {why:?}");
        }
        let several = TagPattern::parse("....").unwrap().unused_among(used());
        let several = several.unwrap();
        assert!(several.contains("for example \\x01\\x00"), "{several}");
        assert_eq!(TagPattern::parse("P?\\x00*").unwrap().shown(), "P?.*");
    }

    #[test]
    fn patterns_match_as_in_windbg() {
        assert!(hits("Leak", "Leak") && !hits("leak", "Leak"));
        assert!(hits("Irp", "Irp ") && hits("Mm*", "MmSt") && hits("*", "x"));
        assert!(hits("?m?t", "MmSt") && !hits("?m?", "MmSt") && hits("*t", "MmSt"));
        assert!(hits("\\x4ceak", "Leak") && hits("Thr\\xe5", "Thre"));
        assert_eq!(
            TagPattern::parse("Leaks"),
            Err(PatternError::TooLong("Leaks".into()))
        );
        assert_eq!(TagPattern::parse("\\x4"), Err(PatternError::BadEscape));
        assert_eq!(TagPattern::parse("é"), Err(PatternError::NotAscii('é')));
        assert_eq!(TagPattern::parse(""), Err(PatternError::Empty));
    }

    proptest! {
        #[test]
        fn the_typed_form_finds_the_tag(raw in any::<u32>()) {
            let tag = Tag::new(raw);
            let pattern = TagPattern::parse(&tag.typed()).unwrap();
            prop_assert_eq!(pattern.exact(), Some(tag));
            prop_assert!(pattern.matches(tag));
            prop_assert!(!tag.to_string().contains(|c: char| c.is_control()));
        }

        #[test]
        fn arbitrary_patterns_do_not_panic(text in ".{0,12}", raw in any::<u32>()) {
            if let Ok(pattern) = TagPattern::parse(&text) {
                pattern.matches(Tag::new(raw));
            }
        }
    }
}
