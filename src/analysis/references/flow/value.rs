//! The possible values of a register or stack slot: a small set that may include "unknown". Each
//! set is stored once and has a number, so states are cheap to copy and compare.

use rustc_hash::FxHashMap;

/// The origin that an offset is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base(u32);

impl Base {
    /// The stack pointer at the function's entry.
    pub const STACK: Base = Base(4);
    /// Absolute memory: the offset is the address.
    pub const MEMORY: Base = Base(0x40);
    const ARGUMENTS: u32 = 0x20;
    const RESULTS: u32 = 0x100;

    /// The value of a general-purpose register at the function's entry.
    pub fn entry(register: usize) -> Base {
        Base(register as u32 & 15)
    }

    /// A stack argument, by number, from 5.
    pub fn argument(number: u8) -> Base {
        Base(Base::ARGUMENTS + u32::from(number) % 32)
    }

    /// The unknown result of the instruction at an RVA.
    pub fn result(rva: u32) -> Base {
        Base(Base::RESULTS.saturating_add(rva))
    }

    /// The number of the function's argument that this base is, from 1.
    pub fn parameter(self) -> Option<u8> {
        match self.0 {
            1 => Some(1),
            2 => Some(2),
            8 => Some(3),
            9 => Some(4),
            n @ 0x25..=0x2c => Some((n - Base::ARGUMENTS) as u8),
            _ => None,
        }
    }
}

/// A possible value of a register or slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// Some other value.
    Unknown,
    /// Some other value; the set was too large to keep.
    Any,
    /// A known number.
    Number {
        /// Its value.
        value: u64,
        /// RVA of the four bytes of code that it came from; 0 if they can't be a tag.
        from: u32,
    },
    /// A constant of the code plus an unknown top byte.
    Mixed {
        /// The constant.
        value: u32,
        /// RVA of the constant's four bytes.
        from: u32,
    },
    /// An unknown number whose low 24 bits are zero.
    Shifted,
    /// An address: base plus offset.
    Pointer {
        /// The base.
        base: Base,
        /// Offset in bytes.
        offset: i64,
    },
    /// The value in memory at `base + offset`.
    Loaded {
        /// The pointer that the address was computed from, or the address itself.
        base: u64,
        /// Offset in bytes.
        offset: u64,
    },
    /// An unknown entry of a table, plus a number.
    Entry {
        /// The table's address.
        table: u64,
        /// The number that was added.
        plus: u64,
        /// True if entries have 8 bytes, false for 4.
        wide: bool,
    },
    /// A function that MmGetSystemRoutineAddress returned: an index in the list of names.
    Routine(u32),
}

impl Atom {
    /// A number that is not a constant of the code.
    pub fn number(value: u64) -> Atom {
        Atom::Number { value, from: 0 }
    }

    /// True if it came from four bytes of code that may be a tag.
    pub fn is_tagged(self) -> bool {
        matches!(self, Atom::Mixed { .. } | Atom::Number { from: 1.., .. })
    }

    /// True if the value is worth keeping in a set with "unknown".
    fn is_useful(self) -> bool {
        match self {
            Atom::Pointer { base, offset: 0 } => base.parameter().is_some(),
            Atom::Loaded { .. } | Atom::Routine(_) => true,
            other => other.is_tagged(),
        }
    }

    /// The low 32 bits.
    pub fn low(self) -> Atom {
        match self {
            Atom::Number { value, from } => Atom::Number {
                value: value & 0xffff_ffff,
                from,
            },
            Atom::Pointer { base, offset: 0 } if base != Base::STACK => self,
            Atom::Pointer { .. } | Atom::Routine(_) => Atom::Unknown,
            other => other,
        }
    }
}

/// The number of a set.
pub type Id = u32;
/// The set that contains only "unknown".
pub const UNKNOWN: Id = 0;
/// Maximum number of members that are not tag constants.
const MAX_PLAIN: usize = 6;
/// Maximum number of members that are tag constants.
const MAX_TAGGED: usize = 32;
/// Maximum number of pairs that an operation combines.
const MAX_PAIRS: usize = 64;

/// All sets of an analysis.
#[derive(Debug)]
pub struct Values {
    sets: Vec<Box<[Atom]>>,
    tagged: Vec<bool>,
    singles: FxHashMap<Atom, Id>,
    index: FxHashMap<Box<[Atom]>, Id>,
    joins: FxHashMap<(Id, Id), Id>,
}

impl Values {
    /// Contains only the unknown set.
    pub fn new() -> Values {
        let mut out = Values {
            sets: Vec::new(),
            tagged: Vec::new(),
            singles: FxHashMap::default(),
            index: FxHashMap::default(),
            joins: FxHashMap::default(),
        };
        out.one(Atom::Unknown);
        out
    }

    /// The set with one member.
    pub fn one(&mut self, atom: Atom) -> Id {
        if let Some(&id) = self.singles.get(&atom) {
            return id;
        }
        let id = self.add(Box::new([atom]));
        self.singles.insert(atom, id);
        id
    }

    fn add(&mut self, set: Box<[Atom]>) -> Id {
        let id = self.sets.len() as Id;
        self.tagged.push(set.iter().any(|a| a.is_tagged()));
        self.sets.push(set);
        id
    }

    /// The set with these members, reduced to the limits.
    pub fn many(&mut self, mut atoms: Vec<Atom>) -> Id {
        atoms.sort_unstable();
        atoms.dedup();
        if atoms.contains(&Atom::Unknown) {
            atoms.retain(|a| a.is_useful() || matches!(a, Atom::Unknown | Atom::Any));
        }
        let plain = atoms.iter().filter(|a| !a.is_tagged()).count();
        if plain > MAX_PLAIN || atoms.contains(&Atom::Any) {
            atoms.retain(|a| a.is_tagged());
            atoms.truncate(MAX_TAGGED);
            atoms.insert(0, Atom::Any);
        } else if atoms.len() - plain > MAX_TAGGED {
            atoms.retain(|a| a.is_tagged());
            atoms.truncate(MAX_TAGGED);
            atoms.insert(0, Atom::Any);
        }
        match atoms.as_slice() {
            [] => UNKNOWN,
            [one] => self.one(*one),
            _ => {
                if let Some(&id) = self.index.get(atoms.as_slice()) {
                    return id;
                }
                let set: Box<[Atom]> = atoms.into();
                let id = self.add(set.clone());
                self.index.insert(set, id);
                id
            }
        }
    }

    /// The members.
    pub fn get(&self, id: Id) -> &[Atom] {
        self.sets.get(id as usize).map_or(&[], |set| set)
    }

    /// True if a member came from a tag constant of the code.
    pub fn is_tagged(&self, id: Id) -> bool {
        self.tagged.get(id as usize).copied().unwrap_or(false)
    }

    /// True for the unknown set.
    pub fn is_unknown(&self, id: Id) -> bool {
        id == UNKNOWN || self.get(id) == [Atom::Any]
    }

    /// The member of a set that has exactly one.
    pub fn only(&self, id: Id) -> Option<Atom> {
        match self.get(id) {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// The number if the set has one member and it is a number.
    pub fn number(&self, id: Id) -> Option<u64> {
        match self.only(id)? {
            Atom::Number { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The union of two sets.
    pub fn join(&mut self, a: Id, b: Id) -> Id {
        if a == b {
            return a;
        }
        let key = (a.min(b), a.max(b));
        if let Some(&id) = self.joins.get(&key) {
            return id;
        }
        let atoms = [self.get(a), self.get(b)].concat();
        let id = self.many(atoms);
        self.joins.insert(key, id);
        id
    }

    /// Applies a function to each member.
    pub fn map(&mut self, a: Id, change: impl Fn(Atom) -> Atom) -> Id {
        match self.only(a) {
            Some(one) => self.one(change(one)),
            None => {
                let atoms = self.get(a).iter().map(|atom| change(*atom)).collect();
                self.many(atoms)
            }
        }
    }

    /// Combines each member of one set with each member of the other.
    pub fn pairs(&mut self, a: Id, b: Id, combine: impl Fn(Atom, Atom) -> Atom) -> Id {
        let (left, right) = (self.get(a), self.get(b));
        if let ([x], [y]) = (left, right) {
            let atom = combine(*x, *y);
            return self.one(atom);
        }
        if left.len() * right.len() > MAX_PAIRS {
            return UNKNOWN;
        }
        let pairs = left.iter().flat_map(|x| right.iter().map(|y| (*x, *y)));
        let atoms = pairs.map(|(x, y)| combine(x, y)).collect();
        self.many(atoms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_keep_tag_constants_and_stay_small() {
        let mut values = Values::new();
        let tag = |from| Atom::Number {
            value: 0x6b61_654c,
            from,
        };
        let mut all = UNKNOWN;
        for n in 0..200u32 {
            let plain = values.one(Atom::number(n.into()));
            let tagged = values.one(tag(n + 1));
            all = values.join(all, plain);
            all = values.join(all, tagged);
        }
        assert!(values.get(all).len() <= 1 + MAX_TAGGED && values.is_tagged(all));
        let five = values.one(Atom::number(5));
        assert_eq!(values.join(five, UNKNOWN), UNKNOWN);
        let pointer = values.one(Atom::Loaded { base: 1, offset: 0 });
        let maybe = values.join(pointer, UNKNOWN);
        assert_eq!(values.get(maybe).len(), 2);
    }
}
