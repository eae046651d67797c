//! The built-in tables: layouts of fifteen kernels and symbol addresses of 213.
//!
//! `assets/layouts/<build>[.<revision>].json` hold offsets and sizes of the types that
//! poolscope reads. They come from Microsoft's public PDBs, through the symbol tables that
//! JPCERT/CC publishes for Volatility; files with a `source` line have another source, which
//! the line names. `assets/kernels.json` holds the addresses of the symbols that poolscope
//! starts from, by PDB identity. Only the tables of the requested build are parsed.
//!
//! A layout file with a `base` contains only the types that differ from that build. Types are
//! practically constant within a build (the exceptions are those files). Symbol addresses
//! change with every revision, so they are given only for the identical kernel.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::layout::{Field, by_suffix};
use super::verifier::Verifier;

/// One asset, and the kernels that it applies to.
struct Asset {
    build: u32,
    /// First revision of the build with these layouts.
    revision: u32,
    /// Symbol-store key of the kernel that the layouts come from; empty if unknown.
    key: &'static str,
    json: &'static str,
}

macro_rules! asset {
    ($build:literal, $revision:literal, $key:literal, $file:literal) => {
        Asset {
            build: $build,
            revision: $revision,
            key: $key,
            json: include_str!(concat!("../../assets/layouts/", $file, ".json")),
        }
    };
}

/// Ascending by build and revision; the first asset of a build is complete unless it has a
/// base.
static ASSETS: [Asset; 15] = [
    asset!(3790, 0, "", "3790"),
    asset!(7601, 0, "339E74133576439CBCDF7E0229DA37731", "7601"),
    asset!(9600, 0, "22597D0B40394E23936F6A24C6C52D5B1", "9600"),
    asset!(14393, 0, "517E128F7B7C4EA79491DE6B9B9CE1901", "14393"),
    asset!(17763, 0, "8B11040A5928757B11390AC78F6B69251", "17763"),
    asset!(
        17763,
        2114,
        "1806D020A6E46538D7AC3325FAC114D81",
        "17763.5933"
    ),
    asset!(18362, 0, "11BC9A513F1140CA359ECDF50F0122C11", "18362"),
    asset!(18362, 418, "DCA4AD4BEEB4746D48F84C0125019E431", "18362.836"),
    asset!(19041, 0, "BBED7C2955FBE4522AAA23F4B8677AD91", "19041"),
    asset!(
        19041,
        508,
        "606FF669409B00F7FC8C61A9C16701291",
        "19041.3570"
    ),
    asset!(20348, 0, "C2EADB24A615E9472CE47C8ADD31F1301", "20348"),
    asset!(22000, 0, "32C1A669D5FFEFD41091F636CFDB6E991", "22000"),
    asset!(
        22000,
        978,
        "0CE4A95C0CD782A7596B034D8648E5851",
        "22000.2538"
    ),
    asset!(22621, 0, "", "22621"),
    asset!(26100, 0, "", "26100"),
];

static KERNELS: &str = include_str!("../../assets/kernels.json");

/// The table of this build has no bit positions; they are copied from the newest build that has
/// them, see [`borrow_bits`].
const WITHOUT_BITS: u32 = 26100;
const BITS_FROM: u32 = 22000;

/// Two kernels of the collection report the first build but are the second: their revisions are
/// revisions of 18362, and their symbols have the same spacing.
const MISLABELLED: (u32, u32) = (18326, 18362);

/// Vista's first build: its structures are closer to those of Windows 7, the next known build,
/// than to those of NT 5.2.
const VISTA: u32 = 6000;
const WINDOWS_7: u32 = 7601;

type Fields = FxHashMap<&'static str, Field>;

#[derive(Deserialize)]
struct Layouts {
    #[serde(default)]
    base: Option<u32>,
    #[serde(borrow)]
    types: FxHashMap<&'static str, FxHashMap<&'static str, Numbers>>,
    #[serde(borrow)]
    enums: FxHashMap<&'static str, FxHashMap<&'static str, i64>>,
    #[serde(borrow)]
    symbols: FxHashMap<&'static str, u32>,
}

/// `[offset, size]` or `[offset, size, bit position, bit length]`.
#[derive(Deserialize)]
#[serde(from = "Vec<u32>")]
struct Numbers(Field);

impl From<Vec<u32>> for Numbers {
    fn from(numbers: Vec<u32>) -> Numbers {
        let at = |i: usize| numbers.get(i).copied();
        let small = |i: usize| at(i).and_then(|n| u8::try_from(n).ok());
        Numbers(Field {
            offset: at(0).unwrap_or(0),
            size: at(1).unwrap_or(0),
            bits: small(2).zip(small(3)),
        })
    }
}

#[derive(Deserialize)]
struct Kernels {
    #[serde(borrow)]
    symbols: Vec<&'static str>,
    #[serde(borrow)]
    kernels: FxHashMap<&'static str, &'static RawValue>,
}

/// A kernel of the tables: its version, and the RVA of each symbol of [`Kernels`], or zero. Only
/// the kernel of the dump is parsed.
#[derive(Deserialize)]
struct Listed(#[serde(borrow)] &'static str, Vec<u32>);

/// A kernel that the tables identify by its PDB.
pub(super) struct Kernel {
    /// `10.0.19041.3570`.
    pub version: &'static str,
    /// Symbol to RVA.
    pub symbols: FxHashMap<&'static str, u32>,
    /// Functions of Driver Verifier and of the pool.
    pub verifier: Verifier,
}

impl Kernel {
    /// Looks up a symbol-store key; `None` for a kernel that is not in the tables.
    pub fn find(key: &str) -> Option<Kernel> {
        static ALL: OnceLock<Option<Kernels>> = OnceLock::new();
        let all = ALL.get_or_init(|| serde_json::from_str(KERNELS).ok());
        let all = all.as_ref()?;
        let Listed(version, rvas) = serde_json::from_str(all.kernels.get(key)?.get()).ok()?;
        let listed = all.symbols.iter().copied().zip(rvas.iter().copied());
        // Zero marks a symbol that this kernel does not have.
        let mut symbols: FxHashMap<_, _> = listed.filter(|&(_, rva)| rva != 0).collect();
        let own = ASSETS
            .iter()
            .find(|a| a.key == key)
            .and_then(|a| parse(a.json));
        symbols.extend(own.map(|l| l.symbols).unwrap_or_default());
        let verifier = Verifier::find(key);
        symbols.extend(verifier.symbols.iter().map(|(name, rva)| (*name, *rva)));
        Some(Kernel {
            version,
            symbols,
            verifier,
        })
    }

    /// Build and revision, the last two parts of the version.
    pub fn build_and_revision(&self) -> Option<(u32, u32)> {
        let mut parts = self.version.rsplit('.');
        let revision = parts.next()?.parse().ok()?;
        Some((parts.next()?.parse().ok()?, revision))
    }
}

/// The layouts of one build at one revision.
#[derive(Clone)]
pub(super) struct Tables {
    /// The build that the layouts come from.
    pub build: u32,
    types: FxHashMap<&'static str, Fields>,
    enums: FxHashMap<&'static str, FxHashMap<&'static str, i64>>,
}

impl Tables {
    /// The layouts for `build`, or of the highest known build below it (the lowest known build
    /// for anything older, and Windows 7 for Vista and Server 2008). Without a revision, the
    /// newest of that build, because most machines are updated.
    ///
    /// The result is cached: reopening a dump, or searching its kernel without symbols,
    /// requests it again.
    pub fn nearest(build: u32, revision: Option<u32>) -> Arc<Tables> {
        type Parsed = Mutex<FxHashMap<(u32, Option<u32>), Arc<Tables>>>;
        static PARSED: OnceLock<Parsed> = OnceLock::new();
        let build = if build == MISLABELLED.0 {
            MISLABELLED.1
        } else {
            build
        };
        let builds = || ASSETS.iter().map(|a| a.build);
        let known = match build {
            VISTA..WINDOWS_7 => WINDOWS_7,
            _ => builds()
                .filter(|&b| b <= build)
                .max()
                .or_else(|| builds().min())
                .unwrap_or(0),
        };
        let (known, revision) = adjust(build, known, revision);
        let parsed = PARSED.get_or_init(Parsed::default).lock();
        let mut parsed = parsed.unwrap_or_else(PoisonError::into_inner);
        let tables = parsed.entry((known, revision));
        Arc::clone(tables.or_insert_with(|| Arc::new(Tables::parse(known, revision))))
    }

    fn parse(known: u32, revision: Option<u32>) -> Tables {
        let mut tables = Tables {
            build: known,
            types: FxHashMap::default(),
            enums: FxHashMap::default(),
        };
        tables.add(known, revision.unwrap_or(u32::MAX));
        if known == WITHOUT_BITS {
            borrow_bits(&mut tables.types, BITS_FROM);
        }
        tables
    }

    /// Adds the layouts of a build to the tables, after those of its base, so that a delta
    /// replaces the base's types.
    fn add(&mut self, build: u32, revision: u32) {
        let fit = ASSETS
            .iter()
            .filter(|a| a.build == build && a.revision <= revision);
        for layouts in fit.filter_map(|a| parse(a.json)) {
            if let Some(base) = layouts.base.filter(|&base| base < build) {
                self.add(base, u32::MAX);
            }
            for (name, fields) in layouts.types {
                self.types
                    .insert(name, fields.into_iter().map(|(n, f)| (n, f.0)).collect());
            }
            self.enums.extend(layouts.enums);
        }
    }

    /// Replaces a type by the layout of another build, if that build has it.
    pub fn take_type(&mut self, ty: &'static str, build: u32) {
        if let Some(fields) = Tables::nearest(build, None).types.get(ty) {
            self.types.insert(ty, fields.clone());
        }
    }

    /// Removes a type.
    pub fn drop_type(&mut self, ty: &str) {
        self.types.remove(ty);
    }

    pub fn has_type(&self, ty: &str) -> bool {
        self.types.contains_key(ty)
    }

    pub fn has_enum(&self, en: &str) -> bool {
        self.enums.contains_key(en)
    }

    pub fn field(&self, ty: &str, field: &str) -> Option<Field> {
        self.types
            .get(ty)?
            .get(field)
            .copied()
            .filter(|_| field != ".")
    }

    /// The fields of a type, without the entry of the type as a whole.
    pub fn fields(&self, ty: &str) -> Option<Vec<(String, Field)>> {
        let fields = self.types.get(ty)?.iter().filter(|(name, _)| **name != ".");
        Some(
            fields
                .map(|(name, field)| ((*name).to_owned(), *field))
                .collect(),
        )
    }

    /// Types whose names contain a text, ignoring case; in order, limited to `most`.
    pub fn types_like(&self, text: &str, most: usize) -> Vec<&'static str> {
        let text = text.to_ascii_lowercase();
        let fits = |name: &&&str| name.to_ascii_lowercase().contains(&text);
        let mut found: Vec<&'static str> = self.types.keys().filter(fits).copied().collect();
        found.sort_unstable();
        found.truncate(most);
        found
    }

    pub fn size_of(&self, ty: &str) -> Option<u32> {
        let whole = self.types.get(ty)?.get(".")?;
        Some(whole.size).filter(|&size| size != 0)
    }

    pub fn enumerator(&self, en: &str, suffix: &str) -> Option<i64> {
        by_suffix(self.enums.get(en)?.iter().map(|(n, v)| (*n, *v)), suffix)
    }
}

fn parse(json: &'static str) -> Option<Layouts> {
    serde_json::from_str(json).ok()
}

/// Maps builds that share the kernel files of another. 18363 and 19042 to 19045 are 18362 and
/// 19041 with features switched on, first shipped when both had their second layout.
fn adjust(build: u32, known: u32, revision: Option<u32>) -> (u32, Option<u32>) {
    match (build, known) {
        (18363..=18999, 18362) | (19042..=20000, 19041) => (known, None),
        _ if build == known => (known, revision),
        // A revision counts updates of its own build and has no meaning for another.
        _ => (known, None),
    }
}

/// Copies the positions of bit fields from another build that has a bit field with the same
/// name in the same container. Without them, the value of the whole container would be read.
fn borrow_bits(types: &mut FxHashMap<&'static str, Fields>, from: u32) {
    let Some(donor) = ASSETS
        .iter()
        .find(|a| a.build == from)
        .and_then(|a| parse(a.json))
    else {
        return;
    };
    for (name, fields) in types {
        let Some(theirs) = donor.types.get(name) else {
            continue;
        };
        for (field, ours) in fields.iter_mut().filter(|(_, f)| f.bits.is_none()) {
            let same = theirs.get(field).map(|f| f.0);
            let same = same.filter(|f| (f.offset, f.size) == (ours.offset, ours.size));
            ours.bits = same.and_then(|f| f.bits);
        }
    }
}

#[cfg(test)]
mod tests;
