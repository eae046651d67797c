//! Pool use by driver instead of by tag.
//!
//! The bytes of each tag count for its owner. Tags without an owner are listed separately, so the
//! sum always equals the kernel's count.

use crate::kernel::identity::ModuleIdentity;
use crate::pool::Tag;
use crate::pool::tracker::TagUsage;

use super::suspects::{Certainty, Owners};

/// A tag that a driver owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The tag.
    pub tag: Tag,
    /// Bytes of nonpaged and paged pool.
    pub bytes: [u64; 2],
    /// The confidence that the driver owns the tag; `None` for tags without an owner.
    pub certainty: Option<Certainty>,
}

impl Holding {
    /// Bytes of both pools.
    pub fn total(&self) -> u64 {
        self.bytes[0].saturating_add(self.bytes[1])
    }
}

/// A driver's pool use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// The module name as in WinDbg; empty for tags without a known owner.
    pub module: String,
    /// Bytes of nonpaged and paged pool.
    pub bytes: [u64; 2],
    /// Bytes in both pools of tags that it certainly owns.
    pub certain: u64,
    /// Its tags, by bytes, descending.
    pub tags: Vec<Holding>,
    /// The driver's identity.
    pub identity: Option<ModuleIdentity>,
}

impl Driver {
    /// Bytes of both pools.
    pub fn total(&self) -> u64 {
        self.bytes[0].saturating_add(self.bytes[1])
    }

    fn take(&mut self, holding: Holding) {
        for (sum, bytes) in self.bytes.iter_mut().zip(holding.bytes) {
            *sum = sum.saturating_add(bytes);
        }
        if holding.certainty == Some(Certainty::Certain) {
            self.certain = self.certain.saturating_add(holding.total());
        }
        self.tags.push(holding);
    }
}

/// All drivers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drivers {
    /// Drivers by bytes, descending.
    pub rows: Vec<Driver>,
    /// Tags without an owner that is at least likely.
    pub unowned: Driver,
}

/// Sums the tags by owner.
pub fn by_driver<'a>(tags: impl Iterator<Item = (&'a TagUsage, &'a Owners)>) -> Drivers {
    let mut out = Drivers::default();
    for (usage, owners) in tags {
        let holding = |certainty| Holding {
            tag: usage.tag,
            bytes: [usage.nonpaged.bytes, usage.paged.bytes],
            certainty,
        };
        if holding(None).total() == 0 {
            continue;
        }
        let Some(owner) = owners.best() else {
            out.unowned.take(holding(None));
            continue;
        };
        let own = holding(Some(owner.certainty));
        let known = |d: &&mut Driver| d.module.eq_ignore_ascii_case(&owner.module);
        match out.rows.iter_mut().find(known) {
            Some(driver) => driver.take(own),
            None => {
                let mut driver = Driver {
                    module: owner.module.clone(),
                    ..Driver::default()
                };
                driver.take(own);
                out.rows.push(driver);
            }
        }
    }
    for driver in out.rows.iter_mut().chain([&mut out.unowned]) {
        driver.tags.sort_by_key(|t| std::cmp::Reverse(t.total()));
    }
    out.rows.sort_by_key(|d| std::cmp::Reverse(d.total()));
    out
}
