//! The interpretation of pool data: plausibility, owners, references, contents, verdicts and
//! coverage.

pub mod ages;
pub mod attribution;
pub mod census;
pub mod coverage;
pub mod judgement;
pub mod objects;
pub mod references;
#[doc(hidden)]
pub mod tag_search;
pub mod verifier;
pub mod vm;

pub use attribution::{Description, Descriptions};
pub use coverage::{Accounts, Coverage};
pub use references::{Confidence, ModuleRank, Reference, References, Role, Standing};
pub use tag_search::TagSearch;
pub use vm::{Flag, Line, VmReport};
