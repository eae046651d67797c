//! The commands that can be typed: one grammar for the command line and for the line after
//! `:`.
//!
//! One table ([`table::ENTRIES`]) turns a line into [`Request`]s: poolscope's own commands,
//! and those of WinDbg and PoolMon with their documented options. A command that poolscope
//! cannot run is refused by name, with an alternative. This module reads no dump: addresses
//! are [`Expression`]s until a [`Resolver`] resolves them.

mod compare;
pub mod expression;
mod line;
mod machine_code;
mod parse;
mod poolmon;
mod read;
mod refusal;
mod refusals;
pub mod request;
pub mod symbol_query;
pub mod table;

pub use expression::{Expression, Resolver};
pub use line::Words;
pub use read::{parse, parse_words, unknown};
pub use refusal::Refusal;
pub use request::{File, Memory, PoolUsed, Request, Target};
pub use table::Entry;

#[cfg(test)]
mod tests;
