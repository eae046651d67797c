//! Properties of all LFH slots.

/// Upper limit of a slot's size in bytes, exclusive.
pub(super) const LARGEST_SLOT: u64 = 0xff8;

/// True when a byte of the bitmap marks its slot as in use. The second bit of a pair only marks
/// the slot's last bytes as unused.
pub(super) fn is_busy(bits: u8, slot: u64) -> bool {
    bits >> (slot % 4 * 2) & 1 == 1
}
