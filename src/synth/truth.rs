//! What was laid down, as plain data: what a reader of the dump must find.

use std::collections::BTreeMap;

use crate::addr::Va;

/// A pool tag: its four bytes in the order they are displayed.
pub type Tag = [u8; 4];

/// Which pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pool {
    /// Nonpaged pool.
    NonPaged,
    /// Paged pool.
    Paged,
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// In use and in the dump.
    Allocated,
    /// Freed, on a lookaside list; still looks allocated.
    Lookaside,
    /// Freed, waiting on a descriptor's list of deferred frees; still looks allocated.
    Pending,
    /// In use, on a page whose contents are in the page file.
    PagedOut,
    /// In use, on a page that kernel dumps leave out.
    Omitted,
    /// In use, behind a broken header in its page.
    Damaged,
    /// In use, with neither header nor entry in the big page table: the tables that the
    /// pool of NT 5.2 keeps of itself (ReactOS's `expool.c`).
    Unlisted,
}

impl State {
    /// True when the trackers count it.
    pub fn is_counted(self) -> bool {
        !matches!(self, State::Lookaside | State::Pending)
    }
}

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where it starts: its header, or its first byte when it has none.
    pub va: Va,
    /// Bytes, header included.
    pub bytes: u64,
    /// The owner.
    pub tag: Tag,
    /// The protected bit of the stored tag.
    pub protected: bool,
    /// Which pool.
    pub pool: Pool,
    /// In the nonpaged pool whose pages are not executable.
    pub nx: bool,
    /// Known by the big page table, without a header.
    pub big: bool,
    /// What became of it.
    pub state: State,
}

impl Block {
    /// The first byte that the owner sees.
    pub fn body(&self) -> Va {
        self.va.add(if self.big { 0 } else { 0x10 })
    }
}

/// A number of blocks and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Blocks.
    pub blocks: u64,
    /// Their bytes, headers included.
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

/// A tag's accounts.
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
    /// Bytes of address space.
    pub size: u32,
    /// True when it was unloaded.
    pub unloaded: bool,
}

/// A place in an image that mentions a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferenceTruth {
    /// The first of the four bytes.
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
    /// Free.
    pub free: u64,
    /// Smallest size.
    pub minimum: u64,
    /// Largest size.
    pub maximum: u64,
}

/// The counters behind `!vm`, in pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct VmTruth {
    pub physical_memory: u64,
    pub page_files: Vec<PageFileTruth>,
    pub available: u64,
    pub resident_available: u64,
    /// In entries: one maps a page.
    pub free_system_ptes: u64,
    pub modified: u64,
    pub modified_pf: u64,
    pub nonpaged_usage: u64,
    pub nonpaged_max: u64,
    /// Of each paged pool, 0 first.
    pub paged_usage: Vec<u64>,
    pub paged_max: u64,
    /// Of each session.
    pub session_commit: Vec<u64>,
    pub shared_commit: u64,
    pub special_pool: u64,
    pub shared_process: u64,
    pub paged_commit: u64,
    pub driver_commit: u32,
    pub committed: u64,
    pub commit_limit: u64,
}

/// Pages of one pool by what is on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageTruth {
    /// Chains of small blocks.
    pub small: u64,
    /// Of big allocations, their last pages included.
    pub big: u64,
    /// Of the small ones, in the page file.
    pub paged_out: u64,
    /// Of the small ones, left out of kernel dumps.
    pub omitted: u64,
}

impl PageTruth {
    /// All pages.
    pub fn all(&self) -> u64 {
        self.small + self.big
    }
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Build number.
    pub build: u32,
    /// NtBuildLab.
    pub lab: String,
    /// Processors.
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
    /// What the trackers say, by tag.
    pub tags: BTreeMap<Tag, TagAccount>,
    /// Every block but the free ones, in order of address.
    pub blocks: Vec<Block>,
    /// Free blocks in pool pages.
    pub free: Account,
    /// Pages of nonpaged pool.
    pub nonpaged_pages: PageTruth,
    /// Pages of paged pool.
    pub paged_pages: PageTruth,
    /// Modules, loaded ones in load order first.
    pub modules: Vec<ModuleTruth>,
    /// Where images mention tags, in order of address.
    pub references: Vec<ReferenceTruth>,
    /// Pool pages with a broken chain, and the offset in bytes where it breaks.
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
