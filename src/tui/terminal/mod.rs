//! The terminal: input, output, and restoring it at the end.

pub mod clipboard;
pub mod diff;
pub mod input;
pub mod screen;
pub mod signals;
pub mod theme;
