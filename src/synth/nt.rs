//! nt at the address where it is loaded: symbols and fields become addresses.

use crate::addr::Va;

use super::era::Era;

/// The kernel at its address.
#[derive(Clone, Copy, Debug)]
pub struct Nt {
    /// What it looks like.
    pub era: &'static Era,
    /// Where it is loaded.
    pub base: Va,
}

impl Nt {
    /// A symbol's address; 0, which nothing is mapped at, when the era has none.
    pub fn at(&self, name: &str) -> Va {
        self.era
            .rva(name)
            .map_or(Va(0), |rva| self.base.add(rva.into()))
    }

    /// A variable's address, when the era has it among its data.
    pub fn variable(&self, name: &str) -> Option<Va> {
        self.era.has_variable(name).then(|| self.at(name))
    }

    /// The address of a part of `MiState` or `MiSystemPartition`, by its path in it.
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

    /// A field's offset for places that store it as u16.
    pub(super) fn offset16(&self, ty: &str, name: &str) -> u16 {
        self.era.offset(ty, name).unwrap_or(0) as u16
    }
}
