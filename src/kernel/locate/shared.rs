//! KUSER_SHARED_DATA: mapped at the same address on every x64 build, with content that only
//! Windows writes.

use crate::bytes::{u16_at, u32_at, u64_at};
use crate::dump::PageBytes;
use crate::memory::{AddressSpace, Pfn, Target};

use super::super::SHARED_USER_DATA;

const INTERRUPT_TIME: usize = 0x08;
const SYSTEM_TIME: usize = 0x14;
const SYSTEM_ROOT: usize = 0x30;
const BUILD: usize = 0x260;
const MAJOR: usize = 0x26c;
const MINOR: usize = 0x270;
const PHYSICAL_PAGES: usize = 0x2e8;
const PROCESSORS: usize = 0x3c0;

/// 2000-01-01 and 2200-01-01 in 100 ns units since 1601.
const YEARS: std::ops::Range<u64> = 125_911_584_000_000_000..189_022_464_000_000_000;
/// A hundred years in 100 ns units.
const LONGEST_UPTIME: u64 = 31_556_952_000_000_000;

/// The content of the page.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// Its frame.
    pub frame: Pfn,
    /// NtMajorVersion and NtMinorVersion.
    pub version: (u32, u32),
    /// NtBuildNumber; not stored here before Windows 10.
    pub build: Option<u32>,
    /// 100 ns units since 1601.
    pub system_time: u64,
    /// 100 ns units since boot.
    pub interrupt_time: u64,
    /// NumberOfPhysicalPages.
    pub physical_pages: u32,
    /// ActiveProcessorCount.
    pub processors: u32,
}

impl Shared {
    /// Reads the page; `None` unless it is plausible.
    pub fn read(space: &AddressSpace) -> Option<Shared> {
        let Target::Frame { pfn, .. } = space.translate(SHARED_USER_DATA).ok()? else {
            return None;
        };
        Shared::of(pfn, space.page(SHARED_USER_DATA).ok()?)
    }

    fn of(frame: Pfn, page: &PageBytes) -> Option<Shared> {
        let d = |at| u32_at(page, at).unwrap_or(0);
        let version = (d(MAJOR), d(MINOR));
        let known = match version {
            (5, minor) => minor == 2,
            (6, minor) => minor <= 3,
            (10, minor) => minor == 0,
            _ => false,
        };
        // "C:\": a letter, a colon, a backslash.
        let letter = u16_at(page, SYSTEM_ROOT).and_then(|c| u8::try_from(c).ok());
        let is_path = letter.is_some_and(|c| c.is_ascii_alphabetic())
            && u16_at(page, SYSTEM_ROOT + 2) == Some(b':'.into())
            && u16_at(page, SYSTEM_ROOT + 4) == Some(b'\\'.into());
        let system_time = time(page, SYSTEM_TIME)?;
        let interrupt_time = time(page, INTERRUPT_TIME)?;
        let plausible = YEARS.contains(&system_time) && interrupt_time < LONGEST_UPTIME;
        let build = Some(d(BUILD) & 0xffff).filter(|build| version.0 == 10 && *build >= 10240);
        (known && is_path && plausible).then_some(Shared {
            frame,
            version,
            build,
            system_time,
            interrupt_time,
            physical_pages: d(PHYSICAL_PAGES),
            // 16 bits on Windows 7, followed by the number of groups.
            processors: u16_at(page, PROCESSORS).unwrap_or(0).into(),
        })
    }
}

/// A KSYSTEM_TIME: the low half, the high half, the high half again. If the two high halves
/// differ, an update was in progress, and the first belongs to the new time.
fn time(page: &PageBytes, at: usize) -> Option<u64> {
    u64_at(page, at)
}
