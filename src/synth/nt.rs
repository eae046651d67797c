//! nt at its load address: symbols and fields become addresses.

use crate::addr::Va;

use super::era::Era;

/// The kernel at its load address.
#[derive(Clone, Copy, Debug)]
pub struct Nt {
    /// Its symbols and layouts.
    pub era: &'static Era,
    /// Load address.
    pub base: Va,
}

impl Nt {
    /// A symbol's address; 0, which is never mapped, if the era does not have it.
    pub fn at(&self, name: &str) -> Va {
        self.era
            .rva(name)
            .map_or(Va(0), |rva| self.base.add(rva.into()))
    }

    /// A variable's address, if the era has it.
    pub fn variable(&self, name: &str) -> Option<Va> {
        self.era.has_variable(name).then(|| self.at(name))
    }

    /// The address of a member of `MiState` or `MiSystemPartition`, by its path.
    pub fn nested(&self, symbol: &str, path: &str) -> Option<Va> {
        let offset = self.era.offset(symbol, path)?;
        Some(self.variable(symbol)?.add(offset))
    }

    /// A field's address in a structure.
    pub fn field(&self, at: Va, ty: &str, name: &str) -> Va {
        match self.era.offset(ty, name) {
            Some(offset) => at.add(offset),
            None => Va(0),
        }
    }

    /// A field's offset, for structures that store it as u16.
    pub(super) fn offset16(&self, ty: &str, name: &str) -> u16 {
        self.era.offset(ty, name).unwrap_or(0) as u16
    }
}
