//! The contents of a tag's blocks: the values at each offset, and blocks with the same layout.
//!
//! Block contents show the owner even if the tag does not: addresses of the owner's routines, its
//! data and its other blocks. A million blocks can't be read by hand, but the counts per offset
//! are short: "at +0xb0, 99.9% point into amdacpbus2.sys". Blocks are sampled, and the size of
//! the sample is stated; unreadable data is counted.

mod classify;
mod families;
mod names;
mod objects;
mod offsets;
mod read;
pub mod sample;

pub use classify::text_of;
pub use names::Place;
pub use objects::{ByTag, ObjectTypes};
pub use offsets::LIMIT;
pub use sample::{Question, USUAL_SAMPLE};

use std::sync::atomic::{AtomicU64, Ordering};

use crate::analysis::ages::Ages;
use crate::kernel::Kernel;
use crate::kernel::names::ModuleNames;
use crate::kernel::sessions::Sessions;
use crate::memory::{AddressSpace, Va};
use crate::pool::Tag;
use crate::pool::block::Block;
use crate::pool::index::Snapshot;
use crate::pool::index::sort::Wanted;

use super::judgement::words::count;

use families::Group;
use names::Names;
use offsets::{STEP, Slot};
use read::Found;

/// The inputs of a census.
pub struct Setting<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The sessions; session drivers are mapped only in them.
    pub sessions: &'a Sessions,
    /// The index with the blocks.
    pub index: &'a Snapshot,
    /// The address space of a session, or of the system.
    pub space: &'a (dyn Fn(Option<u32>) -> &'a AddressSpace + Sync),
    /// Determines object types.
    pub objects: &'a dyn ObjectTypes,
    /// Names addresses in modules.
    pub names: &'a ModuleNames,
    /// True to look up the blocks that kernel addresses point to, which takes about a third of
    /// the time; false to count them as [`What::Kernel`].
    pub follow: bool,
}

/// The progress of a census.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    all: AtomicU64,
}

impl Progress {
    /// The completed share, 0 to 1.
    pub fn share(&self) -> f64 {
        let all = self.all.load(Ordering::Relaxed).max(1);
        self.done.load(Ordering::Relaxed).min(all) as f64 / all as f64
    }

    fn expect(&self, blocks: u64) {
        self.all.store(blocks, Ordering::Relaxed);
    }

    fn advance(&self, blocks: u64) {
        self.done.fetch_add(blocks, Ordering::Relaxed);
    }
}

/// The class of words at an offset.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum What {
    /// Zero.
    Zero,
    /// One constant value.
    Constant(#[serde(with = "crate::memory::addr::hexadecimal")] u64),
    /// Different numbers.
    Number,
    /// Text.
    Text,
    /// User addresses.
    User,
    /// Addresses in the block itself.
    Own,
    /// Addresses in a module.
    Module {
        /// Index in the kernel's module list.
        module: usize,
        /// The module name as in WinDbg.
        name: String,
        /// The most frequent target, and the number of blocks that point to it.
        place: Option<(Place, u64)>,
    },
    /// Addresses in a pool block.
    Pool {
        /// The block's tag.
        tag: Tag,
        /// True if the block is free.
        is_freed: bool,
        /// The type of the object in the block.
        object: Option<String>,
    },
    /// Addresses in blocks of further tags.
    MorePool,
    /// Kernel addresses outside of images and listed blocks, or not looked up.
    Kernel,
}

/// The number of words of a class.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Count {
    /// The class.
    pub what: What,
    /// Number of blocks with this class at the offset.
    pub blocks: u64,
}

/// The words at an offset.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Offset {
    /// Offset in bytes from the start of the block's body, after the header.
    pub offset: u64,
    /// Number of blocks that could be read at this offset.
    pub read: u64,
    /// Number of blocks that could not be read at this offset.
    pub unreadable: u64,
    /// The classes, the most frequent first.
    pub counts: Vec<Count>,
}

/// A module that blocks point into.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pointing {
    /// Index in the kernel's module list.
    pub module: usize,
    /// The module name as in WinDbg.
    pub name: String,
    /// Number of blocks that point into it at any offset.
    pub blocks: u64,
    /// The offset in bytes at which the most blocks do.
    pub offset: u64,
    /// Number of blocks that point into it at this offset.
    pub at_offset: u64,
    /// The most frequent target at this offset, and the number of blocks that point to it.
    pub place: Option<(Place, u64)>,
}

/// Blocks with the same layout.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Family {
    /// Number of its blocks in the sample.
    pub blocks: u64,
    /// The smallest and largest size in bytes, including headers.
    pub sizes: (u64, u64),
    /// A block with the typical layout.
    pub exemplar: Va,
    /// The session whose pool contains that block.
    pub session: Option<u32>,
    /// One letter per word: `0` zero, `n` number, `t` text, `M` address in a module, `o` in the
    /// block itself, `k` another kernel address, `u` a user address, `?` unreadable.
    pub shape: String,
    /// Pointers into modules: the offset in bytes, and the module's name.
    pub modules: Vec<(u64, String)>,
    /// The first text in the typical block.
    pub text: Option<String>,
}

/// The contents of a tag's blocks.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Census {
    /// The question.
    pub question: Question,
    /// Number of allocated blocks that match the question.
    pub population: u64,
    /// Number of blocks that were read.
    pub sampled: u64,
    /// Number of these that are completely unreadable.
    pub unreadable: u64,
    /// Number of these that are longer than [`LIMIT`] bytes, of which only the start is read.
    pub longer: u64,
    /// The counts by offset.
    pub offsets: Vec<Offset>,
    /// Modules that blocks point into, by number of blocks, descending.
    pub modules: Vec<Pointing>,
    /// Families, largest first.
    pub families: Vec<Family>,
    /// Number of blocks in no family.
    pub in_no_family: u64,
    /// The ages of the blocks, if they contain times.
    pub ages: Option<Ages>,
    /// Omissions, as sentences.
    pub notes: Vec<String>,
}

impl Census {
    /// The answer for a tag without allocated blocks.
    pub fn of_no_block(question: Question) -> Census {
        Census {
            question,
            population: 0,
            sampled: 0,
            unreadable: 0,
            longer: 0,
            offsets: Vec::new(),
            modules: Vec::new(),
            families: Vec::new(),
            in_no_family: 0,
            ages: None,
            notes: Vec::new(),
        }
    }

    /// Number of blocks that could be read at least in part.
    pub fn read(&self) -> u64 {
        self.sampled.saturating_sub(self.unreadable)
    }

    /// The coverage, as a sentence without its full stop.
    pub fn coverage(&self) -> String {
        let mut out = match (self.population, self.read()) {
            (0, _) => "there are no blocks in use".into(),
            (1, 0) => return "the one block is not in the dump".into(),
            (1, _) => "the one block was read".into(),
            (all, read) if all == read => format!("all {} blocks were read", count(all)),
            (all, read) => format!("{} of {} blocks were read", count(read), count(all)),
        };
        if self.sampled < self.population {
            out += ", evenly sampled";
        }
        if self.longer > 0 {
            out += &format!(", the first {} bytes of each", count(LIMIT));
        }
        if self.unreadable > 0 {
            out += &format!("; {} not in the dump", count(self.unreadable));
        }
        out
    }

    /// The blocks' pointers into a module, by name.
    pub fn pointing(&self, name: &str) -> Option<&Pointing> {
        self.modules
            .iter()
            .find(|m| m.name.eq_ignore_ascii_case(name))
    }
}

impl Pointing {
    /// The shares of readable blocks that point into it at any offset, and at the most frequent
    /// offset, 0 to 1.
    pub fn shares(&self, census: &Census) -> (f64, f64) {
        let read = census.read().max(1) as f64;
        (self.blocks as f64 / read, self.at_offset as f64 / read)
    }

    /// The finding as a sentence without its full stop.
    pub fn sentence(&self, census: &Census) -> String {
        let (anywhere, _) = self.shares(census);
        let mut out = format!(
            "{:.1}% of the blocks ({} of {} read) point into it",
            anywhere * 100.0,
            count(self.blocks),
            count(census.read())
        );
        out += &match self.at_offset == self.blocks {
            true => format!(" at +{:#x}", self.offset),
            false => format!(", {} of them at +{:#x}", count(self.at_offset), self.offset),
        };
        if let Some((place, count)) = &self.place {
            let most = match *count == self.at_offset {
                true => "",
                false => "mostly ",
            };
            out += &format!(", {most}to {}", place.name);
        }
        out
    }
}

/// Takes a census. `None` if cancelled.
pub fn take(
    setting: &Setting<'_>,
    question: Question,
    wanted: Wanted<'_>,
    progress: &Progress,
) -> Option<Census> {
    let dump = setting.kernel.space.dump();
    let faults = dump.faults();
    let sample = sample::pick(setting.index, &question, wanted)?;
    let mut found = read::read(setting, &sample.blocks, wanted, progress)?;
    let (groups, in_no_family) = families::families(std::mem::take(&mut found.shapes));
    let names = Names::new(setting.kernel, setting.sessions, setting.names);
    let mut answer = Answer {
        found: &found,
        names: &names,
    };
    let offsets: Vec<Offset> = (0..found.tally.slots.len())
        .map(|nth| answer.offset(nth))
        .collect();
    let modules = answer.modules(&offsets);
    let families = groups
        .iter()
        .filter_map(|group| answer.family(setting, group, &sample.blocks))
        .collect();
    let mut notes = Vec::new();
    if setting.index.left_out > 0 {
        notes.push(format!(
            "{} blocks of all tags are not listed because of the memory limit, and were not \
                examined",
            setting.index.left_out
        ));
    }
    if dump.faults() != faults {
        notes.push("parts of the file could not be read and count as zeros here".into());
    }
    Some(Census {
        question,
        population: sample.population,
        sampled: sample.blocks.len() as u64,
        unreadable: found.unreadable,
        longer: found.longer,
        offsets,
        modules,
        families,
        in_no_family,
        ages: None,
        notes,
    })
}

/// Converts the counts to the answer.
struct Answer<'a, 'b> {
    found: &'a Found,
    names: &'a Names<'b>,
}

/// A value is listed separately from other numbers if one block in this many has it.
const CONSTANT: u64 = 10;
/// Number of bytes that are searched for a block's text.
const TEXT_BYTES: usize = 512;

impl Answer<'_, '_> {
    fn offset(&mut self, nth: usize) -> Offset {
        let empty = Slot::default();
        let slot = self.found.tally.slots.get(nth).unwrap_or(&empty);
        let mut counts = Vec::new();
        let mut add = |what, blocks| {
            if blocks > 0 {
                counts.push(Count { what, blocks });
            }
        };
        let (mut number, mut text) = (slot.number, slot.text);
        for (value, count) in self.watched(nth, slot) {
            let of = match classify::classify(value, &classify::Images::default(), &(0..0)) {
                classify::Word::Number => &mut number,
                classify::Word::Text => &mut text,
                _ => continue,
            };
            if count.saturating_mul(CONSTANT) >= slot.read && count > 1 {
                *of = of.saturating_sub(count);
                add(What::Constant(value), count);
            }
        }
        add(What::Zero, slot.zero);
        add(What::Number, number);
        add(What::Text, text);
        add(What::User, slot.user);
        add(What::Own, slot.own);
        add(What::Kernel, slot.kernel);
        add(What::MorePool, slot.other_targets);
        for (&module, &blocks) in &slot.modules {
            let what = What::Module {
                module: module as usize,
                name: self.names.module(module),
                place: self.place(nth, slot, module),
            };
            counts.push(Count { what, blocks });
        }
        for (target, &blocks) in &slot.targets {
            let object = target.object.and_then(|n| self.found.types.name(n));
            let what = What::Pool {
                tag: target.tag,
                is_freed: target.is_freed,
                object: object.map(str::to_owned),
            };
            counts.push(Count { what, blocks });
        }
        counts.sort_by_cached_key(|c| (std::cmp::Reverse(c.blocks), order(&c.what)));
        Offset {
            offset: nth as u64 * STEP,
            read: slot.read,
            unreadable: slot.unreadable,
            counts,
        }
    }

    fn watched(&self, nth: usize, slot: &Slot) -> Vec<(u64, u64)> {
        let values = self.found.watched.get(nth).into_iter().flatten();
        values.copied().zip(slot.values).collect()
    }

    /// The most frequent target in a module at an offset.
    fn place(&mut self, nth: usize, slot: &Slot, module: u32) -> Option<(Place, u64)> {
        let base = self.names.base(module)?;
        let inside = |value: u64| {
            let rva = u32::try_from(value.checked_sub(base.0)?).ok()?;
            (rva < self.names.size(module)).then_some(rva)
        };
        let of_module = self.watched(nth, slot).into_iter();
        let (rva, count) = of_module
            .filter_map(|(value, count)| Some((inside(value)?, count)))
            .filter(|(_, count)| *count > 0)
            .max_by_key(|&(rva, count)| (count, std::cmp::Reverse(rva)))?;
        Some((self.names.place(module, rva), count))
    }

    fn modules(&mut self, offsets: &[Offset]) -> Vec<Pointing> {
        let mut out: Vec<Pointing> = Vec::new();
        for (&number, &blocks) in &self.found.tally.blocks_to {
            let mut best: Option<Pointing> = None;
            for offset in offsets {
                for count in &offset.counts {
                    let What::Module {
                        module,
                        name,
                        place,
                    } = &count.what
                    else {
                        continue;
                    };
                    let more = best.as_ref().is_none_or(|b| b.at_offset < count.blocks);
                    if *module == number as usize && more {
                        best = Some(Pointing {
                            module: *module,
                            name: name.clone(),
                            blocks,
                            offset: offset.offset,
                            at_offset: count.blocks,
                            place: place.clone(),
                        });
                    }
                }
            }
            out.extend(best);
        }
        out.sort_by_key(|p| (std::cmp::Reverse((p.blocks, p.at_offset)), p.module));
        out
    }

    fn family(&self, setting: &Setting<'_>, group: &Group, blocks: &[Block]) -> Option<Family> {
        let exemplar = blocks.get(group.exemplar)?;
        let modules = group.modules();
        Some(Family {
            blocks: group.blocks,
            sizes: group.sizes,
            exemplar: exemplar.va,
            session: exemplar.session,
            shape: group.letters(),
            modules: modules
                .map(|(nth, module)| (nth as u64 * STEP, self.names.module(module)))
                .collect(),
            text: text(setting, exemplar),
        })
    }
}

/// The order of classes with equal counts.
fn order(what: &What) -> (u8, u64) {
    match what {
        What::Constant(value) => (0, *value),
        What::Module { module, .. } => (1, *module as u64),
        What::Pool {
            tag,
            is_freed,
            object,
        } => {
            let tag = u64::from(tag.value().swap_bytes()) << 2;
            (
                2,
                tag | u64::from(*is_freed) << 1 | u64::from(object.is_some()),
            )
        }
        What::MorePool => (3, 0),
        What::Own => (4, 0),
        What::Kernel => (5, 0),
        What::Zero => (6, 0),
        What::Number => (7, 0),
        What::Text => (8, 0),
        What::User => (9, 0),
    }
}

/// The first text at the start of a block, at least six characters of ASCII or UTF-16LE.
fn text(setting: &Setting<'_>, block: &Block) -> Option<String> {
    let length = block.bytes.saturating_sub(block.header_bytes());
    let length = length.min(TEXT_BYTES as u64) as usize;
    let mut bytes = vec![0; length];
    let space = (setting.space)(block.session);
    space.read(block.body(), &mut bytes).ok()?;
    first_text(&bytes)
}

/// Minimum length of a text, and maximum length to show, in characters.
const TEXT: (usize, usize) = (6, 64);

fn first_text(bytes: &[u8]) -> Option<String> {
    let printable = |b: u8| (0x20..0x7f).contains(&b);
    for step in [1, 2] {
        for start in (0..bytes.len()).step_by(step) {
            let units = bytes.get(start..)?.chunks_exact(step);
            let text: String = units
                .map_while(|unit| match unit {
                    [b] | [b, 0] if printable(*b) => Some(char::from(*b)),
                    _ => None,
                })
                .take(TEXT.1)
                .collect();
            if text.len() >= TEXT.0 {
                return Some(text);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_in_ascii_and_utf16() {
        assert_eq!(
            first_text(b"\0\x01hello world\0"),
            Some("hello world".into())
        );
        let wide: Vec<u8> = "\u{1}\\Device"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(first_text(&wide), Some("\\Device".into()));
        assert_eq!(first_text(b"short\0"), None);
        assert_eq!(first_text(&[b'a'; 600]).unwrap().len(), 64);
    }
}
