use super::*;

/// Builds a block {length, value length, type, key, padding}; the length is set when it is
/// closed.
struct Writer(Vec<u8>);

impl Writer {
    fn open(&mut self, value: u16, text: bool, key: &str) -> usize {
        self.pad();
        let at = self.0.len();
        self.0.extend([0, 0]);
        self.0.extend(value.to_le_bytes());
        self.0.extend([u8::from(text), 0]);
        self.text(key);
        self.pad();
        at
    }

    fn text(&mut self, text: &str) {
        for unit in text.encode_utf16().chain([0]) {
            self.0.extend(unit.to_le_bytes());
        }
    }

    fn pad(&mut self) {
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
    }

    fn close(&mut self, at: usize) {
        let length = (self.0.len() - at) as u16;
        self.0[at..at + 2].copy_from_slice(&length.to_le_bytes());
    }

    fn string(&mut self, key: &str, value: &str, units: u16) -> usize {
        let at = self.open(units, true, key);
        self.text(value);
        self.close(at);
        at
    }
}

/// The block of a fictitious backup filter, and the offsets of its strings.
fn example(units: u16) -> (Vec<u8>, [usize; 2]) {
    let mut w = Writer(Vec::new());
    let root = w.open(0x34, false, "VS_VERSION_INFO");
    for word in [
        0xfeef_04bd_u32,
        0x1_0000,
        0x0003_0002,
        0x1018_0007,
        0x0003_0002,
        0x1018_0007,
        0x3f,
        0,
        0x4_0004,
        3,
        7,
        0,
        0,
    ] {
        w.0.extend(word.to_le_bytes());
    }
    let info = w.open(0, true, "StringFileInfo");
    let table = w.open(0, true, "040904B0");
    let company = w.string("CompanyName", "Example Software", units);
    let version = w.string("FileVersion", "3.2.4120.7", 11);
    w.close(table);
    w.close(info);
    let var = w.open(0, true, "VarFileInfo");
    let translation = w.open(4, false, "Translation");
    w.0.extend([0x09, 0x04, 0xb0, 0x04]);
    w.close(translation);
    w.close(var);
    w.close(root);
    (w.0, [company, version])
}

#[test]
fn strings_and_fixed_numbers_are_read() {
    let (block, _) = example(17);
    // The sizes that follow from Microsoft's rules for this content.
    assert_eq!(block.len(), 0x158);
    let info = parse(&block).unwrap();
    assert_eq!(info.company.as_deref(), Some("Example Software"));
    assert_eq!(info.file_version().as_deref(), Some("3.2.4120.7"));
    assert_eq!(info.fixed_version, Some([3, 2, 4120, 7]));
    assert_eq!(info.product, None);
}

#[test]
fn a_value_length_in_bytes_is_accepted() {
    assert_eq!(parse(&example(0x22).0), parse(&example(17).0));
}

#[test]
fn a_string_of_length_zero_ends_the_strings() {
    let (mut block, [company, _]) = example(17);
    block[company..company + 2].copy_from_slice(&[0, 0]);
    let info = parse(&block).unwrap();
    assert_eq!(info.company, None);
    assert_eq!(info.file_version().as_deref(), Some("3.2.4120.7"));
    assert_eq!(info.file_version_text, None);
}

#[test]
fn a_truncated_block_gives_its_complete_parts() {
    let (block, [_, version]) = example(17);
    for end in 0..block.len() {
        let info = parse(&block[..end]);
        if end < 0x5c {
            assert!(info.is_none_or(|i| i.company.is_none()));
        } else if end >= version {
            assert_eq!(
                info.unwrap().company.as_deref(),
                Some("Example Software"),
                "cut at {end:#x}"
            );
        }
    }
}
