//! What stays after the program has ended: the place, the marks, the files that the user
//! asks for.

pub mod files;
pub mod session;
