//! Whether Driver Verifier was enabled, which changes the layout of pool.

use crate::kernel::Kernel;
use crate::kernel::verifier::level;

/// The bits of the verification level that change pool, by their names in `verifier.exe`'s
/// documentation.
const BITS: [(u32, &str); 3] = [
    (0x1, "special pool"),
    (0x4, "low resources simulation"),
    (0x8, "pool tracking"),
];

/// The bits of the verification level, by their names in `verifier.exe`'s documentation.
pub const NAMES: [(u32, &str); 12] = [
    (0x1, "special pool"),
    (0x2, "force IRQL checking"),
    (0x4, "low resources simulation"),
    (0x8, "pool tracking"),
    (0x10, "I/O verification"),
    (0x20, "deadlock detection"),
    (0x80, "DMA checking"),
    (0x100, "security checks"),
    (0x200, "force pending I/O requests"),
    (0x400, "IRP logging"),
    (0x800, "miscellaneous checks"),
    (0x20000, "DDI compliance checking"),
];

/// A sentence if Driver Verifier was enabled.
pub fn note(kernel: &Kernel) -> Option<String> {
    let level = level(kernel).filter(|level| *level != 0)?;
    let on: Vec<&str> = BITS
        .iter()
        .filter(|(bit, _)| level & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    let what = match on.as_slice() {
        [] => "no pool checks".to_owned(),
        names => names.join(", "),
    };
    Some(format!(
        "Driver Verifier was on (level {level:#x}: {what}): blocks of verified drivers may be in \
            special pool"
    ))
}
