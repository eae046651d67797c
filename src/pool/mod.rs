//! The pool: its trackers, its pages, its blocks, and the index over them.

pub mod big;
pub mod block;
pub mod heap;
pub mod index;
pub mod legacy;
pub mod lookaside;
pub mod page;
pub mod region;
pub mod regions;
pub mod session;
pub mod session_tracker;
pub mod special;
pub mod survey;
pub mod tag;
pub mod tracker;

pub use block::{Backend, Block, PoolKind, State};
pub use tag::{PatternError, Tag, TagPattern};
pub use tracker::Pool;
