//! Who made a driver, which version, linked when: from the image as it lies in memory.
//!
//! The version resource is pageable and often gone; the debug directory is read-only data
//! and often there. Each fact says where it came from or why it is missing. Nothing here
//! proves who made a driver: a driver can call itself anything.

mod maker;
pub mod version_resource;

use crate::bytes::u32_at;
use crate::memory::AddressSpace;

use super::image::Image;
use super::modules::Module;

pub use maker::{Maker, ModuleIdentity};
pub use version_resource::{VersionInfo, VersionResource};

const DEBUG_ENTRY_SIZE: u32 = 28;
const MAX_DEBUG_ENTRIES: u32 = 64;
/// IMAGE_DEBUG_TYPE_REPRO: the time stamps are a hash of the content.
const DEBUG_TYPE_REPRO: u32 = 16;
/// 1993-01-01, before the first release of Windows NT.
const EARLIEST_LINK: u32 = 725_846_400;
const DAY: i64 = 86_400;

/// What TimeDateStamp of a PE header means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkTime {
    /// Seconds since 1970 (UTC): no entry of the debug directory calls it a hash.
    Date(u32),
    /// A hash: the debug directory has an entry of type REPRO, or no date is that late or
    /// that early.
    Hash(u32),
    /// The debug directory can't be read: a date or a hash.
    Unknown(u32),
}

/// What is known of a module's maker and version.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The version resource, or why there is none.
    pub version: VersionResource,
    /// What the PE time stamp means; `None` where the header is not in the dump.
    pub linked: Option<LinkTime>,
}

impl Identity {
    /// Reads what the image of `module` says. `now` is the dump's time in seconds since
    /// 1970: no driver was linked more than a day after it.
    pub fn read(space: &AddressSpace, module: &Module, now: Option<i64>) -> Identity {
        match &module.image {
            Some(image) => Identity {
                version: version_resource::read(
                    space,
                    image.base,
                    image.size,
                    image.resource_directory,
                ),
                linked: Some(link_time(space, image, now)),
            },
            None => Identity {
                version: match (module.unloaded, space.page(module.base)) {
                    (false, Err(fault)) => VersionResource::NotInDump(fault),
                    (false, Ok(_)) => VersionResource::Malformed("its header is not a PE header"),
                    (true, _) => VersionResource::None,
                },
                linked: None,
            },
        }
    }

    /// The date of the link in seconds since 1970, where the stamp is one.
    pub fn link_date(&self) -> Option<u32> {
        match self.linked? {
            LinkTime::Date(seconds) => Some(seconds),
            LinkTime::Hash(_) | LinkTime::Unknown(_) => None,
        }
    }

    /// Why company and version are not known, as a sentence without its end; `None` where
    /// they are.
    pub fn version_note(&self) -> Option<String> {
        match &self.version {
            VersionResource::Read(_) => None,
            VersionResource::FoundByScan(_) => Some(
                "found by a scan of the resource section: its directory is not in the dump".into(),
            ),
            VersionResource::NotInDump(fault) => Some(format!(
                "company unknown: the version resource is not in the dump ({fault})"
            )),
            VersionResource::None => {
                Some("company unknown: the driver has no version resource".into())
            }
            VersionResource::Malformed(why) => Some(format!(
                "company unknown: the version resource is damaged ({why})"
            )),
        }
    }
}

fn link_time(space: &AddressSpace, image: &Image, now: Option<i64>) -> LinkTime {
    let stamp = image.timestamp;
    let late = now.is_some_and(|now| i64::from(stamp) > now.saturating_add(DAY));
    if stamp < EARLIEST_LINK || late {
        return LinkTime::Hash(stamp);
    }
    let Some((rva, size)) = image.debug_directory else {
        return LinkTime::Date(stamp);
    };
    for i in 0..(size / DEBUG_ENTRY_SIZE).min(MAX_DEBUG_ENTRIES) {
        let at = image
            .base
            .add(u64::from(rva) + u64::from(i * DEBUG_ENTRY_SIZE));
        let Ok(entry) = space.array::<28>(at) else {
            return LinkTime::Unknown(stamp);
        };
        if u32_at(&entry, 0x0c) == Some(DEBUG_TYPE_REPRO) {
            return LinkTime::Hash(stamp);
        }
    }
    LinkTime::Date(stamp)
}
