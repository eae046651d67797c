//! Driver Verifier's variables, and nt's functions that allocate and free pool, for kernels
//! that are known by identity.
//!
//! `assets/verifier.json` comes from Microsoft's public PDBs, through the symbol tables that
//! JPCERT/CC publishes for Volatility. It includes the lengths of functions, so the function of
//! an address is known without a PDB.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::value::RawValue;

static ASSET: &str = include_str!("../../assets/verifier.json");

#[derive(Deserialize)]
struct Asset {
    #[serde(borrow)]
    functions: Vec<&'static str>,
    #[serde(borrow)]
    kernels: FxHashMap<&'static str, &'static RawValue>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(borrow)]
    symbols: FxHashMap<&'static str, u32>,
    /// Index of the name, RVA, length in bytes.
    functions: Vec<(usize, u32, u32)>,
}

/// The data of one kernel.
#[derive(Clone, Debug, Default)]
pub(super) struct Verifier {
    /// Symbol to RVA.
    pub symbols: FxHashMap<&'static str, u32>,
    /// First RVA, length in bytes and name, in RVA order.
    functions: Vec<(u32, u32, &'static str)>,
}

impl Verifier {
    /// Looks up a symbol-store key; empty for a kernel that is not listed.
    pub fn find(key: &str) -> Verifier {
        static ALL: OnceLock<Option<Asset>> = OnceLock::new();
        let all = ALL.get_or_init(|| serde_json::from_str(ASSET).ok());
        let found = all.as_ref().and_then(|asset| {
            let listed = asset.kernels.get(key)?.get();
            Some((asset, serde_json::from_str::<Listed>(listed).ok()?))
        });
        let Some((asset, listed)) = found else {
            return Verifier::default();
        };
        let named = listed.functions.iter();
        let mut functions: Vec<_> = named
            .filter_map(|(name, rva, size)| Some((*rva, *size, *asset.functions.get(*name)?)))
            .collect();
        functions.sort_unstable();
        Verifier {
            symbols: listed.symbols,
            functions,
        }
    }

    /// The function that contains an RVA, and the distance from its start in bytes.
    pub fn function(&self, rva: u32) -> Option<(&'static str, u32)> {
        let after = self.functions.partition_point(|f| f.0 <= rva);
        let (start, size, name) = *self.functions.get(after.checked_sub(1)?)?;
        let inside = rva - start;
        (inside < size).then_some((name, inside))
    }

    /// False for a kernel whose functions are not listed.
    pub fn has_functions(&self) -> bool {
        !self.functions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_kernel_has_variables_and_functions() {
        let asset: Asset = serde_json::from_str(ASSET).unwrap();
        assert!(asset.kernels.len() >= 14);
        for key in asset.kernels.keys() {
            let found = Verifier::find(key);
            for name in ["ViTargetDriversAvl", "VfPoolTraces", "VfPoolTracesIndex"] {
                assert!(found.symbols.contains_key(name), "{key} {name}");
            }
            let thunk = found
                .functions
                .iter()
                .find(|f| f.2 == "VerifierExAllocatePoolWithTag");
            let (start, size, name) = *thunk.unwrap();
            assert_eq!(found.function(start), Some((name, 0)));
            assert_eq!(found.function(start + size - 1), Some((name, size - 1)));
            assert_ne!(found.function(start + size).map(|f| f.0), Some(name));
        }
    }

    #[test]
    fn an_unknown_kernel_has_none() {
        let none = Verifier::find("0000");
        assert!(!none.has_functions() && none.symbols.is_empty());
        assert_eq!(none.function(0x1000), None);
    }
}
