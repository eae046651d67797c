//! Holes: stretches of the file that were never written. They read as zeros.
//!
//! An unfinished copy has them. So has any copy that omits pages of zeros to save space, so a
//! hole alone is not a sign of damage. If blocks are missing, it is a possible reason. Uses
//! `lseek(2)` with SEEK_HOLE and SEEK_DATA where the system has them.

use super::Dump;

/// Shorter holes are usual in sparse copies, which omit pages of zeros.
#[cfg(any(target_os = "linux", target_os = "macos"))]
const SHORTEST: u64 = 2 << 20;
/// Largest number of holes that are examined.
#[cfg(any(target_os = "linux", target_os = "macos"))]
const MOST: usize = 1 << 16;

impl Dump {
    /// Total bytes of the file's long holes (2 MB and up); 0 if the system has no such
    /// information.
    pub fn hole_bytes(&self) -> u64 {
        *self.holes.get_or_init(|| self.count_holes())
    }

    /// The written stretches of the file, in order: first and last offset (exclusive). The
    /// whole file if the system has no such information.
    pub(super) fn data(&self) -> Vec<(u64, u64)> {
        let length = self.file_length();
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        {
            use rustix::fs::{SeekFrom, seek};
            let file = self.mapping.file();
            let mut out = Vec::new();
            let mut at = 0;
            while out.len() < MOST {
                let Ok(data) = seek(file, SeekFrom::Data(at)) else {
                    break;
                };
                let hole = seek(file, SeekFrom::Hole(data))
                    .unwrap_or(length)
                    .min(length);
                if data >= length || hole <= data {
                    break;
                }
                out.push((data, hole));
                at = hole;
            }
            // At the limit, the rest of the file counts as written.
            if out.len() == MOST {
                out.push((at, length));
            }
            if !out.is_empty() {
                return out;
            }
        }
        vec![(0, length)]
    }

    #[cfg(any(target_os = "linux", target_os = "macos"))]
    fn count_holes(&self) -> u64 {
        use rustix::fs::{SeekFrom, seek};
        let file = self.mapping.file();
        let length = self.file_length();
        let (mut at, mut sum) = (0, 0);
        for _ in 0..MOST {
            // File systems without holes report the first hole at the end of the file.
            let Ok(hole) = seek(file, SeekFrom::Hole(at)) else {
                break;
            };
            if hole >= length {
                break;
            }
            let data = seek(file, SeekFrom::Data(hole)).unwrap_or(length);
            let bytes = data.min(length).saturating_sub(hole);
            sum += if bytes >= SHORTEST { bytes } else { 0 };
            if data <= hole || data >= length {
                break;
            }
            at = data;
        }
        sum
    }

    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    fn count_holes(&self) -> u64 {
        0
    }
}
