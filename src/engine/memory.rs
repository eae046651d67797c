//! How much memory the index may take.

/// Of the memory that is available, the share that the index may take by default: the
/// workers' buffers, the answers and everybody else need some too.
const SHARE: (u64, u64) = (3, 4);

/// The default limit in bytes: three quarters of what this machine has available now.
/// `None` where that is not known.
pub fn default_limit() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        Some(available(&text)? / SHARE.1 * SHARE.0)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// `MemAvailable` in bytes; see proc_meminfo(5).
#[cfg(target_os = "linux")]
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read() {
        let text = "MemTotal:       24683960 kB\nMemAvailable:   100 kB\nBuffers: 1 kB\n";
        assert_eq!(available(text), Some(102_400));
        assert_eq!(available("MemTotal: 1 kB"), None);
        assert!(default_limit().is_some_and(|limit| limit > 1 << 20));
    }
}
