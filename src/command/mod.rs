//! What can be typed: one grammar for the command line and for the line after `:`.
//!
//! A line becomes [`Request`]s by one table ([`table::ENTRIES`]): poolscope's own commands,
//! and those of WinDbg and PoolMon with their documented options. What poolscope can't do
//! is refused by name, with what to do instead. Nothing here reads a dump: addresses are
//! [`Expression`]s until a [`Resolver`] resolves them.

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
pub mod table;

pub use expression::{Expression, Resolver};
pub use line::Words;
pub use read::{parse, parse_words, unknown};
pub use refusal::Refusal;
pub use request::{File, Memory, PoolUsed, Request, Target};
pub use table::Entry;

#[cfg(test)]
mod tests;
