//! A small machine with all the special cases that readers must handle.
//!
//! It is built in milliseconds. Its [`Spec`] can be changed before it is built: more blocks,
//! other pool shapes, other special cases.

use std::io;

use crate::addr::Va;

use super::code::{Site, Use};
use super::era::{Era, WIN7};
use super::heap::HeapShape;
use super::legacy::{Allocation, Outcome};
use super::machine::Machine;
use super::rng::Rng;
use super::spec::{ModuleSpec, Options, Spec};
use super::truth::{PageFileTruth, Pool, Tag, VmTruth};

/// Tags of most of its blocks.
pub const TAGS: [Tag; 8] = [
    *b"Leak", *b"File", *b"Thre", *b"CM31", *b"Ntfx", *b"Irp ", *b"Toke", *b"netv",
];

/// Tags of one block in six: short ones, and some that are not printable.
pub const ODD_TAGS: [Tag; 4] = [*b"MZ\0\0", *b"\x01\0\0\0", *b"A\xffb\x7f", *b"\x1b[2J"];

/// Tags with trackers in the expansion table.
pub const EXPANDED: [Tag; 2] = [*b"Late", *b"\x02\x03\x04\x05"];

/// Builds the machine.
///
/// # Errors
/// Does not depend on the environment.
pub fn small() -> io::Result<Machine> {
    Machine::build(&spec())
}

/// The machine's specification.
pub fn spec() -> Spec {
    let mut spec = Spec {
        processors: 2,
        vm: counters(),
        modules: modules(),
        unloaded: vec![("gone.sys".into(), Va(0xffff_f880_0300_0000), 0x9000)],
        processes: vec!["System".into(), "leaker.exe".into()],
        options: options(),
        ..Spec::default()
    };
    spec.nonpaged.large = 1;
    spec.nonpaged.early = 6;
    spec.nonpaged.omitted = 1;
    spec.nonpaged.damaged = 1;
    spec.paged.transition = 2;
    spec.paged.prototype = 2;
    spec.paged.paged_out = 2;
    spec.paged.paged_out_big = 1;
    spec.allocations = allocations(&spec);
    spec
}

/// The processes of a machine without logged-on users.
const PROCESSES: [&str; 14] = [
    "System",
    "smss.exe",
    "csrss.exe",
    "wininit.exe",
    "services.exe",
    "lsass.exe",
    "svchost.exe",
    "svchost.exe",
    "svchost.exe",
    "winlogon.exe",
    "dwm.exe",
    "svchost.exe",
    "svchost.exe",
    "leaker.exe",
];

/// The same for another version of Windows; with segment heaps if the era has them.
pub fn of_era(era: &'static Era) -> Spec {
    if era.build == WIN7.build {
        return spec();
    }
    let mut out = spec();
    out.era = era;
    // Space for a large kernel, and for allocations with their own address range.
    out.runs = vec![(1, 0x9e), (0x100, 0x4000), (0x8000, 0x4000)];
    out.vm.physical_memory = 0x9e + 0x8000;
    out.vm.free_system_ptes = (1 << 32) - 60_000;
    out.vm.nonpaged_max = 1 << 32;
    out.vm.paged_max = 1 << 32;
    if let Some(nt) = out.modules.first_mut() {
        nt.size = era.image_size;
    }
    if era.is_nt52() {
        before_vista(&mut out);
    }
    let (nonpaged, paged) = pool_starts(era);
    out.nonpaged.start = nonpaged;
    out.paged.start = paged;
    if era.build >= 14393 {
        // The store of compressed memory, which Windows 10 lists among the page files.
        out.vm.page_files.push(PageFileTruth {
            path: String::new(),
            current: 16_384,
            free: 16_000,
            minimum: 16_384,
            maximum: 65_536,
        });
    }
    out.vm.committed = 20_000;
    out.vm.commit_limit = 60_000;
    // Large enough tables to be recognised without symbols.
    out.options.tracker_entries = 1025;
    out.options.big_entries = 4096;
    out.options.expanded = vec![*b"Late"];
    out.options.idle_tags = idle_tags();
    // If pool is found by the contents of pages, a second mapping of all memory would look like
    // a second pool.
    out.options.gigabyte_page = false;
    if era.heap.is_some() {
        out.heaps = Some(HeapShape {
            units: 48,
            ..HeapShape::default()
        });
        out.paged.prototype = 0;
    }
    // Required by readers that search for processes.
    out.processes = PROCESSES.map(String::from).to_vec();
    if era.size("_MM_SESSION_SPACE").is_none() {
        out.vm.session_commit = Vec::new();
    }
    out.allocations = allocations(&out);
    out
}

/// Differences of NT 5.2: pools of at most 128 GB, drivers next to nonpaged pool, no mask in
/// invalid entries, and lists for processors without a 16-byte compare-exchange.
fn before_vista(out: &mut Spec) {
    out.vm.nonpaged_max = 0x4_0000;
    out.vm.paged_max = 1 << 25;
    out.options.invalid_mask = 0;
    out.options.packed_slists = true;
    for module in &mut out.modules {
        if module.base.0 >> 32 == 0xffff_f880 {
            module.base = Va(0xffff_fadf_0000_0000 | module.base.0 & 0xffff_ffff);
        }
    }
}

/// Tags without outstanding blocks.
fn idle_tags() -> Vec<Tag> {
    let mut rng = Rng::new(0x1d1e);
    let mut letter = || b"abcdefghijklmnopqrstuvwxyz"[rng.below(26) as usize];
    (0..300)
        .map(|_| [b'I', letter(), letter(), letter()])
        .collect()
}

/// Start addresses of the pools. Paged pool is at the same address on every machine up to
/// Windows 8.1, and at any address later. On NT 5.2, nonpaged pool starts at its maximum size
/// before its fixed end.
fn pool_starts(era: &Era) -> (Va, Va) {
    match era.build {
        ..6000 => (Va(0xffff_fadf_c000_0000), Va(0xffff_fa80_0000_0000)),
        6000..10000 => (Va(0xffff_e000_0000_0000), Va(0xffff_c000_0000_0000)),
        10000..17000 => (Va(0xffff_a48b_8000_0000), Va(0xffff_c60f_0000_0000)),
        _ => (Va(0xffff_b180_0000_0000), Va(0xffff_c880_0000_0000)),
    }
}

/// All blocks for a machine like this one: those for its own structures, and others.
pub fn allocations(spec: &Spec) -> Vec<Allocation> {
    let mut out = spec.own_demands();
    out.extend(blocks(spec));
    if spec.heaps.is_some() {
        heap_blocks(&mut out);
    }
    if spec.era.offset("_KPRCB", "PPPagedLookasideList").is_none() {
        out.retain(|allocation| !matches!(allocation.outcome, Outcome::Lookaside(_)));
    }
    if spec.era.is_nt52() {
        // Large allocations are counted in pages, and do not share their last page.
        for allocation in out.iter_mut().filter(|d| d.is_big()) {
            allocation.bytes = allocation.bytes.next_multiple_of(0x1000);
        }
    }
    if spec.era.build >= 9200 {
        // Since Windows 8, most nonpaged pool is not executable.
        for (i, allocation) in out.iter_mut().enumerate() {
            *allocation = allocation.nx(i % 5 != 0);
        }
    }
    out
}

/// Blocks that chains do not have: the heap of prototype entries, whole pages of all kinds, and
/// other lists of freed blocks.
fn heap_blocks(out: &mut Vec<Allocation>) {
    for i in 0..40 {
        out.push(Allocation::new(*b"MmSt", Pool::Paged, 0x50 + i * 0x90));
    }
    for pool in [Pool::NonPaged, Pool::Paged] {
        for bytes in [0x1_f000, 0x2_1000, 0x4_0a30, 0x8_0000, 0x12_3450, 0x90_0000] {
            out.push(Allocation::new(*b"Leak", pool, bytes));
        }
        for i in 0..6 {
            let parked = Allocation::new(*b"Thre", pool, 0x200 + i % 3 * 0x340);
            out.push(parked.protected(true).outcome(Outcome::Dynamic));
            let parked = Allocation::new(*b"File", pool, 0x40 + i * 0x30);
            out.push(parked.outcome(Outcome::Delayed));
        }
    }
}

fn options() -> Options {
    Options {
        expansion_entries: 64,
        expanded: EXPANDED.to_vec(),
        idle_tags: vec![*b"Idle"],
        tombstones: 20,
        invalid_mask: 1 << 45,
        gigabyte_page: true,
        root_low_bits: 2,
        whole_images: false,
        ..Options::default()
    }
}

fn counters() -> VmTruth {
    VmTruth {
        physical_memory: 0x9e + 0x700,
        page_files: vec![PageFileTruth {
            path: "\\??\\D:\\pagefile.sys".into(),
            current: 4096,
            free: 4000,
            minimum: 4096,
            maximum: 8192,
        }],
        available: 300,
        resident_available: 200,
        free_system_ptes: 33_550_000,
        modified: 20,
        modified_pf: 12,
        nonpaged_max: 0x8000,
        paged_max: 33_554_432,
        session_commit: vec![17],
        shared_commit: 5,
        special_pool: 0,
        shared_process: 6,
        paged_commit: 60,
        driver_commit: 7,
        committed: 900,
        commit_limit: 6000,
        ..VmTruth::default()
    }
}

fn modules() -> Vec<ModuleSpec> {
    const DRIVERS: &str = "\\SystemRoot\\system32\\drivers\\";
    const SYSTEM: &str = "\\SystemRoot\\system32\\";
    let module = |file: &str, base, size| ModuleSpec {
        file: file.into(),
        folder: match file {
            "ntoskrnl.exe" | "hal.dll" => SYSTEM,
            _ => DRIVERS,
        },
        base: Va(base),
        size,
        exports: Vec::new(),
        sites: Vec::new(),
        imports: Vec::new(),
        data: Vec::new(),
        names_in_init: false,
    };
    let mut nt = module("ntoskrnl.exe", 0xffff_f800_0161_b000, 0x5e_7000);
    nt.exports = ["ExAllocatePoolWithTag", "ExFreePoolWithTag", "KeBugCheckEx"]
        .map(String::from)
        .to_vec();
    let hal = module("hal.dll", 0xffff_f800_015d_2000, 0x4_9000);
    let mut leaker = module("leaker.sys", 0xffff_f880_0100_0000, 0xa000);
    let allocate = Use::Allocate {
        pool_type: 0,
        bytes: 0x100,
    };
    leaker.sites = vec![
        Site::new(*b"Leak", allocate),
        Site::new(*b"Leak", Use::Free),
        Site::new(*b"Thr\xe5", allocate),
    ];
    let other = module("other.sys", 0xffff_f880_0101_0000, 0x8000);
    vec![nt, hal, leaker, other]
}

/// Sizes from the smallest to the largest with a header, big ones with and without a remainder,
/// and every outcome.
fn blocks(spec: &Spec) -> Vec<Allocation> {
    let mut rng = Rng::new(spec.seed ^ 0xb10c);
    let mut out = Vec::new();
    for i in 0..700u64 {
        let pool = if rng.one_in(2) {
            Pool::Paged
        } else {
            Pool::NonPaged
        };
        let tags: &[Tag] = if rng.one_in(6) { &ODD_TAGS } else { &TAGS };
        let tag = tags.get(rng.below(tags.len() as u64) as usize);
        let tag = tag.copied().unwrap_or_default();
        let bytes = match i {
            0..4 => 0xff0,
            4..8 => 0x20,
            _ => 0x20 + rng.below(0x240) / 16 * 16,
        };
        out.push(Allocation::new(tag, pool, bytes).protected(&tag == b"Thre"));
    }
    for (i, bytes) in [0x1000, 0x1010, 0x1ff0, 0x3a20, 0x8000, 0x2fe0]
        .into_iter()
        .enumerate()
    {
        for pool in [Pool::NonPaged, Pool::Paged] {
            let tag = if i % 2 == 0 { *b"Leak" } else { *b"CM31" };
            out.push(Allocation::new(tag, pool, bytes).protected(i == 3));
        }
    }
    for tag in EXPANDED {
        out.push(Allocation::new(tag, Pool::NonPaged, 0x60));
        out.push(Allocation::new(tag, Pool::Paged, 0x60));
    }
    for i in 0..24 {
        let pool = if i % 3 == 0 {
            Pool::Paged
        } else {
            Pool::NonPaged
        };
        let outcome = Outcome::Lookaside(i as u16 % spec.processors.max(1));
        let bytes = 0x20 + 0x50 * (i / 6);
        out.push(Allocation::new(*b"Irp ", pool, bytes).outcome(outcome));
    }
    for i in 0..6 {
        let pool = if i % 2 == 0 {
            Pool::Paged
        } else {
            Pool::NonPaged
        };
        out.push(Allocation::new(*b"File", pool, 0x70).outcome(Outcome::Pending));
    }
    out
}
