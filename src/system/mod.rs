//! Functions that hide differences between operating systems: available memory, threads, the
//! console, and renaming a finished file.

pub mod console;
pub mod files;
pub mod memory;
pub mod threads;
