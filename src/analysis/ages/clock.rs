//! The machine's clocks at the moment of the dump.
//!
//! KUSER_SHARED_DATA has both: SystemTime (a FILETIME) and InterruptTime (100 ns since
//! boot), each a KSYSTEM_TIME of which the high half is stored twice. The fields' places
//! are documented and the same on every x64 build.

use crate::kernel::Kernel;
use crate::memory::Va;

const USER_SHARED_DATA: Va = Va(0xffff_f780_0000_0000);
const INTERRUPT_TIME: u64 = 0x08;
const SYSTEM_TIME: u64 = 0x14;
/// A second in units of 100 ns.
pub const SECOND: u64 = 10_000_000;
/// The shared page may be older than the header of a live dump by so much.
const MOST_APART: u64 = 600 * SECOND;

/// Now and the time since boot, in units of 100 ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Since 1601 (UTC).
    pub now: u64,
    /// Since boot, sleep included.
    pub uptime: u64,
}

impl Clocks {
    /// From what the container says (`now`, `uptime`) and the shared page, which is more
    /// exact. `None` where neither gives both times.
    pub fn read(kernel: &Kernel, now: Option<u64>, uptime: Option<u64>) -> Option<Clocks> {
        let shared = |at, near: Option<u64>| {
            let read = |offset| kernel.space.u32(USER_SHARED_DATA.add(at + offset)).ok();
            let (low, high1, high2) = (read(0)?, read(4)?, read(8)?);
            let both = [high1, high2].map(|high| u64::from(high) << 32 | u64::from(low));
            match near {
                // One of the two halves is new when the dump caught a write.
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

    /// When the machine started, since 1601 (UTC).
    pub fn boot(&self) -> u64 {
        self.now.saturating_sub(self.uptime)
    }
}
