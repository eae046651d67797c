//! Answers as people and programs read them: text in WinDbg's layouts, JSON and CSV.
//!
//! Everything here is a pure function of the engine's answers; nothing prints.

pub mod text;
