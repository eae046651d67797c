//! What the structures of one Windows version look like: symbol addresses, sizes, offsets.
//!
//! The tables here are the builder's own, apart from those of `crate::symbols`: a wrong
//! offset in the one shows as a disagreement with the other. A further build is an entry in
//! `builds` and a file in `tables`, which says what differs from the build before.

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

/// How an era's segment heaps encode what their layout does not say.
#[derive(Clone, Copy, Debug)]
pub struct Heap {
    /// Mixed into segment signatures.
    pub mix: u64,
    /// LFH offsets are mixed with bits 12..43 of the address; else with bits 12..31.
    pub whole_address: bool,
}

/// A kernel: its identity, and where its symbols and fields are.
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
    /// Where the kernel's variables start and end (RVAs).
    pub data: (u32, u32),
    /// An RVA with 40 KB of room between functions, for import, export and debug tables;
    /// debuggers look for the debug record in the first 4 MB.
    pub tables: u32,
    /// Bytes of the debugger data block.
    pub debugger_data: usize,
    /// The segment heap, where the era has one.
    pub heap: Option<Heap>,
    /// The build that the table names the differences to.
    base: Option<&'static Era>,
    table: Table,
}

impl Era {
    /// True before Vista, whose pool headers, big page table and lookaside lists differ
    /// from all later ones.
    pub fn is_nt52(&self) -> bool {
        self.build < 6000
    }

    /// The RVA of a symbol.
    pub fn rva(&self, name: &str) -> Option<u32> {
        self.find(&Entry::Symbol(name))
    }

    /// True when a symbol is among the variables.
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

    /// What this build's table says, or else its base's.
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
    fn each_line_of_each_table_is_understood_and_is_a_difference() {
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
    fn what_a_build_does_not_have_any_more_is_not_its_bases() {
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
