//! Finds MiSystemPartition by the machine's page counts, and MiState by its distance from it.

use crate::kernel::Kernel;
use crate::kernel::visible_state::Proof;
use crate::memory::Va;
use crate::symbols::{LoadOptions, Source, SymbolPath, Symbols};

use super::{Data, Found};

/// Distances MiSystemPartition - MiState by build, and the revision of the layouts for each
/// (public symbols of 180 kernels). Any revision with that layout will do.
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

/// Largest number of page files that Windows allows.
const MAX_PAGE_FILES: u32 = 16;

/// Finds MiSystemPartition and MiState.
pub fn find(kernel: &Kernel, path: &SymbolPath, data: &Data, out: &mut Found) {
    let Some(physical) = kernel.machine.physical_pages else {
        return;
    };
    let partition = partition(kernel, data, physical, out);
    if let Some(partition) = partition {
        out.put("MiSystemPartition", partition);
    }
    let by_distance = partition.and_then(|at| by_distance(kernel, path, data, at, physical));
    if let Some((state, revision)) = by_distance {
        out.put("MiState", state);
        out.revision = revision;
    } else if let Some(state) = by_proof(kernel, data, physical) {
        out.put("MiState", state);
    }
}

/// The only location with the machine's page counts; `None` if there are two.
fn partition(kernel: &Kernel, data: &Data, physical: u64, out: &mut Found) -> Option<Va> {
    let shape = Shape::of(kernel)?;
    let mut fitting = data.every(64).filter(|&at| shape.fits(data, at, physical));
    let first = fitting.next()?;
    if fitting.next().is_some() {
        out.notes
            .push("several places look like MiSystemPartition: its counters are not used".into());
        return None;
    }
    Some(first)
}

/// MiState at one of the known distances for this build, and the matching revision of the
/// layouts.
fn by_distance(
    kernel: &Kernel,
    path: &SymbolPath,
    data: &Data,
    partition: Va,
    physical: u64,
) -> Option<(Va, Option<u32>)> {
    let Source::Layout { build } = *kernel.symbol_source() else {
        return None;
    };
    let mut fitting: Vec<(Va, Option<u32>)> = Vec::new();
    let mut allowed = fitting.clone();
    for (_, distance, revision) in DISTANCES.iter().filter(|d| d.0 == build) {
        let options = LoadOptions {
            revision: *revision,
        };
        let symbols = Symbols::load(None, kernel.build, path, options).symbols;
        let state = Va(partition.0.wrapping_add_signed(-*distance));
        let proof = Proof::of(&symbols);
        let Some(visible) = visible_state(&symbols, data, state, physical) else {
            continue;
        };
        if proof.holds(kernel, visible) {
            fitting.push((state, *revision));
        } else if proof.allows(kernel, visible) {
            allowed.push((state, *revision));
        }
    }
    if fitting.is_empty() {
        fitting = allowed;
    }
    match fitting.as_slice() {
        [one] => Some(*one),
        // If two distances fit, the result would be a guess.
        _ => None,
    }
}

/// MiState without a known distance: the only address in nt's data that can contain its visible
/// state.
fn by_proof(kernel: &Kernel, data: &Data, physical: u64) -> Option<Va> {
    let vs = kernel.offset(OUTER, "Vs")?;
    let proof = Proof::of(&kernel.symbols);
    let word = |va: Va| data.word(va);
    let mut fitting = data
        .every(8)
        .filter(|&at| proof.maxima_by(word, at) && proof.holds(kernel, at))
        .map(|at| Va(at.0.wrapping_sub(vs)));
    let state = fitting.next()?;
    let unique = fitting.next().is_none();
    let pools = kernel.offset(OUTER, "Pools")?
        + kernel.offset("_MI_POOL_STATE", "AllocatedNonPagedPool")?;
    let pool = nonpaged(pools, data, state);
    (unique && pool.is_some_and(|pages| pages <= physical)).then_some(state)
}

/// `_MI_PARTITION.Vp`: in other memory, these counters would contradict each other.
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

const OUTER: &str = "_MI_SYSTEM_INFORMATION";

/// Number of nonpaged pool pages according to MiState, if it is not zero.
fn nonpaged(offset: u64, data: &Data, state: Va) -> Option<u64> {
    data.word(state.add(offset)).filter(|&pages| pages > 0)
}

/// The visible state of a MiState, if its pool is not larger than memory.
fn visible_state(symbols: &Symbols, data: &Data, state: Va, physical: u64) -> Option<Va> {
    let offset = |ty, name| Some(u64::from(symbols.field(ty, name)?.offset));
    let pools = offset(OUTER, "Pools")? + offset("_MI_POOL_STATE", "AllocatedNonPagedPool")?;
    let pages = nonpaged(pools, data, state)?;
    (pages <= physical).then_some(state.add(offset(OUTER, "Vs")?))
}
