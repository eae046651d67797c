//! Evidence per tag, the pressure on the pools, the verdict, and the next steps. Two questions
//! are kept separate: whether a tag shows a leak pattern, and how near its pool is to a limit.

pub mod case;
pub mod chain;
pub mod diagnosis;
pub mod evidence;
pub mod guidance;
pub mod lockstep;
pub mod pressure;
pub mod verdict;
pub mod words;

pub use case::{Case, Row};
pub use pressure::Severity;
pub use verdict::Verdict;
