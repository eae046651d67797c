//! What a tag is for: the built-in table, overlaid by the user's pooltag.txt.
//!
//! The format is pooltag.txt's, read as sloppily as it is written: the tag is the first
//! four columns, blanks included; then two fields behind ` -`; `rem` lines and blank
//! lines are comments. `?` and `*` are wildcards; the entry with the longest literal
//! start wins, so a wildcard never hides a tag that is listed by itself.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustc_hash::FxHashMap;

use crate::pool::Tag;

/// The project's own table.
const BUILT_IN: &str = include_str!("../../../assets/pooltags.txt");

/// More than this is no pooltag.txt (the largest public one is under 300 KB).
const MAX_FILE: u64 = 16 << 20;

/// What is known of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// What the memory is for.
    pub text: String,
    /// The binary, such as `nt!ps`; `None` where the file says `<unknown>`.
    pub binary: Option<String>,
}

/// Tag → description.
#[derive(Clone, Debug, Default)]
pub struct Descriptions {
    layers: Vec<Arc<Layer>>,
}

#[derive(Clone, Debug, Default)]
struct Layer {
    exact: FxHashMap<[u8; 4], Description>,
    /// Longest literal start first.
    wild: Vec<([u8; 4], usize, Description)>,
    entries: usize,
    ignored: usize,
}

impl Descriptions {
    /// The built-in table alone.
    pub fn built_in() -> Descriptions {
        static PARSED: OnceLock<Arc<Layer>> = OnceLock::new();
        let built_in = PARSED.get_or_init(|| Arc::new(parse(BUILT_IN.as_bytes())));
        Descriptions {
            layers: vec![Arc::clone(built_in)],
        }
    }

    /// The user's file over the built-in table.
    ///
    /// # Errors
    /// What the system says when the file can't be read, or that it is too large.
    pub fn with_file(path: &Path) -> io::Result<Descriptions> {
        let length = fs::metadata(path)?.len();
        if length > MAX_FILE {
            return Err(io::Error::other(format!(
                "{length} bytes is too large for a pooltag.txt"
            )));
        }
        let mut all = Descriptions::built_in();
        all.layers.insert(0, Arc::new(parse(&fs::read(path)?)));
        Ok(all)
    }

    /// What is known of a tag.
    pub fn get(&self, tag: Tag) -> Option<&Description> {
        self.layers.iter().find_map(|layer| layer.get(tag.bytes()))
    }

    /// The tags that are described one by one, not by a pattern.
    pub fn tags(&self) -> impl Iterator<Item = Tag> + '_ {
        let exact = self.layers.iter().flat_map(|layer| layer.exact.keys());
        exact.map(|bytes| Tag::new(u32::from_le_bytes(*bytes)))
    }

    /// Entries of the uppermost layer, and lines of it that are neither entry nor comment.
    pub fn counts(&self) -> (usize, usize) {
        self.layers
            .first()
            .map_or((0, 0), |l| (l.entries, l.ignored))
    }
}

impl Layer {
    fn get(&self, tag: [u8; 4]) -> Option<&Description> {
        if let Some(found) = self.exact.get(&tag) {
            return Some(found);
        }
        let fits = |pattern: &[u8; 4]| {
            for (p, b) in pattern.iter().zip(tag) {
                match p {
                    b'*' => return true,
                    b'?' => {}
                    _ if *p != b => return false,
                    _ => {}
                }
            }
            true
        };
        self.wild
            .iter()
            .find(|(pattern, ..)| fits(pattern))
            .map(|(.., description)| description)
    }
}

fn parse(bytes: &[u8]) -> Layer {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut layer = Layer::default();
    for line in bytes.split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if is_comment(line) {
            continue;
        }
        match entry(line) {
            Some((tag, description)) => layer.add(tag, description),
            None => layer.ignored += 1,
        }
    }
    layer
        .wild
        .sort_by_key(|(_, literal, _)| std::cmp::Reverse(*literal));
    layer
}

impl Layer {
    /// The first entry of a tag wins.
    fn add(&mut self, tag: [u8; 4], description: Description) {
        self.entries += 1;
        match tag.iter().position(|b| matches!(b, b'?' | b'*')) {
            Some(literal) => self.wild.push((tag, literal, description)),
            None => {
                self.exact.entry(tag).or_insert(description);
            }
        }
    }
}

fn is_comment(line: &[u8]) -> bool {
    let trimmed = line.trim_ascii();
    trimmed.is_empty()
        || trimmed.get(..3).is_some_and(|start| {
            start.eq_ignore_ascii_case(b"rem")
                && trimmed.get(3).is_none_or(|b| b.is_ascii_whitespace())
        })
}

/// `Tag  - binary - description`; the tag is the first four columns as they are, unless
/// the separator comes earlier (a tag written without its trailing blanks).
fn entry(line: &[u8]) -> Option<([u8; 4], Description)> {
    let (tag, rest) = match separator(line)? {
        (at, rest) if at <= 4 => (padded(line.get(..at)?), rest),
        (_, rest) => (padded(line.get(..4)?), rest),
    };
    // Something other than blanks between the tag's columns and the separator is prose.
    let (at, _) = separator(line)?;
    if at > 4 && !line.get(4..at)?.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let tag = tag.filter(|tag| tag.iter().any(|b| *b != b' '))?;
    let (binary, text) = match separator(rest) {
        Some((at, text)) => (rest.get(..at)?, text),
        None => (&[][..], rest),
    };
    let binary = latin1(binary);
    let text = latin1(text);
    if text.is_empty() {
        return None;
    }
    let known = !binary.is_empty() && !binary.eq_ignore_ascii_case("<unknown>");
    Some((
        tag,
        Description {
            text,
            binary: known.then_some(binary),
        },
    ))
}

/// The first `-` that follows white space (or stands at the fifth column) and is followed
/// by white space; the bytes before the blanks count as the field.
fn separator(line: &[u8]) -> Option<(usize, &[u8])> {
    let dash = (1..line.len()).find(|&i| {
        line.get(i) == Some(&b'-')
            && line.get(i - 1).is_some_and(u8::is_ascii_whitespace)
            && line
                .get(i + 1)
                .is_none_or(|b| b.is_ascii_whitespace() || b.is_ascii_alphanumeric() || *b == b'<')
    })?;
    Some((dash - 1, line.get(dash + 1..)?))
}

fn padded(bytes: &[u8]) -> Option<[u8; 4]> {
    let mut tag = *b"    ";
    for (to, from) in tag.iter_mut().zip(bytes) {
        *to = match from {
            b'\t' => b' ',
            0x20..0x7f => *from,
            _ => return None,
        };
    }
    Some(tag)
}

/// ANSI text: UTF-8 where it is, else Latin-1; control characters become blanks.
fn latin1(bytes: &[u8]) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().map(clean).collect(),
        Err(_) => bytes.iter().map(|&b| clean(b.into())).collect(),
    };
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(text: &str) -> Descriptions {
        Descriptions {
            layers: vec![Arc::new(parse(text.as_bytes()))],
        }
    }

    fn get(table: &Descriptions, tag: &str) -> Option<(String, Option<String>)> {
        let found = table.get(Tag::of(tag)?)?;
        Some((found.text.clone(), found.binary.clone()))
    }

    #[test]
    fn the_real_files_sloppiness_is_read() {
        let table = table(
            "rem Pooltag.txt\r\nrem\r\n\r\nThre - nt!ps        - Thread objects\r\n\
             Cc   - nt!cc - Cache Manager\r\nDh 0 - <unknown>    - DirectDraw - GDI handles\r\n\
             CM   - nt!cm       - registry\r\nCMSb - nt!cm       -internal stash\r\n\
             CM?? - nt!cm - Internal Configuration manager allocations\r\nCMkb - nt!cm - registry key control blocks\r\n\
             Bu*  - burneng.sys - burning\r\n       <unknown>\r\nFatV - fastfat.sys - first\r\nFatV - fastfat.sys - second\r\n",
        );
        let t = |text: &str, binary: &str| {
            Some((
                text.to_owned(),
                (!binary.is_empty()).then(|| binary.to_owned()),
            ))
        };
        assert_eq!(get(&table, "Thre"), t("Thread objects", "nt!ps"));
        assert_eq!(get(&table, "Cc"), t("Cache Manager", "nt!cc"));
        assert_eq!(get(&table, "Dh 0"), t("DirectDraw - GDI handles", ""));
        assert_eq!(get(&table, "CM"), t("registry", "nt!cm"));
        assert_eq!(get(&table, "CMSb"), t("internal stash", "nt!cm"));
        assert_eq!(
            get(&table, "CMkb"),
            t("registry key control blocks", "nt!cm"),
            "an exact entry wins"
        );
        assert_eq!(
            get(&table, "CM31"),
            t("Internal Configuration manager allocations", "nt!cm")
        );
        assert_eq!(get(&table, "Burn"), t("burning", "burneng.sys"));
        assert_eq!(get(&table, "FatV"), t("first", "fastfat.sys"));
        assert_eq!(get(&table, "Leak"), None);
        assert_eq!(table.counts(), (10, 1));
    }

    #[test]
    fn the_built_in_table_is_sound_and_large() {
        let table = Descriptions::built_in();
        let (entries, ignored) = table.counts();
        assert!(entries >= 400, "{entries}");
        assert_eq!(ignored, 0);
        assert_eq!(
            get(&table, "Thre").unwrap(),
            ("Thread objects".into(), Some("nt!ps".into()))
        );
        assert_eq!(get(&table, "Leak"), None);
    }

    #[test]
    fn other_encodings_are_tolerated() {
        let table = Descriptions {
            layers: vec![Arc::new(parse(
                b"\xef\xbb\xbfAbcd - x.sys - Gr\xfc\xdfe\x07\n",
            ))],
        };
        assert_eq!(get(&table, "Abcd").unwrap().0, "Grüße");
    }

    proptest! {
        #[test]
        fn no_file_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let layer = parse(&bytes);
            for description in layer.exact.values() {
                prop_assert!(!description.text.contains(char::is_control));
            }
        }
    }
}
