//! Finds the structures in the file of an undamaged dump.

use std::path::Path;

use poolscope::engine::{Engine, Options};
use poolscope::memory::Target;
use poolscope::memory::{Pfn, Va};
use poolscope::pool::block::Block;
use poolscope::pool::{Backend, TagPattern};

use super::answers::Probe;
use super::damage::Damage;

/// The kind of a place, which decides what damage is possible.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Plain fields.
    Bytes,
    /// A pointer to the next structure of its kind.
    Link,
    /// A count or a size.
    Count,
    /// A page-table entry.
    Entry,
    /// A whole page.
    Page,
    /// An end of the file.
    End,
}

/// A structure in the file.
pub struct Place {
    pub name: &'static str,
    kind: Kind,
    pub at: usize,
    pub length: usize,
    /// The value that points to the place itself.
    pub own: u64,
    /// The value that points back to an earlier entry of the list.
    pub back: u64,
    /// The answers that depend on it: names separated by spaces, or `*` for all.
    pub may: &'static str,
    /// True if it differs between Windows versions.
    pub is_of_era: bool,
}

impl Place {
    /// A part of the file that all answers depend on.
    pub fn of_file(name: &'static str, kind: Kind, at: usize, length: usize) -> Place {
        Place {
            name,
            kind,
            at,
            length,
            own: at as u64,
            back: at as u64,
            may: "*",
            is_of_era: false,
        }
    }

    pub fn damages(&self) -> &'static [Damage] {
        use Damage::{Cut, Huge, Itself, Loop, Noise, Ones, Torn, WrongPage, Zero};
        match self.kind {
            Kind::Bytes => &[Zero, Ones, Noise],
            Kind::Link => &[Zero, Noise, Itself, Loop],
            Kind::Count => &[Zero, Huge],
            Kind::Entry => &[Zero, Noise, Itself],
            Kind::Page => &[Zero, Noise, WrongPage, Torn],
            Kind::End => &[Cut],
        }
    }
}

struct Finder<'a> {
    engine: &'a Engine,
    bytes: &'a [u8],
    places: Vec<Place>,
}

impl Finder<'_> {
    /// Adds a place by its offset in the file.
    fn file(
        &mut self,
        name: &'static str,
        kind: Kind,
        (at, length): (usize, usize),
        may: &'static str,
    ) {
        let place = Place::of_file(name, kind, at, length);
        self.places.push(Place { may, ..place });
    }

    fn offset(&self, va: Va) -> Option<usize> {
        let space = &self.engine.kernel().space;
        let Ok(Target::Frame { pfn, .. }) = space.translate(va) else {
            return None;
        };
        let at = space.dump().file_offset(pfn)?;
        Some(at as usize + va.offset())
    }

    /// Adds a place by its address.
    fn memory(&mut self, name: &'static str, kind: Kind, va: Va, length: usize, may: &'static str) {
        let (va, length) = match kind {
            Kind::Page => (va.page(), 0x1000),
            _ => (va, length),
        };
        let at = self.offset(va).unwrap_or_else(|| panic!("{name} at {va}"));
        self.places.push(Place {
            name,
            kind,
            at,
            length: length.min(0x1000 - va.offset()),
            own: va.0,
            back: va.0,
            may,
            is_of_era: false,
        });
    }

    /// Marks the last place as different between Windows versions.
    fn of_era(&mut self) {
        self.places.last_mut().unwrap().is_of_era = true;
    }

    /// Sets the address to which the last place can loop back.
    fn back(&mut self, to: Va) {
        self.places.last_mut().unwrap().back = to.0;
    }

    fn u64(&self, va: Va) -> u64 {
        self.engine.kernel().space.u64(va).unwrap()
    }

    /// File offsets of the page table entries that map an address, the top table's first,
    /// and the frames of their tables.
    fn entries(&self, va: Va) -> Vec<(usize, u64)> {
        let dump = self.engine.dump();
        let mut table = self.engine.kernel().space.root().0;
        let mut out = Vec::new();
        for level in (0..4).rev() {
            let at = dump.file_offset(Pfn(table)).unwrap() as usize
                + (va.0 >> (12 + 9 * level) & 511) as usize * 8;
            let entry = u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap());
            out.push((at, table));
            if entry & 1 == 0 || entry & 0x80 != 0 {
                break;
            }
            table = entry >> 12 & 0xff_ffff_ffff;
        }
        out
    }

    /// Adds a page table entry; if it points to itself, it maps its own table.
    fn entry(&mut self, name: &'static str, (at, table): (usize, u64), may: &'static str) {
        self.file(name, Kind::Entry, (at, 8), may);
        self.places.last_mut().unwrap().own = table << 12 | 0x63;
    }

    fn container(&mut self) {
        self.file("header: page-table root", Kind::Count, (0x10, 8), "*");
        self.file("header: list of modules", Kind::Link, (0x20, 8), "*");
        self.file("header: processors", Kind::Count, (0x34, 4), "*");
        self.file("header: debugger data", Kind::Link, (0x80, 8), "*");
        self.file("header: memory runs", Kind::Count, (0x88, 4), "*");
        self.file("bitmap: first page", Kind::Count, (0x2020, 8), "*");
        self.file("bitmap: pages", Kind::Count, (0x2028, 8), "*");
        self.file("bitmap: bits", Kind::Count, (0x2030, 8), "*");
        self.file("bitmap: its bytes", Kind::Bytes, (0x2040, 0x80), "*");
        for (name, parts) in [
            ("file: header alone", 0),
            ("file: a quarter", 1),
            ("file: half", 2),
            ("file: three quarters", 3),
        ] {
            let at = (self.bytes.len() / 4 * parts).max(0x2000);
            self.file(name, Kind::End, (at, 0), "*");
        }
    }

    fn kernel(&mut self) {
        let kernel = self.engine.kernel();
        let header = self.engine.kernel().machine.clone();
        let base = kernel.base;
        let root = self.entries(base);
        self.file(
            "page tables: the root",
            Kind::Page,
            (root[0].0 & !0xfff, 0x1000),
            "*",
        );
        self.entry("page tables: root entry of nt", root[0], "*");
        self.memory("KDBG", Kind::Bytes, header.debugger_data, 0x340, "*");
        let at = header.debugger_data;
        self.memory("KDBG: its size", Kind::Count, at.add(0x14), 4, "*");
        let head = header.loaded_modules;
        let first = Va(self.u64(head));
        let second = Va(self.u64(first));
        let third = Va(self.u64(second));
        self.memory("modules: list head", Kind::Link, head, 8, "*");
        self.back(first);
        const LISTED: &str = "info modules refs contents objects diagnose";
        self.memory("modules: link of a driver", Kind::Link, second, 8, LISTED);
        self.back(first);
        let base_of = third.add(0x30);
        self.memory("modules: base of a driver", Kind::Link, base_of, 8, LISTED);
        self.memory(
            "modules: size of a driver",
            Kind::Count,
            third.add(0x40),
            4,
            LISTED,
        );
        self.memory(
            "modules: name of a driver",
            Kind::Bytes,
            third.add(0x58),
            16,
            LISTED,
        );
        self.memory("nt: image headers", Kind::Page, base, 0, "*");
        let record = memchr::memmem::find(self.bytes, b"ntkrnlmp.pdb\0").unwrap() - 24;
        self.file("nt: debug record", Kind::Bytes, (record, 24), "*");
        let leaker = kernel
            .modules
            .iter()
            .find(|m| m.name() == "leaker")
            .unwrap();
        let image = leaker.image.as_ref().unwrap();
        let (tree, _) = image.resource_directory.unwrap();
        let leaker = leaker.base;
        const OF_IMAGE: &str = "modules refs contents diagnose";
        self.memory("driver: image headers", Kind::Page, leaker, 0, OF_IMAGE);
        self.memory(
            "driver: place of its headers",
            Kind::Count,
            leaker.add(0x3c),
            4,
            OF_IMAGE,
        );
        const SAID: &str = "modules refs diagnose";
        let tree = leaker.add(tree.into());
        let strings = tree.add(0x58);
        self.memory("driver: resource tree", Kind::Bytes, tree, 0x58, SAID);
        self.memory("driver: version resource", Kind::Bytes, strings, 0x60, SAID);
        self.memory("driver: code", Kind::Page, leaker.add(0x1000), 0, OF_IMAGE);
    }

    fn tables(&mut self) {
        let kernel = self.engine.kernel();
        // Heap walking asks the trackers which tags exist.
        const ACCOUNTS: &str = "info vm poolused allocs contents objects diagnose";
        let table = self.engine.trackers().tables[0];
        for name in ["ExPoolTagTables", "PoolTrackTable"] {
            let Some(at) = kernel.symbol(name).filter(|at| self.offset(*at).is_some()) else {
                continue;
            };
            let place = match name {
                "PoolTrackTable" => "trackers: PoolTrackTable",
                _ => "trackers: ExPoolTagTables",
            };
            self.memory(place, Kind::Link, at, 8, ACCOUNTS);
        }
        let size = kernel.symbol("PoolTrackTableSize").unwrap();
        self.memory("trackers: size", Kind::Count, size, 8, ACCOUNTS);
        self.memory("trackers: first table", Kind::Page, table, 0, ACCOUNTS);
        self.of_era();
        const LARGE: &str = "info allocs pool contents objects diagnose";
        let big = kernel.symbol("PoolBigPageTable").unwrap();
        self.memory("big pages: pointer", Kind::Link, big, 8, LARGE);
        let size = kernel.symbol("PoolBigPageTableSize").unwrap();
        self.memory("big pages: size", Kind::Count, size, 8, LARGE);
        let table = self.engine.big().table.unwrap().0;
        self.memory("big pages: table", Kind::Page, table, 0, LARGE);
        self.of_era();
        let counters = match self.engine.kernel().visible_state() {
            Ok(state) => state.at,
            Err(_) => kernel.symbol("MmAvailablePages").unwrap(),
        };
        // The location of the pool depends on structures near the counters.
        const COUNTED: &str = "info vm allocs pool contents objects diagnose poolused";
        self.memory("!vm: counters", Kind::Bytes, counters, 0x400, COUNTED);
        self.of_era();
        self.memory("!vm: a counter", Kind::Count, counters, 8, COUNTED);
        let prcb = kernel.processor_blocks()[0];
        for (list, place) in [
            ("PPNxPagedLookasideList", "lookaside lists"),
            ("PPNPagedLookasideList", "lookaside lists"),
        ] {
            if let Some(offset) = kernel.offset("_KPRCB", list) {
                let at = prcb.add(offset);
                self.memory(
                    place,
                    Kind::Bytes,
                    at,
                    0x100,
                    "allocs contents objects diagnose",
                );
                return;
            }
        }
    }

    /// Adds small blocks; returns one of them for `pool`.
    fn pool(&mut self, blocks: &[Block]) -> Va {
        const WALKED: &str = "allocs pool contents objects diagnose";
        let find = |backend, tag: &str| {
            blocks.iter().find(|b| {
                let room = b.va.offset() >= 0x100 && b.bytes < 0x300;
                let own = b.backend == backend && b.tag.to_string() == tag;
                own && room && self.offset(b.va).is_some()
            })
        };
        let small = find(Backend::Legacy, "Leak").or(find(Backend::Vs, "Leak"));
        let small = small.expect("a small block").va;
        let entries = self.entries(small);
        let (last, directory) = (entries[entries.len() - 1], entries[entries.len() - 2]);
        let table = (last.0 & !0xfff, 0x1000);
        let all = "*";
        self.file("page tables: a table of pool", Kind::Page, table, all);
        self.entry("page tables: entry of a pool page", last, all);
        self.entry("page tables: entry of a table", directory, all);
        self.memory("pool: a page of blocks", Kind::Page, small, 0, WALKED);
        self.of_era();
        self.memory("pool: a block's header", Kind::Bytes, small, 16, WALKED);
        self.of_era();
        let before = small.add(0u64.wrapping_sub(16));
        self.memory("pool: in front of a block", Kind::Bytes, before, 16, WALKED);
        self.of_era();
        let slot = blocks
            .iter()
            .find(|b| b.backend == Backend::Lfh && self.offset(b.va).is_some());
        if let Some(slot) = slot.map(|b| b.va) {
            self.memory("heaps: a page of slots", Kind::Page, slot, 0, WALKED);
            self.of_era();
        }
        let process = blocks
            .iter()
            .find(|b| b.tag.to_string() == "Proc")
            .unwrap()
            .va;
        let header = process.add(0x10);
        self.memory(
            "objects: a header",
            Kind::Bytes,
            header,
            0x60,
            "contents objects diagnose",
        );
        small
    }

    fn heaps(&mut self) {
        let Some(pool) = self.engine.heaps() else {
            return;
        };
        const WALKED: &str = "info allocs pool contents objects diagnose";
        let segment = pool.heaps.segments[1].va;
        self.memory(
            "heaps: a segment's list entry",
            Kind::Link,
            segment,
            8,
            WALKED,
        );
        self.of_era();
        self.memory(
            "heaps: a segment's signature",
            Kind::Bytes,
            segment.add(0x10),
            8,
            WALKED,
        );
        self.of_era();
        self.memory(
            "heaps: a segment's first page",
            Kind::Page,
            segment,
            0,
            WALKED,
        );
        self.of_era();
        let context = &pool.heaps.contexts[0];
        self.memory("heaps: a context", Kind::Bytes, context.at, 0x40, WALKED);
        self.of_era();
        // `!vm` splits nonpaged pool by the heaps' counters.
        const COUNTED: &str = "info vm allocs pool contents objects diagnose";
        self.memory("heaps: a heap", Kind::Bytes, context.heap, 0x100, COUNTED);
        self.of_era();
        let keys = self.engine.kernel().symbol("RtlpHpHeapGlobals");
        if let Some(keys) = keys.filter(|at| self.offset(*at).is_some()) {
            self.memory("heaps: keys", Kind::Bytes, keys, 16, WALKED);
        }
        let node = pool.heaps.nodes[0];
        self.memory("heaps: a node", Kind::Bytes, node, 0x40, COUNTED);
        self.of_era();
    }

    /// Adds the records of Driver Verifier.
    fn verifier(&mut self) {
        let read = self.engine.verifier();
        let (Some(driver), Some(log)) = (read.drivers.first(), &read.log) else {
            return;
        };
        const RECORDED: &str = "stacks diagnose";
        let kernel = self.engine.kernel();
        let variable = |name| kernel.symbol(name).filter(|at| self.offset(*at).is_some());
        let tree = variable("ViTargetDriversAvl");
        let pointer = variable("VfPoolTraces").zip(variable("VfPoolTracesLength"));
        let lists = kernel.offset("_VF_TARGET_VERIFIED_DRIVER_DATA", "PoolPageHeaders");
        let list = driver.data.add(lists.unwrap() + 8);
        let page = Va(self.u64(list) & !0xf);
        if let Some(tree) = tree {
            let tables = tree.add(kernel.offset("_VF_AVL_TREE", "Tables").unwrap());
            let root = Va(self.u64(tables)).add(0x10);
            self.memory("verifier: tree of drivers", Kind::Link, root, 8, RECORDED);
        }
        self.memory("verifier: list of blocks", Kind::Link, list, 8, RECORDED);
        self.memory("verifier: a page of blocks", Kind::Page, page, 0, RECORDED);
        if let Some((pointer, length)) = pointer {
            self.memory("verifier: log", Kind::Link, pointer, 8, RECORDED);
            self.memory(
                "verifier: length of the log",
                Kind::Count,
                length,
                4,
                RECORDED,
            );
        }
        self.memory(
            "verifier: records of the log",
            Kind::Page,
            log.at,
            0,
            RECORDED,
        );
    }

    fn sessions(&mut self) {
        let Some(session) = self.engine.sessions().sessions.first() else {
            return;
        };
        const OF_SESSION: &str = "vm allocs pool refs contents objects diagnose";
        self.memory(
            "sessions: a session's space",
            Kind::Page,
            session.at,
            0,
            OF_SESSION,
        );
        let root = session.space.root();
        let at = self.engine.dump().file_offset(root).unwrap() as usize;
        self.file(
            "sessions: page tables",
            Kind::Page,
            (at, 0x1000),
            OF_SESSION,
        );
    }
}

/// All places of a dump, and the parameters of the questions.
pub fn find(path: &Path, bytes: &[u8]) -> (Vec<Place>, Probe) {
    let engine = Engine::open(path, &Options::default()).unwrap();
    let index = engine.index(Default::default()).unwrap();
    let blocks: Vec<Block> = index.matching(&TagPattern::any()).collect();
    let mut finder = Finder {
        engine: &engine,
        bytes,
        places: Vec::new(),
    };
    finder.container();
    finder.kernel();
    finder.tables();
    let block = finder.pool(&blocks);
    finder.heaps();
    finder.sessions();
    finder.verifier();
    let places = finder.places;
    (places, Probe { block })
}
