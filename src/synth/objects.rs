//! The object manager's types: `ObTypeIndexTable` and the OBJECT_TYPEs in it.
//!
//! An object's header has an index into the table (before Windows 7, the type's address). A
//! type has its name and the tag of its objects. Indexes are those that Windows 7 assigns at
//! boot (documented by Volatility and other public tools); layouts are from its public symbols.

use std::collections::BTreeMap;

use crate::addr::Va;

use super::era::Era;
use super::nt::Nt;
use super::paging::Memory;
use super::truth::{Tag, TagAccount};

/// Index, name and tag of the types of the objects that are built.
pub const TYPES: [(u8, &str, Tag); 15] = [
    (2, "Type", *b"ObjT"),
    (3, "Directory", *b"Dire"),
    (4, "SymbolicLink", *b"SymL"),
    (5, "Token", *b"Toke"),
    (6, "Job", *b"Job "),
    (7, "Process", *b"Proc"),
    (8, "Thread", *b"Thre"),
    (12, "Event", *b"Even"),
    (14, "Mutant", *b"Muta"),
    (16, "Semaphore", *b"Sema"),
    (17, "Timer", *b"Time"),
    (25, "Device", *b"Devi"),
    (26, "Driver", *b"Driv"),
    (28, "File", *b"File"),
    (33, "Section", *b"Sect"),
];

/// The index of the process type.
pub const PROCESS: u8 = 7;
/// ObHeaderCookie of every machine.
const COOKIE: u8 = 0x28;

/// TypeIndex as stored in an object header at `header`: from Windows 10, it is XORed with the
/// second byte of the address and a cookie.
pub fn stored(era: &Era, header: Va, index: u8) -> u8 {
    match era.rva("ObHeaderCookie") {
        Some(_) => index ^ (header.0 >> 8) as u8 ^ COOKIE,
        None => index,
    }
}

/// Size in bytes of the OBJECT_HEADER before an object's body.
pub const HEADER: u64 = 0x30;

/// Offset of a type's name from the start of its block's body: after the type.
fn name_at(era: &Era) -> u64 {
    let ty = era.size("_OBJECT_TYPE").unwrap_or(0);
    (HEADER + ty).next_multiple_of(16).max(0x100)
}

/// Size of a type's block in bytes.
pub fn type_block(era: &Era) -> u64 {
    0x10 + name_at(era) + 0x20
}

/// The index of the type whose objects have this tag.
pub fn index_of(tag: &Tag) -> Option<u8> {
    let found = TYPES.iter().find(|(_, _, key)| key == tag)?;
    Some(found.0)
}

/// Sets the type of an object: its index, or before Windows 7 its address. `rest` has the three
/// bytes after the index in the header: optional headers and flags.
pub fn mark(memory: &mut Memory, nt: &Nt, header: Va, (index, ty): (u8, Va), rest: [u8; 3]) {
    const TYPE: &str = "_OBJECT_HEADER";
    if nt.era.offset(TYPE, "TypeIndex").is_none() {
        memory.pointer(nt.field(header, TYPE, "Type"), ty);
        return;
    }
    let [a, b, c] = rest;
    let own = nt.field(header, TYPE, "TypeIndex");
    memory.write(own, &[stored(nt.era, header, index), a, b, c]);
}

/// Writes the table and the types; `places` are the bodies of their blocks, in order.
pub fn write(memory: &mut Memory, nt: &Nt, places: &[Va], tags: &BTreeMap<Tag, TagAccount>) {
    let table = nt.variable("ObTypeIndexTable");
    if let Some(cookie) = nt.variable("ObHeaderCookie") {
        memory.write(cookie, &[COOKIE]);
    }
    if let Some(table) = table {
        // The value on Windows 7 for the unused index.
        memory.u64(table.add(8), 0xbad0_b0b0);
    }
    let of_types = places.first().map_or(Va(0), |body| body.add(HEADER));
    for ((index, name, key), body) in TYPES.iter().zip(places) {
        let object = body.add(HEADER);
        if let Some(table) = table {
            memory.pointer(table.add(u64::from(*index) * 8), object);
        }
        memory.u64(nt.field(*body, "_OBJECT_HEADER", "PointerCount"), 2);
        mark(memory, nt, *body, (2, of_types), [0, 0, 0x13]);
        let field = |name| nt.field(object, "_OBJECT_TYPE", name);
        memory.ring(field("TypeList"), &[]);
        memory.unicode_string(field("Name"), body.add(name_at(nt.era)), name);
        memory.write(field("Index"), &[*index]);
        let account = tags.get(key).copied().unwrap_or_default();
        let objects = account.nonpaged.blocks + account.paged.blocks;
        memory.u32(field("TotalNumberOfObjects"), objects as u32);
        memory.u32(field("TotalNumberOfHandles"), objects as u32 / 2);
        memory.write(field("Key"), key);
    }
}
