//! Builds dumps: a small Windows-like machine built with real kernel structures.
//!
//! A [`Spec`] describes the machine. [`Machine::build`] writes it, structure by structure, to
//! sparse physical memory with real page tables. [`Machine::write`] writes a dump of it in any
//! [`Container`]. The [`Truth`] of the machine lists what a reader must find. [`demo`] is the
//! machine of `poolscope demo`, `small` one for tests, `large` one for measurements, and
//! `broken` has files that readers must refuse.
//!
//! An [`era`] selects the Windows version: Server 2003, 7, 8.1, 1607, 1809, 1903, 2004, Server
//! 2022, 11 and 24H2. `small::of_era` is a small machine of any of them; its pools are chains
//! of blocks ([`legacy`]) or segment heaps ([`heap`]).
//!
//! The product includes what [`demo`] needs. The rest requires the feature `synth`, which
//! tests, benches, examples and the fuzzers enable.
//!
//! This code does not use the readers or their tables: a mistake that both share would go
//! unnoticed.

#[cfg(any(test, feature = "synth"))]
pub mod broken;
pub mod call_shapes;
#[cfg(any(test, feature = "synth"))]
pub mod callers;
pub mod code;
pub mod container;
pub mod counters;
pub mod demo;
pub mod era;
#[cfg(feature = "synth")]
pub mod etw;
pub mod header;
pub mod heap;
pub mod image;
pub mod kernel;
#[cfg(any(test, feature = "synth"))]
mod large;
pub mod legacy;
mod machine;
pub mod nt;
pub mod objects;
pub mod paging;
pub mod physical;
pub mod processors;
pub mod resource;
pub mod rng;
#[cfg(any(test, feature = "synth"))]
pub mod sessions;
#[cfg(any(test, feature = "synth"))]
pub mod small;
#[cfg(any(test, feature = "synth"))]
pub mod snapshot;
mod spec;
#[cfg(any(test, feature = "synth"))]
pub mod special;
pub mod trackers;
pub mod truth;
#[cfg(feature = "synth")]
pub mod verifier;

pub use container::Container;
#[cfg(any(test, feature = "synth"))]
pub use large::{large, large_heaps, large_leak, large_machine};
pub use machine::Machine;
#[cfg(any(test, feature = "synth"))]
pub use small::small;
pub use spec::{ModuleSpec, NONPAGED_START, Options, PAGED_START, Spec, UnloadedSpec};
pub use truth::Truth;
