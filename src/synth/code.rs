//! Functions of drivers that allocate and free with a tag, in the instruction forms of x64
//! compilers: the tag is an immediate, and the call goes through the import table.

use std::collections::HashMap;

use super::call_shapes::{CallShape, Setting};
use super::header::Bytes;
use super::truth::Tag;

/// How a function uses its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// `ExAllocatePoolWithTag(type, bytes, tag)`: the tag in r8d.
    Allocate {
        /// POOL_TYPE.
        pool_type: u32,
        /// NumberOfBytes.
        bytes: u32,
    },
    /// The same call through a jump to the import.
    AllocateByThunk {
        /// POOL_TYPE.
        pool_type: u32,
        /// NumberOfBytes.
        bytes: u32,
    },
    /// `ExFreePoolWithTag(body, tag)`: the tag in edx.
    Free,
    /// `NdisAllocateMemoryWithTagPriority(handle, bytes, tag, priority)`: r8d.
    NdisAllocate {
        /// Bytes.
        bytes: u32,
    },
    /// These bytes, with the tag at `tag_at`, and at `call_at` the displacement of a call
    /// through the import of `ExAllocatePoolWithTag`.
    Literal {
        /// The code.
        code: &'static [u8],
        /// Offset of the tag.
        tag_at: usize,
        /// Offset of the displacement.
        call_at: usize,
    },
    /// One of the other forms.
    CallShape(CallShape),
    /// `Allocate` with unwind data in two pieces; the second is chained to the first.
    Chained {
        /// POOL_TYPE.
        pool_type: u32,
        /// NumberOfBytes.
        bytes: u32,
    },
}

impl Use {
    /// The files and functions that are called.
    pub fn imports(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Use::CallShape(form) => form.imports(),
            other => vec![other.import()],
        }
    }

    fn import(self) -> (&'static str, &'static str) {
        match self {
            Use::Free => ("ntoskrnl.exe", "ExFreePoolWithTag"),
            Use::NdisAllocate { .. } => ("ndis.sys", "NdisAllocateMemoryWithTagPriority"),
            _ => ("ntoskrnl.exe", "ExAllocatePoolWithTag"),
        }
    }
}

/// A function that uses a tag.
#[derive(Clone, Debug)]
pub struct Site {
    /// The tag in the code, including the protected bit.
    pub tag: Tag,
    /// The use of the tag.
    pub what: Use,
    /// RVA of the function; `None` for any position in .text.
    pub rva: Option<u32>,
}

impl Site {
    /// A site at any position.
    pub fn new(tag: Tag, what: Use) -> Site {
        Site {
            tag,
            what,
            rva: None,
        }
    }
}

/// The positions of the functions.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    sites: Vec<(u32, Site)>,
    pub(super) exports: Vec<(String, u32)>,
    pub(super) thunk: u32,
}

/// Assigns positions in the code section to functions without one: functions that use tags, and
/// exported functions.
pub(super) fn place(
    sites: &[Site],
    exports: &[(String, Option<u32>)],
    (rva, size): (u32, u32),
) -> Placed {
    let free = |s: &&Site| s.rva.is_none();
    let floating =
        sites.iter().filter(free).count() + exports.iter().filter(|e| e.1.is_none()).count();
    // The last 0x40 bytes are for the thunk.
    let stride = (size.saturating_sub(0x40) / (floating as u32 + 1)).max(0x40) & !0xf;
    let mut next = (rva + stride / 2) & !0xf;
    let mut anywhere = || {
        next += stride;
        next - stride
    };
    let mut placed = Vec::new();
    for site in sites {
        placed.push((site.rva.unwrap_or_else(&mut anywhere), site.clone()));
    }
    let mut exported = Vec::new();
    for (name, at) in exports {
        exported.push((name.clone(), at.unwrap_or_else(&mut anywhere)));
    }
    Placed {
        sites: placed,
        exports: exported,
        thunk: rva + size - 0x40,
    }
}

/// The addresses that the functions refer to.
pub(super) struct Surroundings<'a> {
    /// The RVAs of the import slots, by function.
    pub slots: &'a HashMap<String, u32>,
    /// The imported functions, relative to the image's base.
    pub targets: &'a HashMap<String, u32>,
    /// RVA of .data.
    pub data: u32,
    /// SizeOfImage.
    pub end: u32,
    /// The slot of the control flow guard check.
    pub guard: u32,
}

/// A range of code with its own unwind data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    pub start: u32,
    pub end: u32,
    /// Start of the piece that it is chained to.
    pub parent: Option<u32>,
}

impl Piece {
    fn new(start: u32, end: u32) -> Piece {
        Piece {
            start,
            end,
            parent: None,
        }
    }
}

/// Writes the functions. Returns their pieces in order.
pub(super) fn emit(bytes: &mut Bytes, placed: &Placed, around: &Surroundings) -> Vec<Piece> {
    let slot = |name: &str| around.slots.get(name).copied().unwrap_or(0);
    // The exporter of a function has no slot for it and calls it directly.
    let own = |name: &str| placed.exports.iter().find(|e| e.0 == name).map(|e| e.1);
    let mut pieces = Vec::new();
    for (rva, site) in &placed.sites {
        let (code, second) = match site.what {
            Use::CallShape(form) => {
                let setting = Setting {
                    rva: *rva,
                    slot: &slot,
                    target: &|name| around.targets.get(name).copied().unwrap_or(0),
                    data: around.data,
                    end: around.end,
                    guard: around.guard,
                };
                form.emit(site.tag, &setting)
            }
            what => {
                let name = what.import().1;
                let callee = match own(name) {
                    Some(rva) => Callee::Own(rva),
                    None => Callee::Slot(slot(name)),
                };
                let code = function(*rva, site, callee, placed.thunk);
                let chained = matches!(what, Use::Chained { .. });
                (code, chained.then_some(PROLOGUE))
            }
        };
        bytes.put(*rva as usize, &code);
        let end = *rva + code.len() as u32;
        let middle = second.map_or(end, |at| *rva + at as u32);
        pieces.push(Piece::new(*rva, middle));
        if middle < end {
            let chained = matches!(site.what, Use::Chained { .. });
            pieces.push(Piece {
                start: middle,
                end,
                parent: chained.then_some(*rva),
            });
        }
    }
    let allocate = slot("ExAllocatePoolWithTag");
    if allocate != 0 {
        bytes.put(placed.thunk as usize, &[0xff, 0x25]);
        let distance = allocate.wrapping_sub(placed.thunk + 6);
        bytes.u32(placed.thunk as usize + 2, distance);
    }
    for (_, rva) in &placed.exports {
        // sub rsp, 28h; add rsp, 28h; ret
        bytes.put(
            *rva as usize,
            &[0x48, 0x83, 0xec, 0x28, 0x48, 0x83, 0xc4, 0x28, 0xc3],
        );
        pieces.push(Piece::new(*rva, *rva + 9));
    }
    pieces.sort_unstable();
    pieces.dedup_by_key(|p| p.start);
    pieces
}

/// Size in bytes of `sub rsp, 28h` at the start of functions.
const PROLOGUE: usize = 4;

/// The code of a function at an RVA.
fn function(rva: u32, site: &Site, callee: Callee, thunk: u32) -> Vec<u8> {
    let mut code = Code {
        rva,
        bytes: vec![0x48, 0x83, 0xec, 0x28],
    };
    match site.what {
        Use::Allocate { pool_type, bytes } | Use::Chained { pool_type, bytes } => {
            code.allocate(site.tag, pool_type, bytes);
            code.call(callee);
        }
        Use::AllocateByThunk { pool_type, bytes } => {
            code.allocate(site.tag, pool_type, bytes);
            code.bytes.push(0xe8);
            code.displacement(thunk);
        }
        Use::Free => {
            // mov rcx, [rcx+8]; mov edx, tag
            code.bytes.extend([0x48, 0x8b, 0x49, 0x08, 0xba]);
            code.bytes.extend(site.tag);
            code.call(callee);
        }
        Use::NdisAllocate { bytes } => {
            // xor r9d, r9d; mov r8d, tag; mov edx, bytes
            code.bytes.extend([0x45, 0x33, 0xc9, 0x41, 0xb8]);
            code.bytes.extend(site.tag);
            code.bytes.push(0xba);
            code.bytes.extend(bytes.to_le_bytes());
            code.call(callee);
        }
        Use::Literal {
            code: literal,
            tag_at,
            call_at,
        } => return literal_code(rva, literal, (tag_at, site.tag), (call_at, callee.rva())),
        Use::CallShape(_) => return Vec::new(),
    }
    code.bytes.extend([0x48, 0x83, 0xc4, 0x28, 0xc3]);
    code.bytes
}

fn literal_code(
    rva: u32,
    literal: &[u8],
    (tag_at, tag): (usize, Tag),
    (call_at, slot): (usize, u32),
) -> Vec<u8> {
    let mut bytes = Bytes(literal.to_vec());
    bytes.put(tag_at, &tag);
    bytes.u32(
        call_at,
        slot.wrapping_sub(rva.wrapping_add(call_at as u32 + 4)),
    );
    bytes.0
}

/// The target of a call.
#[derive(Clone, Copy, Debug)]
enum Callee {
    /// Through the import's slot.
    Slot(u32),
    /// A function of the same image.
    Own(u32),
}

impl Callee {
    fn rva(self) -> u32 {
        match self {
            Callee::Slot(rva) | Callee::Own(rva) => rva,
        }
    }
}

struct Code {
    rva: u32,
    bytes: Vec<u8>,
}

impl Code {
    /// mov edx, bytes; mov r8d, tag; mov ecx, type
    fn allocate(&mut self, tag: Tag, pool_type: u32, bytes: u32) {
        self.bytes.push(0xba);
        self.bytes.extend(bytes.to_le_bytes());
        self.bytes.extend([0x41, 0xb8]);
        self.bytes.extend(tag);
        match pool_type {
            0 => self.bytes.extend([0x33, 0xc9]),
            _ => {
                self.bytes.push(0xb9);
                self.bytes.extend(pool_type.to_le_bytes());
            }
        }
    }

    /// call [rip+x], or call x
    fn call(&mut self, callee: Callee) {
        match callee {
            Callee::Slot(_) => self.bytes.extend([0xff, 0x15]),
            Callee::Own(_) => self.bytes.push(0xe8),
        }
        self.displacement(callee.rva());
    }

    fn displacement(&mut self, target: u32) {
        let next = self.rva.wrapping_add(self.bytes.len() as u32 + 4);
        self.bytes.extend(target.wrapping_sub(next).to_le_bytes());
    }
}
