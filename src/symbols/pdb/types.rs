//! The type stream of a PDB: names to layouts.
//!
//! The stream is stored as bytes with an index of its records and names, which is built in one
//! pass. Members are decoded on request. So loading takes a few milliseconds, and memory is
//! bounded by the size of the stream.

use super::codeview::{FIRST_INDEX, Member, Members, Named, Record, simple_size};
use super::hash;
use crate::symbols::layout::{Field, by_suffix};

/// Limit for chains of typedefs, arrays or continued field lists; a longer chain is a loop.
const LONGEST_CHAIN: usize = 256;
/// Nesting limit for anonymous members and base classes.
const DEEPEST_NESTING: usize = 8;
/// Limit for the members visited in one query. The largest real structure has a few hundred. A
/// few kilobytes of types that contain each other anonymously could demand trillions.
const MOST_MEMBERS: u32 = 1 << 20;

const MOST_COLLISIONS: usize = 16;

/// All types of one PDB.
pub(super) struct Types {
    bytes: Box<[u8]>,
    first: u32,
    /// Start of every record's kind field, by type index from `first`.
    records: Vec<u32>,
    /// Definitions by name and by decorated name; the latter distinguishes anonymous types.
    by_name: Names,
    by_unique: Names,
}

/// Hashes of names with type indices. The names themselves stay in the stream: a kernel has
/// thousands, and few are looked up.
#[derive(Default)]
struct Names(Vec<(u64, u32)>);

impl Names {
    fn add(&mut self, name: &[u8], index: u32) {
        self.0.push((hash(name), index));
    }

    /// Must be called once, after all names were added.
    fn sort(&mut self) {
        self.0.sort_unstable();
    }

    /// The lowest index whose name matches, which is the first definition. Equal hashes of
    /// different names are rare, so only a limited number of entries is compared.
    fn find(&self, name: &[u8], is: impl Fn(u32) -> bool) -> Option<u32> {
        let wanted = hash(name);
        let first = self.0.partition_point(|&(h, _)| h < wanted);
        let same = self.0.iter().skip(first).take(MOST_COLLISIONS);
        let mut same = same.take_while(|(h, _)| *h == wanted).map(|(_, i)| *i);
        same.find(|&index| is(index))
    }
}

/// Data of a member before the rest of a dotted path is resolved.
#[derive(Clone, Copy)]
struct Found {
    field: Field,
    /// The member's type, after typedefs and array elements are resolved.
    ty: u32,
}

impl Types {
    /// Indexes a type stream. A truncated stream keeps the records before the end.
    pub fn parse(bytes: &[u8]) -> Option<Types> {
        let number = |at: usize| {
            let four = bytes.get(at..)?.first_chunk::<4>()?;
            Some(u32::from_le_bytes(*four))
        };
        // Version, header size, first index, last index + 1, bytes of records.
        let header = usize::try_from(number(4)?).ok()?;
        let first = number(8)?;
        if first < FIRST_INDEX || u32::try_from(bytes.len()).is_err() {
            return None;
        }
        let mut types = Types {
            records: record_starts(bytes, header),
            bytes: bytes.into(),
            first,
            by_name: Names::default(),
            by_unique: Names::default(),
        };
        types.index_names();
        Some(types)
    }

    fn index_names(&mut self) {
        let mut by_name = Names::default();
        let mut by_unique = Names::default();
        for (position, &start) in (0u32..).zip(&self.records) {
            let Some(record) = record_at(&self.bytes, start) else {
                continue;
            };
            let (Some(Record::Composite(named)) | Some(Record::Enum { named, .. })) =
                Record::parse(record)
            else {
                continue;
            };
            let Some(index) = self.first.checked_add(position) else {
                break;
            };
            if named.forward {
                continue;
            }
            // The first definition counts; another with the same name comes from another
            // compiler run, or is a different local type.
            by_name.add(named.name, index);
            if let Some(unique) = named.unique {
                by_unique.add(unique, index);
            }
        }
        by_name.sort();
        by_unique.sort();
        self.by_name = by_name;
        self.by_unique = by_unique;
    }

    fn by_name(&self, name: &[u8]) -> Option<u32> {
        let is = |index| self.named(index).is_some_and(|n| n.name == name);
        self.by_name.find(name, is)
    }

    fn by_unique(&self, unique: &[u8]) -> Option<u32> {
        let is = |index| self.named(index).is_some_and(|n| n.unique == Some(unique));
        self.by_unique.find(unique, is)
    }

    fn named(&self, index: u32) -> Option<Named<'_>> {
        match Record::parse(self.record(index)?)? {
            Record::Composite(named) | Record::Enum { named, .. } => Some(named),
            _ => None,
        }
    }

    fn record(&self, index: u32) -> Option<&[u8]> {
        let position = usize::try_from(index.checked_sub(self.first)?).ok()?;
        record_at(&self.bytes, *self.records.get(position)?)
    }

    /// Number of type records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True when `name` is defined as a structure, union or enum.
    pub fn has(&self, name: &str) -> bool {
        self.by_name(name.as_bytes()).is_some()
    }

    pub fn size_of(&self, ty: &str) -> Option<u32> {
        Some(self.composite(self.by_name(ty.as_bytes())?)?.size)
    }

    /// Finds `a.b.c` in a type. Names in a PDB contain no dot, so each dot steps into the
    /// member's type; an array's name stands for its first element.
    pub fn field(&self, ty: &str, path: &str) -> Option<Field> {
        let mut holder = self.by_name(ty.as_bytes())?;
        let mut parts = path.split('.');
        let mut left = MOST_MEMBERS;
        let mut found = self.member(holder, parts.next()?, 0, &mut left)?;
        for part in parts {
            holder = self.definition(found.ty)?;
            let inner = self.member(holder, part, 0, &mut left)?;
            found = Found {
                field: inner.field.shifted(found.field.offset)?,
                ..inner
            };
        }
        Some(found.field)
    }

    /// All fields of a type in definition order, including those of base classes and of unnamed
    /// members.
    pub fn fields(&self, ty: &str) -> Option<Vec<(String, Field)>> {
        let mut out = Vec::new();
        let holder = self.by_name(ty.as_bytes())?;
        self.collect(holder, 0, 0, &mut { MOST_MEMBERS }, &mut out);
        Some(out)
    }

    fn collect(
        &self,
        holder: u32,
        ahead: u32,
        depth: usize,
        left: &mut u32,
        out: &mut Vec<(String, Field)>,
    ) {
        let Some(list) = self.composite(holder).map(|named| named.fields) else {
            return;
        };
        let look = |member, left: &mut u32| {
            match member {
                Member::Data { name, ty, offset } if !name.is_empty() => {
                    let found = self.found(ty, offset).and_then(|f| f.field.shifted(ahead));
                    let name = String::from_utf8_lossy(name).into_owned();
                    out.extend(found.map(|field| (name, field)));
                }
                Member::Data { ty, offset, .. } | Member::Base { ty, offset }
                    if depth < DEEPEST_NESTING =>
                {
                    let inner = self.definition(ty).zip(ahead.checked_add(offset));
                    if let Some((inner, ahead)) = inner {
                        self.collect(inner, ahead, depth + 1, left, out);
                    }
                }
                _ => {}
            }
            None::<()>
        };
        self.members(list, left, look);
    }

    pub fn enumerator(&self, en: &str, suffix: &str) -> Option<i64> {
        let Record::Enum { named, .. } = Record::parse(self.record(self.by_name(en.as_bytes())?)?)?
        else {
            return None;
        };
        let mut all = Vec::new();
        self.members(named.fields, &mut { MOST_MEMBERS }, |member, _| {
            if let Member::Enumerator { name, value } = member {
                all.extend(std::str::from_utf8(name).ok().map(|name| (name, value)));
            }
            None::<()>
        });
        by_suffix(all.into_iter(), suffix)
    }

    fn composite(&self, index: u32) -> Option<Named<'_>> {
        match Record::parse(self.record(index)?)? {
            Record::Composite(named) => Some(named),
            _ => None,
        }
    }

    /// Finds a member by name, also in base classes and unnamed members.
    fn member(&self, holder: u32, wanted: &str, depth: usize, left: &mut u32) -> Option<Found> {
        let list = self.composite(holder)?.fields;
        let look = |member, left: &mut u32| match member {
            Member::Data { name, ty, offset } if name == wanted.as_bytes() && !name.is_empty() => {
                self.found(ty, offset)
            }
            Member::Data {
                name: b"",
                ty,
                offset,
            }
            | Member::Base { ty, offset }
                if depth < DEEPEST_NESTING =>
            {
                let inner = self.member(self.definition(ty)?, wanted, depth + 1, left)?;
                Some(Found {
                    field: inner.field.shifted(offset)?,
                    ..inner
                })
            }
            _ => None,
        };
        self.members(list, left, look)
    }

    /// Iterates over a field list and its continuations until `look` returns a value or the
    /// budget is used up.
    fn members<'a, T>(
        &'a self,
        list: u32,
        left: &mut u32,
        mut look: impl FnMut(Member<'a>, &mut u32) -> Option<T>,
    ) -> Option<T> {
        let mut next = Some(list);
        for _ in 0..LONGEST_CHAIN {
            let record = self.record(next.take()?)?;
            for member in Members::of(record)? {
                *left = left.checked_sub(1)?;
                if let Member::Continue { list } = member {
                    next = Some(list);
                } else if let Some(found) = look(member, left) {
                    return Some(found);
                }
            }
        }
        None
    }

    fn found(&self, ty: u32, offset: u32) -> Option<Found> {
        if let Some(Record::Bits {
            container,
            position,
            length,
        }) = self.record(ty).and_then(Record::parse)
        {
            let field = Field {
                offset,
                size: self.size(container),
                bits: Some((position, length)),
            };
            return Some(Found {
                field,
                ty: container,
            });
        }
        Some(Found {
            field: Field {
                offset,
                size: self.size(ty),
                bits: None,
            },
            ty,
        })
    }

    /// Size of a type in bytes; 0 if it has none or it is unknown.
    fn size(&self, mut index: u32) -> u32 {
        for _ in 0..LONGEST_CHAIN {
            if index < FIRST_INDEX {
                return simple_size(index);
            }
            index = match self.record(index).and_then(Record::parse) {
                Some(Record::Alias { of }) => of,
                Some(Record::Enum { underlying, .. }) => underlying,
                Some(Record::Bits { container, .. }) => container,
                Some(Record::Pointer { size } | Record::Array { size, .. }) => return size,
                Some(Record::Composite(named)) if !named.forward => return named.size,
                Some(Record::Composite(named)) => {
                    let whole = self.resolve(&named).and_then(|index| self.composite(index));
                    return whole.map_or(0, |named| named.size);
                }
                Some(Record::Other) | None => return 0,
            };
        }
        0
    }

    /// The composite type after typedefs, arrays and forward declarations are resolved.
    fn definition(&self, mut index: u32) -> Option<u32> {
        for _ in 0..LONGEST_CHAIN {
            index = match Record::parse(self.record(index)?)? {
                Record::Composite(named) if named.forward => return self.resolve(&named),
                Record::Composite(_) => return Some(index),
                Record::Alias { of } => of,
                Record::Array { element, .. } => element,
                _ => return None,
            };
        }
        None
    }

    fn resolve(&self, named: &Named<'_>) -> Option<u32> {
        match named.unique {
            Some(unique) => self.by_unique(unique),
            // All anonymous types share one name, which does not identify them.
            None if is_anonymous(named.name) => None,
            None => self.by_name(named.name),
        }
    }
}

/// Compilers use `<unnamed-tag>`, `<anonymous-tag>`, `_X::<unnamed-type-u>`, formerly
/// `__unnamed`.
fn is_anonymous(name: &[u8]) -> bool {
    name.ends_with(b">") || name.ends_with(b"__unnamed")
}

/// Records are a u16 length followed by that many bytes.
fn record_starts(bytes: &[u8], header: usize) -> Vec<u32> {
    let mut starts = Vec::new();
    let mut at = header;
    while let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()) {
        let start = at + 2;
        let end = start + usize::from(u16::from_le_bytes(*length));
        if end < start + 2 || end > bytes.len() {
            break;
        }
        let Ok(start) = u32::try_from(start) else {
            break;
        };
        starts.push(start);
        at = end;
    }
    starts
}

fn record_at(bytes: &[u8], start: u32) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    let length = bytes.get(start.checked_sub(2)?..start)?;
    let length = usize::from(u16::from_le_bytes(*length.first_chunk()?));
    bytes.get(start..start.checked_add(length)?)
}

#[cfg(test)]
mod tests;
