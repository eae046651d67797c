//! The identity of a module's PDB: the RSDS record and the symbol-store key.
//!
//! Applies to every PE image with a CodeView debug record of kind RSDS (all 64-bit Windows).
//! Sources: the debug directory in the PE/COFF specification, and the layout of Microsoft's
//! public symbol store.
//!
//! The name comes from the dump, so it is hostile: [`PdbId::file_name`] returns it only if it
//! is a single plain file name, and all code in this layer uses that function before it touches
//! a file.

use std::fmt;

use crate::characters::is_hidden;

/// Base of the public symbol server, for [`Needed::url`].
pub const PUBLIC_SERVER: &str = "https://msdl.microsoft.com/download/symbols";

/// Longest file name that any file system accepts; a longer one in a dump is damage.
const LONGEST_NAME: usize = 255;

/// The identity of a PDB file, as stored in the image that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct PdbId {
    /// File name, or the build machine's full path; see [`PdbId::file_name`].
    pub name: String,
    /// The 16 bytes as stored in the RSDS record (first three parts little-endian).
    pub guid: [u8; 16],
    /// Age of the RSDS record; the PDB's own may be higher.
    pub age: u32,
}

impl PdbId {
    /// Reads a CodeView record: `RSDS`, GUID, age, path up to a NUL.
    ///
    /// Keeps only the part of the path after the last separator. `None` for any other kind of
    /// record or a truncated one.
    pub fn from_rsds(record: &[u8]) -> Option<PdbId> {
        let rest = record.strip_prefix(b"RSDS")?;
        let (guid, rest) = rest.split_first_chunk::<16>()?;
        let (age, path) = rest.split_first_chunk::<4>()?;
        let path = path.split(|&b| b == 0).next().unwrap_or_default();
        let name = path.rsplit(|&b| b == b'\\' || b == b'/').next()?;
        Some(PdbId {
            name: String::from_utf8_lossy(name).into_owned(),
            guid: *guid,
            age: u32::from_le_bytes(*age),
        })
    }

    /// The GUID in upper-case hex without dashes, as in symbol stores.
    pub fn guid_hex(&self) -> String {
        let [a, b, c, d, e, f, g, h, tail @ ..] = self.guid;
        let mut text = format!(
            "{:08X}{:04X}{:04X}",
            u32::from_le_bytes([a, b, c, d]),
            u16::from_le_bytes([e, f]),
            u16::from_le_bytes([g, h])
        );
        for byte in tail {
            text.push_str(&format!("{byte:02X}"));
        }
        text
    }

    /// The GUID as debuggers print it: `339E7413-3576-439C-BCDF-7E0229DA3773`.
    pub fn guid_text(&self) -> String {
        let hex = self.guid_hex();
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        let parts = [
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32),
        ];
        parts.join("-")
    }

    /// The symbol-store key: GUID, then the age in hex without leading zeros.
    pub fn key(&self) -> String {
        format!("{}{:X}", self.guid_hex(), self.age)
    }

    /// The file name, if it is safe to search for on this machine.
    ///
    /// `None` if the name has more than one path component, has a character or ending with a
    /// special meaning on some file system, or is a DOS device.
    pub fn file_name(&self) -> Option<&str> {
        let name = self.name.rsplit(['\\', '/']).next()?;
        is_plain_name(name).then_some(name)
    }

    /// Path inside a symbol store, with `/`: `name/KEY/name`.
    ///
    /// An unsafe name is replaced by `?`, which no store contains.
    pub fn store_path(&self) -> String {
        let name = self.file_name().unwrap_or("?");
        format!("{name}/{}/{name}", self.key())
    }

    /// The file to fetch from the public server on a machine with network access; `None` for an
    /// unsafe name.
    pub fn needed(&self) -> Option<Needed> {
        self.needed_from(PUBLIC_SERVER)
    }

    /// As [`PdbId::needed`], from another symbol server.
    pub fn needed_from(&self, server: &str) -> Option<Needed> {
        let file = self.file_name()?.to_string();
        let key = self.key();
        let encoded = percent_encode(&file);
        Some(Needed {
            url: format!("{server}/{encoded}/{key}/{encoded}"),
            store_path: self.store_path(),
            file,
            key,
        })
    }
}

impl fmt::Display for PdbId {
    /// `ntkrnlmp.pdb 339E7413…31`; unprintable characters are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.rsplit(['\\', '/']).next().unwrap_or_default();
        for c in name.chars() {
            if is_hidden(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        write!(f, " {}", self.key())
    }
}

/// A PDB that is required but not on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// File name, `ntkrnlmp.pdb`.
    pub file: String,
    /// Symbol-store key.
    pub key: String,
    /// Its address on the symbol server.
    pub url: String,
    /// Its path below a symbol-store directory, with `/` separators.
    pub store_path: String,
}

/// True when `name` is a single ordinary file name on both Windows and Unix.
fn is_plain_name(name: &str) -> bool {
    let bad = |c: char| is_hidden(c) || "<>:\"/\\|?*".contains(c);
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.starts_with(' ')
        && !name.ends_with([' ', '.'])
        && !name.chars().any(bad)
        && !is_device(name)
}

/// DOS device names, which Windows opens in any directory and with any extension.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let stem = stem.to_ascii_uppercase();
    if matches!(
        stem.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$"
    ) {
        return true;
    }
    let numbered = stem
        .strip_prefix("COM")
        .or_else(|| stem.strip_prefix("LPT"));
    numbered.is_some_and(|n| {
        let mut digits = n.chars();
        let digit = digits
            .next()
            .is_some_and(|c| c.is_ascii_digit() || "¹²³".contains(c));
        digit && digits.next().is_none()
    })
}

pub(super) fn percent_encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn named(name: &str) -> PdbId {
        PdbId {
            name: name.into(),
            guid: *b"\x13\x74\x9e\x33\x76\x35\x9c\x43\xcb\xdf\x7e\x02\x29\xda\x37\x73",
            age: 0x1a,
        }
    }

    #[test]
    fn the_key_is_guid_then_age_in_hex_without_leading_zeros() {
        let id = named("ntkrnlmp.pdb");
        assert_eq!(id.key(), "339E74133576439CCBDF7E0229DA37731A");
        assert_eq!(
            id.store_path(),
            "ntkrnlmp.pdb/339E74133576439CCBDF7E0229DA37731A/ntkrnlmp.pdb"
        );
        assert_eq!(
            id.to_string(),
            "ntkrnlmp.pdb 339E74133576439CCBDF7E0229DA37731A"
        );
    }

    #[test]
    fn a_debug_record_gives_the_last_component_of_its_path() {
        let mut record = b"RSDS".to_vec();
        record.extend([7; 16]);
        record.extend(2u32.to_le_bytes());
        record.extend(b"d:\\obj\\amd64/drv.pdb\0junk");
        let id = PdbId::from_rsds(&record).unwrap();
        assert_eq!((id.name.as_str(), id.guid, id.age), ("drv.pdb", [7; 16], 2));
        assert_eq!(PdbId::from_rsds(&record[..23]), None);
        assert_eq!(PdbId::from_rsds(b"NB10aaaaaaaaaaaaaaaaaaaaaaaaaaaa"), None);
    }

    #[test]
    fn ordinary_names_pass_and_hostile_names_are_refused() {
        for good in [
            "ntkrnlmp.pdb",
            "My Driver.pdb",
            "c:\\x\\y.pdb",
            "../../y.pdb",
            "äö.pdb",
            "comx.pdb",
            "com10.pdb",
            "o'neill.pdb",
            "e\u{301}.pdb",
        ] {
            assert!(named(good).file_name().is_some(), "{good:?}");
        }
        assert_eq!(named("../../etc/y.pdb").file_name(), Some("y.pdb"));
        let long = "x".repeat(256);
        for bad in [
            "",
            ".",
            "..",
            "a/..",
            "a\\",
            "x\0.pdb",
            "x\n.pdb",
            "c:x.pdb",
            "x.pdb:stream",
            "a|b",
            "a*.pdb",
            "x?.pdb",
            "nul",
            "NUL.pdb",
            "con .pdb",
            "com1.pdb",
            "LPT9",
            "x.pdb.",
            "x.pdb ",
            " x.pdb",
            "\u{85}.pdb",
            "\u{202e}bdp.exe",
            "nt\u{200b}krnl.pdb",
            "\u{feff}x.pdb",
            "x\u{202e}bdp.pdb",
            "x\u{200b}.pdb",
            &long,
        ] {
            assert_eq!(named(bad).file_name(), None, "{bad:?}");
            assert_eq!(named(bad).needed(), None, "{bad:?}");
            assert!(named(bad).store_path().starts_with("?/"), "{bad:?}");
        }
    }

    #[test]
    fn needed_names_the_file_and_its_address() {
        let needed = named("my drv.pdb").needed().unwrap();
        let url = "https://msdl.microsoft.com/download/symbols/my%20drv.pdb/339E74133576439CCBDF7E0229DA37731A/my%20drv.pdb";
        assert_eq!(needed.url, url);
        assert_eq!(needed.file, "my drv.pdb");
    }

    proptest! {
        #[test]
        fn a_safe_name_is_one_component_and_shows_no_control_character(name in any::<String>()) {
            let id = named(&name);
            if let Some(safe) = id.file_name() {
                let path = std::path::Path::new(safe);
                prop_assert_eq!(path.components().count(), 1);
                prop_assert_eq!(path.file_name(), Some(std::ffi::OsStr::new(safe)));
            }
            prop_assert!(!id.to_string().contains(is_hidden));
        }

        #[test]
        fn arbitrary_debug_records_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = PdbId::from_rsds(&bytes);
        }
    }
}
