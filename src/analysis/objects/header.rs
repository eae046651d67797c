//! An object in a pool block: the position of its header, its type, and its handle and pointer
//! counts.
//!
//! A block starts with optional headers (those in `InfoMask`), then `OBJECT_HEADER`, then the
//! body that pointers refer to. The set of optional headers is unknown in advance, so every
//! position is tried. The one that is consistent is used: the sizes of the mask's headers reach
//! back to the start of the block, and the type's tag is the block's tag.

use crate::kernel::Kernel;
use crate::memory::{AddressSpace, Va};
use crate::pool::Tag;
use crate::pool::block::Block;

use super::types::{ObjectType, Types};

const HEADER: &str = "_OBJECT_HEADER";

/// The optional headers in the order of their bits; headers of lower bits are nearer to the
/// object header. Sizes are those of the public types, rounded up to multiples of 16.
const OPTIONAL: [(&str, u64); 7] = [
    ("_OBJECT_HEADER_CREATOR_INFO", 0x20),
    ("_OBJECT_HEADER_NAME_INFO", 0x20),
    ("_OBJECT_HEADER_HANDLE_INFO", 0x10),
    ("_OBJECT_HEADER_QUOTA_INFO", 0x20),
    ("_OBJECT_HEADER_PROCESS_INFO", 0x10),
    ("_OBJECT_HEADER_AUDIT_INFO", 0x10),
    ("_OBJECT_HEADER_EXTENDED_INFO", 0x10),
];
const NAME_BIT: usize = 1;
/// The optional headers and the header itself, with room for larger ones.
const LONGEST_COPY: usize = 0x200;
/// Maximum length of an object's name, in characters.
const LONGEST_NAME: usize = 512;

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The address of the `OBJECT_HEADER`.
    pub header: Va,
    /// The address of the body.
    pub body: Va,
    /// The type.
    pub kind: ObjectType,
    /// PointerCount. From Windows 8.1 on, handles reserve references in advance.
    pub pointers: i64,
    /// HandleCount.
    pub handles: i64,
    name_info: Option<Va>,
}

impl Object {
    /// True if the object has no handles but is still referenced.
    pub fn is_referenced_only(&self) -> bool {
        self.handles == 0 && self.pointers > 0
    }

    /// The object's name, without its directory.
    pub fn name(&self, kernel: &Kernel, space: &AddressSpace) -> Option<String> {
        let at = self.name_info?;
        let text = at.add(kernel.offset("_OBJECT_HEADER_NAME_INFO", "Name")?);
        space.name(text, LONGEST_NAME)
    }
}

/// Offsets of the fields of `OBJECT_HEADER`; `None` where a kernel does not have the field.
#[derive(Clone, Copy, Debug)]
struct Fields {
    body: u64,
    pointers: Option<u64>,
    handles: Option<u64>,
    mask: Option<u64>,
    type_index: Option<u64>,
    kind: Option<u64>,
    name_offset: Option<u64>,
    other_offsets: [Option<u64>; 2],
}

/// Memory, with a copy of a part of it: the places of one block are tried without
/// translating an address for each byte.
struct View<'a> {
    space: &'a AddressSpace,
    start: Va,
    copy: &'a [u8],
}

impl View<'_> {
    fn copied<const N: usize>(&self, at: Va) -> Option<[u8; N]> {
        let from = usize::try_from(at.0.checked_sub(self.start.0)?).ok()?;
        self.copy.get(from..)?.first_chunk().copied()
    }

    fn u8(&self, at: Va) -> Option<u8> {
        match self.copied(at) {
            Some([byte]) => Some(byte),
            None => self.space.u8(at).ok(),
        }
    }

    fn u64(&self, at: Va) -> Option<u64> {
        match self.copied(at) {
            Some(bytes) => Some(u64::from_le_bytes(bytes)),
            None => self.space.u64(at).ok(),
        }
    }
}

/// The layout of the object headers of a kernel.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    kernel: &'a Kernel,
    types: &'a Types,
    fields: Fields,
    sizes: [u64; OPTIONAL.len()],
}

impl<'a> Reader<'a> {
    /// `None` if the layout is unknown.
    pub fn new(kernel: &'a Kernel, types: &'a Types) -> Option<Reader<'a>> {
        let mut sizes = [0; OPTIONAL.len()];
        for (to, (ty, usual)) in sizes.iter_mut().zip(OPTIONAL) {
            let size = kernel.symbols.size_of(ty).map_or(usual, u64::from);
            *to = size.next_multiple_of(16);
        }
        let field = |name| kernel.offset(HEADER, name);
        Some(Reader {
            kernel,
            types,
            fields: Fields {
                body: field("Body")?,
                pointers: field("PointerCount"),
                handles: field("HandleCount"),
                mask: field("InfoMask"),
                type_index: field("TypeIndex"),
                kind: field("Type"),
                name_offset: field("NameInfoOffset"),
                other_offsets: ["HandleInfoOffset", "QuotaInfoOffset"].map(field),
            },
            sizes,
        })
    }

    /// True when blocks of the tag can't be objects: the table of types has no such tag.
    pub fn excludes(&self, tag: Tag) -> bool {
        !self.types.pointed && !self.types.is_empty() && self.types.of_tag(tag).is_none()
    }

    /// The object in a block, if there is one.
    pub fn in_block(&self, space: &AddressSpace, block: &Block) -> Option<Object> {
        let start = block.body();
        let room = block.bytes.saturating_sub(block.header_bytes());
        let most: u64 = self.sizes.iter().sum();
        let mut copy = [0; LONGEST_COPY];
        let length = (most + self.fields.body).min(room).min(LONGEST_COPY as u64);
        let copy = copy
            .get_mut(..length as usize)
            .filter(|_| !self.types.pointed)
            .and_then(|copy| space.read(start, copy).ok().map(|()| &*copy))
            .unwrap_or_default();
        let view = View { space, start, copy };
        let places = (0..=most).step_by(16);
        places
            .take_while(|ahead| ahead + self.fields.body < room)
            .filter_map(|ahead| self.at(&view, start.add(ahead), Some((ahead, block.tag))))
            .next()
    }

    /// The object with its header at an address.
    pub fn at_header(&self, space: &AddressSpace, header: Va) -> Option<Object> {
        let view = View {
            space,
            start: header,
            copy: &[],
        };
        self.at(&view, header, None)
    }

    fn at(&self, view: &View<'_>, header: Va, within: Option<(u64, Tag)>) -> Option<Object> {
        let fits = |ahead: u64, key: Tag| within.is_none_or(|fit| fit == (ahead, key));
        let (kind, name_info) = match self.types.pointed {
            true => {
                let (kind, ahead, name) = self.pointed(view, header)?;
                let kind = Some(kind).filter(|kind| fits(ahead, kind.key))?;
                (kind, name)
            }
            false => {
                let mask = view.u8(header.add(self.fields.mask?))?;
                let ahead = self.reach(mask, OPTIONAL.len() - 1);
                if within.is_some_and(|(wanted, _)| wanted != ahead) {
                    return None;
                }
                let index = view.u8(header.add(self.fields.type_index?))?;
                let kind = self.types.at(header, index)?;
                if !fits(ahead, kind.key) {
                    return None;
                }
                let named = mask >> NAME_BIT & 1 != 0;
                (kind.clone(), named.then(|| self.reach(mask, NAME_BIT)))
            }
        };
        let count = |field: Option<u64>| Some(view.u64(header.add(field?))? as i64);
        Some(Object {
            header,
            body: header.add(self.fields.body),
            kind,
            pointers: count(self.fields.pointers)?,
            handles: count(self.fields.handles)?,
            name_info: name_info.and_then(|back| Some(Va(header.0.checked_sub(back)?))),
        })
    }

    /// Distance in bytes from the header back to the start of one optional header, given a mask.
    fn reach(&self, mask: u8, up_to: usize) -> u64 {
        let sizes = self.sizes.iter().enumerate().take(up_to + 1);
        sizes
            .filter(|(bit, _)| mask >> bit & 1 != 0)
            .map(|(_, size)| size)
            .sum()
    }

    /// NT 5.2: the header points at its type and has the distance of each optional header.
    fn pointed(&self, view: &View<'_>, header: Va) -> Option<(ObjectType, u64, Option<u64>)> {
        let at = view
            .space
            .pointer(header.add(self.fields.kind?))
            .ok()
            .filter(|at| at.is_kernel())?;
        let kind = ObjectType::read(self.kernel, at)?;
        let distance = |field: Option<u64>| view.u8(header.add(field?)).map(u64::from);
        let name = distance(self.fields.name_offset)?;
        let others = self.fields.other_offsets.map(distance);
        let furthest = others.into_iter().flatten().max().unwrap_or(0).max(name);
        Some((kind, furthest, (name > 0).then_some(name)))
    }
}
