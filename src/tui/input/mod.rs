//! User input: keys, the line at the bottom of the screen, searches, filters and queries.

pub mod keys;
pub mod prompt;
pub mod query;
