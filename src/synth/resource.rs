//! The version resource of a driver: a resource tree of three levels and a VS_VERSIONINFO
//! block, following "PE Format" and "VERSIONINFO" in Microsoft's documentation.

/// The version data of a driver.
#[derive(Clone, Debug)]
pub struct Version {
    /// The four numbers of the fixed part.
    pub numbers: [u16; 4],
    /// Keys and values of the string table, in order.
    pub strings: Vec<(&'static str, String)>,
}

impl Version {
    /// A version with the strings that engineers look for.
    pub fn new(company: &str, product: &str, description: &str, numbers: [u16; 4]) -> Version {
        let [a, b, c, d] = numbers;
        Version {
            numbers,
            strings: vec![
                ("CompanyName", company.to_owned()),
                ("FileDescription", description.to_owned()),
                ("FileVersion", format!("{a}.{b}.{c}.{d}")),
                ("ProductName", product.to_owned()),
            ],
        }
    }

    /// The resource section for the RVA `rva`.
    pub fn section(&self, rva: u32) -> Vec<u8> {
        let block = self.block();
        let mut out = Vec::new();
        // Root, names, languages: a header of 16 bytes each, with one entry.
        for (id, offset) in [(16, 0x8000_0018), (1, 0x8000_0030), (0x409, 0x48_u32)] {
            out.extend([0; 14]);
            out.extend(1_u16.to_le_bytes());
            out.extend(u32::to_le_bytes(id));
            out.extend(offset.to_le_bytes());
        }
        for word in [rva + 0x58, block.len() as u32, 0, 0] {
            out.extend(word.to_le_bytes());
        }
        out.extend(block);
        out
    }

    fn block(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let [a, b, c, d] = self.numbers.map(u32::from);
        let (high, low) = (a << 16 | b, c << 16 | d);
        let fixed = [
            0xfeef_04bd,
            0x1_0000,
            high,
            low,
            high,
            low,
            0x3f,
            0,
            0x4_0004,
            3,
            7,
            0,
            0,
        ];
        node(&mut out, (52, 0), "VS_VERSION_INFO", |out| {
            out.extend(fixed.iter().flat_map(|word| word.to_le_bytes()));
            node(out, (0, 1), "StringFileInfo", |out| {
                node(out, (0, 1), "040904B0", |out| {
                    for (key, value) in &self.strings {
                        let units = value.encode_utf16().count() as u16 + 1;
                        node(out, (units, 1), key, |out| text(out, value));
                    }
                });
            });
        });
        out
    }
}

/// Writes a block: length, value length, type, key, and the output of `inside`, aligned to 4
/// bytes.
fn node(
    out: &mut Vec<u8>,
    (value, kind): (u16, u16),
    key: &str,
    inside: impl FnOnce(&mut Vec<u8>),
) {
    pad(out);
    let at = out.len();
    out.extend([0; 2]);
    out.extend(value.to_le_bytes());
    out.extend(kind.to_le_bytes());
    text(out, key);
    pad(out);
    inside(out);
    let length = (out.len() - at) as u16;
    if let Some(place) = out.get_mut(at..at + 2) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}
