//! How much memory the index may take.

use crate::system::memory::available;

/// Of the memory that is available, the share that the index may take by default: the
/// workers' buffers, the answers and everybody else need some too.
const SHARE: (u64, u64) = (3, 4);

/// The default limit in bytes: three quarters of what this process can have now, by the
/// machine and by the limits of its control groups. `None` where that is not known.
pub fn default_limit() -> Option<u64> {
    Some(available()? / SHARE.1 * SHARE.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_a_share_of_what_is_available() {
        let limit = default_limit().expect("this system tells");
        assert!(limit > 1 << 20 && limit.is_multiple_of(SHARE.0));
    }
}
