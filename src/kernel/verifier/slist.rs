//! `_SLIST_HEADER`: a list head that packs the depth and the first entry.

use crate::memory::Va;

use crate::kernel::Kernel;

/// Bits of the second half outside the address.
const FLAGS: u64 = 0xf;
/// Position of the link in the 8-byte form of a head: bits 25 to 63 of the first half.
const PACKED_LINK: u32 = 25;

/// The head of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The first entry; `None` for an empty list.
    pub first: Option<Va>,
    /// Number of entries according to the head, modulo 65,536.
    pub depth: u16,
}

/// Reads a head.
///
/// # Errors
/// The reason why it is invalid, as the end of a sentence.
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
