//! What the user presses and types: keys, the line at the foot of the screen, searches,
//! filters and queries.

pub mod keys;
pub mod prompt;
pub mod query;
