//! Windows 11 22H2 and 23H2: builds 22621 and 22631.
//!
//! What is public of its memory manager's types (a dump of headers without a label,
//! between 21H2 and 24H2) is here; all else is as in Windows 11 21H2, its addresses too.
//! No kernel of this build is in the public collection of addresses, so the identity is
//! made up: a reader has to find the variables by what they hold.

use super::win11::WIN11;
use super::{Era, Heap, SEGMENT_MIX};

/// A kernel that nobody knows by name.
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
    symbols: &[],
    sizes: &[("_MI_SYSTEM_INFORMATION", 0x5140)],
    fields: FIELDS,
};

/// Types, fields and offsets in bytes.
static FIELDS: &[(&str, &str, u32)] = &[
    ("MiState", "Vs.MaximumNonPagedPoolInPages", 0x4470),
    ("MiState", "Vs.SizeOfPagedPoolInPages", 0x4478),
    ("MiState", "Vs.SessionWsList", 0x4440),
    ("MiState", "Vs.ProcessCommit", 0x4508),
    ("MiState", "Vs.ContiguousPagesAllocated", 0x44f8),
    ("MiState", "Vs.SmallNonPagedPtesCommit", 0x44e0),
    ("MiState", "Vs.PagefileHashPages", 0x4d68),
    ("MiState", "Vs.DriverCommit", 0x4510),
    ("MiState", "Vs.NonPagedPoolCommit", 0x44d8),
    ("MiState", "Vs.BootCommit", 0x44e8),
    ("MiState", "Vs.SystemPageTableCommit", 0x4500),
    ("MiState", "Vs.PfnDatabaseCommit", 0x4518),
    ("MiState", "Vs.MdlPagesAllocated", 0x44f0),
    ("MiState", "Vs.SystemVaType", 0x4f18),
    ("MiState", "Vs.SystemVaRegions", 0x5018),
    ("MiState", "Vs.PagedPoolInfo.AllocatedPagedPool", 0x4468),
    ("MiState", "Vs.SystemPteInfo.TotalSystemPtes", 0x44b0),
    ("MiState", "Vs.SystemPteInfo.TotalFreeSystemPtes", 0x44d0),
    ("MiState", "Hardware.InvalidPteMask", 0x6c0),
    ("_MI_ASSIGNED_REGION_TYPES", "PfnDatabase", 0x0),
    ("_MI_ASSIGNED_REGION_TYPES", "NonPagedPool", 0x1),
    ("_MI_ASSIGNED_REGION_TYPES", "PagedPool", 0x2),
    ("_MI_ASSIGNED_REGION_TYPES", "SystemCache", 0x3),
    ("_MI_ASSIGNED_REGION_TYPES", "SystemPtes", 0x4),
    ("_MI_ASSIGNED_REGION_TYPES", "PageTables", 0xa),
    ("_MI_ASSIGNED_REGION_TYPES", "SystemImages", 0xe),
];
