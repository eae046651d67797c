//! Which driver a module's name stands for, in records and in one phrase.

use serde::Serialize;

use crate::kernel::identity::ModuleIdentity;

use super::text::{clean, rfc3339};

/// The fields that rows of drivers and suspects have in common; null where the dump does
/// not say.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct IdentityRecord {
    pub file: Option<String>,
    pub file_version: Option<String>,
    pub company: Option<String>,
    pub linked: Option<String>,
    pub unloaded: Option<bool>,
    /// The same in words, where it says more than the module's name.
    #[serde(skip)]
    pub phrase: Option<String>,
}

impl IdentityRecord {
    /// Of an identity, without the characters that a terminal would act on.
    pub fn of(identity: Option<&ModuleIdentity>) -> IdentityRecord {
        let Some(identity) = identity else {
            return IdentityRecord::default();
        };
        let safe = |text: &String| clean(text).into_owned();
        IdentityRecord {
            file: Some(safe(&identity.file)),
            file_version: identity.file_version.as_ref().map(safe),
            company: identity.company.as_ref().map(safe),
            linked: identity.linked.and_then(rfc3339),
            unloaded: Some(identity.unloaded),
            phrase: identity
                .is_telling()
                .then(|| clean(&identity.phrase()).into_owned()),
        }
    }
}
