//! The vendor, version and link time of a driver, from its image in memory.
//!
//! The version resource is pageable and often missing. The debug directory is read-only data
//! and often present. Each fact has its source, or the reason why it is missing. None of this
//! proves who made a driver: a driver can claim any name.

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
/// IMAGE_DEBUG_TYPE_REPRO: time stamps are a hash of the content.
const DEBUG_TYPE_REPRO: u32 = 16;
/// 1993-01-01, before the first release of Windows NT.
const EARLIEST_LINK: u32 = 725_846_400;
const DAY: i64 = 86_400;

/// The meaning of TimeDateStamp in a PE header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkTime {
    /// A date in seconds since 1970 (UTC): no debug directory entry marks it as a hash.
    Date(u32),
    /// A hash: the debug directory has an entry of type REPRO, or the value is not a plausible
    /// date.
    Hash(u32),
    /// The debug directory can't be read: it may be a date or a hash.
    Unknown(u32),
}

/// A module's vendor and version, as far as known.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The version resource, or the reason why it is missing.
    pub version: VersionResource,
    /// The meaning of the PE time stamp; `None` if the header is not in the dump.
    pub linked: Option<LinkTime>,
}

impl Identity {
    /// Reads the identity from the image of `module`. `now` is the dump's time in seconds since
    /// 1970: a link time more than a day later is implausible.
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

    /// The link date in seconds since 1970, if the time stamp is a date.
    pub fn link_date(&self) -> Option<u32> {
        match self.linked? {
            LinkTime::Date(seconds) => Some(seconds),
            LinkTime::Hash(_) | LinkTime::Unknown(_) => None,
        }
    }

    /// The reason why company and version are unknown, as a sentence without its full stop;
    /// `None` if they are known.
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
