//! What the user decided about how things look, kept for all dumps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The form of the file; another one is not read.
pub const SETTINGS_VERSION: u32 = 1;

/// When a column is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnChoice {
    /// Where the screen is wide enough.
    #[default]
    Auto,
    /// At every width, as far as the screen has room.
    Always,
    /// At none.
    Never,
}

impl ColumnChoice {
    /// The next choice.
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

/// The choices about the columns of a list, by the columns' names; a column that is not
/// named is shown by width.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ColumnChoices {
    by_name: BTreeMap<String, ColumnChoice>,
}

impl ColumnChoices {
    /// The choice about a column.
    pub fn of(&self, name: &str) -> ColumnChoice {
        self.by_name.get(name).copied().unwrap_or_default()
    }

    /// Decides about a column.
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

    /// Forgets all choices.
    pub fn clear(&mut self) {
        self.by_name.clear();
    }

    /// True when every column is shown by width.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// What is kept for all dumps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// [`SETTINGS_VERSION`].
    pub version: u32,
    /// The columns of the tag list.
    pub tag_columns: ColumnChoices,
    /// The first screen has no preview.
    pub hide_preview: bool,
}
