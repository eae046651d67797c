//! Virtual memory: addresses, page tables, and reading through them.
//!
//! Translation follows the processor for valid entries and Windows for the others, as
//! debuggers do: pages in transition are read, prototype entries followed once, and
//! everything else is a [`Fault`] that says why there are no bytes.

mod fault;
mod mask;
mod pte;
mod space;
mod walk;

pub use crate::addr::{self, PAGE_SIZE, Pa, Pfn, Va};
pub use fault::Fault;
pub use pte::{Entry, InvalidMask, PteRules};
pub use space::{AddressSpace, Step, Target, Via};
pub use walk::{CHUNK_SIZE, Chunk, ChunkMapping, Mapped, MappedPage, NoExecute};
