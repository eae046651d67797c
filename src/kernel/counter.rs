//! A counter of the memory manager: its possible locations, and its value.
//!
//! Up to Windows 8.1, counters are variables of nt. From Windows 10 1607, they are fields of
//! `MiState` and `MiSystemPartition`. The existing names decide, not the build number.

use crate::memory::{Fault, Va};

use super::visible_state::is_exact;
use super::{Kernel, Origin};

/// A counter as read from the dump. Other code judges its plausibility.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// The number of pages; `None` if this dump does not provide it.
    pub pages: Option<u64>,
    /// The location that was read, or the reason why it was not.
    pub source: String,
    /// The location comes from the layout of another build. If the number contradicts the
    /// others, it is not this counter.
    pub guessed: bool,
}

/// A possible location of a counter; locations are tried in order.
pub(super) enum Place {
    /// A variable of nt, and the debugger data field with its address.
    Global(&'static str, Option<usize>, Width),
    /// `MiState` → member → field.
    State(&'static str, &'static str, &'static str),
    /// `MiSystemPartition` → member → field.
    Partition(&'static str, &'static str, &'static str),
    /// A debugger data field with the address of a variable in bytes.
    KdbgBytes(usize),
}

/// The type of a variable.
#[derive(Clone, Copy)]
pub(super) enum Width {
    U64,
    I32,
    /// A number of pages: 32 bits up to NT 5.2 (PFN_COUNT, as in ReactOS), 64 bits later.
    Count,
}

/// Vista: the first build with 64-bit page counts.
const FIRST_WIDE: u32 = 6000;

use Place::{Global, KdbgBytes, Partition, State};
use Width::{Count, I32, U64};

impl Place {
    /// True when the build's structures have this field.
    pub(super) fn has_layout(&self, kernel: &Kernel) -> bool {
        match *self {
            State(_, ty, name) | Partition(_, ty, name) => kernel.symbols.field(ty, name).is_some(),
            Global(..) | KdbgBytes(_) => locate(kernel, self).is_some(),
        }
    }
}

/// Reads the first readable location.
pub(super) fn counter(kernel: &Kernel, places: &[Place]) -> Counter {
    let mut why = Vec::new();
    for place in places {
        let Some((at, size, name)) = locate(kernel, place) else {
            continue;
        };
        match read_number(kernel, at, size) {
            Ok(number) => {
                let pages = match place {
                    KdbgBytes(_) => number / 4096,
                    _ => number,
                };
                return Counter {
                    pages: Some(pages),
                    source: name,
                    guessed: is_guessed(kernel, place),
                };
            }
            Err(fault) => why.push(format!("{name}: {fault}")),
        }
    }
    let in_state = places.iter().any(|p| matches!(p, State("Vs", ..)));
    let lost = kernel.visible_state().err().filter(|_| in_state);
    let lost = lost.filter(|_| kernel.symbol("MiState").is_some());
    Counter {
        source: match (why.is_empty(), lost) {
            (true, Some(lost)) => lost.to_owned(),
            (true, None) => "no symbol, layout or debugger data leads to it".into(),
            (false, _) => why.join("; "),
        },
        ..Counter::default()
    }
}

/// True when the location comes from another build's layout, or from the debugger data for a
/// variable that newer builds no longer have.
fn is_guessed(kernel: &Kernel, place: &Place) -> bool {
    match place {
        State(..) | Partition(..) => !is_exact(kernel),
        Global(name, ..) => is_moved(kernel) && kernel.symbol(name).is_none(),
        KdbgBytes(_) => is_moved(kernel),
    }
}

/// False for an address outside of nt's image, on builds where the debugger data's pointers to
/// counters may be stale.
fn can_be_variable(kernel: &Kernel, at: Va) -> bool {
    !is_moved(kernel) || kernel.nt().is_some_and(|nt| nt.contains(at))
}

/// True on Windows 10 1607 and later: the counters are fields of structures.
fn is_moved(kernel: &Kernel) -> bool {
    kernel.build >= 14393
}

/// Address, size in bytes (negative for signed) and name of a counter.
fn locate(kernel: &Kernel, place: &Place) -> Option<(Va, i8, String)> {
    match *place {
        Global(name, kdbg_field, width) => {
            // From 1607, the counters are in MiState and MiSystemPartition; the debugger data
            // may refer to unused old variables.
            let moved = is_moved(kernel) && kernel.symbol("MiSystemPartition").is_some();
            let (at, origin) = kernel.variable(name, kdbg_field.filter(|_| !moved))?;
            if origin == Origin::Kdbg && !can_be_variable(kernel, at) {
                return None;
            }
            let size = match width {
                U64 => 8,
                I32 => -4,
                Count if kernel.build < FIRST_WIDE => 4,
                Count => 8,
            };
            let how = match origin {
                Origin::Symbol => format!("nt!{name}"),
                Origin::Kdbg => format!("nt!{name} by the debugger data block"),
            };
            Some((at, size, how))
        }
        State(member, ty, name) => nested(
            kernel,
            ("MiState", "_MI_SYSTEM_INFORMATION"),
            member,
            ty,
            name,
        ),
        Partition(member, ty, name) => nested(
            kernel,
            ("MiSystemPartition", "_MI_PARTITION"),
            member,
            ty,
            name,
        ),
        KdbgBytes(kdbg_field) => {
            let at = kernel.kdbg.as_ref()?.address(kdbg_field)?;
            let at = Some(at).filter(|at| can_be_variable(kernel, *at))?;
            Some((at, 8, "the debugger data block".into()))
        }
    }
}

fn nested(
    kernel: &Kernel,
    (symbol, outer): (&str, &str),
    member: &str,
    ty: &str,
    name: &str,
) -> Option<(Va, i8, String)> {
    let field = kernel.symbols.field(ty, name)?;
    let member_at = match member {
        "Vs" => kernel.visible_state().ok()?.at,
        _ => kernel.symbol(symbol)?.add(kernel.offset(outer, member)?),
    };
    let at = member_at.add(field.offset.into());
    // Driver commit is the only signed counter; list heads start with their total.
    let size = match (name, field.size) {
        ("DriverCommit", 4) => -4,
        (_, 4) => 4,
        _ => 8,
    };
    Some((at, size, format!("nt!{symbol}.{member}.{name}")))
}

fn read_number(kernel: &Kernel, at: Va, size: i8) -> Result<u64, Fault> {
    match size {
        4 => kernel.space.u32(at).map(u64::from),
        // A negative count becomes a huge one, which the plausibility check reports.
        -4 => kernel.space.u32(at).map(|v| i64::from(v as i32) as u64),
        _ => kernel.space.u64(at),
    }
}
