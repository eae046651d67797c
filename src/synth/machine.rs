//! Builds a machine from its [`Spec`] and writes dumps of it.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::path::Path;

use crate::memory::addr::{PAGE_SIZE, Pa, Pfn, Va};

use super::container::Container;
use super::counters::{self, Places};
use super::header::DumpHeader;
use super::image::{self, Exports, Image, ImageSpec, Pdb};
use super::kernel::{self, LoaderEntry, Nt, Process};
use super::legacy::big;
use super::legacy::layout::Layout;
use super::legacy::lists;
use super::legacy::write::{Laid, Writer};
use super::legacy::{Contents, Role};
use super::paging::Memory;
use super::physical::Physical;
use super::processors::{self, Processor};
use super::rng::Rng;
use super::spec::{ModuleSpec, Spec};
use super::trackers::{self, Tables};
use super::truth::{ModuleTruth, Pool, ReferenceTruth, Tag, Truth};

const SHARED_USER_DATA: Va = Va(0xffff_f780_0000_0000);
const PFN_DATABASE: Va = Va(0xffff_fa80_0000_0000);
/// System mapping space, where things are put that are in neither image nor pool.
const KPCRS: Va = Va(0xffff_f880_0090_0000);
const DESCRIPTORS: Va = Va(0xffff_f880_00a0_0000);
const SESSIONS: Va = Va(0xffff_f880_00a8_0000);
const PROTOTYPES: Va = Va(0xffff_f880_00b0_0000);
const MEMORY_BLOCK: Va = Va(0xffff_f880_00b1_0000);
const STACKS: Va = Va(0xffff_f880_0200_0000);
/// Bytes of a kernel stack, and of the stretch each has.
const STACK_SIZE: u64 = 0x6000;
/// A 1 GB mapping, outside of all pools and images.
const GIGABYTE: Va = Va(0xffff_f8c0_0000_0000);
/// Sections of the kernel that its symbols fix: .data, and the end of PAGE.
const NT_DATA: (u32, u32) = (0x1d_d000, 0x2a_b000);
const NT_TAIL: u32 = 0x5a_2000;

/// A machine in memory, of which any number of dumps can be written.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its memory.
    pub memory: Memory,
    /// What the headers of its dumps say.
    pub header: DumpHeader,
    /// What was laid down.
    pub truth: Truth,
}

impl Machine {
    /// Builds it.
    ///
    /// # Errors
    /// When the blocks do not fit the pools, the pools not the memory, or the builder
    /// itself wrote where nothing is mapped.
    pub fn build(spec: &Spec) -> io::Result<Machine> {
        Builder::new(spec).build()
    }

    /// Writes a dump. Returns its length in bytes; most of it may be holes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path, container: Container) -> io::Result<u64> {
        let mut file = File::create(path)?;
        container.write(&self.header, &self.memory.physical, &mut file)
    }
}

struct Builder<'a> {
    spec: &'a Spec,
    nt: Nt,
    memory: Memory,
    rng: Rng,
    truth: Truth,
}

impl<'a> Builder<'a> {
    fn new(spec: &'a Spec) -> Self {
        let mut physical = Physical::new(spec.runs.clone());
        if spec.options.scatter {
            physical.scatter(spec.seed ^ 0x5ca7);
        }
        let mut memory = Memory::new(physical);
        memory.invalid_mask = spec.options.invalid_mask;
        Builder {
            spec,
            nt: Nt {
                era: spec.era,
                base: spec.modules.first().map_or(Va(0), |m| m.base),
            },
            memory,
            rng: Rng::new(spec.seed),
            truth: Truth {
                build: spec.era.build,
                lab: spec.era.lab.into(),
                processors: spec.processors.into(),
                kernel_base: spec.modules.first().map_or(Va(0), |m| m.base),
                system_time: spec.system_time,
                uptime: spec.uptime,
                bugcheck: spec.bugcheck.0,
                vm: spec.vm.clone(),
                ..Truth::default()
            },
        }
    }

    fn build(mut self) -> io::Result<Machine> {
        self.images();
        self.fixed_mappings();
        let laid = self.pools()?;
        self.books(&laid);
        let roots = self.lists_and_modules(&laid)?;
        let header = self.processors(&laid, roots);
        self.references();
        self.check()?;
        Ok(Machine {
            memory: self.memory,
            header,
            truth: self.truth,
        })
    }

    /// Loads the images, in order, each with its imports bound to those before.
    fn images(&mut self) {
        let mut known = Exports::new();
        for (i, module) in self.spec.modules.iter().enumerate() {
            let image = match i {
                0 => image::kernel(&self.image_spec(module, true), &known, NT_DATA, NT_TAIL),
                _ => image::driver(&self.image_spec(module, false), &known),
            };
            for (name, rva) in &image.exports {
                let key = (module.file.clone(), name.clone());
                known.insert(key, image.base.add((*rva).into()));
            }
            self.load(&image);
            self.truth.modules.push(ModuleTruth {
                file: module.file.clone(),
                base: module.base,
                size: module.size,
                unloaded: false,
            });
        }
        for (file, base, size) in &self.spec.unloaded {
            self.truth.modules.push(ModuleTruth {
                file: file.clone(),
                base: *base,
                size: *size,
                unloaded: true,
            });
        }
    }

    fn image_spec(&self, module: &ModuleSpec, is_kernel: bool) -> ImageSpec {
        let mut imports = module.imports.clone();
        for site in module.sites.iter().filter(|_| !is_kernel) {
            let (file, name) = site.what.import();
            let import = (file.to_owned(), name.to_owned());
            if !imports.contains(&import) {
                imports.push(import);
            }
        }
        let mut seed = Rng::new(
            module
                .file
                .bytes()
                .fold(7, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b))),
        );
        let stem = module.file.split('.').next().unwrap_or_default();
        let pdb = match is_kernel {
            true => Pdb {
                name: "ntkrnlmp.pdb".into(),
                guid: self.spec.era.guid,
                age: self.spec.era.age,
            },
            false => Pdb {
                name: format!("{stem}.pdb"),
                guid: (u128::from(seed.bits()) << 64 | u128::from(seed.bits())).to_le_bytes(),
                age: 1,
            },
        };
        let placed = |name: &String| match is_kernel {
            true => self.spec.era.rva(name),
            false => None,
        };
        ImageSpec {
            file: module.file.clone(),
            base: module.base,
            size: module.size,
            timestamp: 0x4ce7_0000 + (seed.bits() as u32 & 0xffff),
            pdb,
            exports: module
                .exports
                .iter()
                .map(|name| (name.clone(), placed(name)))
                .collect(),
            imports,
            sites: module.sites.clone(),
            constants: match is_kernel {
                true => kernel::constants(self.spec.era),
                false => Vec::new(),
            },
        }
    }

    /// Maps an image page by page, without those that are given back.
    fn load(&mut self, image: &Image) {
        for (i, bytes) in image.bytes.chunks(PAGE_SIZE as usize).enumerate() {
            let offset = i as u64 * PAGE_SIZE;
            let empty = bytes.iter().all(|&b| b == 0);
            let left_out = empty && !self.spec.options.whole_images && !image.is_data(offset);
            if image.is_discarded(offset) || left_out {
                continue;
            }
            let va = image.base.add(offset);
            let frame = self.memory.physical.allocate(1);
            let entry = match image.is_code(offset) {
                true => super::paging::Entry::Code(frame),
                false => super::paging::Entry::Data(frame),
            };
            self.memory.map(va, entry);
            if !empty {
                self.memory.write(va, bytes);
            }
        }
    }

    /// Looks for tags in the images as they are in the end, variables included.
    fn references(&mut self) {
        let tags: HashSet<Tag> = self.truth.tags.keys().copied().collect();
        let mut found = Vec::new();
        for module in &self.spec.modules {
            // The last bytes of the page before, for tags across the seam.
            let mut seam: Vec<u8> = Vec::new();
            for offset in (0..u64::from(module.size)).step_by(PAGE_SIZE as usize) {
                let va = module.base.add(offset);
                let frame = self.memory.frame(va);
                let page = frame.and_then(|pfn| self.memory.physical.page(pfn));
                let Some(page) = page else {
                    seam.clear();
                    continue;
                };
                let start = va.0 - seam.len() as u64;
                seam.extend_from_slice(page);
                find_tags(&seam, Va(start), &tags, &mut found);
                seam = page
                    .get(PAGE_SIZE as usize - 3..)
                    .unwrap_or_default()
                    .to_vec();
            }
        }
        found.sort_by_key(|r: &ReferenceTruth| r.va);
        self.truth.references = found;
    }

    /// Shared user data, the frame database, descriptors, sessions, stacks.
    fn fixed_mappings(&mut self) {
        let spec = self.spec;
        self.memory.map_new(SHARED_USER_DATA, 1);
        self.shared_user_data();
        let frames = self.memory.physical.end();
        let size = spec.era.size("_MMPFN").unwrap_or(0x30);
        self.memory
            .map_new(PFN_DATABASE, (frames * size).div_ceil(PAGE_SIZE));
        let pools = self.paged_pools();
        self.memory.map_new(DESCRIPTORS, pools * 2);
        self.memory
            .map_new(SESSIONS, spec.vm.session_commit.len() as u64 * 2);
        self.memory.map_new(PROTOTYPES, 1);
        self.memory.map_new(MEMORY_BLOCK, 1);
        self.memory_block();
        for cpu in 0..u64::from(spec.processors) {
            if cpu > 0 {
                self.memory.map_new(KPCRS.add(cpu * 0x1_0000), 8);
            }
            self.memory
                .map_new(STACKS.add(cpu * 2 * STACK_SIZE), STACK_SIZE / PAGE_SIZE);
        }
        if spec.options.gigabyte_page {
            self.memory.map_1g(GIGABYTE, Pfn(0));
        }
        let mask = spec.options.invalid_mask;
        self.memory.u64(self.nt.at("MiInvalidPteMask"), mask);
    }

    fn paged_pools(&self) -> u64 {
        self.spec.vm.paged_usage.len().max(1) as u64
    }

    fn shared_user_data(&mut self) {
        let at = |name| self.nt.field(SHARED_USER_DATA, "_KUSER_SHARED_DATA", name);
        let (root, product) = (at("NtSystemRoot"), at("NtProductType"));
        let (major, minor) = (at("NtMajorVersion"), at("NtMinorVersion"));
        let (pages, active) = (at("NumberOfPhysicalPages"), at("ActiveProcessorCount"));
        let (interrupt, system) = (at("InterruptTime"), at("SystemTime"));
        let path: Vec<u8> = "C:\\Windows"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        self.memory.write(root, &path);
        self.memory.u32(product, 3);
        self.memory.u32(major, self.spec.era.version.0);
        self.memory.u32(minor, self.spec.era.version.1);
        self.memory.u32(pages, self.memory.physical.frames() as u32);
        self.memory.u32(active, self.spec.processors.into());
        for (at, time) in [
            (interrupt, self.spec.uptime),
            (system, self.spec.system_time),
        ] {
            self.memory.u64(at, time);
            self.memory.u32(at.add(8), (time >> 32) as u32);
        }
    }

    /// MmPhysicalMemoryBlock: the runs once more, in nt's own form.
    fn memory_block(&mut self) {
        self.memory
            .pointer(self.nt.at("MmPhysicalMemoryBlock"), MEMORY_BLOCK);
        let runs = self.memory.physical.runs().to_vec();
        self.memory.u32(MEMORY_BLOCK, runs.len() as u32);
        self.memory
            .u64(MEMORY_BLOCK.add(8), self.memory.physical.frames());
        for (i, (first, pages)) in runs.iter().enumerate() {
            let at = MEMORY_BLOCK.add(0x10 + i as u64 * 16);
            self.memory.u64(at, *first);
            self.memory.u64(at.add(8), *pages);
        }
    }

    fn pools(&mut self) -> io::Result<Laid> {
        let spec = self.spec;
        let nonpaged = Layout::place(spec.nonpaged.clone(), &spec.demands, &mut self.rng)?;
        let paged = Layout::place(spec.paged.clone(), &spec.demands, &mut self.rng)?;
        let leaker = spec.modules.last().map_or(self.nt.base, |m| m.base);
        let mut writer = Writer {
            memory: &mut self.memory,
            demands: &spec.demands,
            contents: Contents {
                kernel_data: self.nt.base.add(NT_DATA.0.into()),
                leaker: leaker.add(0x13b9),
                neighbours: Vec::new(),
            },
            prototypes: PROTOTYPES,
            laid: Laid::default(),
            rng: self.rng.clone(),
        };
        writer.pool(&nonpaged, &[]);
        writer.pool(&paged, &spec.vm.paged_usage);
        let (mut laid, rng) = (writer.laid, writer.rng);
        self.rng = rng;
        let mut ends = BTreeMap::from([(Pool::NonPaged, nonpaged.end), (Pool::Paged, paged.end)]);
        for bulk in &spec.bulk {
            let Some(end) = ends.get_mut(&bulk.pool) else {
                continue;
            };
            bulk.lay(&mut self.memory, *end);
            *end = end.add(bulk.pages * PAGE_SIZE);
            laid.pages.entry(bulk.pool).or_default().small += bulk.pages;
        }
        Ok(laid)
    }

    /// Truth, trackers, big page table, counters.
    fn books(&mut self, laid: &Laid) {
        let truth = &mut self.truth;
        truth.blocks = laid.blocks.clone();
        truth.blocks.sort_by_key(|b| b.va);
        truth.free = laid.free;
        truth.damaged = laid.damaged.clone();
        let mut tags: BTreeMap<Tag, _> = BTreeMap::new();
        for tag in &self.spec.options.idle_tags {
            tags.entry(*tag).or_default();
        }
        for block in truth.blocks.iter().filter(|b| b.state.is_counted()) {
            let account: &mut super::truth::TagAccount = tags.entry(block.tag).or_default();
            match block.pool {
                Pool::NonPaged => account.nonpaged.add(block.bytes),
                Pool::Paged => account.paged.add(block.bytes),
            }
        }
        for bulk in &self.spec.bulk {
            truth.free += bulk.free();
            for (tag, account) in bulk.accounts() {
                let to = tags.entry(tag).or_default();
                match bulk.pool {
                    Pool::NonPaged => to.nonpaged += account,
                    Pool::Paged => to.paged += account,
                }
            }
        }
        truth.tags = tags;
        let pages = |pool| laid.pages.get(&pool).copied().unwrap_or_default();
        truth.nonpaged_pages = pages(Pool::NonPaged);
        truth.paged_pages = pages(Pool::Paged);
        if truth.vm.nonpaged_usage == 0 {
            truth.vm.nonpaged_usage = truth.nonpaged_pages.all();
        }
        if truth.vm.paged_usage.is_empty() {
            truth.vm.paged_usage = vec![truth.paged_pages.all()];
        }
        self.tables(laid);
        let (lowest, highest) = (
            self.spec.runs.first().map_or(0, |r| r.0),
            self.memory.physical.end() - 1,
        );
        let role = |role| laid.roles.get(&role).copied();
        let places = Places {
            nonpaged_start: self.spec.nonpaged.start,
            nonpaged_end: self
                .spec
                .nonpaged
                .start
                .add(self.truth.vm.nonpaged_max * PAGE_SIZE),
            paged_last: self
                .spec
                .paged
                .start
                .add(self.truth.vm.paged_max * PAGE_SIZE - 1),
            pfn_database: PFN_DATABASE,
            paged_descriptors: (0..self.paged_pools())
                .map(|i| DESCRIPTORS.add(i * 2 * PAGE_SIZE))
                .collect(),
            sessions: (0..self.spec.vm.session_commit.len() as u64)
                .map(|i| SESSIONS.add(i * 2 * PAGE_SIZE))
                .collect(),
            page_file: role(Role::PageFile).zip(role(Role::PageFileName)),
            frames: (lowest, highest),
        };
        counters::write(&mut self.memory, &self.nt, &self.truth.vm, &places);
        self.free_blocks(laid, &places);
    }

    /// Free lists and deferred frees of each descriptor.
    fn free_blocks(&mut self, laid: &Laid, places: &Places) {
        let nonpaged = self.nt.at("NonPagedPoolDescriptor");
        let mut descriptors = vec![(Pool::NonPaged, 0, nonpaged)];
        for (i, at) in places.paged_descriptors.iter().enumerate() {
            descriptors.push((Pool::Paged, i as u8, *at));
        }
        for (pool, index, at) in descriptors {
            let empty = BTreeMap::new();
            let free = laid.free_bodies.get(&(pool, index)).unwrap_or(&empty);
            lists::free_lists(&mut self.memory, self.spec.era, at, free);
            if index == 0 {
                let none = Vec::new();
                let pending = laid.pending.get(&pool).unwrap_or(&none);
                lists::pending(&mut self.memory, self.spec.era, at, pending);
            }
        }
    }

    fn tables(&mut self, laid: &Laid) {
        let options = &self.spec.options;
        let role = |role| laid.roles.get(&role).copied();
        let tables = Tables {
            per_cpu: (0..self.spec.processors)
                .filter_map(|cpu| role(Role::TrackTable(cpu)))
                .collect(),
            entries: options.tracker_entries,
            expansion: role(Role::TrackExpansion).map(|va| (va, options.expansion_entries)),
            expanded: options.expanded.clone(),
        };
        let (nt, memory) = (&self.nt, &mut self.memory);
        trackers::write(memory, nt.era, &tables, &self.truth.tags, &mut self.rng);
        for (cpu, table) in tables.per_cpu.iter().enumerate() {
            memory.pointer(nt.at("ExPoolTagTables").add(cpu as u64 * 8), *table);
        }
        if let Some(first) = tables.per_cpu.first() {
            memory.pointer(nt.at("PoolTrackTable"), *first);
        }
        memory.u64(nt.at("PoolTrackTableSize"), tables.entries);
        memory.u64(nt.at("PoolTrackTableMask"), tables.entries - 2);
        if let Some((va, entries)) = tables.expansion {
            memory.pointer(nt.at("PoolTrackTableExpansion"), va);
            memory.u64(nt.at("PoolTrackTableExpansionSize"), entries);
        }
        if let Some(table) = role(Role::BigPageTable) {
            big::write(
                memory,
                nt.era,
                table,
                options.big_entries,
                &laid.big,
                options.tombstones,
                &mut self.rng,
            );
            memory.pointer(nt.at("PoolBigPageTable"), table);
            memory.u64(nt.at("PoolBigPageTableSize"), options.big_entries);
            memory.u32(nt.at("ExpPoolBigEntriesInUse"), laid.big.len() as u32);
        }
    }

    /// The module lists and the processes. Returns the roots of System and of the
    /// process that crashed.
    fn lists_and_modules(&mut self, laid: &Laid) -> io::Result<(Pa, Pa)> {
        let role = |role| {
            let found = laid.roles.get(&role).copied();
            found.ok_or_else(|| io::Error::other(format!("no block was laid for {role:?}")))
        };
        let mut entries = Vec::new();
        for (i, module) in self.spec.modules.iter().enumerate() {
            entries.push(LoaderEntry {
                at: role(Role::LoaderEntry(i as u16))?,
                path_at: role(Role::LoaderName(i as u16))?,
                path: format!("{}{}", module.folder, module.file),
                file: module.file.clone(),
                base: module.base,
                size: module.size,
                entry_point: 0x1000,
            });
        }
        kernel::module_list(&mut self.memory, &self.nt, &entries);
        kernel::debugger_data(&mut self.memory, &self.nt);
        let mut gone = Vec::new();
        for (i, (file, base, size)) in self.spec.unloaded.iter().enumerate() {
            gone.push((
                file.clone(),
                role(Role::UnloadedName(i as u16))?,
                *base,
                *size,
            ));
        }
        if !gone.is_empty() {
            let array = role(Role::UnloadedDrivers)?;
            let now = self.spec.system_time;
            kernel::unloaded_drivers(&mut self.memory, &self.nt, array, &gone, now);
        }
        let system = self.memory.root();
        let crashed = self.memory.clone_root();
        let booted = self.spec.system_time - self.spec.uptime;
        let mut processes = Vec::new();
        for (i, name) in self.spec.processes.iter().enumerate() {
            processes.push(Process {
                name: name.clone(),
                id: if i == 0 { 4 } else { 200 + 88 * i as u64 },
                parent: if i == 0 { 0 } else { 4 },
                body: role(Role::Process(i as u16))?,
                root: if i == 0 { system } else { crashed },
                created: booted + i as u64 * 20_000_000,
            });
        }
        kernel::processes(&mut self.memory, &self.nt, &processes);
        Ok((system, crashed))
    }

    fn processors(&mut self, laid: &Laid, (system, crashed): (Pa, Pa)) -> DumpHeader {
        let header = DumpHeader {
            build: self.spec.era.build,
            directory_table: crashed.0 | self.spec.options.root_low_bits,
            pfn_database: PFN_DATABASE,
            loaded_modules: self.nt.at("PsLoadedModuleList"),
            processes: self.nt.at("PsActiveProcessHead"),
            debugger_data: self.nt.at("KdDebuggerDataBlock"),
            processors: self.spec.processors.into(),
            bugcheck: self.spec.bugcheck,
            runs: self.spec.runs.clone(),
            system_time: self.spec.system_time,
            uptime: self.spec.uptime,
            rip: self.nt.at("KeBugCheckEx"),
            rsp: STACKS.add(STACK_SIZE - 0x300),
            ..DumpHeader::default()
        };
        let all: Vec<Processor> = (0..self.spec.processors)
            .map(|number| Processor {
                number,
                kpcr: match number {
                    0 => self.nt.at("KiInitialPCR"),
                    _ => KPCRS.add(u64::from(number) * 0x1_0000),
                },
                thread: self.nt.at("KiInitialThread"),
                root: if number == 0 { crashed } else { system },
            })
            .collect();
        let packed = self.spec.options.packed_slists;
        processors::write(
            &mut self.memory,
            &self.nt,
            &all,
            &header,
            (&laid.parked, packed),
        );
        header
    }

    /// The builder's own mistakes, said rather than left in the dump.
    fn check(&self) -> io::Result<()> {
        if self.memory.physical.is_exhausted() {
            return Err(io::Error::other("the machine has too little memory"));
        }
        match self.memory.unmapped_writes() {
            [] => Ok(()),
            [first, ..] => Err(io::Error::other(format!(
                "{} writes to unmapped addresses, the first at {first}",
                self.memory.unmapped_writes().len()
            ))),
        }
    }
}

/// Appends where `bytes`, which are at `start`, have one of the tags, with or without
/// the protected bit.
fn find_tags(bytes: &[u8], start: Va, tags: &HashSet<Tag>, found: &mut Vec<ReferenceTruth>) {
    for (at, window) in bytes.windows(4).enumerate() {
        let Ok([a, b, c, d]) = <[u8; 4]>::try_from(window) else {
            continue;
        };
        let tag = [a, b, c, d & 0x7f];
        if a != 0 && tags.contains(&tag) {
            let va = start.add(at as u64);
            found.push(ReferenceTruth { va, tag });
        }
    }
}
