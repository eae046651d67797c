//! Kernel objects of the dump.

use std::borrow::Cow;

use crate::analysis::census::{ByTag, ObjectTypes};
use crate::analysis::objects::header::Reader;
use crate::analysis::objects::services::{self, Service};
use crate::analysis::objects::types::Types;
use crate::analysis::objects::{Objects, Setting};
use crate::memory::Va;
use crate::pool::Tag;
use crate::pool::block::Block;
use crate::pool::index::Snapshot;

use super::Engine;

/// Default number of blocks to examine per tag.
pub const USUAL_LOOK: u64 = 1 << 16;

/// Maximum number of driver objects to examine; machines have some hundreds.
const MOST_DRIVERS: usize = 1 << 14;

impl Engine {
    /// The object types; read on first use.
    pub fn object_types(&self) -> &Types {
        self.object_types.get_or_init(|| Types::read(self.kernel()))
    }

    /// The kernel objects of a tag, the processes with handles to them, and objects without
    /// handles. At most `most` blocks are examined, evenly sampled; 0 for all. `None` if
    /// cancelled.
    pub fn objects(
        &self,
        index: &Snapshot,
        tag: Tag,
        most: u64,
        wanted: &dyn Fn() -> bool,
    ) -> Option<Objects> {
        let list = index.blocks(tag);
        let allocated = list.allocated();
        let looked = match most {
            0 => list.len(),
            most => most.min(list.len()),
        };
        // Both factors are below 2^33, so the product can't overflow.
        let place =
            |i: u64| (u128::from(i) * u128::from(list.len()) / u128::from(looked.max(1))) as u64;
        let blocks = (0..looked).filter_map(|i| list.get(place(i)));
        let space = |session: Option<u32>| self.space_of_session(session);
        let setting = Setting {
            kernel: self.kernel(),
            types: self.object_types(),
            space: &space,
        };
        setting.look(tag, blocks, allocated, wanted)
    }

    /// The services of loaded drivers whose driver objects are in the index.
    pub fn services(&self, index: &Snapshot) -> Vec<Service> {
        let types = self.object_types();
        let Some(reader) = Reader::new(self.kernel(), types) else {
            return Vec::new();
        };
        let tag = types.named("Driver").map(|ty| ty.key).or(Tag::of("Driv"));
        let list = tag.map(|tag| index.blocks(tag));
        let drivers = list.iter().flat_map(|list| list.iter().take(MOST_DRIVERS));
        drivers
            .filter_map(|block| {
                let space = self.space_of_session(block.session);
                services::of_block(self.kernel(), &reader, space, &block)
            })
            .collect()
    }

    /// The tag of an object type, by the type's name or the tag itself.
    pub fn object_tag(&self, name: &str) -> Option<Tag> {
        self.object_types().named(name).map(|ty| ty.key)
    }
}

/// Determines object types by object header, or by tag if the type table can't be read.
pub(super) struct ByHeader<'a> {
    /// The dump.
    pub engine: &'a Engine,
}

impl ObjectTypes for ByHeader<'_> {
    fn type_of(&self, block: &Block, va: Va) -> Option<Cow<'static, str>> {
        let types = self.engine.object_types();
        if types.is_empty() {
            return ByTag.type_of(block, va);
        }
        if !types.pointed {
            // Most blocks are not objects; the tag shows that without reading memory.
            types.of_tag(block.tag)?;
        }
        let reader = Reader::new(self.engine.kernel(), types)?;
        let space = self.engine.space_of_session(block.session);
        let object = reader.in_block(space, block)?;
        Some(Cow::Owned(object.kind.name))
    }
}
