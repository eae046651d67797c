//! The object types: their names and the tags of their objects.
//!
//! `ObTypeIndexTable` is an array of pointers to `OBJECT_TYPE`, by index (Windows 7 and later;
//! public symbols). An object's header contains the index: unencoded up to Windows 8.1; since
//! Windows 10 XORed with `ObHeaderCookie` and the second byte of the header's address (public
//! research of 2015 and later). Before Windows 7 a header has a pointer to its type.

use rustc_hash::FxHashMap;

use crate::kernel::Kernel;
use crate::memory::Va;
use crate::pool::Tag;

/// A type.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ObjectType {
    /// The name, for example `Event` or `Token`.
    pub name: String,
    /// The tag of its objects' blocks.
    pub key: Tag,
    /// The kernel's own count of objects.
    pub objects: Option<u32>,
    /// The kernel's own count of handles.
    pub handles: Option<u32>,
}

/// All types.
#[derive(Clone, Debug, Default)]
pub struct Types {
    by_index: FxHashMap<u8, ObjectType>,
    cookie: Option<u8>,
    mixed: bool,
    /// True if headers have a pointer to their type instead of an index.
    pub pointed: bool,
}

const TYPE: &str = "_OBJECT_TYPE";
/// Maximum length of a type name, in characters.
const LONGEST_NAME: usize = 64;
/// Windows 10 1507.
const FIRST_MIXED: u32 = 10240;

impl Types {
    /// Reads the types; empty if the table can't be located.
    pub fn read(kernel: &Kernel) -> Types {
        let mut out = Types {
            mixed: kernel.build >= FIRST_MIXED,
            pointed: kernel.offset("_OBJECT_HEADER", "TypeIndex").is_none(),
            ..Types::default()
        };
        out.cookie = kernel
            .symbol("ObHeaderCookie")
            .and_then(|at| kernel.space.u8(at).ok());
        let Some(table) = kernel.symbol("ObTypeIndexTable") else {
            return out;
        };
        // Index 0 is unused; index 1 is a marker.
        for index in 2..=u8::MAX {
            let Ok(at) = kernel.space.pointer(table.add(u64::from(index) * 8)) else {
                break;
            };
            // An invalid type marks the end of the table.
            let ty = at.is_kernel().then(|| ObjectType::read(kernel, at));
            if let Some(ty) = ty.flatten() {
                out.by_index.insert(index, ty);
            }
        }
        out
    }

    /// True if no type is known.
    pub fn is_empty(&self) -> bool {
        self.by_index.is_empty() && !self.pointed
    }

    /// The type for the index that is stored in the header at an address.
    pub fn at(&self, header: Va, stored: u8) -> Option<&ObjectType> {
        let index = match (self.mixed, self.cookie) {
            (false, _) => stored,
            (true, Some(cookie)) => stored ^ cookie ^ (header.0 >> 8) as u8,
            (true, None) => return None,
        };
        self.by_index.get(&index)
    }

    /// The type whose objects have this tag.
    pub fn of_tag(&self, tag: Tag) -> Option<&ObjectType> {
        self.by_index.values().find(|ty| ty.key == tag)
    }

    /// The type with this name, ignoring case.
    pub fn named(&self, name: &str) -> Option<&ObjectType> {
        let same = |ty: &&ObjectType| ty.name.eq_ignore_ascii_case(name);
        self.by_index.values().find(same)
    }
}

impl ObjectType {
    /// Reads a type; `None` if it is invalid.
    pub fn read(kernel: &Kernel, at: Va) -> Option<ObjectType> {
        let name = at.add(kernel.offset(TYPE, "Name")?);
        let name = kernel.space.unicode_string(name, LONGEST_NAME).ok()?;
        let printable = |c: char| c.is_ascii_graphic() || c == ' ';
        if name.is_empty() || !name.chars().all(printable) {
            return None;
        }
        let number = |field| kernel.field(at, TYPE, field).ok();
        Some(ObjectType {
            name,
            key: Tag::new(u32::try_from(number("Key")?).ok()?),
            objects: number("TotalNumberOfObjects").and_then(|n| u32::try_from(n).ok()),
            handles: number("TotalNumberOfHandles").and_then(|n| u32::try_from(n).ok()),
        })
    }
}
