//! Builds dumps: a small Windows-like machine laid down as real structures.
//!
//! A [`Spec`] says what the machine is like; [`Machine::build`] lays it down, structure by
//! structure, in sparse physical memory behind real page tables; [`Machine::write`] makes
//! a dump of it in any [`Container`]. The [`Truth`] that comes with it is what a reader
//! must find. [`demo`] is the machine that `poolscope demo` shows.
//!
//! Nothing here uses the readers or their tables: what both get wrong in the same way
//! would otherwise go unseen.

pub mod code;
pub mod container;
pub mod counters;
pub mod demo;
pub mod era;
pub mod header;
pub mod image;
pub mod kernel;
pub mod legacy;
mod machine;
pub mod paging;
pub mod physical;
pub mod processors;
pub mod rng;
mod spec;
pub mod trackers;
pub mod truth;

pub use container::Container;
pub use machine::Machine;
pub use spec::{ModuleSpec, NONPAGED_START, Options, PAGED_START, Spec, UnloadedSpec};
pub use truth::Truth;
