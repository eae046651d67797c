//! Virtual memory: addresses, page tables, and reading through them.
//!
//! Translation follows the processor for valid entries and Windows for the others, like a
//! debugger: pages in transition are read, and prototype entries are followed once. Everything
//! else is a [`Fault`] with the reason why there are no bytes.

mod fault;
mod mask;
mod pte;
mod space;
mod table_cache;
mod walk;

pub use crate::addr::{self, PAGE_SIZE, Pa, Pfn, Va};
pub use fault::Fault;
pub use pte::{Entry, InvalidMask, PteRules};
pub use space::{AddressSpace, Step, Target, Via};
pub use walk::{CHUNK_SIZE, Chunk, ChunkMapping, Mapped, MappedPage, NoExecute};
