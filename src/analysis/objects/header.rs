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

/// The layout of object headers of a kernel.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    kernel: &'a Kernel,
    types: &'a Types,
    body: u64,
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
        Some(Reader {
            kernel,
            types,
            body: kernel.offset(HEADER, "Body")?,
            sizes,
        })
    }

    /// The object in a block, if there is one.
    pub fn in_block(&self, space: &AddressSpace, block: &Block) -> Option<Object> {
        let start = block.body();
        let room = block.bytes.saturating_sub(block.header_bytes());
        let most: u64 = self.sizes.iter().sum();
        let places = (0..=most).step_by(16);
        places
            .take_while(|ahead| ahead + self.body < room)
            .filter_map(|ahead| self.at(space, start.add(ahead), Some((ahead, block.tag))))
            .next()
    }

    /// The object with its header at an address.
    pub fn at_header(&self, space: &AddressSpace, header: Va) -> Option<Object> {
        self.at(space, header, None)
    }

    fn at(&self, space: &AddressSpace, header: Va, within: Option<(u64, Tag)>) -> Option<Object> {
        let byte = |name: &str| {
            let at = header.add(self.kernel.offset(HEADER, name)?);
            space.u8(at).ok()
        };
        let (kind, ahead, name_info) = match self.types.pointed {
            true => self.pointed(space, header, &byte)?,
            false => {
                let mask = byte("InfoMask")?;
                let kind = self.types.at(header, byte("TypeIndex")?)?.clone();
                let named = mask >> NAME_BIT & 1 != 0;
                let name = named.then(|| self.reach(mask, NAME_BIT));
                (kind, self.reach(mask, OPTIONAL.len() - 1), name)
            }
        };
        if let Some((wanted, tag)) = within
            && (ahead != wanted || kind.key != tag)
        {
            return None;
        }
        let count = |name| {
            let at = header.add(self.kernel.offset(HEADER, name)?);
            space.u64(at).ok().map(|n| n as i64)
        };
        Some(Object {
            header,
            body: header.add(self.body),
            kind,
            pointers: count("PointerCount")?,
            handles: count("HandleCount")?,
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

    /// NT 5.2: the header has a pointer to its type and the distance of each optional header.
    fn pointed(
        &self,
        space: &AddressSpace,
        header: Va,
        byte: &dyn Fn(&str) -> Option<u8>,
    ) -> Option<(ObjectType, u64, Option<u64>)> {
        let at = space
            .pointer(header.add(self.kernel.offset(HEADER, "Type")?))
            .ok()
            .filter(|at| at.is_kernel())?;
        let kind = ObjectType::read(self.kernel, at)?;
        let name = u64::from(byte("NameInfoOffset")?);
        let others = ["HandleInfoOffset", "QuotaInfoOffset"].map(|n| byte(n).map(u64::from));
        let furthest = others.into_iter().flatten().max().unwrap_or(0).max(name);
        Some((kind, furthest, (name > 0).then_some(name)))
    }
}
