//! Answers to debugger commands: memory, symbols, structures, objects, processes. Each answer is
//! a [`Listing`], which every front end renders in its own way.

mod answer;
mod code;
mod headers;
mod listing;
mod lists;
mod memory;
mod modules;
mod objects;
mod resolver;
mod structure;
mod verifier;

pub use listing::{Listing, Value};
pub use lists::{pool_mon, sizes_of};
