//! VMware: guest memory in a `.vmem` beside its state (`.vmss` of a suspended machine, `.vmsn`
//! of a snapshot), or inside the state.
//!
//! Groups and tags follow VMware's own reader in the `crash` utility (`vmware_vmss.c`), also
//! the padding bytes after the padding length of a block.

use crate::addr::PAGE_SIZE;
use crate::bytes::{u16_at, u32_at, u64_at};

use super::cpu::Cpu;
use super::error::DumpError;
use super::page_map::{FileRun, PageMap};
use super::tables;

/// Magic numbers with lengths of 64 bits in block tags.
const WIDE: [u32; 4] = [0xbed2_bed2, 0xbed3_bed3, 0xbad1_bad1, 0xbad2_bad2];
/// Memory is in another file.
const PARTIAL: u32 = 0xbed3_bed3;
/// Old magic numbers, with lengths of 32 bits.
const NARROW: [u32; 2] = [0xbed0_bed0, 0xbed2_bed0];
const GROUP: usize = 80;
/// VMware's products write about fifty groups.
const MAX_GROUPS: u32 = 4096;
/// Tags in all groups; a machine with many devices has tens of thousands.
const MAX_TAGS: u32 = 4 << 20;
/// VMware's own reader accepts three.
const MAX_REGIONS: u32 = 64;
const MAX_CPUS: u32 = 4096;
const BLOCK: u16 = 0x3f;
const PACKED_BLOCK: u16 = 0x3e;
/// CR64 as a block: CR0 to CR8.
const CONTROL_BLOCK: u64 = 72;
/// Start of the hole below 4 GB, and the start of memory after it.
const HOLE: u64 = 0xc000_0000;
const BEHIND_HOLE: u64 = 0x1_0000_0000;

/// True when these are the first bytes of a state file.
pub(super) fn is_state(bytes: &[u8]) -> bool {
    u32_at(bytes, 0).is_some_and(|magic| WIDE.contains(&magic) || NARROW.contains(&magic))
}

/// A region of guest memory, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Region {
    /// First guest page.
    guest: Option<u32>,
    /// First page in the memory file.
    stored: Option<u32>,
    pages: Option<u32>,
}

/// The data in a state file.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// The processors, in order.
    pub cpus: Vec<Cpu>,
    /// The signature shows that memory is in another file.
    pub partial: bool,
    regions: Vec<Region>,
    regions_count: u32,
    align_mask: u32,
    /// Offset and length of the memory block inside the state.
    memory: Option<(u64, u64)>,
    packed_memory: bool,
    has_memory_group: bool,
    arm: bool,
}

/// A tag with its indices and the location of its value.
struct Tag<'a> {
    name: &'a [u8],
    indices: [Option<u32>; 3],
    value: Value,
    end: u64,
}

#[derive(Clone, Copy)]
enum Value {
    /// Offset and length.
    Plain(usize, u16),
    /// Offset and length.
    Block(u64, u64),
    Packed,
}

impl<'a> Tag<'a> {
    fn at(file: &'a [u8], at: u64, narrow: bool) -> Option<Tag<'a>> {
        let here = usize::try_from(at).ok()?;
        let head = u16_at(file, here)?;
        if head == 0 {
            return None;
        }
        let name_end = here.checked_add(2 + usize::from(head >> 8))?;
        let name = file.get(here + 2..name_end)?;
        let count = usize::from(head >> 6 & 3);
        let mut indices = [None; 3];
        for (i, index) in indices.iter_mut().take(count).enumerate() {
            *index = Some(u32_at(file, name_end + i * 4)?);
        }
        let value_at = name_end + count * 4;
        let (value, end) = match head & 0x3f {
            size @ (BLOCK | PACKED_BLOCK) => {
                let (on_disk, behind) = match narrow {
                    true => (u32_at(file, value_at)?.into(), 8),
                    false => (u64_at(file, value_at)?, 16),
                };
                let padding = u64::from(u16_at(file, value_at + behind)?);
                let data = (value_at + behind + 2) as u64 + padding;
                let value = match size {
                    BLOCK => Value::Block(data, on_disk),
                    _ => Value::Packed,
                };
                (value, data.checked_add(on_disk)?)
            }
            size => (
                Value::Plain(value_at, size),
                value_at as u64 + u64::from(size),
            ),
        };
        Some(Tag {
            name,
            indices,
            value,
            end,
        })
    }

    /// The value as a number of up to 8 bytes.
    fn number(&self, file: &[u8]) -> Option<u64> {
        let Value::Plain(at, size) = self.value else {
            return None;
        };
        match size {
            1 => file.get(at).map(|&b| b.into()),
            2 => u16_at(file, at).map(u64::from),
            4 => u32_at(file, at).map(u64::from),
            8 => u64_at(file, at),
            _ => None,
        }
    }
}

impl State {
    /// Reads a state file.
    ///
    /// # Errors
    /// [`DumpError::Damaged`], and refusals of guests that are not x64.
    pub fn read(file: &[u8]) -> Result<State, DumpError> {
        let damaged = |what: String| DumpError::Damaged { what };
        let magic = u32_at(file, 0).unwrap_or(0);
        let narrow = NARROW.contains(&magic);
        let groups = u32_at(file, 8).unwrap_or(0);
        let room = file.len().saturating_sub(12) / GROUP;
        if groups == 0 || groups > MAX_GROUPS || groups as usize > room {
            return Err(damaged(format!("a VMware state of {groups} groups")));
        }
        let mut state = State {
            partial: magic == PARTIAL,
            ..State::default()
        };
        let mut budget = MAX_TAGS;
        for group in 0..groups as usize {
            let at = 12 + group * GROUP;
            let name = file.get(at..at + 64).unwrap_or_default();
            let name = name.split(|&b| b == 0).next().unwrap_or_default();
            let mut position = u64_at(file, at + 64).unwrap_or(0);
            if !matches!(name, b"memory" | b"cpu" | b"Checkpoint" | b"hv") {
                continue;
            }
            state.has_memory_group |= name == b"memory";
            while let Some(tag) = Tag::at(file, position, narrow) {
                budget = budget
                    .checked_sub(1)
                    .ok_or_else(|| damaged("a VMware state with too many tags".into()))?;
                state.take(file, name, &tag);
                position = tag.end;
            }
        }
        if state.arm {
            return Err(DumpError::refused(
                "this is the state of an ARM64 VMware machine",
                "poolscope reads x64 machines only",
            ));
        }
        Ok(state)
    }

    fn take(&mut self, file: &[u8], group: &[u8], tag: &Tag<'_>) {
        match group {
            b"memory" => self.take_memory(file, tag),
            b"cpu" => self.take_cpu(file, tag),
            b"Checkpoint" => self.arm |= tag.name == b"Platform" && tag.number(file) == Some(3),
            _ => self.arm |= tag.name == b"ttbrEL1",
        }
    }

    fn take_memory(&mut self, file: &[u8], tag: &Tag<'_>) {
        let number = tag.number(file).and_then(|n| u32::try_from(n).ok());
        let index = tag.indices[0].unwrap_or(0);
        match (tag.name, tag.value) {
            (b"Memory", Value::Block(at, bytes)) => self.memory = Some((at, bytes)),
            (b"Memory", Value::Packed) => self.packed_memory = true,
            (b"align_mask", _) => self.align_mask = number.unwrap_or(0),
            (b"regionsCount", _) => self.regions_count = number.unwrap_or(0),
            (name @ (b"regionPPN" | b"regionPageNum" | b"regionSize"), _)
                if index < MAX_REGIONS =>
            {
                let index = index as usize;
                if self.regions.len() <= index {
                    self.regions.resize(index + 1, Region::default());
                }
                if let Some(region) = self.regions.get_mut(index) {
                    match name {
                        b"regionPPN" => region.guest = number,
                        b"regionPageNum" => region.stored = number,
                        _ => region.pages = number,
                    }
                }
            }
            _ => {}
        }
    }

    fn take_cpu(&mut self, file: &[u8], tag: &Tag<'_>) {
        let Some(number) = tag.indices[0].filter(|n| *n < MAX_CPUS) else {
            return;
        };
        let number = number as usize;
        if self.cpus.len() <= number {
            self.cpus.resize(number + 1, Cpu::default());
        }
        let Some(cpu) = self.cpus.get_mut(number) else {
            return;
        };
        let value = tag.number(file);
        match (tag.name, tag.value, tag.indices[1]) {
            (b"CR64", Value::Block(at, bytes), _) if bytes >= CONTROL_BLOCK => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let control = |n: usize| u64_at(file, at.checked_add(n * 8)?);
                (cpu.cr0, cpu.cr3, cpu.cr4) = (control(0), control(3), control(4));
            }
            (b"CR64" | b"CR", Value::Plain(..), Some(0)) => cpu.cr0 = value,
            (b"CR64" | b"CR", Value::Plain(..), Some(3)) => cpu.cr3 = value,
            (b"CR64" | b"CR", Value::Plain(..), Some(4)) => cpu.cr4 = value,
            (b"IDTR", Value::Block(at, bytes), _) if bytes >= 10 => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                cpu.idt = at.checked_add(2).and_then(|at| u64_at(file, at));
            }
            (b"IDTR", Value::Plain(..), Some(half @ (1 | 2))) => {
                let shift = 32 * (half - 1);
                let part = value.unwrap_or(0) << shift;
                let rest = cpu.idt.unwrap_or(0) & !(0xffff_ffff << shift);
                cpu.idt = Some(rest | part);
            }
            (b"rip", Value::Plain(..), _) => cpu.rip = value,
            (b"S.base64", Value::Plain(..), Some(5)) => cpu.gs = value,
            _ => {}
        }
    }

    /// True when the state contains guest memory.
    pub fn has_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// True when the state refers to guest memory, inside it or in another file.
    pub fn expects_memory(&self) -> bool {
        self.partial || self.regions_count > 0 || !self.regions.is_empty()
    }

    /// True when VMware compressed the memory inside the state.
    pub fn is_compressed(&self) -> bool {
        self.packed_memory && self.memory.is_none()
    }

    /// The pages in a separate memory file.
    ///
    /// # Errors
    /// [`DumpError::Damaged`].
    pub fn pages_outside(&self, length: u64) -> Result<PageMap, DumpError> {
        self.pages(0, length)
    }

    /// The pages inside the state. `file` is the state.
    ///
    /// # Errors
    /// [`DumpError::Damaged`].
    pub fn pages_inside(&self, file: &[u8]) -> Result<PageMap, DumpError> {
        let (at, bytes) = self.memory.unwrap_or_default();
        // Two public readers disagree: data starts after the padding, or at the next multiple
        // of the alignment. Usually both are the same; otherwise the page tables decide.
        let unit = u64::from(self.align_mask).saturating_add(1);
        let rounded = match unit.is_power_of_two() {
            true => at.checked_next_multiple_of(unit).unwrap_or(at),
            false => at,
        };
        let at =
            match rounded != at && !tables::has_root(file, at) && tables::has_root(file, rounded) {
                true => rounded,
                false => at,
            };
        self.pages(at, bytes)
    }

    /// The pages of memory that is stored from offset `at`.
    fn pages(&self, at: u64, length: u64) -> Result<PageMap, DumpError> {
        let damaged = |what: String| DumpError::Damaged { what };
        if self.regions_count == 0 {
            let whole = FileRun {
                first: 0,
                pages: length / PAGE_SIZE,
                offset: at,
            };
            return PageMap::of_runs(vec![whole]).map_err(damaged);
        }
        if self.regions_count > MAX_REGIONS {
            let count = self.regions_count;
            return Err(damaged(format!(
                "a VMware state with {count} regions of memory"
            )));
        }
        let mut runs = Vec::new();
        for i in 0..self.regions_count as usize {
            let region = self.regions.get(i).copied().unwrap_or_default();
            let (Some(guest), Some(stored), Some(pages)) =
                (region.guest, region.stored, region.pages)
            else {
                return Err(damaged(format!("region {i} of memory is not complete")));
            };
            if pages > 0 {
                runs.push(FileRun {
                    first: guest.into(),
                    pages: pages.into(),
                    offset: at.saturating_add(u64::from(stored) * PAGE_SIZE),
                });
            }
        }
        PageMap::of_runs(runs).map_err(|why| damaged(format!("regions of memory: {why}")))
    }

    /// True when the state has the layout of a separate memory file.
    pub fn has_regions(&self) -> bool {
        self.regions_count > 0
    }

    /// True when the regions end at the end of the memory file.
    pub fn fits(&self, length: u64) -> bool {
        let end = |r: &Region| Some(u64::from(r.stored?) + u64::from(r.pages?));
        let last = self.regions.iter().filter_map(end).max();
        last.is_some_and(|pages| pages * PAGE_SIZE == length)
    }
}

/// The map of memory without a state: in file order, or with a hole below 4 GB that the file
/// leaves out. The second value is true if there is a hole.
pub(super) fn without_state(file: &[u8]) -> (PageMap, bool) {
    let length = file.len() as u64;
    let run = |first: u64, end: u64, offset: u64| FileRun {
        first: first / PAGE_SIZE,
        pages: (end - first) / PAGE_SIZE,
        offset,
    };
    // The page tables of such a machine refer to frames after the file's length, and to none in
    // the hole except those of devices.
    let hole = length > HOLE && {
        let frames = tables::frames_named(file, HOLE);
        let behind = frames.iter().filter(|f| **f >= length / PAGE_SIZE).count();
        let inside = HOLE / PAGE_SIZE..BEHIND_HOLE / PAGE_SIZE;
        let inside = frames.iter().filter(|f| inside.contains(*f)).count();
        behind > inside
    };
    let runs = match hole {
        true => vec![
            run(0, HOLE, 0),
            run(BEHIND_HOLE, BEHIND_HOLE + (length - HOLE), HOLE),
        ],
        false => vec![run(0, length, 0)],
    };
    (PageMap::Runs(runs), hole)
}
