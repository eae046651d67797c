//! The pool of Windows up to 10 1803: blocks with headers chained through pages, and whole-page
//! allocations in the big page table.
//!
//! The requested [`Allocation`]s are first assigned positions ([`layout`]), then written
//! ([`page`], [`big`]); freed blocks are put on their lists ([`lists`]). Structure layouts are
//! those of the public symbols of 6.1.7601 (`_POOL_HEADER`, `_POOL_TRACKER_BIG_PAGES`,
//! `_POOL_DESCRIPTOR`).

pub mod allocation;
pub mod big;
pub mod bulk;
mod contents;
pub mod layout;
pub mod lists;
pub mod page;
pub mod write;

pub use allocation::{Allocation, Outcome, Role};
pub use bulk::Bulk;
pub use contents::{Contents, Holds};
pub use layout::PoolShape;

/// Bytes per unit of a header's sizes; also the size of a header.
pub const UNIT: u64 = 16;
/// Largest block with a header, in bytes: 255 units. Larger ones occupy whole pages.
pub const LARGEST_SMALL: u64 = 255 * UNIT;
/// The tag that marks the rest of a big allocation's last page.
pub const FRAGMENT: [u8; 4] = *b"Frag";
/// Set in the stored tag of a block that must be freed with the same tag.
pub const PROTECTED: u32 = 0x8000_0000;
