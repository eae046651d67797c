//! `_SLIST_HEADER`: a list whose head packs depth and first entry.

use crate::memory::Va;

use crate::kernel::Kernel;

/// Bits of the second half that are not part of the address.
const FLAGS: u64 = 0xf;
/// Where the 8-byte form of a head has its link: bits 25 to 63 of the first half.
const PACKED_LINK: u32 = 25;

/// The head of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The first entry; `None` for an empty list.
    pub first: Option<Va>,
    /// How many entries the head counts, modulo 65,536.
    pub depth: u16,
}

/// Reads a head.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(super) fn head(kernel: &Kernel, at: Va) -> Result<Head, String> {
    let half = |offset| {
        let read = kernel.space.u64(at.add(offset));
        read.map_err(|fault| format!("can't be read ({fault})"))
    };
    let (first, second) = (half(0)?, half(8)?);
    let depth = (first & 0xffff) as u16;
    let link = Va(second & !FLAGS);
    if link.is_kernel() {
        let first = Some(link);
        return Ok(Head { first, depth });
    }
    if link.0 != 0 {
        return Err(format!("leads to {link}, which is not a kernel address"));
    }
    if second & 1 == 0 && first >> PACKED_LINK != 0 {
        return Err("has the form of processors without a 16-byte compare-exchange".into());
    }
    Ok(Head { first: None, depth })
}
