//! The builds: the identity of each kernel, and the base build of its table of differences.
//! Each table names the source of its addresses and offsets.

use super::{Era, Heap, Table, WIN7};

/// The constant XORed into a segment's signature up to Windows 11 21H2 (published research:
/// PoolViewer, MemProcFS).
const SEGMENT_MIX: u64 = 0xa2e6_4ead_a2e6_4ead;

/// The released Service Pack 2.
pub static SERVER_2003: Era = Era {
    build: 3790,
    lab: "3790.srv03_sp2_rtm.070216-1710",
    version: (5, 2),
    service_pack: 0x200,
    // A fictitious kernel, so that no reader knows it by its identity.
    guid: *b"NT 5.2.3790 x64\0",
    age: 1,
    image_size: 0x45_e000,
    data: (0x17_d000, 0x1b_0000),
    tables: 0x12_0000,
    debugger_data: 0x318,
    heap: None,
    base: None,
    table: Table::new(include_str!("tables/server_2003.txt")),
};

/// A late kernel of this era.
pub static WIN81: Era = Era {
    build: 9600,
    lab: "9600.19913.amd64fre.winblue_ltsb_escrow.201207-1920",
    version: (6, 3),
    service_pack: 0,
    guid: [
        0x0b, 0x7d, 0x59, 0x22, 0x39, 0x40, 0x23, 0x4e, 0x93, 0x6f, 0x6a, 0x24, 0xc6, 0xc5, 0x2d,
        0x5b,
    ],
    age: 1,
    image_size: 0x781000,
    data: (0x292000, 0x353000),
    tables: 0x158000,
    debugger_data: 0x360,
    heap: None,
    base: Some(&WIN7),
    table: Table::new(include_str!("tables/win81.txt")),
};

/// The last known kernel of this era.
pub static WIN10_1607: Era = Era {
    build: 14393,
    lab: "14393.4583.amd64fre.rs1_release.210730-1850",
    version: (10, 0),
    service_pack: 0,
    guid: [
        0x8f, 0x12, 0x7e, 0x51, 0x7c, 0x7b, 0xa7, 0x4e, 0x94, 0x91, 0xde, 0x6b, 0x9b, 0x9c, 0xe1,
        0x90,
    ],
    age: 1,
    image_size: 0x820000,
    data: (0x2ef000, 0x3c1000),
    tables: 0x174000,
    debugger_data: 0x368,
    heap: None,
    base: Some(&WIN81),
    table: Table::new(include_str!("tables/win10_1607.txt")),
};

/// A kernel without a known identity.
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
    table: Table::new(include_str!("tables/win10_1803.txt")),
};

/// The pool uses heaps or chains of blocks, as decided at boot.
pub static WIN10_1809: Era = Era {
    build: 17763,
    lab: "17763.1.amd64fre.rs5_release.180914-1434",
    version: (10, 0),
    service_pack: 0,
    guid: [
        0x20, 0xd0, 0x06, 0x18, 0xe4, 0xa6, 0x38, 0x65, 0xd7, 0xac, 0x33, 0x25, 0xfa, 0xc1, 0x14,
        0xd8,
    ],
    age: 1,
    image_size: 0xa74000,
    data: (0x3fe000, 0x562000),
    tables: 0x1e0000,
    debugger_data: 0x380,
    heap: Some(Heap {
        mix: SEGMENT_MIX,
        whole_address: false,
    }),
    base: Some(&WIN10_1607),
    table: Table::new(include_str!("tables/win10_1809.txt")),
};

/// An early kernel of this era.
pub static WIN10_1903: Era = Era {
    build: 18362,
    lab: "18362.1.amd64fre.19h1_release.190318-1202",
    version: (10, 0),
    service_pack: 0,
    guid: [
        0x51, 0x9a, 0xbc, 0x11, 0x11, 0x3f, 0xca, 0x40, 0x35, 0x9e, 0xcd, 0xf5, 0x0f, 0x01, 0x22,
        0xc1,
    ],
    age: 1,
    image_size: 0xaa8000,
    data: (0x380000, 0x591000),
    tables: 0x1db000,
    debugger_data: 0x388,
    heap: Some(Heap {
        mix: SEGMENT_MIX,
        whole_address: false,
    }),
    base: Some(&WIN10_1809),
    table: Table::new(include_str!("tables/win10_1903.txt")),
};

/// Before revision 508, which enlarged `MiState` by 0x40 bytes.
pub static WIN10_2004_RTM: Era = Era {
    build: 19041,
    lab: "19041.1.amd64fre.vb_release.191206-1406",
    version: (10, 0),
    service_pack: 0,
    guid: [
        0x29, 0x7c, 0xed, 0xbb, 0xfb, 0x55, 0x52, 0xe4, 0x2a, 0xaa, 0x23, 0xf4, 0xb8, 0x67, 0x7a,
        0xd9,
    ],
    age: 1,
    image_size: 0x1046000,
    data: (0xc00000, 0xd2b000),
    tables: 0x150000,
    debugger_data: 0x388,
    heap: Some(Heap {
        mix: SEGMENT_MIX,
        whole_address: false,
    }),
    base: Some(&WIN10_1903),
    table: Table::new(include_str!("tables/win10_2004_rtm.txt")),
};

/// The last layout of this era: since revision 508, `MiState` is 0x40 bytes larger.
pub static WIN10_2004: Era = Era {
    build: 19041,
    lab: "19041.1.amd64fre.vb_release.191206-1406",
    version: (10, 0),
    service_pack: 0,
    guid: [
        0x69, 0xf6, 0x6f, 0x60, 0x9b, 0x40, 0xf7, 0x00, 0xfc, 0x8c, 0x61, 0xa9, 0xc1, 0x67, 0x01,
        0x29,
    ],
    age: 1,
    image_size: 0x1046000,
    data: (0xc00000, 0xd2b000),
    tables: 0x150000,
    debugger_data: 0x388,
    heap: Some(Heap {
        mix: SEGMENT_MIX,
        whole_address: false,
    }),
    base: Some(&WIN10_2004_RTM),
    table: Table::new(include_str!("tables/win10_2004.txt")),
};

/// A late kernel of this era.
pub static SERVER_2022: Era = Era {
    build: 20348,
    lab: "20348.1.amd64fre.fe_release.210507-1500",
    version: (10, 0),
    service_pack: 0,
    guid: [
        0x3e, 0x51, 0x13, 0xe1, 0xad, 0xcf, 0x88, 0x6e, 0x58, 0x56, 0x7e, 0xec, 0x9e, 0x6e, 0x28,
        0x5f,
    ],
    age: 1,
    image_size: 0xe42000,
    data: (0xc00000, 0xd41000),
    tables: 0x158000,
    debugger_data: 0x388,
    heap: Some(Heap {
        mix: SEGMENT_MIX,
        whole_address: false,
    }),
    base: Some(&WIN10_2004),
    table: Table::new(include_str!("tables/server_2022.txt")),
};

/// A late kernel of this era.
pub static WIN11: Era = Era {
    build: 22000,
    lab: "22000.1.amd64fre.co_release.210604-1628",
    version: (10, 0),
    service_pack: 0,
    guid: [
        0x5c, 0xa9, 0xe4, 0x0c, 0xd7, 0x0c, 0xa7, 0x82, 0x59, 0x6b, 0x03, 0x4d, 0x86, 0x48, 0xe5,
        0x85,
    ],
    age: 1,
    image_size: 0x1047000,
    data: (0xc00000, 0xd39000),
    tables: 0x15c000,
    debugger_data: 0x3a0,
    heap: Some(Heap {
        mix: SEGMENT_MIX,
        whole_address: false,
    }),
    base: Some(&SERVER_2022),
    table: Table::new(include_str!("tables/win11.txt")),
};

/// A kernel without a known identity.
pub static WIN11_22H2: Era = Era {
    build: 22621,
    lab: "22621.1.amd64fre.ni_release.220506-1250",
    version: (10, 0),
    service_pack: 0,
    guid: [0x22; 16],
    age: 1,
    image_size: WIN11.image_size,
    data: WIN11.data,
    tables: WIN11.tables,
    debugger_data: WIN11.debugger_data,
    heap: Some(Heap {
        mix: SEGMENT_MIX,
        whole_address: false,
    }),
    base: Some(&WIN11),
    table: Table::new(include_str!("tables/win11_22h2.txt")),
};

/// A kernel without a known identity.
pub static WIN11_24H2: Era = Era {
    build: 26100,
    lab: "26100.1.amd64fre.ge_release.240331-1435",
    version: (10, 0),
    service_pack: 0,
    guid: [0x26; 16],
    age: 1,
    image_size: 0x1047000,
    data: (0xc00000, 0xd39000),
    tables: 0x15c000,
    debugger_data: 0x3a0,
    heap: Some(Heap {
        mix: 0,
        whole_address: true,
    }),
    base: Some(&WIN11),
    table: Table::new(include_str!("tables/win11_24h2.txt")),
};
