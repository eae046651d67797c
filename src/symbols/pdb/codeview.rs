//! CodeView type records, decoded one at a time from bytes.
//!
//! Sources: LLVM's "CodeView Type Records" documentation and Microsoft's published `cvinfo.h`.
//! Only the record kinds that define a structure's layout are decoded.
//!
//! The `pdb` crate has such a decoder too, but a hostile record ends the process there: a field
//! list inside a field list recurses once per two bytes, and an argument list reserves as much
//! as its count field claims. It also treats type index 0xFFFF as "none", which empties one
//! structure in any PDB with more than 61,439 types. This decoder reads every record front to
//! back without recursion; anything unknown is `None`.

/// Type indices below this are simple types, encoded in the index itself.
pub(super) const FIRST_INDEX: u32 = 0x1000;

const FORWARD: u16 = 0x80;
const HAS_UNIQUE_NAME: u16 = 0x200;

/// A type record, as far as layouts need it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// Structure, class, union or interface.
    Composite(Named<'a>),
    Enum {
        underlying: u32,
        named: Named<'a>,
    },
    /// `const`, `volatile`, or a typedef.
    Alias {
        of: u32,
    },
    Pointer {
        size: u32,
    },
    Array {
        element: u32,
        size: u32,
    },
    Bits {
        container: u32,
        position: u8,
        length: u8,
    },
    /// Functions, method lists and others: not part of a layout.
    Other,
}

/// The head of a type with a name and members.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    pub name: &'a [u8],
    /// The decorated name, which distinguishes anonymous types.
    pub unique: Option<&'a [u8]>,
    /// A declaration: the definition is another record with the same name.
    pub forward: bool,
    /// Index of the field list.
    pub fields: u32,
    /// Size in bytes; 0 for an enum.
    pub size: u32,
}

/// One entry of a field list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Member<'a> {
    Data {
        name: &'a [u8],
        ty: u32,
        offset: u32,
    },
    /// A base class: its members count as the type's own.
    Base {
        ty: u32,
        offset: u32,
    },
    Enumerator {
        name: &'a [u8],
        value: i64,
    },
    /// The list continues in another record.
    Continue {
        list: u32,
    },
    /// Methods, nested type names, static members.
    Other,
}

impl<'a> Record<'a> {
    /// Decodes a record that starts with its kind.
    pub fn parse(record: &'a [u8]) -> Option<Record<'a>> {
        let mut c = Cursor(record);
        Some(match c.u16()? {
            0x1504 | 0x1505 | 0x1519 => Record::Composite(composite(&mut c, 8)?),
            0x1506 => Record::Composite(composite(&mut c, 0)?),
            0x1608 | 0x1609 | 0x160B => Record::Composite(composite2(&mut c, 8)?),
            0x160A => Record::Composite(composite2(&mut c, 0)?),
            0x1507 => enumeration(&mut c)?,
            0x1001 | 0x150A => Record::Alias { of: c.u32()? },
            0x1002 => {
                c.u32()?;
                // Bits 13..19 of the attributes are the size in bytes.
                let size = (c.u32()? >> 13) & 0x3F;
                Record::Pointer {
                    size: if size == 0 { 8 } else { size },
                }
            }
            0x1503 => array(&mut c, 4)?,
            0x1516 => array(&mut c, 8)?,
            0x1205 => {
                let container = c.u32()?;
                let length = c.u8()?;
                Record::Bits {
                    container,
                    position: c.u8()?,
                    length,
                }
            }
            _ => Record::Other,
        })
    }
}

/// Structures have two more type indices (`skip` bytes) before the size than unions.
fn composite<'a>(c: &mut Cursor<'a>, skip: usize) -> Option<Named<'a>> {
    c.u16()?;
    let properties = c.u16()?;
    let fields = c.u32()?;
    c.skip(skip)?;
    let size = c.unsigned()?;
    named(c, properties, fields, size)
}

/// The newer form: the count comes after the indices, and the properties are wider.
fn composite2<'a>(c: &mut Cursor<'a>, skip: usize) -> Option<Named<'a>> {
    let properties = (c.u32()? & 0xFFFF) as u16;
    let fields = c.u32()?;
    c.skip(skip)?;
    c.u16()?;
    let size = c.unsigned()?;
    named(c, properties, fields, size)
}

fn enumeration<'a>(c: &mut Cursor<'a>) -> Option<Record<'a>> {
    c.u16()?;
    let properties = c.u16()?;
    let underlying = c.u32()?;
    let fields = c.u32()?;
    let named = named(c, properties, fields, 0)?;
    Some(Record::Enum { underlying, named })
}

fn named<'a>(c: &mut Cursor<'a>, properties: u16, fields: u32, size: u32) -> Option<Named<'a>> {
    let name = c.text()?;
    let unique = if properties & HAS_UNIQUE_NAME != 0 {
        c.text()
    } else {
        None
    };
    Some(Named {
        name,
        unique,
        forward: properties & FORWARD != 0,
        fields,
        size,
    })
}

/// A strided array has four more bytes before its size than a normal one.
fn array<'a>(c: &mut Cursor<'a>, skip: usize) -> Option<Record<'a>> {
    let element = c.u32()?;
    c.skip(skip)?;
    Some(Record::Array {
        element,
        size: c.unsigned()?,
    })
}

/// The entries of one field-list record; ends at the first entry that can't be decoded.
pub(super) struct Members<'a>(Cursor<'a>);

impl<'a> Members<'a> {
    /// `None` when the record is not a field list.
    pub fn of(record: &'a [u8]) -> Option<Members<'a>> {
        let mut c = Cursor(record);
        (c.u16()? == 0x1203).then_some(Members(c))
    }

    fn entry(&mut self) -> Option<Member<'a>> {
        let c = &mut self.0;
        Some(match c.u16()? {
            0x150D => {
                c.u16()?;
                let ty = c.u32()?;
                let offset = c.unsigned()?;
                Member::Data {
                    name: c.text()?,
                    ty,
                    offset,
                }
            }
            0x1502 => {
                c.u16()?;
                let value = c.number()?;
                Member::Enumerator {
                    name: c.text()?,
                    value,
                }
            }
            0x1400 | 0x151A => {
                c.u16()?;
                let ty = c.u32()?;
                Member::Base {
                    ty,
                    offset: c.unsigned()?,
                }
            }
            0x1404 => {
                c.u16()?;
                Member::Continue { list: c.u32()? }
            }
            kind => {
                skip_entry(c, kind)?;
                Member::Other
            }
        })
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let member = self.entry()?;
        self.0.padding();
        Some(member)
    }
}

/// Skips an entry without data; its form must be known to find the next one.
fn skip_entry(c: &mut Cursor<'_>, kind: u16) -> Option<()> {
    match kind {
        // Static member, overloaded methods, nested type: two numbers and a name.
        0x150E | 0x150F | 0x1510 | 0x1512 => {
            c.skip(6)?;
            c.text()?;
        }
        // One method; a virtual method that introduces its slot has a table offset.
        0x1511 => {
            let introducing = matches!((c.u16()? >> 2) & 7, 4 | 6);
            c.skip(if introducing { 8 } else { 4 })?;
            c.text()?;
        }
        // Virtual base classes.
        0x1401 | 0x1402 => {
            c.skip(10)?;
            c.number()?;
            c.number()?;
        }
        // Pointer to the method table; friend class; pointer to the method table with an
        // offset.
        0x1409 | 0x140A => c.skip(6)?,
        0x140C => c.skip(10)?,
        _ => return None,
    }
    Some(())
}

/// Size of a simple type in bytes; 0 for `void` and unknown types.
pub(super) fn simple_size(index: u32) -> u32 {
    match (index >> 8) & 7 {
        0 => match index & 0xFF {
            0x10 | 0x20 | 0x68 | 0x69 | 0x70 | 0x7C | 0x30 => 1,
            0x11 | 0x21 | 0x71..=0x73 | 0x7A | 0x31 | 0x46 => 2,
            0x08 | 0x12 | 0x22 | 0x74 | 0x75 | 0x7B | 0x32 | 0x40 | 0x45 => 4,
            0x44 => 6,
            0x13 | 0x23 | 0x76 | 0x77 | 0x33 | 0x41 | 0x50 => 8,
            0x42 => 10,
            0x14 | 0x24 | 0x78 | 0x79 | 0x34 | 0x43 | 0x51 => 16,
            0x52 => 20,
            0x53 => 32,
            _ => 0,
        },
        // Pointers to a simple type, by mode.
        1 => 2,
        2..=5 => 4,
        6 => 8,
        _ => 16,
    }
}

/// Reads little-endian values from the front of a slice.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// A number: below 0x8000 the value itself, otherwise the kind of the value that follows.
    /// Unsigned values beyond `i64` keep their bits.
    fn number(&mut self) -> Option<i64> {
        Some(match self.u16()? {
            small @ 0..0x8000 => i64::from(small),
            0x8000 => i64::from(i8::from_le_bytes(self.take()?)),
            0x8001 => i64::from(i16::from_le_bytes(self.take()?)),
            0x8002 => i64::from(self.u16()?),
            0x8003 => i64::from(i32::from_le_bytes(self.take()?)),
            0x8004 => i64::from(self.u32()?),
            0x8009 | 0x800A => i64::from_le_bytes(self.take()?),
            _ => return None,
        })
    }

    /// A number that is an offset or a size.
    fn unsigned(&mut self) -> Option<u32> {
        self.number().and_then(|n| u32::try_from(n).ok())
    }

    /// Bytes up to a NUL.
    fn text(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.0)?;
        let text = self.0.get(..end)?;
        self.skip(end + 1)?;
        Some(text)
    }

    /// Padding bytes `F1`, `F2 F1`, `F3 F2 F1` up to a multiple of four.
    fn padding(&mut self) {
        while let Some((&byte, rest)) = self.0.split_first() {
            if byte < 0xF0 {
                break;
            }
            let more = usize::from(byte & 0xF).saturating_sub(1);
            self.0 = rest.get(more..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests;
