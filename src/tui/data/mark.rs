//! Marks and notes of the user, on tags and allocations.

use serde::{Deserialize, Serialize};

use crate::memory::Va;
use crate::pool::{Block, Tag};
use crate::report::text::grouped;

/// The object that is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Marked {
    /// A tag, as its 32-bit value.
    Tag(u32),
    /// An allocation.
    Block {
        /// Its address.
        va: u64,
        /// Its size.
        bytes: u64,
        /// Its tag, as a 32-bit value.
        tag: u32,
        /// The session whose pool it is in.
        session: Option<u32>,
    },
}

impl Marked {
    /// The mark target for an allocation.
    pub fn of(block: &Block) -> Marked {
        Marked::Block {
            va: block.va.0,
            bytes: block.bytes,
            tag: block.tag.value(),
            session: block.session,
        }
    }

    /// True if both are the same object, even if other details differ.
    pub fn is(&self, other: &Marked) -> bool {
        match (self, other) {
            (Marked::Tag(a), Marked::Tag(b)) => a == b,
            (
                Marked::Block { va: a, session, .. },
                Marked::Block {
                    va: b,
                    session: other,
                    ..
                },
            ) => a == b && session == other,
            _ => false,
        }
    }

    /// In words, for the report.
    pub fn words(&self) -> String {
        match *self {
            Marked::Tag(tag) => format!("tag {}", Tag::new(tag)),
            Marked::Block {
                va,
                bytes,
                tag,
                session,
            } => {
                let session = session.map_or(String::new(), |s| format!(", session {s}"));
                format!(
                    "{} block at {} of {} bytes{session}",
                    Tag::new(tag),
                    Va(va),
                    grouped(bytes)
                )
            }
        }
    }
}

/// A mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The object that is marked.
    pub what: Marked,
    /// The user's note.
    #[serde(default)]
    pub note: String,
}

/// Maximum number of marks: they are set by hand, not for millions of rows.
pub const MOST: usize = 1000;
/// Maximum length of a note in characters.
pub const LONGEST: usize = 500;

/// The mark of an object.
pub fn find<'m>(marks: &'m [Mark], what: &Marked) -> Option<&'m Mark> {
    marks.iter().find(|m| m.what.is(what))
}

/// True for a marked tag.
pub fn has_tag(marks: &[Mark], tag: Tag) -> bool {
    find(marks, &Marked::Tag(tag.value())).is_some()
}

/// True for a marked allocation.
pub fn has_block(marks: &[Mark], block: &Block) -> bool {
    !marks.is_empty() && find(marks, &Marked::of(block)).is_some()
}
