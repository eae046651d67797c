//! The saved session of a dump: marks and notes, order, filter, location, and typed lines.

use serde::{Deserialize, Serialize};

use crate::tui::data::mark::{Mark, Marked};

/// Version of the file format; other versions are not read.
pub const VERSION: u32 = 1;

/// The saved session of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct SessionState {
    pub version: u32,
    /// The dump's file name at the time of saving, for people who look into the folder.
    pub file: String,
    pub marks: Vec<Mark>,
    pub pool: u8,
    pub sort: u8,
    pub reversed: bool,
    pub filter: String,
    pub unknown_only: bool,
    pub selected: Option<u32>,
    pub steps: Vec<Step>,
    pub commands: Vec<String>,
    pub filters: Vec<String>,
    pub searches: Vec<String>,
}

/// A step of the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Step {
    Summary,
    Modules {
        filter: String,
    },
    Drivers,
    TagsOf(Option<String>),
    Sizes(u32),
    Marks,
    Report,
    Tag {
        tag: u32,
        part: String,
        filter: String,
        pool: u8,
        by_size: bool,
        descending: bool,
        #[serde(alias = "mentions")]
        references: bool,
        /// The selected allocation.
        at: Option<Marked>,
    },
    Bytes {
        title: String,
        about: String,
        first: u64,
        length: Option<u64>,
        at: u64,
        session: Option<u32>,
        shape: u8,
    },
}
