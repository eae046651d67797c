//! The user's display settings, saved for all dumps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of the file format; other versions are not read.
pub const SETTINGS_VERSION: u32 = 1;

/// When a column is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnChoice {
    /// If the screen is wide enough.
    #[default]
    Auto,
    /// Always, as far as there is room.
    Always,
    /// Never.
    Never,
}

impl ColumnChoice {
    /// The next choice in the cycle.
    pub fn next(self) -> ColumnChoice {
        match self {
            ColumnChoice::Auto => ColumnChoice::Always,
            ColumnChoice::Always => ColumnChoice::Never,
            ColumnChoice::Never => ColumnChoice::Auto,
        }
    }

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            ColumnChoice::Auto => "by width",
            ColumnChoice::Always => "always",
            ColumnChoice::Never => "never",
        }
    }
}

/// The choices for the columns of a list, by column name; columns without a choice are
/// shown by screen width.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ColumnChoices {
    by_name: BTreeMap<String, ColumnChoice>,
}

impl ColumnChoices {
    /// The choice for a column.
    pub fn of(&self, name: &str) -> ColumnChoice {
        self.by_name.get(name).copied().unwrap_or_default()
    }

    /// Sets the choice for a column.
    pub fn set(&mut self, name: &str, choice: ColumnChoice) {
        match choice {
            ColumnChoice::Auto => {
                self.by_name.remove(name);
            }
            choice => {
                self.by_name.insert(name.to_owned(), choice);
            }
        }
    }

    /// Clears all choices.
    pub fn clear(&mut self) {
        self.by_name.clear();
    }

    /// True if every column is shown by screen width.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// Settings for all dumps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// [`SETTINGS_VERSION`].
    pub version: u32,
    /// The columns of the tag list.
    pub tag_columns: ColumnChoices,
    /// The preview of the first screen is hidden.
    pub hide_preview: bool,
}
