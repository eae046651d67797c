//! Windows 10 1803: build 17134.
//!
//! No types of the builds between 1607 and 1809 are in the public collection, and whether
//! their trackers have the layout of the one or of the other is not known. Here they have
//! the later one, and all else is as in 1607, so a reader has to try.

use super::Era;
use super::win10_1607::WIN10_1607;

/// A kernel that nobody knows by name.
pub static WIN10_1803: Era = Era {
    build: 17134,
    lab: "17134.1.amd64fre.rs4_release.180410-1804",
    version: (10, 0),
    service_pack: 0,
    guid: [0x18; 16],
    age: 1,
    image_size: WIN10_1607.image_size,
    data: WIN10_1607.data,
    tables: WIN10_1607.tables,
    debugger_data: WIN10_1607.debugger_data,
    heap: None,
    base: Some(&WIN10_1607),
    symbols: &[],
    sizes: &[("_POOL_TRACKER_TABLE", 0x38)],
    fields: FIELDS,
};

/// Types, fields and offsets in bytes.
static FIELDS: &[(&str, &str, u32)] = &[
    ("_POOL_TRACKER_TABLE", "Key", 0x0),
    ("_POOL_TRACKER_TABLE", "NonPagedAllocs", 0x10),
    ("_POOL_TRACKER_TABLE", "NonPagedFrees", 0x18),
    ("_POOL_TRACKER_TABLE", "NonPagedBytes", 0x8),
    ("_POOL_TRACKER_TABLE", "PagedAllocs", 0x28),
    ("_POOL_TRACKER_TABLE", "PagedFrees", 0x30),
    ("_POOL_TRACKER_TABLE", "PagedBytes", 0x20),
];
