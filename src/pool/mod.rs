//! The pool: its trackers, its pages, its blocks, and the index over them.

pub mod big;
pub mod block;
#[doc(hidden)]
pub mod heap;
pub mod index;
#[doc(hidden)]
pub mod legacy;
#[doc(hidden)]
pub mod lookaside;
pub mod page;
#[doc(hidden)]
pub mod region;
pub mod regions;
pub mod session;
#[doc(hidden)]
pub mod session_tracker;
#[doc(hidden)]
pub mod special;
#[doc(hidden)]
pub mod survey;
pub mod tag;
pub mod tracker;

pub use block::{Backend, Block, PoolKind, State};
pub use tag::{PatternError, Tag, TagPattern};
pub use tracker::Pool;
