//! Checks layouts against the sizes in the debugger data block: a mismatched layout of another
//! build would give wrong names and counts.

use crate::memory::Va;

use super::Kernel;
use super::kdbg::field;

/// A structure, the debugger data field with its size, and the data that depends on it.
const SIZES: [(&str, usize, &str); 3] = [
    (
        PROCESS,
        field::SIZE_OF_PROCESS,
        "names, handles and commit of processes",
    ),
    (
        "_KPRCB",
        field::SIZE_OF_PROCESSOR,
        "lookaside lists and cached commit of processors",
    ),
    ("_ETHREAD", field::SIZE_OF_THREAD, "times of threads"),
];

const PROCESS: &str = "_EPROCESS";

/// Removes layouts of other builds with sizes that differ from this kernel's, and adds a note.
/// Keeps a layout that is known to be exact, and one whose fields give the expected values for
/// a known process.
pub(super) fn hold_against_debugger_data(kernel: &mut Kernel) {
    for (ty, at, what) in SIZES {
        let said = kernel.kdbg.as_ref().and_then(|block| block.u16(at));
        let own = kernel.symbols.size_of(ty);
        let (Some(said), Some(own)) = (said.map(u32::from), own) else {
            continue;
        };
        if said == own || kernel.symbols.is_exact(ty) {
            continue;
        }
        let head = format!(
            "the debugger data block gives {ty} {said:#x} bytes, the layout has {own:#x} ({})",
            kernel.symbol_source()
        );
        if ty == PROCESS && names_fit(kernel) {
            kernel.notes.push(format!(
                "{head}: the layout is used, because the name and identifier of the System \
                    process match it"
            ));
            continue;
        }
        kernel.symbols.distrust_type(ty);
        kernel.notes.push(format!(
            "{head}: the layout does not match and is not used; unknown for this reason: {what}"
        ));
    }
}

/// The System process is the first in the list, and its process ID is 4.
fn names_fit(kernel: &Kernel) -> bool {
    let fits = || {
        let (head, _) = kernel.variable("PsActiveProcessHead", Some(field::ACTIVE_PROCESSES))?;
        let first = kernel
            .space
            .pointer(head)
            .ok()
            .filter(|va| va.is_kernel())?;
        let link = kernel.offset(PROCESS, "ActiveProcessLinks")?;
        let process = Va(first.0.checked_sub(link)?);
        let name = process.add(kernel.offset(PROCESS, "ImageFileName")?);
        let name: [u8; 7] = kernel.space.array(name).ok()?;
        let id = kernel.field(process, PROCESS, "UniqueProcessId").ok()?;
        Some(name == *b"System\0" && id == 4)
    };
    fits().unwrap_or(false)
}
