//! The structures of one Windows version: symbol addresses, sizes, offsets.
//!
//! These tables are independent of those in `crate::symbols`, so that a wrong offset in one
//! shows as a disagreement with the other. A new build needs an entry in `builds` and a file in
//! `tables` with the differences from the previous build.

#[cfg(any(test, feature = "synth"))]
mod builds;
mod table;
mod win7;

#[cfg(any(test, feature = "synth"))]
pub use builds::{
    SERVER_2003, SERVER_2022, WIN10_1607, WIN10_1803, WIN10_1809, WIN10_1903, WIN10_2004,
    WIN10_2004_RTM, WIN11, WIN11_22H2, WIN11_24H2, WIN81,
};
pub use win7::WIN7;

use table::{Entry, Table};

/// Encodings of an era's segment heaps that the layout does not show.
#[derive(Clone, Copy, Debug)]
pub struct Heap {
    /// XORed into segment signatures.
    pub mix: u64,
    /// True if LFH offsets are XORed with bits 12..43 of the address; otherwise with bits
    /// 12..31.
    pub whole_address: bool,
}

/// A kernel: its identity, and the addresses of its symbols and fields.
#[derive(Debug)]
pub struct Era {
    /// Build number: 7601.
    pub build: u32,
    /// NtBuildLab.
    pub lab: &'static str,
    /// Major and minor version.
    pub version: (u32, u32),
    /// CmNtCSDVersion: the service pack in bits 8..15.
    pub service_pack: u32,
    /// PDB identity, as stored in an RSDS record.
    pub guid: [u8; 16],
    /// PDB age.
    pub age: u32,
    /// SizeOfImage of the kernel in bytes; large enough for every symbol in the table.
    pub image_size: u32,
    /// Start and end of the kernel's variables (RVAs).
    pub data: (u32, u32),
    /// An RVA with 40 KB of space between functions, for import, export and debug tables.
    /// Debuggers search the first 4 MB for the debug record.
    pub tables: u32,
    /// Size of the debugger data block in bytes.
    pub debugger_data: usize,
    /// The segment heap, if the era has one.
    pub heap: Option<Heap>,
    /// The build that the table's differences refer to.
    base: Option<&'static Era>,
    table: Table,
}

impl Era {
    /// True before Vista, whose pool headers, big page table and lookaside lists differ from
    /// all later ones.
    pub fn is_nt52(&self) -> bool {
        self.build < 6000
    }

    /// The RVA of a symbol.
    pub fn rva(&self, name: &str) -> Option<u32> {
        self.find(&Entry::Symbol(name))
    }

    /// True when the variables include a symbol.
    pub fn has_variable(&self, name: &str) -> bool {
        let rva = self.rva(name);
        rva.is_some_and(|rva| rva >= self.data.0 && rva < self.data.1)
    }

    /// The size of a type in bytes.
    pub fn size(&self, ty: &str) -> Option<u64> {
        self.find(&Entry::Type(ty)).map(u64::from)
    }

    /// The offset of a field in bytes.
    pub fn offset(&self, ty: &str, field: &str) -> Option<u64> {
        self.find(&Entry::Field(ty, field)).map(u64::from)
    }

    /// The value in this build's table, or else in its base's.
    fn find(&self, entry: &Entry<'_>) -> Option<u32> {
        match self.table.get(entry) {
            Some(said) => said,
            None => self.base?.find(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&Era; 13] = [
        &SERVER_2003,
        &WIN7,
        &WIN81,
        &WIN10_1607,
        &WIN10_1803,
        &WIN10_1809,
        &WIN10_1903,
        &WIN10_2004_RTM,
        &WIN10_2004,
        &SERVER_2022,
        &WIN11,
        &WIN11_22H2,
        &WIN11_24H2,
    ];

    #[test]
    fn each_table_line_is_valid_and_is_a_difference() {
        for era in ALL {
            let mut entries = 0;
            for line in era.table.lines() {
                let (entry, said) = table::parse(line).unwrap_or_else(|| panic!("{line}"));
                assert_eq!(
                    era.table.get(&entry),
                    Some(said),
                    "{}: twice: {line}",
                    era.lab
                );
                let before = era.base.and_then(|base| base.find(&entry));
                assert_ne!(before, said, "{}: no difference: {line}", era.lab);
                entries += 1;
            }
            assert_eq!(era.table.len(), entries, "{}", era.lab);
        }
    }

    #[test]
    fn entries_removed_by_a_build_are_not_taken_from_its_base() {
        assert!(WIN81.rva("MmPagedPoolEnd").is_some());
        assert_eq!(WIN10_1607.rva("MmPagedPoolEnd"), None);
        assert_eq!(
            WIN10_2004.offset("_KPCR", "Prcb"),
            WIN7.offset("_KPCR", "Prcb")
        );
        assert_eq!(WIN7.rva("ExPoolState"), None);
    }

    #[test]
    fn every_symbol_is_in_the_image() {
        for era in ALL {
            for line in era.table.lines() {
                if let Some((Entry::Symbol(_), Some(rva))) = table::parse(line) {
                    assert!(rva < era.image_size, "{}: {line}", era.lab);
                }
            }
        }
    }
}
