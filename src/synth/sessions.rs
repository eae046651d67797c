//! Terminal sessions on a machine that is built: each has its own processes, address space and
//! pool, all pools at the same addresses.
//!
//! Offsets of `_MM_SESSION_SPACE` and `_EX_HEAP_SESSION_STATE` are those of the public symbols
//! of each build.

use crate::addr::{PAGE_SIZE, Pa, Va};

use super::era::Era;
use super::heap::segment::{Context, Cursor, IN_USE, VS};
use super::kernel::Nt;
use super::machine::Machine;
use super::paging::Memory;
use super::rng::Rng;
use super::special::Special;
use super::truth::Tag;

/// First address and last byte of every session's pool.
const POOL: (Va, Va) = (Va(0xffff_f900_c000_0000), Va(0xffff_f900_dfff_ffff));
/// Session space before the pool, for tables and heaps.
const TABLES: Va = Va(0xffff_f900_8000_0000);
/// `_MM_SESSION_SPACE`s, mapped in all address spaces.
const SPACES: Va = Va(0xffff_f880_0400_0000);
const SPACE_BYTES: u64 = 0x10000;
/// Number of entries of a session's tracker table, and of its table of large allocations.
const ENTRIES: u64 = 257;
const BIG_ENTRIES: u64 = 64;
const UNIT: u64 = 16;
/// PoolType of a session pool block in use.
const IN_USE_BLOCK: u8 = 0x23;
/// The same on NT 5.2: PagedPoolSession plus 1.
const OLD_IN_USE_BLOCK: u8 = 0x22;

/// CommittedPages of a session.
pub fn committed(id: u32) -> u64 {
    1000 + 10 * u64::from(id)
}

/// A block of session pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionBlock {
    /// The session.
    pub session: u32,
    /// Start address.
    pub va: Va,
    /// Size in bytes, including the header.
    pub bytes: u64,
    /// Its tag.
    pub tag: Tag,
    /// True when it is on a lookaside list.
    pub parked: bool,
}

/// Damage to a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// No damage.
    #[default]
    None,
    /// The dump omits the top page table of its processes.
    NoTables,
    /// The dump omits its structure.
    NoSpace,
}

/// Field offsets of a build.
struct Offsets {
    lookaside: Option<u64>,
    heap_state: Option<(u64, u64)>,
    /// A session's own tables; the types of NT 5.2 have none.
    accounts: Option<Accounts>,
}

/// Locations of a session's tables.
#[derive(Clone, Copy)]
struct Accounts {
    big: (u64, u64),
    expansion: (u64, u64),
    /// RVAs of ExpSessionPoolTrackTable and of its size.
    table: (u64, u64),
}

impl Offsets {
    fn of(era: &Era) -> Offsets {
        match era.build {
            3790 => Offsets {
                lookaside: Some(0x100),
                heap_state: None,
                accounts: None,
            },
            7601 => Offsets {
                lookaside: Some(0xc0),
                heap_state: None,
                accounts: Some(Accounts {
                    big: (0x1f40, 0x1f48),
                    expansion: (0x1f30, 0x1f38),
                    table: (0x21_17a8, 0x21_17b0),
                }),
            },
            _ => Offsets {
                lookaside: None,
                // HeapState; then PagedHeap and, after it, SpecialPoolHeap in the structure
                // that it points to.
                heap_state: Some((0x2a0, 0x38e0)),
                accounts: Some(Accounts {
                    big: (0x3e0, 0x3e8),
                    expansion: (0x3d0, 0x3d8),
                    table: (0xc1_91c8, 0xc1_91d0),
                }),
            },
        }
    }
}

/// Adds sessions to a machine with Server 2003, Windows 7 or Windows 10 2004, starting at its
/// second process. Returns their blocks.
pub fn add(machine: &mut Machine, era: &'static Era, faults: &[Fault]) -> Vec<SessionBlock> {
    let nt = Nt {
        era,
        base: machine.truth.kernel_base,
    };
    let offsets = Offsets::of(era);
    let processes = processes(&machine.memory, &nt);
    let memory = &mut machine.memory;
    if let Some(accounts) = offsets.accounts {
        memory.pointer(nt.base.add(accounts.table.0), TABLES);
        memory.u64(nt.base.add(accounts.table.1), ENTRIES);
    }
    let mut out = Vec::new();
    for (i, fault) in faults.iter().enumerate() {
        let space = SPACES.add(i as u64 * SPACE_BYTES);
        memory.map_new(space, 6);
        let root = memory.clone_root();
        if let Some(process) = processes.get(i + 1) {
            memory.pointer(nt.field(*process, "_EPROCESS", "Session"), space);
            let cr3 = nt.field(*process, "_KPROCESS", "DirectoryTableBase");
            memory.u64(cr3, root.0);
        }
        let mut session = Session {
            nt,
            offsets: &offsets,
            id: i as u32 + 1,
            space,
            rng: Rng::new(i as u64 + 77),
            blocks: Vec::new(),
        };
        memory.within(root, |memory| session.write(memory));
        out.append(&mut session.blocks);
        leave_out(memory, *fault, root, space);
    }
    out
}

fn leave_out(memory: &mut Memory, fault: Fault, root: Pa, space: Va) {
    let frame = match fault {
        Fault::None => None,
        Fault::NoTables => Some(root.pfn()),
        Fault::NoSpace => memory.frame(space),
    };
    if let Some(frame) = frame {
        memory.physical.omit(frame);
    }
}

/// Addresses of the processes, from the process list.
fn processes(memory: &Memory, nt: &Nt) -> Vec<Va> {
    let head = nt.at("PsActiveProcessHead");
    let link = nt
        .era
        .offset("_EPROCESS", "ActiveProcessLinks")
        .unwrap_or(0);
    let mut out = Vec::new();
    let mut at = Va(memory.read(head));
    while at != head && at.0 != 0 && out.len() < 64 {
        out.push(Va(at.0.wrapping_sub(link)));
        at = Va(memory.read(at));
    }
    out
}

struct Session<'a> {
    nt: Nt,
    offsets: &'a Offsets,
    id: u32,
    space: Va,
    rng: Rng,
    blocks: Vec<SessionBlock>,
}

impl Session<'_> {
    fn write(&mut self, memory: &mut Memory) {
        let field = |name| self.nt.field(self.space, "_MM_SESSION_SPACE", name);
        memory.u32(field("SessionId"), self.id);
        memory.pointer(field("PagedPoolStart"), POOL.0);
        memory.pointer(field("PagedPoolEnd"), POOL.1);
        match self.offsets.heap_state {
            None => self.chains(memory),
            Some(at) => self.heap(memory, at),
        }
        if let Some(at) = self.nt.era.offset("_MM_SESSION_SPACE", "CommittedPages") {
            memory.u64(self.space.add(at), committed(self.id));
        }
        if let Some(accounts) = self.offsets.accounts {
            self.big(memory, accounts);
            self.trackers(memory, accounts);
        }
    }

    fn add(&mut self, va: Va, bytes: u64, tag: Tag, parked: bool) {
        self.blocks.push(SessionBlock {
            session: self.id,
            va,
            bytes,
            tag,
            parked,
        });
    }

    /// The tag of a block; some tags exist in only one session.
    fn tag(&mut self) -> Tag {
        match self.rng.below(3) {
            0 => *b"Gh05",
            1 => *b"Ttfd",
            _ => [b'S', b'e', b's', b'0' + self.id as u8],
        }
    }

    /// Writes pages of chained blocks; one block is on a lookaside list.
    fn chains(&mut self, memory: &mut Memory) {
        for page in 0..4 + u64::from(self.id) {
            let start = POOL.0.add(page * PAGE_SIZE);
            memory.map_new(start, 1);
            let (mut at, mut previous) = (0, 0u8);
            while at < PAGE_SIZE {
                let wanted = (2 + self.rng.below(30)) * UNIT;
                let rest = PAGE_SIZE - at;
                let bytes = if rest < wanted + 2 * UNIT {
                    rest
                } else {
                    wanted
                };
                let tag = self.tag();
                let units = (bytes / UNIT) as u8;
                let kind = match self.nt.era.is_nt52() {
                    true => OLD_IN_USE_BLOCK,
                    false => IN_USE_BLOCK,
                };
                memory.write(start.add(at), &[previous, 0, units, kind]);
                memory.write(start.add(at + 4), &tag);
                self.add(start.add(at), bytes, tag, false);
                previous = units;
                at += bytes;
            }
        }
        let lists = self.offsets.lookaside.unwrap_or(0);
        if let Some(block) = self.blocks.get_mut(3) {
            block.parked = true;
            let list = self.space.add(lists + (block.bytes / UNIT).min(20) * 0x80);
            memory.u64(list, 1);
            memory.u64(list.add(8), (block.va.0 + UNIT) | 1);
            memory.u64(block.va.add(UNIT), 0);
        }
    }

    /// Writes a heap with a VS subsegment, and a special pool heap.
    fn heap(&mut self, memory: &mut Memory, (state, heaps): (u64, u64)) {
        let at = TABLES.add(0x20_0000);
        memory.map_new(at, 4);
        memory.pointer(self.space.add(state), at);
        memory.pointer(at, self.nt.at("RtlpHpHeapGlobals"));
        let mut cursor = Cursor(POOL.0);
        for (i, special) in [false, true].into_iter().enumerate() {
            let heap = TABLES.add(0x30_0000 + i as u64 * 0x1_0000);
            memory.map_new(heap, 1);
            memory.pointer(at.add(heaps + i as u64 * 8), heap);
            let nt = self.nt;
            let mut contexts = empty_heap(memory, &nt, heap);
            if let Some(context) = contexts.first_mut() {
                match special {
                    true => self.special(memory, context, &mut cursor),
                    false => self.subsegment(memory, context, &mut cursor),
                }
            }
            write_contexts(memory, &nt, heap, &contexts);
        }
    }

    fn special(&mut self, memory: &mut Memory, context: &mut Context, cursor: &mut Cursor) {
        let special = Special::new(*b"Spec", 0x123 + u64::from(self.id));
        let va = special_range(memory, context, cursor, &[special], &mut self.rng);
        for va in va {
            self.add(va, 0x130, *b"Spec", false);
        }
    }

    fn subsegment(&mut self, memory: &mut Memory, context: &mut Context, cursor: &mut Cursor) {
        const PAGES: u64 = 4;
        let nt = self.nt;
        let start = context.place(PAGES * PAGE_SIZE, VS, cursor, &mut self.rng);
        memory.map_new(start, PAGES);
        let first = 0x30;
        let units = ((PAGES * PAGE_SIZE - first) / UNIT) as u16;
        let field = |name| nt.field(start, "_HEAP_VS_SUBSEGMENT", name);
        memory.u16(field("Size"), units);
        memory.u16(field("Signature"), (units ^ 0x2bed) & 0x7fff);
        let key = heap_key(memory, &nt);
        let (mut at, mut previous) = (first, 0);
        while at < PAGES * PAGE_SIZE {
            let page_rest = PAGE_SIZE - at % PAGE_SIZE;
            let wanted = (3 + self.rng.below(20)) * UNIT;
            let chunk = if page_rest < wanted + 4 * UNIT {
                page_rest
            } else {
                wanted
            };
            let header = start.add(at);
            let bits = ((chunk / UNIT) << 16) | previous << 32 | 1 << 48;
            memory.u64(header, bits ^ header.0 ^ key);
            let va = header.add(UNIT);
            let tag = self.tag();
            let units = ((chunk - UNIT) / UNIT) as u8;
            memory.write(va, &[0, 0, units, IN_USE_BLOCK]);
            memory.write(va.add(4), &tag);
            self.add(va, chunk - UNIT, tag, false);
            previous = chunk / UNIT;
            at += chunk;
        }
    }

    /// Writes two large allocations and the table with them.
    fn big(&mut self, memory: &mut Memory, accounts: Accounts) {
        let table = TABLES.add(0x10_0000);
        memory.map_new(table, 1);
        memory.pointer(self.space.add(accounts.big.0), table);
        memory.u64(self.space.add(accounts.big.1), BIG_ENTRIES);
        let pool_type: u32 = match self.nt.era.build {
            7601 => 0x21,
            _ => 0x21 << 8,
        };
        for i in 0..BIG_ENTRIES {
            memory.u64(table.add(i * 0x18), 1);
        }
        for i in 0..2u64 {
            let va = POOL.0.add(0x1000_0000 + i * 0x10_0000);
            let bytes = (2 + i + u64::from(self.id)) * PAGE_SIZE;
            memory.map_new(va, bytes / PAGE_SIZE);
            let entry = table.add((i * 7 + 3) * 0x18);
            memory.pointer(entry, va);
            memory.write(entry.add(8), b"Gbig");
            memory.u32(entry.add(0xc), pool_type);
            memory.u64(entry.add(0x10), bytes);
            self.add(va, bytes, *b"Gbig", false);
        }
    }

    /// Writes the session's trackers: the first tag is in the table of tags that did not fit.
    fn trackers(&mut self, memory: &mut Memory, accounts: Accounts) {
        let size = self.nt.era.size("_POOL_TRACKER_TABLE").unwrap_or(0);
        memory.map_new(TABLES, (ENTRIES * size).div_ceil(PAGE_SIZE));
        let expansion = TABLES.add(0x8_0000);
        memory.map_new(expansion, 1);
        memory.pointer(self.space.add(accounts.expansion.0), expansion);
        memory.u64(self.space.add(accounts.expansion.1), 8);
        let mut tags: Vec<Tag> = self.blocks.iter().map(|b| b.tag).collect();
        tags.sort_unstable();
        tags.dedup();
        for (i, tag) in tags.iter().enumerate() {
            let own = self.blocks.iter().filter(|b| b.tag == *tag && !b.parked);
            let (count, bytes) = own.fold((0u64, 0), |(n, sum), b| (n + 1, sum + b.bytes));
            let at = match i {
                0 => expansion,
                _ => TABLES.add(i as u64 * 31 * size),
            };
            let field = |name| self.nt.field(at, "_POOL_TRACKER_TABLE", name);
            memory.write(field("Key"), tag);
            memory.u32(field("PagedAllocs"), count as u32 + 10);
            memory.u32(field("PagedFrees"), 10);
            memory.u64(field("PagedBytes"), bytes);
        }
    }
}

/// Reads the heap key from the kernel's globals.
fn heap_key(memory: &Memory, nt: &Nt) -> u64 {
    let globals = nt.at("RtlpHpHeapGlobals");
    memory.read(nt.field(globals, "_RTLP_HP_HEAP_GLOBALS", "HeapKey"))
}

/// Writes an empty `_SEGMENT_HEAP` to a mapped page; returns its contexts.
fn empty_heap(memory: &mut Memory, nt: &Nt, heap: Va) -> Vec<Context> {
    memory.u32(nt.field(heap, "_SEGMENT_HEAP", "Signature"), 0xddee_ddee);
    let size = nt.era.size("_HEAP_SEG_CONTEXT").unwrap_or(0);
    let first = nt.field(heap, "_SEGMENT_HEAP", "SegContexts");
    (0..2)
        .map(|i| Context::new(first.add(i * size), i, 200, false))
        .collect()
}

fn write_contexts(memory: &mut Memory, nt: &Nt, heap: Va, contexts: &[Context]) {
    let mix = nt.era.heap.map_or(0, |h| h.mix);
    let key = heap_key(memory, nt);
    for context in contexts {
        context.write(memory, nt, heap, (mix, key));
    }
}

/// Writes a range of whole pages with allocations to a special pool heap.
fn special_range(
    memory: &mut Memory,
    context: &mut Context,
    cursor: &mut Cursor,
    all: &[Special],
    rng: &mut Rng,
) -> Vec<Va> {
    let bytes = all.len() as u64 * 2 * PAGE_SIZE;
    let start = context.place(bytes, IN_USE, cursor, rng);
    super::special::lay(memory, start, all)
}

/// Adds a special pool heap to the system: number 0 for nonpaged, 1 for non-executable
/// nonpaged, 2 for paged. Returns the addresses of the owners' bytes.
pub fn add_special_heap(
    machine: &mut Machine,
    era: &'static Era,
    number: u64,
    all: &[Special],
) -> Vec<Va> {
    let nt = Nt {
        era,
        base: machine.truth.kernel_base,
    };
    within_dump(machine, |memory| special_heap(memory, &nt, number, all))
}

/// Runs `work` in the address space of the dump header, for structures that must be visible
/// there.
pub fn within_dump<R>(machine: &mut Machine, work: impl FnOnce(&mut Memory) -> R) -> R {
    let root = Pa(machine.header.directory_table & !0xfff);
    machine.memory.within(root, work)
}

fn special_heap(memory: &mut Memory, nt: &Nt, number: u64, all: &[Special]) -> Vec<Va> {
    let heap = Va(0xffff_9100_0000_0000 + number * 0x1000_0000);
    memory.map_new(heap, 1);
    let state = nt.at("ExPoolState");
    let slots = nt.field(state, "_EX_POOL_HEAP_MANAGER_STATE", "SpecialHeaps");
    memory.pointer(slots.add(number * 8), heap);
    let mut contexts = empty_heap(memory, nt, heap);
    let mut cursor = Cursor(heap.add(0x100_0000));
    let mut out = Vec::new();
    if let Some(context) = contexts.first_mut() {
        out = special_range(memory, context, &mut cursor, all, &mut Rng::new(number));
    }
    write_contexts(memory, nt, heap, &contexts);
    out
}
