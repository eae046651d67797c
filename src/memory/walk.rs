//! Finds mapped memory in a range by walking tables instead of addresses.
//!
//! A pool region has up to 16 TB of addresses, of which a few GB are in use; the tables list
//! those. The unit is the chunk: 2 MB, which is one table of 512 entries or one large page.

use crate::dump::PageBytes;

use super::fault::Fault;
use super::pte::Entry;
use super::space::{AddressSpace, Target, Via, entry, large_frame};
use crate::addr::{PAGE_SIZE, Pfn, Va};

/// Size of a chunk in bytes.
pub const CHUNK_SIZE: u64 = 0x20_0000;

/// 2 MB of addresses that are at least partly mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// First address, a multiple of [`CHUNK_SIZE`].
    pub va: Va,
    /// How it is mapped.
    pub mapped: ChunkMapping,
    /// True when no page of it is executable, because of an entry above the page level.
    pub no_execute: bool,
}

/// The pages of a chunk that are not executable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoExecute([u64; 8]);

impl NoExecute {
    /// True when the page of this address in the chunk is not executable.
    pub fn at(&self, va: Va) -> bool {
        let page = (va.0 % CHUNK_SIZE / PAGE_SIZE) as usize;
        self.0
            .get(page / 64)
            .is_some_and(|w| w >> (page % 64) & 1 == 1)
    }
}

/// The processor's no-execute bit, at every level.
const NO_EXECUTE: u64 = 1 << 63;

/// How a chunk is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkMapping {
    /// By a table of 512 entries in this frame.
    Table(Pfn),
    /// By a large page: 512 frames from this one.
    Large(Pfn),
}

/// The chunks of a range, and the parts that could not be walked.
#[derive(Clone, Debug, Default)]
pub struct Mapped {
    /// In address order.
    pub chunks: Vec<Chunk>,
    /// Ranges whose tables can't be read: address, bytes, reason.
    pub unreadable: Vec<(Va, u64, Fault)>,
    /// True when the tables list more tables, chunks or holes than the dump has pages. Only
    /// damaged or crafted tables do; the walk stopped early.
    pub overrun: bool,
    /// Number of tables read, including repeated reads.
    pub tables: u64,
}

/// The state of a walk.
struct Descent {
    found: Mapped,
    /// Limit for tables, chunks and holes: every valid table takes a page of the dump.
    most: u64,
}

impl Descent {
    fn check(&mut self) {
        let counts = [
            self.found.tables,
            self.found.chunks.len() as u64,
            self.found.unreadable.len() as u64,
        ];
        self.found.overrun |= counts.iter().any(|count| *count > self.most);
    }

    fn chunk(&mut self, chunk: Chunk) {
        self.check();
        if !self.found.overrun {
            self.found.chunks.push(chunk);
        }
    }

    fn hole(&mut self, start: Va, bytes: u64, why: Fault) {
        self.check();
        if !self.found.overrun {
            self.found.unreadable.push((start, bytes, why));
        }
    }
}

/// One page of a chunk.
#[derive(Clone, Copy, Debug)]
pub enum MappedPage<'a> {
    /// In the dump.
    Bytes(&'a PageBytes, Via),
    /// Never written: zeros, by definition.
    Zero,
    /// Mapped, but unreadable.
    Missing(Fault),
}

impl AddressSpace {
    /// The chunks between two addresses (`end` exclusive).
    pub fn mapped(&self, start: Va, end: Va) -> Mapped {
        let mut out = Descent {
            found: Mapped::default(),
            most: self.dump().pages_present() + 512,
        };
        // Only addresses that the processor translates: between the halves, the tables would
        // repeat.
        const LOWER_END: Va = Va(0x0000_8000_0000_0000);
        const UPPER: Va = Va(0xffff_8000_0000_0000);
        let halves = [(start, end.min(LOWER_END)), (start.max(UPPER), end)];
        for (start, end) in halves.into_iter().filter(|(start, end)| start < end) {
            let range = (start, Va(end.0 - 1));
            self.descend(self.root(), self.levels() - 1, range, false, &mut out);
        }
        out.found
    }

    /// A table that was read without failures: zeros from a failed read would look like
    /// unmapped memory.
    fn whole_table(&self, pfn: Pfn) -> Result<&PageBytes, Fault> {
        let before = self.dump().faults();
        let page = self.table(pfn)?;
        std::hint::black_box(page[0]);
        match self.dump().faults() == before {
            true => Ok(page),
            false => Err(Fault::FileFailed),
        }
    }

    fn descend(
        &self,
        table: Pfn,
        level: u8,
        (first, last): (Va, Va),
        no_execute: bool,
        out: &mut Descent,
    ) {
        let page = match self.whole_table(table) {
            Ok(page) => page,
            Err(fault) => {
                out.hole(first, (last.0 - first.0).saturating_add(1), fault);
                return;
            }
        };
        out.found.tables += 1;
        out.check();
        let span = 1u64 << (12 + 9 * u32::from(level));
        let mut va = Va(first.0 & !(span - 1));
        loop {
            let raw = entry(page, va, level);
            let no_execute = no_execute || raw & NO_EXECUTE != 0;
            self.follow(raw, level, va, (first, last), no_execute, out);
            match va.0.checked_add(span) {
                Some(next) if next <= last.0 && !out.found.overrun => va = Va(next),
                _ => break,
            }
        }
    }

    /// Follows an entry of an upper table: entries of `level` 1 map chunks, higher ones map
    /// tables.
    fn follow(
        &self,
        raw: u64,
        level: u8,
        va: Va,
        (first, last): (Va, Va),
        no_execute: bool,
        out: &mut Descent,
    ) {
        let span = 1u64 << (12 + 9 * u32::from(level));
        match self.rules().decode(raw) {
            Entry::Valid { pfn, large: true } if level == 1 => {
                out.chunk(Chunk {
                    va,
                    mapped: ChunkMapping::Large(large_frame(pfn, va, 1)),
                    no_execute,
                });
            }
            Entry::Valid { pfn, large: true } if level == 2 => {
                for i in 0..512 {
                    let at = va.add(i * CHUNK_SIZE);
                    if at.0 >= first.0 & !(CHUNK_SIZE - 1) && at <= last {
                        let frame = large_frame(pfn, at, 2);
                        out.chunk(Chunk {
                            va: at,
                            mapped: ChunkMapping::Large(frame),
                            no_execute,
                        });
                    }
                }
            }
            // Skip the self-map: it shows the tables themselves as memory.
            Entry::Valid { pfn, .. } if pfn == self.root() => {}
            Entry::Valid { pfn, .. } | Entry::Transition(pfn) if level == 1 => {
                out.chunk(Chunk {
                    va,
                    mapped: ChunkMapping::Table(pfn),
                    // In other entries, this bit is not the processor's.
                    no_execute: no_execute && raw & 1 != 0,
                });
            }
            Entry::Valid { pfn, .. } | Entry::Transition(pfn) => {
                let end = Va(va.0.saturating_add(span - 1)).min(last);
                self.descend(pfn, level - 1, (va.max(first), end), no_execute, out);
            }
            Entry::PagedOut => out.hole(va, span, Fault::PagedOut),
            Entry::Prototype(_) | Entry::DemandZero | Entry::Empty => {}
        }
    }

    /// The pages of a chunk that are not executable, from the bits of all levels. The bit has
    /// no meaning for pages that are not valid.
    pub fn no_execute(&self, chunk: Chunk) -> NoExecute {
        let table = match chunk.mapped {
            _ if chunk.no_execute => return NoExecute([u64::MAX; 8]),
            ChunkMapping::Large(_) => return NoExecute::default(),
            ChunkMapping::Table(pfn) => self.table(pfn),
        };
        let mut out = NoExecute::default();
        let Ok(table) = table else {
            return out;
        };
        for (word, group) in out.0.iter_mut().enumerate() {
            for bit in 0..64 {
                let va = Va((word as u64 * 64 + bit) * PAGE_SIZE);
                let raw = entry(table, va, 0);
                *group |= u64::from(raw & 1 != 0 && raw & NO_EXECUTE != 0) << bit;
            }
        }
        out
    }

    /// Visits the frames of a chunk's pages in address order, without reading them.
    pub fn chunk_frames(&self, chunk: Chunk, mut visit: impl FnMut(Pfn)) {
        let first = match chunk.mapped {
            ChunkMapping::Large(first) => {
                (0..512).for_each(|i| visit(Pfn(first.0 + i)));
                return;
            }
            ChunkMapping::Table(pfn) => pfn,
        };
        let Ok(table) = self.table(first) else {
            return;
        };
        for i in 0..512 {
            let va = chunk.va.add(i * PAGE_SIZE);
            if let Ok(Target::Frame { pfn, .. }) = self.leaf(entry(table, va, 0)) {
                visit(pfn);
            }
        }
    }

    /// Visits the mapped pages of a chunk between two addresses, in address order.
    pub fn chunk_pages<'a>(&'a self, chunk: Chunk, mut visit: impl FnMut(Va, MappedPage<'a>)) {
        let table = match chunk.mapped {
            ChunkMapping::Large(_) => None,
            ChunkMapping::Table(pfn) => match self.whole_table(pfn) {
                Ok(page) => Some(page),
                Err(fault) => {
                    for i in 0..512 {
                        visit(chunk.va.add(i * PAGE_SIZE), MappedPage::Missing(fault));
                    }
                    return;
                }
            },
        };
        for i in 0..512 {
            let va = chunk.va.add(i * PAGE_SIZE);
            let target = match (chunk.mapped, table) {
                (ChunkMapping::Large(first), _) => Ok(Target::Frame {
                    pfn: Pfn(first.0 + i),
                    via: Via::Valid,
                }),
                (_, Some(table)) => self.leaf(entry(table, va, 0)),
                _ => Err(Fault::Unmapped),
            };
            match target {
                Ok(Target::Frame { pfn, via }) => match self.frame(pfn) {
                    Ok(bytes) => visit(va, MappedPage::Bytes(bytes, via)),
                    Err(fault) => visit(va, MappedPage::Missing(fault)),
                },
                Ok(Target::Zero) => visit(va, MappedPage::Zero),
                Err(fault) if fault.is_missing_data() => visit(va, MappedPage::Missing(fault)),
                Err(_) => {}
            }
        }
    }
}
