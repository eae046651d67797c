//! Virtual memory: addresses, page tables, and reading through them.

pub mod addr;

pub use addr::{PAGE_SIZE, Pa, Pfn, Va};
