//! Background threads: answers from the dump, saving files, and loading the kernel's
//! symbols when they arrive.

pub mod baseline;
pub mod memory;
pub mod preview;
pub mod save;
pub mod symbols;
pub mod tables;
pub mod worker;
