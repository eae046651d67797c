//! The contents of a machine as plain data: what a reader of the dump must find.

use std::collections::BTreeMap;

use crate::addr::Va;

/// A pool tag: its four bytes in display order.
pub type Tag = [u8; 4];

/// The pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pool {
    /// Nonpaged pool.
    NonPaged,
    /// Paged pool.
    Paged,
}

/// The state of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// In use and in the dump.
    Allocated,
    /// Freed, on a lookaside list; still looks allocated.
    Lookaside,
    /// Freed, on a descriptor's list of deferred frees; still looks allocated.
    Pending,
    /// In use, on a page whose contents are in the page file.
    PagedOut,
    /// In use, on a page that kernel dumps omit.
    Omitted,
    /// In use, after a broken header in its page.
    Damaged,
    /// In use, with neither a header nor an entry in the big page table: the pool's own tables
    /// on NT 5.2 (ReactOS's `expool.c`).
    Unlisted,
}

impl State {
    /// True when the trackers count it.
    pub fn is_counted(self) -> bool {
        !matches!(self, State::Lookaside | State::Pending)
    }
}

/// A block of pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Start address: its header, or its first byte if it has no header.
    pub va: Va,
    /// Size in bytes, including the header.
    pub bytes: u64,
    /// The tag.
    pub tag: Tag,
    /// The protected bit of the stored tag.
    pub protected: bool,
    /// The pool.
    pub pool: Pool,
    /// True for the non-executable nonpaged pool.
    pub nx: bool,
    /// True when it is in the big page table and has no header.
    pub big: bool,
    /// Its state.
    pub state: State,
}

impl Block {
    /// The first byte that the owner uses.
    pub fn body(&self) -> Va {
        self.va.add(if self.big { 0 } else { 0x10 })
    }
}

/// A number of blocks and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Number of blocks.
    pub blocks: u64,
    /// Their bytes, including headers.
    pub bytes: u64,
}

impl Account {
    /// Adds a block.
    pub fn add(&mut self, bytes: u64) {
        self.blocks += 1;
        self.bytes += bytes;
    }
}

impl std::ops::AddAssign for Account {
    fn add_assign(&mut self, other: Account) {
        self.blocks += other.blocks;
        self.bytes += other.bytes;
    }
}

/// A tag's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagAccount {
    /// In nonpaged pool.
    pub nonpaged: Account,
    /// In paged pool.
    pub paged: Account,
}

/// A module, loaded or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleTruth {
    /// File name.
    pub file: String,
    /// First address.
    pub base: Va,
    /// Size in bytes.
    pub size: u32,
    /// True when it was unloaded.
    pub unloaded: bool,
}

/// A reference to a tag in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferenceTruth {
    /// Address of the first of the four bytes.
    pub va: Va,
    /// The tag.
    pub tag: Tag,
}

/// The page file. Sizes in pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageFileTruth {
    /// Its path.
    pub path: String,
    /// Size.
    pub current: u64,
    /// Free pages.
    pub free: u64,
    /// Minimum size.
    pub minimum: u64,
    /// Maximum size.
    pub maximum: u64,
}

/// The counters of `!vm`, in pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct VmTruth {
    pub physical_memory: u64,
    pub page_files: Vec<PageFileTruth>,
    pub available: u64,
    pub resident_available: u64,
    /// In page-table entries; each maps a page.
    pub free_system_ptes: u64,
    pub modified: u64,
    pub modified_pf: u64,
    pub nonpaged_usage: u64,
    pub nonpaged_max: u64,
    /// For each paged pool, 0 first.
    pub paged_usage: Vec<u64>,
    pub paged_max: u64,
    /// For each session.
    pub session_commit: Vec<u64>,
    pub shared_commit: u64,
    pub special_pool: u64,
    pub shared_process: u64,
    pub paged_commit: u64,
    pub driver_commit: u32,
    pub committed: u64,
    pub commit_limit: u64,
}

/// Pages of one pool by content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageTruth {
    /// Chains of small blocks.
    pub small: u64,
    /// Pages of big allocations, including their last pages.
    pub big: u64,
    /// Small pages in the page file.
    pub paged_out: u64,
    /// Small pages omitted from kernel dumps.
    pub omitted: u64,
}

impl PageTruth {
    /// All pages.
    pub fn all(&self) -> u64 {
        self.small + self.big
    }
}

/// The complete contents of a machine.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Build number.
    pub build: u32,
    /// NtBuildLab.
    pub lab: String,
    /// Number of processors.
    pub processors: u32,
    /// Base of nt.
    pub kernel_base: Va,
    /// SystemTime: 100 ns units since 1601-01-01 UTC.
    pub system_time: u64,
    /// SystemUpTime: 100 ns units.
    pub uptime: u64,
    /// Bug check code.
    pub bugcheck: u32,
    /// The counters.
    pub vm: VmTruth,
    /// The trackers' counts, by tag.
    pub tags: BTreeMap<Tag, TagAccount>,
    /// All blocks except free ones, in address order.
    pub blocks: Vec<Block>,
    /// Free blocks in pool pages.
    pub free: Account,
    /// Pages of nonpaged pool.
    pub nonpaged_pages: PageTruth,
    /// Pages of paged pool.
    pub paged_pages: PageTruth,
    /// Modules, loaded ones in load order first.
    pub modules: Vec<ModuleTruth>,
    /// References to tags in images, in address order.
    pub references: Vec<ReferenceTruth>,
    /// Pool pages with a broken chain, and the offset in bytes of the break.
    pub damaged: Vec<(Va, u16)>,
}

impl Truth {
    /// The sum of all tags.
    pub fn total(&self) -> TagAccount {
        let mut total = TagAccount::default();
        for account in self.tags.values() {
            total.nonpaged += account.nonpaged;
            total.paged += account.paged;
        }
        total
    }

    /// The references to a tag.
    pub fn references_to(&self, tag: &Tag) -> Vec<Va> {
        let of_tag = self.references.iter().filter(|r| &r.tag == tag);
        of_tag.map(|r| r.va).collect()
    }
}
