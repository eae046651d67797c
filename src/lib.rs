//! poolscope reads a 64-bit Windows kernel dump and answers whose driver leaked the pool.
//!
//! Layers, each importing only those above it in this list: [`addr`] and
//! [`bytes`], [`characters`] (vocabulary), [`dump`] (the container), [`memory`] (translation),
//! [`symbols`] and [`kernel`] (what the structures are and where), [`pool`] (blocks and
//! the index), [`series`] (logs of a running machine), [`analysis`] (who and whether),
//! [`engine`] (all of it for one dump),
//! [`report`] (answers as text), [`evidence`] (answers as tables and files), and then
//! [`tui`] (what people see) and `mcp` (what agents ask). [`synth`] builds dumps and imports none of
//! the readers.

pub mod addr;
pub mod analysis;
pub mod bytes;
pub mod characters;
pub mod cli;
pub mod command;
pub mod dump;
pub mod engine;
pub mod evidence;
pub mod kernel;
#[cfg(feature = "mcp")]
pub mod mcp;
pub mod memory;
pub mod pool;
pub mod report;
pub mod series;
pub mod symbols;
pub mod synth;
pub mod tui;
