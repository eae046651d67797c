//! What the numbers mean: plausibility, descriptions, references, reconciliation.

pub mod census;
pub mod coverage;
pub mod descriptions;
pub mod diagnosis;
pub mod drivers;
pub mod guidance;
pub mod kmdf;
pub mod lockstep;
pub mod objects;
pub mod owner;
pub mod references;
pub mod score;
pub mod tag_search;
pub mod verifier;
pub mod vm;

pub use coverage::{Accounts, Coverage};
pub use descriptions::{Description, Descriptions};
pub use references::{Confidence, ModuleRank, Reference, References, Role, Standing};
pub use tag_search::TagSearch;
pub use vm::{Flag, Line, VmReport};
