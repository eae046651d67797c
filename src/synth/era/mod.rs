//! What the structures of one Windows version look like: symbol addresses, sizes, offsets.
//!
//! The tables here are the builder's own, apart from those of `crate::symbols`: a wrong
//! offset in the one shows as a disagreement with the other. A further version is a
//! further file with a table.

mod win7;

pub use win7::WIN7;

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
    symbols: &'static [(&'static str, u32)],
    sizes: &'static [(&'static str, u32)],
    fields: &'static [(&'static str, &'static str, u32)],
}

impl Era {
    /// The RVA of a symbol.
    pub fn rva(&self, name: &str) -> Option<u32> {
        let found = self.symbols.iter().find(|(n, _)| *n == name)?;
        Some(found.1)
    }

    /// The size of a type in bytes.
    pub fn size(&self, ty: &str) -> Option<u64> {
        let found = self.sizes.iter().find(|(t, _)| *t == ty)?;
        Some(found.1.into())
    }

    /// The offset of a field in bytes.
    pub fn offset(&self, ty: &str, field: &str) -> Option<u64> {
        let found = self
            .fields
            .iter()
            .find(|(t, f, _)| *t == ty && *f == field)?;
        Some(found.2.into())
    }
}
