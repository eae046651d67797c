//! Checks a dump or log against rules that the user wrote.

mod evaluate;
mod limits;
mod rules;
mod verdicts;

pub use evaluate::{Observed, Outcome, RuleResult, Subject, evaluate};
pub use limits::Limit;
pub use rules::{Rules, RulesError, Target};
pub use verdicts::Verdicts;
