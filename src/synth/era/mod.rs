//! What the structures of one Windows version look like: symbol addresses, sizes, offsets.
//!
//! The tables here are the builder's own, apart from those of `crate::symbols`: a wrong
//! offset in the one shows as a disagreement with the other. A further version is a
//! further file with a table.

mod server_2003;
mod server_2022;
mod win10_1607;
mod win10_1803;
mod win10_1809;
mod win10_1903;
mod win10_2004;
mod win10_2004_rtm;
mod win11;
mod win11_22h2;
mod win11_24h2;
mod win7;
mod win81;

pub use server_2003::SERVER_2003;
pub use server_2022::SERVER_2022;
pub use win7::WIN7;
pub use win10_1607::WIN10_1607;
pub use win10_1803::WIN10_1803;
pub use win10_1809::WIN10_1809;
pub use win10_1903::WIN10_1903;
pub use win10_2004::WIN10_2004;
pub use win10_2004_rtm::WIN10_2004_RTM;
pub use win11::WIN11;
pub use win11_22h2::WIN11_22H2;
pub use win11_24h2::WIN11_24H2;
pub use win81::WIN81;

/// What a segment's signature is mixed with up to Windows 11 21H2 (published research:
/// PoolViewer, MemProcFS).
const SEGMENT_MIX: u64 = 0xa2e6_4ead_a2e6_4ead;

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
    /// Where what the tables below do not have is looked up.
    base: Option<&'static Era>,
    symbols: &'static [(&'static str, u32)],
    sizes: &'static [(&'static str, u32)],
    fields: &'static [(&'static str, &'static str, u32)],
}

impl Era {
    /// True before Vista, whose pool headers, big page table and lookaside lists differ
    /// from all later ones.
    pub fn is_nt52(&self) -> bool {
        self.build < 6000
    }

    /// The RVA of a symbol.
    pub fn rva(&self, name: &str) -> Option<u32> {
        let found = self.symbols.iter().find(|(n, _)| *n == name);
        found.map_or_else(|| self.base?.rva(name), |f| Some(f.1))
    }

    /// True when a symbol is among the variables.
    pub fn has_variable(&self, name: &str) -> bool {
        let rva = self.rva(name);
        rva.is_some_and(|rva| rva >= self.data.0 && rva < self.data.1)
    }

    /// The size of a type in bytes.
    pub fn size(&self, ty: &str) -> Option<u64> {
        let found = self.sizes.iter().find(|(t, _)| *t == ty);
        found.map_or_else(|| self.base?.size(ty), |f| Some(f.1.into()))
    }

    /// The offset of a field in bytes.
    pub fn offset(&self, ty: &str, field: &str) -> Option<u64> {
        let found = self.fields.iter().find(|(t, f, _)| *t == ty && *f == field);
        found.map_or_else(|| self.base?.offset(ty, field), |f| Some(f.2.into()))
    }
}
