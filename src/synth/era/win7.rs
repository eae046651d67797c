//! The demo's build, which is the base of the others.

use super::{Era, Table};

/// The last kernel that Microsoft serviced for this era.
pub static WIN7: Era = Era {
    build: 7601,
    lab: "7601.24540.amd64fre.win7sp1_ldr_escrow.191126-1547",
    version: (6, 1),
    service_pack: 0x100,
    guid: [
        0x13, 0x74, 0x9e, 0x33, 0x76, 0x35, 0x9c, 0x43, 0xbc, 0xdf, 0x7e, 0x02, 0x29, 0xda, 0x37,
        0x73,
    ],
    age: 1,
    image_size: 0x5e_7000,
    data: (0x1d_d000, 0x2a_b000),
    tables: 0x16_0000,
    debugger_data: 0x340,
    heap: None,
    base: None,
    table: Table::new(include_str!("tables/win7.txt")),
};
