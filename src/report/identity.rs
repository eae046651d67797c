//! The identity of a module's driver, as fields and as a phrase.

use serde::Serialize;

use crate::kernel::identity::ModuleIdentity;

use super::text::{clean, rfc3339};

/// The fields that rows of drivers and suspects share; null if the dump does not contain the
/// fact.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct IdentityRecord {
    pub file: Option<String>,
    pub file_version: Option<String>,
    pub company: Option<String>,
    pub linked: Option<String>,
    pub unloaded: Option<bool>,
    /// The identity as a phrase, if it says more than the module's name.
    #[serde(skip)]
    pub phrase: Option<String>,
}

impl IdentityRecord {
    /// A record of an identity, without characters that a terminal would interpret.
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
