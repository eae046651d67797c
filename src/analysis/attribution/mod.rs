//! The owner of a tag: the module that allocates its blocks, the module responsible for a leak,
//! its purpose, and how its memory is expected to behave.
//!
//! This is the one place where modules, names and lists become an owner; every screen,
//! report and export shows what is computed here.

pub mod descriptions;
pub mod drivers;
pub mod kinds;
pub mod kmdf;
pub mod recorded;
pub mod suspects;

use crate::kernel::identity::ModuleIdentity;
use crate::pool::Tag;

pub use descriptions::{Description, Descriptions};
pub use suspects::{Certainty, Owner, Owners};

/// All facts about the owner of a tag. Made once per tag and shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attribution {
    /// The tag.
    pub tag: Tag,
    /// The entry of the tag lists.
    pub description: Option<Description>,
    /// The suspects, the most likely first, and the allocator.
    pub owners: Owners,
    /// The drivers of the suspects' names, as far as that is known.
    pub identities: Vec<(String, ModuleIdentity)>,
    /// The blocks' contents were looked at.
    pub by_contents: bool,
}

impl Attribution {
    /// The module that calls the pool's functions, on its own or others' behalf.
    pub fn allocator(&self) -> Option<&str> {
        self.owners.allocator.as_deref()
    }

    /// The driver of a suspect's name.
    pub fn identity(&self, module: &str) -> Option<&ModuleIdentity> {
        let of = self
            .identities
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(module))?;
        Some(&of.1)
    }

    /// The owner for a column: [`Attribution::owner_words`], or the module that allocates on behalf
    /// of others; empty if unknown.
    pub fn column(&self) -> String {
        let allocator = || Some(format!("(allocated by {})", self.allocator()?));
        self.owner_words().or_else(allocator).unwrap_or_default()
    }

    /// The owner in a few words: `myfault (certain)`, `shared by a, b`, or `None` without a clear
    /// candidate.
    pub fn owner_words(&self) -> Option<String> {
        if let Some(owner) = self.owners.best() {
            return Some(format!("{} ({})", owner.module, owner.certainty.word()));
        }
        let shared = &self.owners.shared_by;
        if !shared.is_empty() {
            return Some(format!("shared by {}", shared.join(", ")));
        }
        match self.owners.ranked.as_slice() {
            [only] => Some(format!("{} ({})", only.module, only.certainty.word())),
            _ => None,
        }
    }
}
