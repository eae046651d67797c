//! Is it a leak, and how bad is it: evidence per tag, the pressure on the pools, the
//! verdict, and what to do next.

pub mod diagnosis;
pub mod evidence;
pub mod guidance;
pub mod lockstep;

pub use evidence::Verdict;
