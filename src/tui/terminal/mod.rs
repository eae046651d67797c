//! The terminal: what it sends, what it is sent, and how it is given back.

pub mod clipboard;
pub mod diff;
pub mod input;
pub mod screen;
pub mod signals;
pub mod theme;
