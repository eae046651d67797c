//! The system time and the uptime at the time of the dump.
//!
//! KUSER_SHARED_DATA has both: SystemTime (a FILETIME) and InterruptTime (100 ns units since
//! boot). Each is a KSYSTEM_TIME, which stores its high half twice. The offsets are documented
//! and the same on every x64 build.

use crate::kernel::Kernel;
use crate::memory::Va;

const USER_SHARED_DATA: Va = Va(0xffff_f780_0000_0000);
const INTERRUPT_TIME: u64 = 0x08;
const SYSTEM_TIME: u64 = 0x14;
/// One second, in units of 100 ns.
pub const SECOND: u64 = 10_000_000;
/// Maximum difference between the shared page and the header of a live dump.
const MOST_APART: u64 = 600 * SECOND;

/// The system time and the time since boot, in units of 100 ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// The system time, since 1601 (UTC).
    pub now: u64,
    /// The time since boot, including sleep.
    pub uptime: u64,
}

impl Clocks {
    /// Reads the clocks from the dump header (`now`, `uptime`) and the shared page, which is more
    /// precise. `None` if neither has both times.
    pub fn read(kernel: &Kernel, now: Option<u64>, uptime: Option<u64>) -> Option<Clocks> {
        let shared = |at, near: Option<u64>| {
            let read = |offset| kernel.space.u32(USER_SHARED_DATA.add(at + offset)).ok();
            let (low, high1, high2) = (read(0)?, read(4)?, read(8)?);
            let both = [high1, high2].map(|high| u64::from(high) << 32 | u64::from(low));
            match near {
                // The two high halves differ if the dump was taken during an update.
                Some(near) => both.into_iter().min_by_key(|time| time.abs_diff(near)),
                None => (high1 == high2).then_some(both[0]),
            }
        };
        let pick = |shared: Option<u64>, told: Option<u64>| match (shared, told) {
            (Some(shared), Some(told)) if shared.abs_diff(told) > MOST_APART => Some(told),
            (Some(shared), _) => Some(shared),
            (None, told) => told,
        };
        let now = pick(shared(SYSTEM_TIME, now), now.filter(|&t| t != 0))?;
        let uptime = pick(shared(INTERRUPT_TIME, uptime), uptime.filter(|&t| t != 0))?;
        (uptime > 0 && uptime < now).then_some(Clocks { now, uptime })
    }

    /// The boot time, since 1601 (UTC).
    pub fn boot(&self) -> u64 {
        self.now.saturating_sub(self.uptime)
    }
}
