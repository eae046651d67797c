//! MiSystemPartition by the machine's own counts, and MiState by its distance from there.

use crate::kernel::Kernel;
use crate::memory::Va;

use super::{Data, Found};

/// Distances MiSystemPartition - MiState by build, and the revision of the layouts that
/// each means (public symbols of 180 kernels; the largest revision with that layout is
/// not needed, only one that has it).
const DISTANCES: &[(u32, i64, Option<u32>)] = &[
    (14393, -0x2f00, None),
    (17763, 0x3f00, Some(2114)),
    (17763, 0x3ec0, Some(0)),
    (18362, 0x3fc0, None),
    (19041, 0x44c0, Some(508)),
    (19041, 0x4480, Some(508)),
    (19041, 0x4400, Some(0)),
    (20348, 0x5e80, None),
    (20348, 0x5ec0, None),
    (20348, 0x5f00, None),
    (22000, 0x5f40, None),
    (22000, 0x5f00, None),
];

/// Page files that Windows allows.
const MAX_PAGE_FILES: u32 = 16;

/// Finds MiSystemPartition and MiState.
pub fn find(kernel: &Kernel, data: &Data, out: &mut Found) {
    let Some(shape) = Shape::of(kernel) else {
        return;
    };
    let Some(physical) = kernel.space.dump().header().physical_pages else {
        return;
    };
    let found = data.every(64).find(|&at| shape.fits(data, at, physical));
    let Some(partition) = found else {
        return;
    };
    out.put("MiSystemPartition", partition);
    let fits = |(_, distance, _): &&(u32, i64, Option<u32>)| {
        let state = Va(partition.0.wrapping_add_signed(-*distance));
        is_state(kernel, data, state, physical)
    };
    let of_build = DISTANCES.iter().filter(|d| d.0 == kernel.build);
    let fitting: Vec<_> = of_build.filter(fits).collect();
    // Two distances that both fit would be a guess.
    if let [(_, distance, revision)] = fitting.as_slice() {
        out.put("MiState", Va(partition.0.wrapping_add_signed(-*distance)));
        out.revision = *revision;
    }
}

/// `_MI_PARTITION.Vp`, the counters that contradict each other in any other memory.
struct Shape {
    physical: u64,
    available: u64,
    committed: u64,
    limit: u64,
    files: u64,
    file: u64,
}

impl Shape {
    fn of(kernel: &Kernel) -> Option<Shape> {
        let vp = kernel.offset("_MI_PARTITION", "Vp")?;
        let at = |name| Some(vp + kernel.offset("_MI_VISIBLE_PARTITION", name)?);
        Some(Shape {
            physical: at("NumberOfPhysicalPages")?,
            available: at("AvailablePages")?,
            committed: at("TotalCommittedPages")?,
            limit: at("TotalCommitLimit")?,
            files: at("NumberOfPagingFiles")?,
            file: at("PagingFile")?,
        })
    }

    fn fits(&self, data: &Data, at: Va, header: u64) -> bool {
        let word = |offset| data.word(at.add(offset));
        let Some(physical) = word(self.physical).filter(|p| p.abs_diff(header) <= header / 100)
        else {
            return false;
        };
        let counts = || {
            let (available, committed) = (word(self.available)?, word(self.committed)?);
            let (limit, files) = (word(self.limit)?, data.dword(at.add(self.files))?);
            let pointers = (0..u64::from(files.min(MAX_PAGE_FILES)))
                .all(|i| data.pointer(at.add(self.file + i * 8)).is_some());
            Some(
                available <= physical
                    && committed <= limit
                    && limit >= physical / 2
                    && limit < 1 << 40
                    && files <= MAX_PAGE_FILES
                    && pointers,
            )
        };
        counts().unwrap_or(false)
    }
}

/// MiState: a pool no larger than memory, and regions of kernel addresses.
fn is_state(kernel: &Kernel, data: &Data, state: Va, physical: u64) -> bool {
    let sound = || {
        const OUTER: &str = "_MI_SYSTEM_INFORMATION";
        let pools = kernel.offset(OUTER, "Pools")?
            + kernel.offset("_MI_POOL_STATE", "AllocatedNonPagedPool")?;
        let nonpaged = data.word(state.add(pools))?;
        // Regions move with the revision by 0x40, which is not yet known: either will do.
        let regions =
            kernel.offset(OUTER, "Vs")? + kernel.offset("_MI_VISIBLE_STATE", "SystemVaRegions")?;
        let base = |shift: u64| data.word(state.add(regions).add(shift)).map(Va);
        let kernel_half = [0u64, 0x40u64.wrapping_neg(), 0x40]
            .into_iter()
            .any(|shift| {
                (0..4).all(|i| {
                    base(shift.wrapping_add(i * 16)).is_some_and(|va| va.is_kernel() || va.0 == 0)
                })
            });
        Some(nonpaged > 0 && nonpaged <= physical && kernel_half)
    };
    sound().unwrap_or(false)
}
