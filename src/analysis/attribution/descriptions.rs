//! The purpose of a tag: the built-in table, overridden by the user's pooltag.txt.
//!
//! The format is that of pooltag.txt, parsed leniently. The tag is the first four columns,
//! including blanks; two fields follow, each after ` -`. Lines that start with `rem` and blank
//! lines are comments. `?` and `*` are wildcards. The entry with the longest literal prefix wins,
//! so a wildcard in either table never hides an exact entry. Supported encodings: UTF-8, UTF-16
//! (with or without byte order mark) and Latin-1.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustc_hash::FxHashMap;

use crate::pool::Tag;

/// The built-in table.
const BUILT_IN: &str = include_str!("../../../assets/pooltags.txt");

/// Maximum size in bytes; the largest public pooltag.txt has less than 300 KB.
const MAX_FILE: u64 = 16 << 20;
/// Typical length of a line in bytes.
const TYPICAL_LINE: usize = 50;

/// The entry for a tag.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Description {
    /// The purpose of the memory.
    pub text: String,
    /// The binary, such as `nt!ps`; `None` if the file has `<unknown>`.
    pub binary: Option<String>,
    /// The pattern of the entry, such as `Us??`, if the tag has no exact entry. A pattern
    /// describes most tags of a family; this tag may belong to another driver.
    pub pattern: Option<String>,
}

impl Description {
    /// The purpose and the binary of the tag, as one sentence without its full stop.
    pub fn sentence(&self) -> String {
        match (&self.binary, &self.pattern) {
            (Some(binary), None) => format!("{} ({binary})", self.text),
            (Some(binary), Some(pattern)) => {
                format!("{} (probably {binary}, as for {pattern})", self.text)
            }
            (None, _) => self.text.clone(),
        }
    }

    /// The binary for a column, with a question mark if only a pattern names it.
    pub fn marked_binary(&self) -> Option<String> {
        let binary = self.binary.as_deref()?;
        Some(match self.pattern {
            Some(_) => format!("{binary}?"),
            None => binary.to_owned(),
        })
    }
}

/// Tag → description.
#[derive(Clone, Debug, Default)]
pub struct Descriptions {
    layers: Vec<Arc<Layer>>,
}

/// A table.
#[derive(Clone, Debug, Default)]
struct Layer {
    text: Cow<'static, [u8]>,
    exact: FxHashMap<[u8; 4], Entry>,
    /// Sorted by length of the literal prefix, descending.
    wild: Vec<([u8; 4], usize, Entry)>,
    entries: usize,
    ignored: usize,
}

/// A line of a table. Its description is made when it is first needed: a table has thousands of
/// lines, and a dump has a few hundred tags.
#[derive(Clone, Debug)]
struct Entry {
    /// The line's range in the text of the table.
    line: Range<u32>,
    description: OnceLock<Option<Box<Description>>>,
}

/// The fields of a line.
struct Fields<'a> {
    tag: [u8; 4],
    binary: &'a [u8],
    text: &'a [u8],
}

impl Descriptions {
    /// The built-in table only.
    pub fn built_in() -> Descriptions {
        static PARSED: OnceLock<Arc<Layer>> = OnceLock::new();
        let built_in = PARSED.get_or_init(|| Arc::new(parse(BUILT_IN.as_bytes().into())));
        Descriptions {
            layers: vec![Arc::clone(built_in)],
        }
    }

    /// The user's file, with the built-in table as fallback.
    ///
    /// # Errors
    /// If the file can't be read, is too large, or has no entry.
    pub fn with_file(path: &Path) -> io::Result<Descriptions> {
        let length = fs::metadata(path)?.len();
        if length > MAX_FILE {
            return Err(io::Error::other(format!(
                "{length} bytes is too large for a pooltag.txt"
            )));
        }
        let layer = parse(fs::read(path)?.into());
        if layer.entries == 0 {
            return Err(io::Error::other(
                "no entry found; each line must be `Tag - binary - description`",
            ));
        }
        let mut all = Descriptions::built_in();
        all.layers.insert(0, Arc::new(layer));
        Ok(all)
    }

    /// The entry for a tag.
    pub fn get(&self, tag: Tag) -> Option<&Description> {
        let bytes = tag.bytes();
        let exact = self.layers.iter().find_map(|layer| layer.exact(bytes));
        exact.or_else(|| self.layers.iter().find_map(|layer| layer.family(bytes)))
    }

    /// The tags with an exact entry.
    pub fn tags(&self) -> impl Iterator<Item = Tag> + '_ {
        let exact = self.layers.iter().flat_map(|layer| layer.exact.keys());
        exact.map(|bytes| Tag::new(u32::from_le_bytes(*bytes)))
    }

    /// Number of entries in the first table, and number of its lines that could not be parsed.
    pub fn counts(&self) -> (usize, usize) {
        self.layers
            .first()
            .map_or((0, 0), |l| (l.entries, l.ignored))
    }
}

impl Layer {
    fn exact(&self, tag: [u8; 4]) -> Option<&Description> {
        self.exact.get(&tag)?.description(&self.text)
    }

    fn family(&self, tag: [u8; 4]) -> Option<&Description> {
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
            .and_then(|(.., entry)| entry.description(&self.text))
    }
}

fn parse(bytes: Cow<'static, [u8]>) -> Layer {
    let bytes = one_byte_characters(bytes);
    let mut layer = Layer::default();
    layer.exact.reserve(bytes.len() / TYPICAL_LINE);
    // Thousands of lines are parsed at every start: searches for bytes are left to `memchr`.
    let ends = memchr::memchr2_iter(b'\n', b'\r', &bytes).chain([bytes.len()]);
    let mut start = 0;
    for end in ends {
        let place = start as u32..end as u32;
        let line = bytes.get(start..end).unwrap_or_default();
        start = end + 1;
        if is_comment(line) {
            continue;
        }
        match fields(line) {
            Some(fields) => layer.add(fields.tag, place),
            None => layer.ignored += 1,
        }
    }
    layer.text = bytes;
    layer.wild.sort_by_key(|(pattern, literal, _)| {
        let fixed = pattern.iter().filter(|b| !matches!(b, b'?' | b'*'));
        std::cmp::Reverse((*literal, fixed.count()))
    });
    layer
}

/// Removes the byte order mark and converts UTF-16 to UTF-8; other bytes are unchanged.
fn one_byte_characters(bytes: Cow<'static, [u8]>) -> Cow<'static, [u8]> {
    if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        return rest.to_owned().into();
    }
    if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        return Cow::Owned(utf16(rest, u16::from_le_bytes));
    }
    if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        return Cow::Owned(utf16(rest, u16::from_be_bytes));
    }
    // Without a byte order mark: in UTF-16, ASCII text has a zero in every second byte.
    let start = bytes.get(..bytes.len().min(4096)).unwrap_or_default();
    let zeros = |odd: usize| {
        start
            .iter()
            .skip(odd)
            .step_by(2)
            .filter(|b| **b == 0)
            .count()
    };
    let mostly = |count: usize| count > 0 && count >= start.len() / 2 * 9 / 10;
    if mostly(zeros(1)) {
        Cow::Owned(utf16(&bytes, u16::from_le_bytes))
    } else if mostly(zeros(0)) {
        Cow::Owned(utf16(&bytes, u16::from_be_bytes))
    } else {
        bytes
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Vec<u8> {
    let pairs = bytes.chunks_exact(2);
    let units = pairs.filter_map(|pair| Some(unit(pair.try_into().ok()?)));
    let text: String = char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    text.into_bytes()
}

impl Layer {
    /// The first entry of a tag wins.
    fn add(&mut self, tag: [u8; 4], line: Range<u32>) {
        self.entries += 1;
        let entry = Entry {
            line,
            description: OnceLock::new(),
        };
        match wildcard(tag) {
            Some(literal) => self.wild.push((tag, literal, entry)),
            None => {
                self.exact.entry(tag).or_insert(entry);
            }
        }
    }
}

impl Entry {
    /// The description; `text` is the text of the entry's table.
    fn description(&self, text: &[u8]) -> Option<&Description> {
        let range = self.line.start as usize..self.line.end as usize;
        let make = || Some(Box::new(fields(text.get(range)?)?.description()));
        self.description.get_or_init(make).as_deref()
    }
}

impl Fields<'_> {
    fn description(&self) -> Description {
        let binary = latin1(self.binary);
        let known = !binary.is_empty() && !binary.eq_ignore_ascii_case("<unknown>");
        Description {
            text: latin1(self.text),
            binary: known.then_some(binary),
            pattern: wildcard(self.tag).map(|_| String::from_utf8_lossy(&self.tag).into_owned()),
        }
    }
}

/// The position of the first wildcard in a tag.
fn wildcard(tag: [u8; 4]) -> Option<usize> {
    tag.iter().position(|b| matches!(b, b'?' | b'*'))
}

fn is_comment(line: &[u8]) -> bool {
    let trimmed = line.trim_ascii();
    trimmed.is_empty()
        || trimmed.get(..3).is_some_and(|start| {
            start.eq_ignore_ascii_case(b"rem")
                && trimmed.get(3).is_none_or(|b| b.is_ascii_whitespace())
        })
}

/// Parses `Tag  - binary - description`. The tag is the first four columns verbatim, unless the
/// separator comes earlier (a tag without its trailing blanks).
fn fields(line: &[u8]) -> Option<Fields<'_>> {
    let (at, rest) = separator(line)?;
    let tag = padded(line.get(..at.min(4))?);
    // If there is other text between the tag's columns and the separator, the line is prose.
    if at > 4 && !line.get(4..at)?.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let tag = tag.filter(|tag| tag.iter().any(|b| *b != b' '))?;
    let (binary, text) = match separator(rest) {
        Some((at, text)) => (rest.get(..at)?, text),
        None => (&[][..], rest),
    };
    (!is_blank(text)).then_some(Fields { tag, binary, text })
}

/// True if the text has no visible character.
fn is_blank(text: &[u8]) -> bool {
    match text.trim_ascii_start().first() {
        Some(byte) if byte.is_ascii_graphic() => false,
        _ => latin1(text).is_empty(),
    }
}

/// Finds the first `-` that follows white space (or is in the fifth column) and is followed by
/// white space. Returns its position and the field before it.
fn separator(line: &[u8]) -> Option<(usize, &[u8])> {
    let dash = memchr::memchr_iter(b'-', line).find(|&i| {
        i > 0
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

/// Decodes UTF-8, or Latin-1 if the bytes are not valid UTF-8; control characters become blanks.
fn latin1(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !has_control_bytes(bytes)
    {
        return text.trim().to_owned();
    }
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().map(clean).collect(),
        Err(_) => bytes.iter().map(|&b| clean(b.into())).collect(),
    };
    text.trim().to_owned()
}

/// True if there may be a control character: a byte below a blank, DEL, or the first byte of
/// U+0080 to U+009F in UTF-8. Eight bytes at a time.
fn has_control_bytes(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7) != 0;
    let suspect = |word: u64| {
        has_zero(word & (ONES * 0xe0))
            || has_zero(word ^ (ONES * 0x7f))
            || has_zero(word ^ (ONES * 0xc2))
    };
    let (words, tail) = bytes.as_chunks::<8>();
    let mut last = [b' '; 8];
    last[..tail.len()].copy_from_slice(tail);
    let mut words = words.iter().chain([&last]);
    words.any(|word| suspect(u64::from_le_bytes(*word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(text: &str) -> Descriptions {
        Descriptions {
            layers: vec![Arc::new(parse(text.as_bytes().to_owned().into()))],
        }
    }

    fn get(table: &Descriptions, tag: &str) -> Option<(String, Option<String>)> {
        let found = table.get(Tag::of(tag)?)?;
        Some((found.text.clone(), found.binary.clone()))
    }

    #[test]
    fn irregular_lines_of_real_files_are_parsed() {
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
    fn the_built_in_table_is_valid_and_large() {
        let table = Descriptions::built_in();
        let (entries, ignored) = table.counts();
        assert!(entries >= 4_500, "{entries}");
        assert_eq!(ignored, 0);
        let lines = BUILT_IN.lines().filter(|l| !is_comment(l.as_bytes()));
        assert_eq!(entries, lines.count(), "every line is an entry");
        assert_eq!(
            get(&table, "Thre").unwrap(),
            ("Thread objects".into(), Some("nt!ps".into()))
        );
        assert_eq!(get(&table, "Leak"), None);
    }

    /// Entries that public lists agree on, one or two per common component.
    #[test]
    fn tags_name_the_binary_that_public_lists_name() {
        let table = Descriptions::built_in();
        for (tag, binary) in [
            ("AleE", "tcpip.sys"),
            ("AleK", "tcpip.sys"),
            ("LS2c", "srv2.sys"),
            ("LSbf", "srvnet.sys"),
            ("SmCe", "mrxsmb.sys"),
            ("VsC4", "vmswitch.sys"),
            ("VSt ", "storvsp.sys"),
            ("VHDa", "vhdmp.sys"),
            ("CIcr", "ci.dll"),
            ("WofS", "wof.sys"),
            ("FIcs", "fileinfo.sys"),
            ("MSb+", "refs.sys"),
            ("RaEt", "storport.sys"),
            ("Ksec", "ksecdd.sys"),
            ("FLSk", "nt!ps"),
            ("Mem ", "nt!po"),
            ("MiCf", "nt!mm"),
            ("UsbS", "usbser.sys"),
            ("Pfcs", "pacer.sys"),
            ("Nbuf", "netio.sys"),
            ("Vflt", "vmstorfl.sys"),
            ("CMSH", "wibcm.sys"),
            ("ScCp", "cdrom.sys"),
            ("TmTx", "nt!tm"),
            ("Pp  ", "nt!io"),
            (
                "DCac",
                "win32kbase!DirectComposition::CApplicationChannel::_allocate",
            ),
            ("UlRE", "http.sys"),
            ("Thre", "nt!ps"),
        ] {
            let found = table.get(Tag::of(tag).unwrap()).unwrap();
            assert_eq!(found.binary.as_deref(), Some(binary), "{tag}");
            assert_eq!(found.pattern, None, "{tag} is listed by itself");
        }
        for (tag, part) in [
            ("CMNb", "name blocks"),
            ("CMnb", "notification blocks"),
            ("AlRe", "section regions"),
            ("AlRr", "reserves"),
            ("VadF", "split"),
            ("PsCr", "Working set change"),
            ("smNp", "node pool"),
            ("IoFs", "Shutdown"),
            ("NbtD", "connections"),
            ("Nbtc", "address information"),
        ] {
            let text = get(&table, tag).unwrap().0;
            assert!(text.contains(part), "{tag}: {text}");
        }
        // All drivers without a tag of their own use it, so no binary may be named.
        assert_eq!(get(&table, "None").unwrap().1, None);
    }

    #[test]
    fn a_wildcard_entry_is_marked() {
        let table = Descriptions::built_in();
        let family = table.get(Tag::of("Us~~").unwrap()).unwrap();
        assert_eq!(family.pattern.as_deref(), Some("Us??"));
        assert_eq!(family.marked_binary().as_deref(), Some("win32k.sys?"));
        let exact = table.get(Tag::of("Usti").unwrap()).unwrap();
        assert_eq!(exact.marked_binary(), exact.binary);
    }

    #[test]
    fn a_wildcard_in_the_users_file_does_not_hide_an_exact_entry() {
        let mut all = Descriptions::built_in();
        let mine = parse(b"Th?? - mine.sys - mine\nThrx - mine.sys - mine too\n"[..].into());
        all.layers.insert(0, Arc::new(mine));
        assert_eq!(get(&all, "Thre").unwrap().1.as_deref(), Some("nt!ps"));
        assert_eq!(get(&all, "Thrx").unwrap().0, "mine too");
        assert_eq!(get(&all, "Th~~").unwrap().0, "mine");
    }

    #[test]
    fn all_common_encodings_are_read() {
        let text = "rem Gr\u{fc}n\r\nLeak - myfault.sys - Gr\u{fc}\u{df}e\r\nnonsense\r\n";
        let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
        let with_mark = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
        for (name, bytes) in [
            ("UTF-8", text.as_bytes().to_vec()),
            (
                "UTF-8 with a mark",
                with_mark(b"\xef\xbb\xbf", text.as_bytes()),
            ),
            ("Latin-1", latin),
            ("UTF-16LE", le.clone()),
            ("UTF-16BE", be.clone()),
            ("UTF-16LE with a mark", with_mark(b"\xff\xfe", &le)),
            ("UTF-16BE with a mark", with_mark(b"\xfe\xff", &be)),
            ("UTF-16LE, cut in a character", le[..le.len() - 1].to_vec()),
        ] {
            let layer = parse(bytes.into());
            assert_eq!((layer.entries, layer.ignored), (1, 1), "{name}");
            let found = layer.exact(*b"Leak").unwrap();
            assert_eq!(found.text, "Gr\u{fc}\u{df}e", "{name}");
        }
    }

    #[test]
    fn a_file_without_an_entry_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pooltag.txt");
        fs::write(&path, "rem nothing\nand some prose\n").unwrap();
        let error = Descriptions::with_file(&path).unwrap_err();
        assert!(error.to_string().contains("no entry"), "{error}");
    }

    #[test]
    fn other_encodings_are_tolerated() {
        let table = Descriptions {
            layers: vec![Arc::new(parse(
                b"\xef\xbb\xbfAbcd - x.sys - Gr\xfc\xdfe\x07\n"[..].into(),
            ))],
        };
        assert_eq!(get(&table, "Abcd").unwrap().0, "Grüße");
    }

    proptest! {
        #[test]
        fn no_file_causes_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let layer = parse(bytes.into());
            for tag in layer.exact.keys() {
                let text = &layer.exact(*tag).expect("every entry has a description").text;
                prop_assert!(!text.is_empty() && !text.contains(char::is_control));
            }
        }
    }

    proptest! {
        #[test]
        fn control_characters_become_blanks(text in "\\PC{0,20}[\\x00-\\x1f\\x7f-\\x9f -~\u{c2}é]{0,20}") {
            let clean = latin1(text.as_bytes());
            let slowly: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            prop_assert_eq!(clean, slowly.trim());
        }
    }
}
