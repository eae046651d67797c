//! What all slots of LFH subsegments have in common.

/// A slot is smaller than this.
pub(super) const LARGEST_SLOT: u64 = 0xff8;

/// True when a byte of the bitmap says that its slot is in use; the second bit of a pair
/// only says that the slot's last bytes are not.
pub(super) fn is_busy(bits: u8, slot: u64) -> bool {
    bits >> (slot % 4 * 2) & 1 == 1
}
