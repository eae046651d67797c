//! Driver Verifier's data in memory: the tree of the drivers that it watches, the pages of
//! their outstanding blocks, and its log of allocations and frees.
//!
//! Offsets are those of the public symbols of each build. The position of the newest log record
//! and the content of a freed entry are parameters.

use crate::addr::{PAGE_SIZE, Va};

use super::era::Era;
use super::kernel::Nt;
use super::machine::Machine;
use super::paging::Memory;
use super::truth::{State, Tag};

/// Address of the structures, in an otherwise unused range.
const START: Va = Va(0xffff_f880_0180_0000);
/// Size of an entry in bytes, and of the links before a node's data.
const ENTRY: u64 = 0x20;
const LINKS: u64 = 0x20;
/// The value in all pages of entries of a driver.
const SIGNATURE: u64 = 0x5645_5249_4659_2121;

/// A block on a driver's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The first byte that its owner uses.
    pub address: Va,
    /// The return address in the code that allocated it.
    pub caller: Va,
    /// Requested bytes.
    pub bytes: u64,
    /// Its tag.
    pub tag: Tag,
}

/// A watched driver.
#[derive(Clone, Debug, Default)]
pub struct Driver {
    /// Load address.
    pub base: Va,
    /// Its SizeOfImage.
    pub size: u32,
    /// Its outstanding blocks.
    pub blocks: Vec<Block>,
    /// Entries that were used before and are free: their old data. Every second one keeps its
    /// fields except for the link.
    pub freed: Vec<Block>,
}

/// An allocation or a free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// The block.
    pub address: Va,
    /// Size in bytes.
    pub size: u64,
    /// The thread.
    pub thread: Va,
    /// Return addresses, innermost first.
    pub frames: Vec<Va>,
}

/// The log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Number of slots.
    pub length: u32,
    /// All calls, oldest first; the log contains the last `length`.
    pub calls: Vec<Call>,
    /// True when the newest record is at the index; false when it is directly before it.
    pub newest_at_index: bool,
    /// The address of the log, if not with the other structures.
    pub at: Option<Va>,
}

/// The settings of Verifier, and its data.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    /// MmVerifierData.Level.
    pub level: u32,
    /// The drivers; those without blocks are watched too.
    pub drivers: Vec<Driver>,
    /// Modules that are listed but not watched.
    pub others: Vec<(Va, u32)>,
    /// The log.
    pub log: Option<Log>,
}

/// Addresses of the structures, for tests that damage them.
#[derive(Clone, Debug, Default)]
pub struct Laid {
    /// The variable with the tree.
    pub tree: Va,
    /// The tables of the tree.
    pub table: Va,
    /// The nodes' links.
    pub nodes: Vec<Va>,
    /// Each driver's records.
    pub data: Vec<Va>,
    /// The pages of entries of each driver, in the order of their list.
    pub pages: Vec<Vec<Va>>,
    /// Offset of PoolPageHeaders in a driver's records; the free list follows it.
    pub lists: u64,
    /// The log's records.
    pub log: Va,
    /// Size of a record in bytes.
    pub stride: u64,
    /// The log's variables: pointer, index, length.
    pub variables: [Va; 3],
}

/// Offsets and sizes of a build.
struct Numbers {
    /// NodeCount, Tables and TablesNo of the tree.
    tree: [u64; 3],
    /// Size of a table in bytes.
    table: u64,
    /// VerifiedData of a driver.
    verified: u64,
    /// PoolPageHeaders.
    lists: u64,
    /// Offset of the first counter.
    counters: u64,
    /// Number of frames in a log record.
    frames: u64,
}

impl Numbers {
    fn of(build: u32) -> Numbers {
        Numbers {
            tree: match build {
                ..9600 => [0x18, 0x20, 0x28],
                _ => [0x08, 0x10, 0x18],
            },
            table: if build < 9600 { 0x70 } else { 0xc0 },
            verified: match build {
                ..9600 => 0x28,
                9600..14393 => 0x30,
                14393..20348 => 0x38,
                20348..22000 => 0x30,
                _ => 0x38,
            },
            lists: if build < 17763 { 0x30 } else { 0x40 },
            counters: match build {
                ..17763 => 0x50,
                17763..19041 => 0x60,
                19041..20348 => 0x68,
                _ => 0x70,
            },
            frames: if build < 22000 { 13 } else { 50 },
        }
    }
}

/// Writes the data into a machine that was built.
pub fn add(machine: &mut Machine, era: &'static Era, verifier: &Verifier) -> Laid {
    let nt = Nt {
        era,
        base: machine.truth.kernel_base,
    };
    let mut builder = Builder {
        memory: &mut machine.memory,
        nt,
        numbers: Numbers::of(era.build),
        next: START,
        laid: Laid::default(),
    };
    builder.build(verifier);
    builder.laid
}

struct Builder<'a> {
    memory: &'a mut Memory,
    nt: Nt,
    numbers: Numbers,
    next: Va,
    laid: Laid,
}

impl Builder<'_> {
    /// Allocates whole pages of zeros.
    fn pages(&mut self, bytes: u64) -> Va {
        let at = self.next;
        let pages = bytes.div_ceil(PAGE_SIZE);
        self.memory.map_new(at, pages);
        self.next = at.add(pages * PAGE_SIZE);
        at
    }

    /// A variable of nt; its page may not exist in the image yet.
    fn variable(&mut self, name: &str) -> Va {
        let at = self.nt.at(name);
        for page in [at.page(), at.add(0x3f).page()] {
            if at.0 != 0 && self.memory.frame(page).is_none() {
                self.memory.map_new(page, 1);
            }
        }
        at
    }

    fn build(&mut self, verifier: &Verifier) {
        let level = self.variable("MmVerifierData");
        self.memory.u32(level, verifier.level);
        let suspects = self.variable("VfSuspectDriversList");
        self.memory.ring(suspects, &[]);
        self.laid.lists = self.numbers.lists;
        let mut held: Vec<(Va, u32, Va)> = Vec::new();
        for driver in &verifier.drivers {
            let data = self.driver(driver);
            held.push((driver.base, driver.size, data));
        }
        held.extend(verifier.others.iter().map(|o| (o.0, o.1, Va(0))));
        self.tree(&held);
        for name in ["VfPoolTraces", "VfPoolTracesIndex", "VfPoolTracesLength"] {
            self.variable(name);
        }
        self.laid.variables = ["VfPoolTraces", "VfPoolTracesIndex", "VfPoolTracesLength"]
            .map(|name| self.nt.at(name));
        if let Some(log) = &verifier.log {
            self.log(log);
        }
    }

    /// Writes the tree: a table with its nodes as a balanced tree by base address.
    fn tree(&mut self, held: &[(Va, u32, Va)]) {
        let mut held = held.to_vec();
        held.sort_unstable();
        let tree = self.variable("ViTargetDriversAvl");
        let table = self.pages(self.numbers.table);
        let [count, tables, number] = self.numbers.tree;
        self.memory.u64(tree.add(count), held.len() as u64);
        self.memory.pointer(tree.add(tables), table);
        self.memory.u32(tree.add(number), 1);
        self.laid.tree = tree;
        self.laid.table = table;
        let room = self.pages((held.len() as u64).max(1) * 0x80);
        let nodes: Vec<Va> = (0..held.len() as u64).map(|n| room.add(n * 0x80)).collect();
        for (node, (base, size, data)) in nodes.iter().zip(&held) {
            let item = node.add(LINKS);
            self.memory.pointer(item, *base);
            self.memory.u64(item.add(8), (*size).into());
            self.memory.pointer(item.add(self.numbers.verified), *data);
        }
        // The balanced root is its own parent; the first node is its right child.
        self.memory.pointer(table, table);
        let root = self.subtree(&nodes, table);
        self.memory.pointer(table.add(0x10), root);
        self.memory.u32(table.add(0x2c), held.len() as u32);
        let depth = usize::BITS - held.len().leading_zeros();
        self.memory.u32(table.add(0x30), depth);
        self.laid.nodes = nodes;
    }

    /// Links nodes in order with the middle one as the root; 0 for none.
    fn subtree(&mut self, nodes: &[Va], parent: Va) -> Va {
        let middle = nodes.len() / 2;
        let Some(&top) = nodes.get(middle) else {
            return Va(0);
        };
        self.memory.pointer(top, parent);
        let left = self.subtree(nodes.get(..middle).unwrap_or_default(), top);
        let right = self.subtree(nodes.get(middle + 1..).unwrap_or_default(), top);
        self.memory.pointer(top.add(8), left);
        self.memory.pointer(top.add(0x10), right);
        top
    }

    /// Writes a driver's records and its pages of entries. Free entries are between the blocks.
    fn driver(&mut self, driver: &Driver) -> Va {
        let data = self.pages(0x140);
        let per_page = PAGE_SIZE / ENTRY - 1;
        let all = (driver.blocks.len() + driver.freed.len()) as u64;
        let count = all.div_ceil(per_page);
        let pages: Vec<Va> = (0..count).map(|_| self.pages(PAGE_SIZE)).collect();
        let mut next = Va(0);
        for page in pages.iter().rev() {
            self.memory.pointer(*page, next);
            self.memory.pointer(page.add(8), data);
            self.memory.u64(page.add(0x10), SIGNATURE);
            next = *page;
        }
        self.list(data.add(self.numbers.lists), next, count);

        let slots = pages
            .iter()
            .flat_map(|page| (1..=per_page).map(move |n| page.add(n * ENTRY)));
        let (mut blocks, mut freed) = (driver.blocks.iter(), driver.freed.iter());
        let mut free = Vec::new();
        let (mut paged, mut bytes) = (0u32, 0u64);
        let every = 1 + driver.blocks.len() / driver.freed.len().max(1);
        let mut placed = 0;
        for slot in slots {
            placed += 1;
            let is_free = placed % (every + 1) == 0;
            let one = match is_free {
                true => freed.next().map(|b| (b, true)),
                false => blocks.next().map(|b| (b, false)),
            };
            let rest = || freed.next().map(|b| (b, true));
            let Some((block, is_free)) = one
                .or_else(|| blocks.next().map(|b| (b, false)))
                .or_else(rest)
            else {
                break;
            };
            self.memory.pointer(slot, block.address);
            self.memory.pointer(slot.add(8), block.caller);
            self.memory.u64(slot.add(0x10), block.bytes);
            let tag = u32::from_le_bytes(block.tag);
            self.memory.u64(slot.add(0x18), tag.into());
            if is_free {
                if free.len() % 2 == 1 {
                    self.memory.write(slot.add(8), &[0; 0x18]);
                }
                free.push(slot);
            } else {
                bytes += block.bytes;
                paged += 1;
            }
        }
        let mut next = Va(0);
        for slot in free.iter().rev() {
            self.memory.pointer(*slot, next);
            next = *slot;
        }
        self.list(data.add(self.numbers.lists + 0x10), next, free.len() as u64);
        // All blocks count as nonpaged.
        let counters = data.add(self.numbers.counters);
        self.memory.u32(counters.add(4), paged);
        self.memory
            .u32(counters.add(0xc), paged + driver.freed.len() as u32);
        self.memory.u64(counters.add(0x18), bytes);
        self.memory.u64(counters.add(0x28), bytes);
        self.laid.data.push(data);
        self.laid.pages.push(pages);
        data
    }

    /// Writes a list head in its 16-byte format: depth and sequence, then the link with a bit
    /// that marks the format up to Windows 7.
    fn list(&mut self, at: Va, first: Va, depth: u64) {
        self.memory.u64(at, depth & 0xffff | 0x77 << 16);
        let form = u64::from(self.nt.era.build < 9200);
        self.memory.u64(at.add(8), first.0 | form);
    }

    fn log(&mut self, log: &Log) {
        let stride = 0x18 + self.numbers.frames * 8;
        let at = match log.at {
            Some(at) => at,
            None => self.pages(u64::from(log.length) * stride),
        };
        self.laid.log = at;
        self.laid.stride = stride;
        let length = u64::from(log.length);
        let all = log.calls.len() as u64;
        let first = u64::from(log.newest_at_index);
        for (nth, call) in (0..all).zip(&log.calls) {
            if nth + length < all {
                continue;
            }
            let slot = at.add((nth + first) % length * stride);
            self.memory.pointer(slot, call.address);
            self.memory.u64(slot.add(8), call.size);
            self.memory.pointer(slot.add(0x10), call.thread);
            let frames = call.frames.iter().take(self.numbers.frames as usize);
            for (n, frame) in (0..).zip(frames) {
                self.memory.pointer(slot.add(0x18 + n * 8), *frame);
            }
        }
        let [pointer, index, number] = self.laid.variables;
        self.memory.pointer(pointer, at);
        self.memory.u32(index, all as u32);
        self.memory.u32(number, log.length);
    }
}

/// Watches the small machine's driver: its blocks with one tag are on its list, and the log has
/// wrapped around with allocations and frees of them.
pub fn watch_leaker(machine: &mut Machine, era: &'static Era) -> Laid {
    const LENGTH: u32 = 128;
    let truth = &machine.truth;
    let nt = truth.kernel_base;
    let thunk = |name, inside| nt.add(u64::from(era.rva(name).unwrap_or(0x1000)) + inside);
    let entry = [
        thunk("VerifierExAllocatePoolWithTag", 5),
        thunk("VerifierExFreePoolWithTag", 5),
    ];
    let module = truth.modules.iter().find(|m| m.file == "leaker.sys");
    let (base, size) = module.map_or((nt, 0x1000), |m| (m.base, m.size));
    let own = truth.blocks.iter();
    let own = own.filter(|b| b.tag == *b"Leak" && !b.big && b.state == State::Allocated);
    let own: Vec<(Va, u64)> = own.map(|b| (b.body(), b.bytes - 0x10)).collect();
    let blocks = own.iter().enumerate().map(|(nth, block)| Block {
        address: block.0,
        caller: base.add(0x1300 + nth as u64 % 3 * 0x40),
        bytes: block.1,
        tag: *b"Leak",
    });
    let blocks: Vec<Block> = blocks.collect();
    let calls = (0..2 * u64::from(LENGTH)).zip(own.iter().cycle());
    let calls = calls.map(|(nth, block)| {
        let is_free = nth % 5 == 4;
        Call {
            address: block.0,
            size: block.1,
            thread: nt.add(0x10_0000 + nth / 100 * 0x800),
            frames: vec![
                entry[usize::from(is_free)],
                base.add(0x1300 + nth % 3 * 0x40),
                nt.add(0x5_4321),
            ],
        }
    });
    let calls: Vec<Call> = calls.collect();
    let plan = Verifier {
        level: 0x8,
        drivers: vec![Driver {
            base,
            size,
            freed: blocks.iter().take(7).copied().collect(),
            blocks,
        }],
        others: vec![(nt, era.image_size)],
        log: Some(Log {
            length: LENGTH,
            calls,
            ..Log::default()
        }),
    };
    add(machine, era, &plan)
}
