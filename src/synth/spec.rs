//! The specification of a machine, and the blocks for its own structures.

use crate::addr::Va;

use super::code::Site;
use super::era::{Era, WIN7};
use super::heap::HeapShape;
use super::image::Data;
use super::kernel::{LOADER_BLOCK, UNLOADED_BLOCK, process_block};
use super::legacy::{Allocation, Bulk, Holds, PoolShape, Role};
use super::objects;
use super::physical::Run;
use super::truth::{Pool, Tag, VmTruth};

/// A module to load.
#[derive(Clone, Debug)]
pub struct ModuleSpec {
    /// File name.
    pub file: String,
    /// Directory below the system directory, with backslashes: `\SystemRoot\system32\drivers\`.
    pub folder: &'static str,
    /// Load address.
    pub base: Va,
    /// SizeOfImage.
    pub size: u32,
    /// Functions that other modules import.
    pub exports: Vec<String>,
    /// Code that uses tags; it determines the imports.
    pub sites: Vec<Site>,
    /// Imports that come before those of the code.
    pub imports: Vec<(String, String)>,
    /// Content of the data sections.
    pub data: Vec<Data>,
    /// True when the import descriptors and names are in INIT, which is discarded.
    pub names_in_init: bool,
}

/// A driver that was unloaded: name, base, size in bytes.
pub type UnloadedSpec = (String, Va, u32);

/// Sizes of the pool's own tables, and special cases of the machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Entries of each processor's tracker table: a power of two plus one.
    pub tracker_entries: u64,
    /// Entries of the expansion table; 0 for no table.
    pub expansion_entries: u64,
    /// Tags in the expansion table.
    pub expanded: Vec<Tag>,
    /// Tags that did not fit: their counts are summed in the last entry.
    pub overflowed: Vec<Tag>,
    /// Tags that were never freed. Most blocks of other tags were.
    pub unfreed: Vec<Tag>,
    /// Tags in the trackers without outstanding blocks.
    pub idle_tags: Vec<Tag>,
    /// Entries of the big page table, a power of two.
    pub big_entries: u64,
    /// Number of freed entries in it that keep their old fields.
    pub tombstones: u64,
    /// Lookaside lists in the format for processors without a 16-byte compare-exchange.
    pub packed_slists: bool,
    /// MiInvalidPteMask: XORed into entries that are not valid.
    pub invalid_mask: u64,
    /// Maps the first gigabyte of memory a second time, as one page.
    pub gigabyte_page: bool,
    /// The page table for the start of paged pool is itself in transition.
    pub retired_table: bool,
    /// Low bits of DirectoryTableBase, outside the address.
    pub root_low_bits: u64,
    /// Frames are allocated with gaps.
    pub scatter: bool,
    /// Single frames are allocated in random order.
    pub shuffle: bool,
    /// The dump is a live dump: bug check 0x161, marked in the header.
    pub live: bool,
    /// nt's debug record refers to an unknown PDB.
    pub unknown_kernel: bool,
    /// Empty pages of images are mapped too.
    pub whole_images: bool,
    /// All processors share one tracker table, and there is no array of tables.
    pub one_tracker: bool,
    /// Additional contents of blocks with certain tags.
    pub holds: Vec<Holds>,
    /// Drivers of another build than the first: file name and number. A later build has a later
    /// time stamp and another PDB.
    pub builds: Vec<(String, u32)>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            tracker_entries: 257,
            expansion_entries: 0,
            expanded: Vec::new(),
            overflowed: Vec::new(),
            unfreed: Vec::new(),
            idle_tags: Vec::new(),
            big_entries: 256,
            tombstones: 0,
            packed_slists: false,
            invalid_mask: 0,
            gigabyte_page: false,
            retired_table: false,
            root_low_bits: 0,
            scatter: true,
            shuffle: false,
            live: false,
            unknown_kernel: false,
            whole_images: true,
            one_tracker: false,
            holds: Vec::new(),
            builds: Vec::new(),
        }
    }
}

/// A complete machine.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The version of Windows.
    pub era: &'static Era,
    /// Memory runs.
    pub runs: Vec<Run>,
    /// Number of processors.
    pub processors: u16,
    /// The same seed gives the same machine.
    pub seed: u64,
    /// FILETIME of the crash.
    pub system_time: u64,
    /// Time since boot in units of 100 ns.
    pub uptime: u64,
    /// How many times Windows was started; builds that don't count it leave it out.
    pub boot_number: u32,
    /// Bug check and parameters.
    pub bugcheck: (u32, [u64; 4]),
    /// Counters; a usage of 0 (nonpaged) or none (paged) is set to the pages that are written.
    pub vm: VmTruth,
    /// The kernel first, then hal, then drivers in load order.
    pub modules: Vec<ModuleSpec>,
    /// Drivers that were unloaded.
    pub unloaded: Vec<UnloadedSpec>,
    /// Image names of the processes, System first.
    pub processes: Vec<String>,
    /// All blocks, including those of [`Spec::own_demands`].
    pub allocations: Vec<Allocation>,
    /// Additional pages of small blocks, generated when a dump is written.
    pub bulk: Vec<Bulk>,
    /// The shape of the segment heaps; `None` for chains of blocks.
    pub heaps: Option<HeapShape>,
    /// The nonpaged pool.
    pub nonpaged: PoolShape,
    /// The paged pool.
    pub paged: PoolShape,
    /// Table sizes and special cases.
    pub options: Options,
}

/// First address of nonpaged pool, if the PFN database before it is smaller.
pub const NONPAGED_START: Va = Va(0xffff_fa80_0140_0000);
/// Start of paged pool on Windows 7.
pub const PAGED_START: Va = Va(0xffff_f8a0_0000_0000);

impl Default for Spec {
    fn default() -> Spec {
        Spec {
            era: &WIN7,
            runs: vec![(1, 0x9e), (0x100, 0x700)],
            processors: 1,
            seed: 1,
            system_time: 129_700_000_000_000_000,
            uptime: 36_000_000_000,
            boot_number: 58,
            bugcheck: (0xe2, [0; 4]),
            vm: VmTruth::default(),
            modules: Vec::new(),
            unloaded: Vec::new(),
            processes: vec!["System".into()],
            allocations: Vec::new(),
            bulk: Vec::new(),
            heaps: None,
            nonpaged: PoolShape::new(Pool::NonPaged, NONPAGED_START),
            paged: PoolShape::new(Pool::Paged, PAGED_START),
            options: Options::default(),
        }
    }
}

impl Spec {
    /// The blocks for the machine's own structures, based on its modules, processors and
    /// tables.
    pub fn own_demands(&self) -> Vec<Allocation> {
        let mut out = Vec::new();
        for (i, module) in self.modules.iter().enumerate() {
            let path = (module.folder.len() + module.file.len() + 1) as u64 * 2;
            let bytes = (path + 0x10).next_multiple_of(16);
            out.push(
                Allocation::new(*b"MmLd", Pool::NonPaged, LOADER_BLOCK)
                    .role(Role::LoaderEntry(i as u16)),
            );
            out.push(
                Allocation::new(*b"MmLd", Pool::Paged, bytes).role(Role::LoaderName(i as u16)),
            );
        }
        if !self.unloaded.is_empty() {
            out.push(
                Allocation::new(*b"MmDT", Pool::NonPaged, UNLOADED_BLOCK)
                    .role(Role::UnloadedDrivers),
            );
        }
        for i in 0..self.unloaded.len() {
            out.push(
                Allocation::new(*b"MmDT", Pool::NonPaged, 0x40).role(Role::UnloadedName(i as u16)),
            );
        }
        for i in 0..self.processes.len() {
            out.push(
                Allocation::new(*b"Proc", Pool::NonPaged, process_block(self.era))
                    .protected(true)
                    .role(Role::Process(i as u16)),
            );
        }
        if self.era.offset("_EPROCESS", "ObjectTable").is_some() {
            for i in 0..self.processes.len() as u16 {
                let handles = Allocation::new(*b"Obtb", Pool::Paged, 0x90);
                out.push(handles.role(Role::HandleTable(i)));
                let path = Allocation::new(*b"SeAt", Pool::Paged, 0x90);
                out.push(path.role(Role::ImagePath(i)));
            }
        }
        for i in 0..objects::TYPES.len() {
            let ty = Allocation::new(*b"ObjT", Pool::NonPaged, objects::type_block(self.era));
            out.push(ty.role(Role::ObjectType(i as u16)));
        }
        for i in 0..self.vm.page_files.len() as u8 {
            let file = self.era.size("_MMPAGING_FILE").unwrap_or(0);
            let file = (0x10 + file).next_multiple_of(16).max(0xb0);
            out.push(Allocation::new(*b"Mm  ", Pool::NonPaged, file).role(Role::PageFile(i)));
            out.push(Allocation::new(*b"Mm  ", Pool::NonPaged, 0x50).role(Role::PageFileName(i)));
        }
        out.extend(self.tables());
        out
    }

    /// The trackers and the big page table, which are in pool themselves: whole pages, listed
    /// in the big page table like other allocations of that size.
    fn tables(&self) -> Vec<Allocation> {
        let pages = |entries: u64, ty: &str| {
            let bytes = entries * self.era.size(ty).unwrap_or(0);
            bytes.next_multiple_of(0x1000)
        };
        let table = |bytes, role| Allocation::new(*b"Pool", Pool::NonPaged, bytes).role(role);
        let trackers = pages(self.options.tracker_entries, "_POOL_TRACKER_TABLE");
        let tables = match self.options.one_tracker {
            true => 1,
            false => self.processors,
        };
        let mut out: Vec<Allocation> = (0..tables)
            .map(|cpu| table(trackers, Role::TrackTable(cpu)))
            .collect();
        if self.options.expansion_entries > 0 {
            let bytes = pages(self.options.expansion_entries, "_POOL_TRACKER_TABLE");
            out.push(table(bytes, Role::TrackExpansion));
        }
        let bytes = pages(self.options.big_entries, "_POOL_TRACKER_BIG_PAGES");
        out.push(table(bytes, Role::BigPageTable));
        out
    }
}
