//! The owner of a tag: the module that allocates its blocks, the module responsible for a leak,
//! the tag's purpose, and the expected behaviour of its memory.
//!
//! Only this module combines modules, names and lists into an owner; every screen, report and
//! export shows its result.

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

/// All facts about the owner of a tag. Computed once per tag and shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attribution {
    /// The tag.
    pub tag: Tag,
    /// The entry of the tag lists.
    pub description: Option<Description>,
    /// The suspects, the likeliest first, and the allocator.
    pub owners: Owners,
    /// The identities of the suspects' drivers, if known.
    pub identities: Vec<(String, ModuleIdentity)>,
    /// True if block contents were examined.
    pub by_contents: bool,
}

impl Attribution {
    /// The module that calls the allocation functions, for itself or on behalf of callers.
    pub fn allocator(&self) -> Option<&str> {
        self.owners.allocator.as_deref()
    }

    /// The identity of a suspect's driver.
    pub fn identity(&self, module: &str) -> Option<&ModuleIdentity> {
        let of = self
            .identities
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(module))?;
        Some(&of.1)
    }

    /// The owner for a column: [`Attribution::owner_words`], otherwise the module that allocates
    /// on behalf of callers; empty if unknown.
    pub fn column(&self) -> String {
        let allocator = || Some(format!("(allocated by {})", self.allocator()?));
        self.owner_words().or_else(allocator).unwrap_or_default()
    }

    /// The owner as short text, for example `myfault (certain)` or `shared by a, b`; `None`
    /// without a clear candidate.
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
