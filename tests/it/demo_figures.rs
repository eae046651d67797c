//! The sample dump, opened by the engine, has every figure of Microsoft's article.

use std::sync::{Arc, OnceLock};

use poolscope::analysis::references::{Confidence, ModuleRank, Role, Standing};
use poolscope::analysis::vm::{Flag, Line};
use poolscope::engine::{Engine, Options};
use poolscope::kernel::vm::PageFile;
use poolscope::pool::Tag;
use poolscope::pool::index::{Progress, Snapshot};
use poolscope::pool::tag::TagPattern;
use poolscope::synth::demo;
use poolscope::synth::truth::{Pool, State, Truth};

struct Demo {
    truth: Truth,
    engine: Engine,
    index: Snapshot,
    disk_bytes: u64,
}

fn demo() -> &'static Demo {
    static DEMO: OnceLock<Demo> = OnceLock::new();
    DEMO.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("MEMORY.DMP");
        let truth = demo::write(&path).unwrap();
        let engine = Engine::open(&path, &Options::default()).unwrap();
        let index = engine.index(Arc::new(Progress::default())).unwrap();
        // Where an open file can be unlinked, the mapping keeps its contents.
        let disk_bytes = disk_bytes(&path);
        #[cfg(windows)]
        std::mem::forget(folder);
        Demo {
            truth,
            engine,
            index,
            disk_bytes,
        }
    })
}

#[cfg(unix)]
fn disk_bytes(path: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    path.metadata().unwrap().blocks() * 512
}

#[cfg(not(unix))]
fn disk_bytes(_: &std::path::Path) -> u64 {
    0
}

fn tag(bytes: &[u8; 4]) -> Tag {
    Tag::new(u32::from_le_bytes(*bytes))
}

#[test]
fn the_vm_summary_has_the_published_figures() {
    let vm = demo().engine.vm();
    let pages = |lines: &[&Line]| -> Vec<Option<u64>> { lines.iter().map(|l| l.pages).collect() };
    let got = pages(&[
        &vm.physical_memory,
        &vm.available,
        &vm.resident_available,
        &vm.locked_io,
        &vm.free_system_ptes,
        &vm.modified,
        &vm.modified_pf,
        &vm.nonpaged_usage,
        &vm.nonpaged_max,
        &vm.paged_usage,
        &vm.paged_max,
        &vm.session_commit,
        &vm.shared_commit,
        &vm.special_pool,
        &vm.shared_process,
        &vm.paged_commit,
        &vm.driver_commit,
        &vm.committed,
        &vm.commit_limit,
    ]);
    let want = [
        403_854, 106_778, 225_678, 0, 33_533_355, 4_844, 4_838, 155_371, 191_078, 32_392,
        33_554_432, 7_764, 6_371, 0, 5_471, 32_394, 2_458, 326_464, 665_998,
    ];
    assert_eq!(got, want.map(Some));
    let paged: Vec<_> = vm.paged_pools.iter().map(|p| p.pages).collect();
    assert_eq!(paged, [27_618, 3_848, 299, 283, 344].map(Some));
    assert_eq!(vm.flags, [Flag::ExcessiveNonpaged]);
    assert_eq!(vm.warnings(), Vec::<String>::new());
    let file = PageFile {
        path: Some("\\??\\C:\\pagefile.sys".into()),
        nameless: false,
        current: Some(1_048_576 / 4),
        free: Some(1_015_644 / 4),
        minimum: Some(1_048_576 / 4),
        maximum: Some(4_194_304 / 4),
        ..PageFile::default()
    };
    let mut files = vm.page_files.clone().unwrap();
    assert!(files[0].source.starts_with("_MMPAGING_FILE at fffff"));
    files[0].source.clear();
    assert_eq!(files, [file]);
}

#[test]
fn the_five_largest_tags_are_the_published_ones() {
    let trackers = demo().engine.trackers();
    let mut rows = trackers.rows.clone();
    rows.sort_by_key(|r| std::cmp::Reverse(r.nonpaged.bytes));
    let five: Vec<_> = rows
        .iter()
        .take(5)
        .map(|r| {
            let (np, p) = (r.nonpaged, r.paged);
            (r.tag, np.outstanding, np.bytes, p.outstanding, p.bytes)
        })
        .collect();
    let want = [
        (tag(b"Leak"), 601, 615_424_000, 0, 0),
        (tag(b"Pool"), 6, 1_717_840, 0, 0),
        (tag(b"nVsC"), 664, 1_531_552, 0, 0),
        (tag(b"netv"), 4_369, 1_172_224, 1, 144),
        (tag(b"Thre"), 607, 774_048, 0, 0),
    ];
    assert_eq!(five, want);
    let (np, p) = (trackers.total.nonpaged, trackers.total.paged);
    assert_eq!((np.outstanding, np.bytes), (43_424, 634_209_952));
    assert_eq!((p.outstanding, p.bytes), (63_565, 126_487_760));
    assert_eq!(trackers.notes, Vec::<String>::new());
    assert!(rows.len() >= 120);
}

#[test]
fn every_tag_reconciles_with_the_blocks_found() {
    let Demo { engine, index, .. } = demo();
    for row in &engine.trackers().rows {
        let coverage = engine.coverage(row.tag, index);
        assert!(
            coverage.nonpaged.agrees() && coverage.paged.agrees(),
            "{}: {:?}",
            row.tag,
            coverage.sentences()
        );
    }
    assert_eq!(index.notes.to_vec(), Vec::<String>::new());
    assert_eq!(index.totals.damaged, []);
}

#[test]
fn every_block_is_found_at_its_address() {
    let Demo { truth, index, .. } = demo();
    let all = TagPattern::parse("*").unwrap();
    let mut got: Vec<_> = index
        .allocated(&all)
        .map(|b| (b.va, b.bytes, b.tag, b.protected, b.kind.is_nonpaged()))
        .collect();
    got.sort();
    let want: Vec<_> = truth
        .blocks
        .iter()
        .filter(|b| b.state == State::Allocated)
        .map(|b| {
            let nonpaged = b.pool == Pool::NonPaged;
            (b.va, b.bytes, tag(&b.tag), b.protected, nonpaged)
        })
        .collect();
    assert_eq!(got.len(), want.len());
    assert!(got == want, "the same blocks");
    assert_eq!(got.len(), 43_424 + 63_565);
    assert_eq!(index.totals.free.blocks, truth.free.blocks);
    assert_eq!(index.totals.free.bytes, truth.free.bytes);
}

#[test]
fn pages_agree_with_the_counters() {
    let Demo { truth, index, .. } = demo();
    assert_eq!(truth.nonpaged_pages.all(), 155_371);
    assert_eq!(truth.paged_pages.all(), 32_392);
    assert_eq!(index.totals.nonpaged_pages.all(), 155_371);
    assert_eq!(index.totals.paged_pages.all(), 32_392);
    assert_eq!(index.totals.unreadable_pages(), 0);
}

#[test]
fn leak_is_referenced_twice_with_the_published_bytes() {
    let refs = demo().engine.references(tag(b"Leak"));
    let found: Vec<_> = refs
        .found
        .iter()
        .map(|r| (r.va.to_string(), r.module_name.as_str(), r.in_code))
        .collect();
    let at = |va: &str| (va.to_owned(), "myfault", true);
    assert_eq!(found, [at("fffff880`044b63aa"), at("fffff880`044b6621")]);
    let bytes: Vec<_> = refs.found.iter().map(|r| r.bytes.as_slice()).collect();
    assert_eq!(
        bytes,
        [
            b"Leak\x3b\xc1\x0f\x42\xc1\x41\x8d\x49\xfd\x8b\xd0\xff",
            b"Leak\x3b\xc1\x0f\x42\xc1\x33\xc9\x8b\xd0\xff\x15\xcc",
        ]
    );
}

#[test]
fn the_published_driver_certainly_allocates_with_the_tag() {
    let refs = demo().engine.references(tag(b"Leak"));
    let told: Vec<_> = refs.found.iter().map(|r| &r.verdict).collect();
    let pools = ["PagedPool", "NonPagedPool"];
    let functions = ["myfault+0x1390", "myfault+0x1610"];
    for ((verdict, pool), function) in told.into_iter().zip(pools).zip(functions) {
        assert_eq!(verdict.confidence, Some(Confidence::Certain));
        assert_eq!(verdict.role, Role::Allocation);
        assert_eq!(verdict.instruction.as_deref(), Some("mov r8d, 6B61654Ch"));
        assert_eq!(verdict.api.as_deref(), Some("ExAllocatePoolWithTag"));
        assert_eq!(verdict.pool.as_deref(), Some(pool));
        assert_eq!(verdict.function.as_deref(), Some(function));
    }
    let [module] = refs.modules.as_slice() else {
        panic!("{:#?}", refs.modules);
    };
    assert_eq!(module.module_name, "myfault");
    assert_eq!((module.standing, module.sites), (Standing::Allocates, 2));
    assert_eq!(module.note, None);
}

#[test]
fn allocations_by_nt_for_callers_are_reported_as_such() {
    let refs = demo().engine.references(tag(b"Irp "));
    let first = refs.modules.first().unwrap();
    assert_eq!(first.module_name, "nt");
    assert_eq!(first.standing, Standing::Allocates);
    let note = first.note.as_deref().unwrap();
    assert!(note.contains("on behalf of its callers"), "{note}");
}

#[test]
fn other_images_with_the_same_bytes_rank_lower() {
    let standings = |t: &[u8; 4]| -> Vec<_> {
        let refs = demo().engine.references(tag(t));
        let of = |m: &ModuleRank| (m.module_name.clone(), m.standing);
        refs.modules.iter().map(of).collect()
    };
    let named = |name: &str, standing| (name.to_owned(), standing);
    assert_eq!(
        standings(b"Part"),
        [
            named("partmgr", Standing::Allocates),
            named("disk", Standing::Coincidence)
        ]
    );
    assert_eq!(
        standings(b"File"),
        [
            named("nt", Standing::Allocates),
            named("fileinfo", Standing::Coincidence)
        ]
    );
}

#[test]
fn references_to_every_tag_equal_those_in_the_images() {
    let Demo { truth, engine, .. } = demo();
    engine.all_references(&|| true).unwrap();
    for bytes in truth.tags.keys() {
        let found = engine.references(tag(bytes)).found;
        let mut got: Vec<_> = found.iter().map(|r| r.va).collect();
        got.sort();
        assert_eq!(got, truth.references_to(bytes), "{}", tag(bytes));
    }
}

#[test]
fn the_kernel_and_its_modules_are_found() {
    let Demo { truth, engine, .. } = demo();
    let kernel = engine.kernel();
    assert_eq!(kernel.base, truth.kernel_base);
    assert_eq!(kernel.build_lab.as_deref(), Some(truth.lab.as_str()));
    assert_eq!(engine.warnings(), Vec::<String>::new());
    let got: Vec<_> = kernel
        .modules
        .iter()
        .map(|m| (m.file.clone().unwrap(), m.base, m.size, m.unloaded))
        .collect();
    let want: Vec<_> = truth
        .modules
        .iter()
        .map(|m| (m.file.clone(), m.base, m.size, m.unloaded))
        .collect();
    assert_eq!(got, want);
    let myfault = kernel.modules.iter().find(|m| m.name() == "myfault");
    let myfault = myfault.unwrap();
    assert_eq!(myfault.base.to_string(), "fffff880`044b5000");
    assert_eq!(myfault.end().to_string(), "fffff880`044bc000");
}

#[test]
fn the_sample_file_is_small_on_disk() {
    assert!(demo().disk_bytes < 150 << 20, "{}", demo().disk_bytes);
}
