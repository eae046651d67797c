//! Families: blocks of a tag with similar sizes and similar first words. Usually each allocation
//! site of a driver produces one family.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::classify::Word;

/// Number of words at the start of a block that form its shape: 256 bytes.
pub const SHAPE: usize = 32;
/// Maximum number of families.
const MOST: usize = 24;
/// Maximum number of shapes; blocks with further shapes are in no family.
const MOST_SHAPES: usize = 1 << 18;
/// If there are more than a few sizes, a size gets families of its own only if at least one block
/// in this many has it, and more than one block.
const OWN_SIZE: u64 = 20;
const FEW_SIZES: usize = 8;

/// The code of each of the first words: a letter for most classes; [`MODULE`] plus the module
/// index for a pointer into a module.
pub type Shape = [u16; SHAPE];

/// The code of a pointer into module 0.
const MODULE: u16 = 0x100;
/// Beyond the end of the block.
const END: u16 = 0;
const ZERO: u16 = b'0' as u16;
const NUMBER: u16 = b'n' as u16;
const TEXT: u16 = b't' as u16;
const USER: u16 = b'u' as u16;
const OWN: u16 = b'o' as u16;
const KERNEL: u16 = b'k' as u16;
/// An unreadable word.
pub const UNREADABLE: u16 = b'?' as u16;

/// The code of a word.
pub fn code(word: Word) -> u16 {
    match word {
        Word::Zero => ZERO,
        Word::Text => TEXT,
        Word::Module(module, _) => MODULE.saturating_add(u16::try_from(module).unwrap_or(u16::MAX)),
        Word::Own => OWN,
        Word::Kernel => KERNEL,
        Word::User => USER,
        Word::Number => NUMBER,
    }
}

/// The distance between two words; `None` if they exclude a common family.
fn distance(a: u16, b: u16) -> Option<u32> {
    let is_data = |c: u16| matches!(c, ZERO | NUMBER);
    match (a, b) {
        _ if a == b => Some(0),
        (UNREADABLE, _) | (_, UNREADABLE) => Some(0),
        (MODULE.., MODULE..) => None,
        _ if is_data(a) && is_data(b) => Some(0),
        // A pointer that may be null.
        (ZERO, _) | (_, ZERO) => Some(2),
        _ => Some(4),
    }
}

/// A shape with the size of its blocks in bytes, their number, and the first of them in the
/// sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    bytes: u64,
    shape: Shape,
    count: u64,
    first: usize,
}

/// All shapes so far.
#[derive(Clone, Debug, Default)]
pub struct Shapes {
    seen: FxHashMap<(u64, Shape), (u64, usize)>,
    sizes: FxHashMap<u64, u64>,
    /// Number of blocks whose shape exceeded the limit.
    left_out: u64,
}

impl Shapes {
    /// Adds a block of the sample.
    pub fn add(&mut self, bytes: u64, shape: Shape, place: usize) {
        self.take(bytes, shape, 1, place);
    }

    fn take(&mut self, bytes: u64, shape: Shape, count: u64, first: usize) {
        let room = self.seen.len() < MOST_SHAPES;
        match self.seen.get_mut(&(bytes, shape)) {
            Some((all, place)) => {
                *all += count;
                *place = (*place).min(first);
            }
            None if room => {
                self.seen.insert((bytes, shape), (count, first));
            }
            None => {
                self.left_out += count;
                return;
            }
        }
        *self.sizes.entry(bytes).or_default() += count;
    }

    /// Adds the shapes of other blocks.
    pub fn merge(&mut self, other: Shapes) {
        let mut others: Vec<_> = other.seen.into_iter().collect();
        // A fixed order, so that the limit always omits the same shapes.
        others.sort_unstable_by_key(|(_, (_, first))| *first);
        for ((bytes, shape), (count, first)) in others {
            self.take(bytes, shape, count, first);
        }
        self.left_out += other.left_out;
    }
}

/// A family, in terms of the sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Number of its blocks in the sample.
    pub blocks: u64,
    /// Their smallest and largest size, in bytes.
    pub sizes: (u64, u64),
    /// The first block with the most frequent shape, as an index in the sample.
    pub exemplar: usize,
    shape: Shape,
    size: Option<u64>,
}

impl Group {
    /// Its pointers into modules: the index of the word, and of the module.
    pub fn modules(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        let words = self.shape.iter().enumerate();
        words
            .filter(|w| *w.1 >= MODULE)
            .map(|(i, c)| (i, u32::from(c - MODULE)))
    }

    /// One letter per word: `0` zero, `n` number, `t` text, `M` address in a module, `o` in the
    /// block itself, `k` another kernel address, `u` a user address, `?` unreadable.
    pub fn letters(&self) -> String {
        let known = self.shape.iter().take_while(|c| **c != END);
        known
            .map(|c| match u8::try_from(*c) {
                Ok(letter) => char::from(letter),
                Err(_) => 'M',
            })
            .collect()
    }
}

/// The families, largest first, and the number of sampled blocks in no family.
pub fn families(shapes: Shapes) -> (Vec<Group>, u64) {
    let total: u64 = shapes.sizes.values().sum();
    let own = |bytes: u64| {
        let count = shapes.sizes.get(&bytes).copied().unwrap_or(0);
        let few = shapes.sizes.len() <= FEW_SIZES;
        count.saturating_mul(OWN_SIZE) >= total && (few || count > 1)
    };
    let mut seen: Vec<Seen> = shapes
        .seen
        .iter()
        .map(|(&(bytes, shape), &(count, first))| Seen {
            bytes,
            shape,
            count,
            first,
        })
        .collect();
    seen.sort_unstable_by_key(|s| (Reverse(s.count), s.first));
    let mut out: Vec<Group> = Vec::new();
    let mut left_out = shapes.left_out;
    for s in seen {
        let size = own(s.bytes).then_some(s.bytes);
        let room = out.len() < MOST;
        let near = out
            .iter_mut()
            .filter(|g| g.size == size)
            .filter_map(|g| Some((apart(&g.shape, &s.shape)?, g)))
            .min_by_key(|(distance, _)| *distance);
        match near {
            Some((_, group)) => {
                group.blocks += s.count;
                group.sizes.0 = group.sizes.0.min(s.bytes);
                group.sizes.1 = group.sizes.1.max(s.bytes);
            }
            None if room => out.push(Group {
                blocks: s.count,
                sizes: (s.bytes, s.bytes),
                exemplar: s.first,
                shape: s.shape,
                size,
            }),
            None => left_out += s.count,
        }
    }
    out.sort_by_key(|g| (Reverse(g.blocks), g.exemplar));
    (out, left_out)
}

/// The distance between two shapes; `None` if it exceeds one point per word on average.
fn apart(a: &Shape, b: &Shape) -> Option<u32> {
    let mut sum = 0;
    let mut words = 0;
    for (a, b) in a.iter().zip(b) {
        if *a == END || *b == END {
            break;
        }
        sum += distance(*a, *b)?;
        words += 1;
    }
    (sum <= words).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Shape {
        let mut out = [END; SHAPE];
        for (to, c) in out.iter_mut().zip(text.bytes()) {
            *to = match c {
                b'A'..=b'Z' => MODULE + u16::from(c - b'A'),
                c => c.into(),
            };
        }
        out
    }

    fn found(blocks: &[(u64, &str)]) -> Vec<(u64, (u64, u64), usize)> {
        let mut shapes = Shapes::default();
        for (place, (bytes, text)) in blocks.iter().enumerate() {
            shapes.add(*bytes, shape(text), place);
        }
        let (groups, none) = families(shapes);
        assert_eq!(none, 0);
        groups
            .iter()
            .map(|g| (g.blocks, g.sizes, g.exemplar))
            .collect()
    }

    #[test]
    fn different_sizes_are_separate_families() {
        let of = [(0x100, "nnA0"), (0x200, "nnA0"), (0x100, "0nA0")];
        assert_eq!(found(&of), [(2, (0x100, 0x100), 0), (1, (0x200, 0x200), 1)]);
    }

    #[test]
    fn different_pointer_targets_separate_families_and_null_pointers_do_not() {
        let of = [
            (0x100, "nkA0nn00"),
            (0x100, "nkB0nn00"),
            (0x100, "nk00nn00"),
            (0x100, "nk?0nn00"),
        ];
        let sizes: Vec<u64> = found(&of).iter().map(|g| g.0).collect();
        assert_eq!(sizes.iter().sum::<u64>(), 4);
        assert_eq!(sizes.len(), 2);
    }

    #[test]
    fn many_sizes_of_one_shape_are_one_family() {
        let of: Vec<(u64, &str)> = (0..100).map(|i| (0x40 + i * 16, "tttt")).collect();
        assert_eq!(found(&of), [(100, (0x40, 0x40 + 99 * 16), 0)]);
    }

    #[test]
    fn letters_describe_a_shape() {
        let mut shapes = Shapes::default();
        shapes.add(0x40, shape("0nDtok"), 3);
        let (groups, _) = families(shapes);
        assert_eq!(groups[0].letters(), "0nMtok");
        assert_eq!(groups[0].modules().collect::<Vec<_>>(), [(2, 3)]);
        assert_eq!(groups[0].exemplar, 3);
    }
}
