//! What operating systems do differently, behind functions that are the same on all of
//! them: the memory that is left, the console, and how a finished file gets its name.

pub mod console;
pub mod files;
pub mod memory;
