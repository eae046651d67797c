//! Data that outlives the program: sessions, settings, and files that the user saves.

pub mod files;
pub mod session;
