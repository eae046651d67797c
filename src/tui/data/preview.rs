//! The preview of a tag below the tag list.

use crate::memory::Va;
use crate::pool::Tag;

/// The contents of the preview.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preview {
    /// The tag.
    pub tag: Tag,
    /// The walk was done, so the preview is final.
    pub whole: bool,
    /// The owner and the confidence; `None` before the attribution is known, or if there is
    /// no clear candidate.
    pub owner: Option<String>,
    /// The reasons, the strongest first.
    pub reasons: Vec<String>,
    /// The sizes that use the most bytes: size, count, share of the tag's bytes.
    pub sizes: Vec<(u64, u64, f64)>,
    /// Number of different sizes.
    pub size_count: u64,
    /// References to the tag, the most significant first.
    pub references: Vec<String>,
    /// Number of references; `None` if they were not searched.
    pub reference_count: Option<u64>,
    /// Texts in sample blocks: address and text.
    pub texts: Vec<(Va, String)>,
    /// Sample blocks that were read, and sample blocks that could not be read.
    pub read: (u64, u64),
    /// Why there is no preview.
    pub failed: Option<String>,
}
