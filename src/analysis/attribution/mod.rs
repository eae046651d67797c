//! Whose a tag is: who allocates its blocks, whose leak it would be, and what it is for.
//!
//! This is the one place where modules, names and lists become an owner; every screen,
//! report and export shows what is computed here.

pub mod descriptions;
pub mod drivers;
pub mod kmdf;
pub mod suspects;

pub use descriptions::{Description, Descriptions};
pub use suspects::{Certainty, Owner, Owners};
