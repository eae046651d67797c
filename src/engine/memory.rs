//! The memory limit of the index.

use crate::system::memory::available;

/// The default share of available memory that the index may use. The rest is for worker buffers,
/// answers and other processes.
const SHARE: (u64, u64) = (3, 4);

/// The default limit in bytes: 75% of the memory that is available to this process, considering
/// the machine and the limits of its control groups. `None` if that is unknown.
pub fn default_limit() -> Option<u64> {
    Some(available()? / SHARE.1 * SHARE.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_a_share_of_available_memory() {
        let limit = default_limit().expect("this system tells");
        assert!(limit > 1 << 20 && limit.is_multiple_of(SHARE.0));
    }
}
