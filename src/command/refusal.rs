//! The error for a line that cannot be run.

/// Why a line cannot be run: what is wrong, then what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

impl Refusal {
    pub(super) fn new(text: impl Into<String>) -> Refusal {
        Refusal(text.into())
    }
}

pub(super) type Result<T> = std::result::Result<T, Refusal>;
