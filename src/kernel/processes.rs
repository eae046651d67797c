//! The list of processes: PsActiveProcessHead through `EPROCESS.ActiveProcessLinks`.

use rustc_hash::FxHashSet;

use crate::memory::Va;

use super::Kernel;
use super::kdbg::field;

/// Limit for processes; a busy terminal server has tens of thousands.
const MOST: usize = 1 << 18;
/// `LIST_ENTRY.Blink`.
const BACK: u64 = 8;

/// The processes in the list, and the damage to it.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    /// Addresses of `EPROCESS`, in list order.
    pub all: Vec<Va>,
    /// The reason why some are missing.
    pub broken: Option<String>,
}

/// Walks the list from its head and, if it breaks off or loops, from its end too.
///
/// # Errors
/// The reason why there is no list, as the end of a sentence.
pub fn list(kernel: &Kernel) -> Result<Processes, &'static str> {
    let (head, _) = kernel
        .variable("PsActiveProcessHead", Some(field::ACTIVE_PROCESSES))
        .ok_or("the list of processes was not found")?;
    let link = kernel
        .offset("_EPROCESS", "ActiveProcessLinks")
        .ok_or("the offset of _EPROCESS.ActiveProcessLinks is not known")?;
    let mut seen = FxHashSet::default();
    let (mut links, why) = follow(kernel, head, 0, &mut seen);
    let broken = why.map(|why| {
        let forward = links.len();
        let (from_end, _) = follow(kernel, head, BACK, &mut seen);
        links.extend(from_end.iter().rev());
        format!(
            "the list of processes is damaged ({why}): {forward} found from its start, {} more from its end",
            from_end.len()
        )
    });
    let all = links.iter().map(|at| Va(at.0.wrapping_sub(link))).collect();
    Ok(Processes { all, broken })
}

/// Follows the links at `offset` until they return to the head; otherwise has the reason.
fn follow(
    kernel: &Kernel,
    head: Va,
    offset: u64,
    seen: &mut FxHashSet<Va>,
) -> (Vec<Va>, Option<String>) {
    let mut out = Vec::new();
    let mut at = head;
    loop {
        let next = match kernel.space.pointer(at.add(offset)) {
            Ok(next) if next == head => return (out, None),
            Ok(next) => next,
            Err(fault) => return (out, Some(format!("{fault} at {at}"))),
        };
        if !next.is_kernel() || !seen.insert(next) {
            return (out, Some(format!("{at} links to {next}")));
        }
        if out.len() == MOST {
            return (out, Some(format!("more than {MOST} entries")));
        }
        out.push(next);
        at = next;
    }
}
