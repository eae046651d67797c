//! Whether Driver Verifier was on, which changes what pool looks like.

use crate::kernel::Kernel;
use crate::kernel::kdbg::field;

/// Bits of the level, by their names in `verifier.exe`'s documentation, that change pool.
const BITS: [(u32, &str); 3] = [
    (0x1, "special pool"),
    (0x4, "low resources simulation"),
    (0x8, "pool tracking"),
];
/// All bits that are documented.
const KNOWN: u32 = 0x01ff_ffff;

/// A sentence when Verifier was on: `MmVerifierData.Level`.
pub fn note(kernel: &Kernel) -> Option<String> {
    let (at, _) = kernel.variable("MmVerifierData", Some(field::VERIFIER_DATA))?;
    let offset = kernel.offset("_MM_DRIVER_VERIFIER_DATA", "Level");
    let level = kernel.space.u32(at.add(offset.unwrap_or(0))).ok()?;
    if level == 0 || level & !KNOWN != 0 {
        return None;
    }
    let on: Vec<&str> = BITS
        .iter()
        .filter(|(bit, _)| level & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    let what = match on.as_slice() {
        [] => "nothing that concerns pool".to_owned(),
        names => names.join(", "),
    };
    Some(format!(
        "Driver Verifier was on (level {level:#x}: {what}): blocks of the drivers it watches may be in special pool"
    ))
}
