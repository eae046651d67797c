//! A tag at a glance, below the tag list.

use crate::memory::Va;
use crate::pool::Tag;

/// What is shown of the selected tag.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preview {
    /// The tag.
    pub tag: Tag,
    /// The walk was done: nothing of this changes any more.
    pub whole: bool,
    /// The owner and the confidence; `None` before there is an attribution, or without a clear
    /// candidate.
    pub owner: Option<String>,
    /// Why, the strongest first.
    pub reasons: Vec<String>,
    /// The sizes that take the most bytes: size, count, share of the tag's bytes.
    pub sizes: Vec<(u64, u64, f64)>,
    /// Different sizes in all.
    pub size_count: u64,
    /// Places that reference the tag, the most telling first.
    pub references: Vec<String>,
    /// Such places in all; `None` when they were not looked for.
    pub reference_count: Option<u64>,
    /// Texts in sample blocks: where, and what.
    pub texts: Vec<(Va, String)>,
    /// Sample blocks that were read, and those that could not be.
    pub read: (u64, u64),
    /// Why there is nothing.
    pub failed: Option<String>,
}
