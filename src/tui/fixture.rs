//! A hand-made machine for the screen tests: the numbers of a well-known leak.

use std::ops::Range;

use crate::analysis::Flag;
use crate::analysis::vm::Line;
use crate::kernel::vm::PageFile;
use crate::memory::Va;
use crate::pool::index::sort::{self, Sizes, Wanted};
use crate::pool::index::{Found, TagFound, Totals};
use crate::pool::tracker::{TagUsage, Usage};
use crate::pool::{Backend, Block, PoolKind, State, Tag};

use crate::series::Comparison;

use crate::tui::data::baseline::{Baseline, ModuleChange};
use crate::tui::data::blocks::Blocks;
use crate::tui::data::cell::Cell;
use crate::tui::data::model::{Bytes, Model, ModuleRow, ReferenceRow, References, TagRow};
use crate::tui::data::preview::Preview;
use crate::tui::data::table::{Opens, TableColumn, TableData, TableKind, TableRow};
use crate::tui::input::query::Kind;
use crate::tui::widgets::table::Column;

/// Blocks computed by a formula, so that a million of them cost nothing.
pub struct Planted {
    /// The number of blocks.
    pub count: u64,
}

impl Blocks for Planted {
    fn len(&self) -> u64 {
        self.count
    }

    fn get(&self, index: u64) -> Option<Block> {
        (index < self.count).then(|| planted_block(index))
    }

    fn position(&self, _: Option<u32>, va: Va) -> u64 {
        let offset = va.0.saturating_sub(FIRST);
        offset.div_ceil(0x1000).min(self.count)
    }

    fn by_size(
        &self,
        kept: Option<&[u32]>,
        descending: bool,
        wanted: Wanted<'_>,
    ) -> Option<Vec<u32>> {
        sort::by_size(self, kept, descending, wanted)
    }
}

impl Sizes for Planted {
    fn count(&self) -> u64 {
        self.count
    }

    fn scan(&self, rows: Range<u32>, mut each: impl FnMut(u32, u64)) {
        rows.for_each(|row| each(row, self.bytes_of(row)));
    }

    fn bytes_of(&self, row: u32) -> u64 {
        planted_block(row.into()).bytes
    }
}

const FIRST: u64 = 0xffff_fa80_0100_0000;

/// The block at a position.
pub fn planted_block(index: u64) -> Block {
    Block {
        va: Va(FIRST + index * 0x1000),
        bytes: 1_024_000 - index % 7 * 4096,
        tag: Tag::of("Leak").unwrap(),
        protected: false,
        kind: PoolKind::NonPaged,
        backend: Backend::Big,
        state: State::Allocated,
        session: None,
        heuristic: false,
    }
}

/// A row of the tag list with nonpaged numbers.
pub fn tag_row(
    tag: &str,
    count: u64,
    bytes: u64,
    about: Option<&str>,
    binary: Option<&str>,
) -> TagRow {
    let usage = Usage {
        allocs: count * 3 / 2,
        frees: count / 2,
        outstanding: count,
        bytes,
        wrapped: false,
    };
    TagRow {
        usage: TagUsage {
            tag: Tag::of(tag).unwrap(),
            nonpaged: usage,
            paged: Usage::default(),
        },
        about: about.map(Into::into),
        binary: binary.map(Into::into),
        owner: None,
        referenced_in: None,
        found: TagFound {
            nonpaged: Found {
                blocks: count,
                bytes,
            },
            ..TagFound::default()
        },
    }
}

fn line(pages: u64) -> Line {
    Line {
        pages: Some(pages),
        source: "nt!Test".into(),
        doubt: None,
        ..Line::default()
    }
}

/// The machine.
pub fn model() -> Model {
    let mut leak = tag_row("Leak", 601, 615_424_000, None, None);
    leak.usage.nonpaged.allocs = 601;
    leak.usage.nonpaged.frees = 0;
    let mut netv = tag_row(
        "netv",
        4369,
        1_172_224,
        Some("virtual network service"),
        None,
    );
    netv.usage.paged = Usage {
        allocs: 1,
        frees: 0,
        outstanding: 1,
        bytes: 144,
        wrapped: false,
    };
    let mut cm = tag_row("CM31", 0, 0, Some("registry cells"), Some("nt!cm"));
    cm.usage.paged = Usage {
        allocs: 25_000,
        frees: 3_000,
        outstanding: 22_000,
        bytes: 98_765_432,
        wrapped: false,
    };
    let mut model = Model {
        file: "MEMORY.DMP".into(),
        facts: [
            "Windows 6.1.7601 x64",
            "kernel dump",
            "2 CPUs",
            "bugcheck 0xe2",
        ]
        .map(Into::into)
        .to_vec(),
        counted: true,
        tags: vec![
            cm,
            leak,
            tag_row("Pool", 6, 1_717_840, Some("Pool tables"), Some("nt!mm")),
            tag_row("Thre", 607, 774_048, Some("Thread objects"), Some("nt!ps")),
            tag_row("nVsC", 664, 1_531_552, None, None),
            netv,
        ],
        modules: vec![
            module("nt", 0xffff_f800_0260_0000, 0x5e_8000, "ntkrnlmp.exe"),
            module("myfault", 0xffff_f880_044b_5000, 0x7000, "myfault.sys"),
        ],
        ..Model::default()
    };
    model.tags.sort_by_key(|row| row.usage.tag);
    for row in &model.tags {
        model.total.nonpaged += row.usage.nonpaged;
        model.total.paged += row.usage.paged;
    }
    fill_vm(&mut model);
    model
}

fn fill_vm(model: &mut Model) {
    let vm = &mut model.vm;
    vm.physical_memory = line(403_854);
    vm.page_files = Some(vec![PageFile {
        path: Some("\\??\\C:\\pagefile.sys".into()),
        nameless: false,
        current: Some(262_144),
        free: Some(253_911),
        minimum: Some(262_144),
        maximum: Some(1_048_576),
        ..PageFile::default()
    }]);
    vm.available = line(106_778);
    vm.resident_available = line(225_678);
    vm.free_system_ptes = line(33_533_355);
    vm.modified = line(4844);
    vm.nonpaged_usage = line(155_371);
    vm.nonpaged_max = line(191_078);
    vm.paged_pools = [27_618, 3848].map(line).to_vec();
    vm.paged_usage = line(32_392);
    vm.paged_max = line(33_554_432);
    vm.session_commit = line(7764);
    vm.paged_commit = Line {
        pages: None,
        source: "nt!Test".into(),
        doubt: Some("18446735300397918280 is not a plausible page count; not used".into()),
        ..Line::default()
    };
    vm.committed = line(326_464);
    vm.commit_limit = line(665_998);
    vm.flags = vec![Flag::ExcessiveNonpaged];
    model.warnings = vec![
        "PagedPool Commit: 18446735300397918280 is not a plausible page count; not used".into(),
    ];
}

fn module(name: &str, base: u64, size: u64, path: &str) -> ModuleRow {
    ModuleRow {
        name: name.into(),
        base: Va(base),
        end: Va(base + size),
        path: format!("\\SystemRoot\\system32\\{path}"),
        pdb: format!("{name}.pdb"),
        unloaded: false,
    }
}

/// A machine with many tags.
pub fn many_tags(count: u32) -> Model {
    let mut model = model();
    model.tags = (0..count)
        .map(|i| {
            let tag = format!("{:04}", i * 7919 % 10_000);
            tag_row(
                &tag,
                u64::from(i * 31 % 1009),
                u64::from(i * 97 % 4099) * 16,
                None,
                None,
            )
        })
        .collect();
    model.tags.sort_by_key(|row| row.usage.tag);
    model
}

/// The two references to the leaking tag.
pub fn references() -> References {
    let at = |va: u64, offset: u64| ReferenceRow {
        module: "myfault".into(),
        va: Va(va),
        section: ".text".into(),
        in_code: true,
        symbol: format!("+{offset:#x}"),
        confidence: "certain",
        api: "ExAllocatePoolWithTag".into(),
        function: "myfault+0x1390".into(),
        reason: "passed to ExAllocatePoolWithTag as its third argument".into(),
        identity: "myfault.sys 2.0.0.0, Sysinternals, 2012-03-14".into(),
    };
    References {
        rows: vec![
            at(0xffff_f880_044b_63aa, 0x13aa),
            at(0xffff_f880_044b_6621, 0x1621),
        ],
        pages_searched: 1500,
        pages_missing: 34,
        modules_missing: Vec::new(),
        notes: Vec::new(),
        failed: None,
    }
}

/// Memory computed by a formula: every other kilobyte is unreadable, and there is a pointer
/// every 64 bytes.
pub fn bytes(start: Va, length: u64) -> Bytes {
    let missing = |va: u64| va & 0x400 != 0;
    let mut out = Bytes {
        start,
        ..Bytes::default()
    };
    for va in (start.0..=u64::MAX).take(length as usize) {
        if missing(va) && (va == start.0 || !missing(va - 1)) {
            out.holes.push((Va(va), "not in the dump"));
        }
        if va % 64 == 0 && !missing(va) {
            out.pointers.push((Va(va), "myfault+0x13aa".into()));
        }
        let byte = match va % 64 {
            0..8 => 0xffff_f880_044b_63aa_u64.to_le_bytes()[va as usize % 8],
            _ => (va >> 3) as u8,
        };
        out.bytes.push((!missing(va)).then_some(byte));
    }
    out
}

/// The totals of a walk that found all of the leak.
pub fn totals(model: &Model) -> Totals {
    let mut totals = Totals::default();
    for row in &model.tags {
        let mut found = row.found;
        found.paged = Found {
            blocks: row.usage.paged.outstanding,
            bytes: row.usage.paged.bytes,
        };
        totals.listed += found.listed();
        totals.tags.insert(row.usage.tag, found);
    }
    totals
}

const SHEET: [TableColumn; 4] = [
    TableColumn::new(Column::text("Driver", 10, 0), &["driver"], Kind::Text),
    TableColumn::new(
        Column::number("NonP bytes", 14, 1),
        &["np", "nonpaged"],
        Kind::Number,
    )
    .of_pool(crate::tui::data::order::PoolChoice::Nonpaged),
    TableColumn::new(
        Column::number("Paged bytes", 14, 1),
        &["paged", "pg"],
        Kind::Number,
    )
    .of_pool(crate::tui::data::order::PoolChoice::Paged),
    TableColumn::new(Column::text("", 10, 3), &[""], Kind::Share),
];

/// A table of any kind: three rows with the usual targets.
pub fn table(ask: &TableKind) -> TableData {
    let leak = Tag::of("Leak").unwrap();
    let row = |name: &str, np: u64, paged: u64, opens: Opens| TableRow {
        cells: vec![
            Cell::Text(name.into()),
            Cell::Bytes(np),
            Cell::Bytes(paged),
            Cell::Bar(np as f64 / 615_424_000.0),
        ],
        opens,
        ..TableRow::default()
    };
    let first = match ask {
        TableKind::Drivers => Opens::Table(TableKind::TagsOf(Some("myfault".into()))),
        TableKind::TagsOf(_) => Opens::Tag(leak, String::new()),
        TableKind::Sizes(tag) => Opens::Tag(*tag, "size = 1024000".into()),
        TableKind::Frequency { .. } => Opens::Filter("size = 1024000".into()),
        _ => Opens::Memory {
            title: Va(FIRST).to_string(),
            about: "Leak block".into(),
            va: Va(FIRST),
            length: Some(1_024_000),
            session: None,
        },
    };
    TableData {
        columns: &SHEET,
        rows: vec![
            row("myfault", 615_424_000, 0, first),
            row("nt", 9_000_000, 75_000_000, Opens::Nothing),
            row("(no known owner)", 1_000_000, 2_000_000, Opens::Nothing),
        ]
        .into(),
        title: "Pool by driver: 3".into(),
        notes: vec!["the bytes of a tag are counted for its most likely owner".into()],
        sorted: Some(1),
        ..TableData::default()
    }
}

/// A report with marks.
pub fn report(marks: &[(String, String)]) -> String {
    let mut out = "\
Verdict: LEAK. Tag 'Leak', nonpaged pool: 586.9 MB, owner: myfault (certain).
  Evidence: never freed: 601 allocations, 0 frees (strong evidence)
  Next action: check for an update of myfault, or contact its vendor
  Severity: critical; nonpaged pool 81.3% of its maximum

Tag 'Leak', nonpaged pool, 601 blocks, 615,424,000 bytes (leak)
  Evidence (9 points):
      never freed: 601 allocations, 0 frees (strong evidence)
      one size: 601 of 601 blocks (evidence)
  Suspect: myfault (certain)
      its code calls ExAllocatePoolWithTag with the tag
  Next steps in the debugger:
      !poolfind \"Leak\" -nonpaged   (all its blocks)
      lmvm myfault   (its version and vendor)
"
    .to_owned();
    if !marks.is_empty() {
        out += "\nMarked by hand\n";
    }
    for (what, note) in marks {
        out += &format!("  {what}: {note}\n");
    }
    out + "\nMachine\n  Windows: 6.1.7601\n\nCoverage\n  all 601 blocks located\n"
}

/// Charts of the planted blocks.
pub fn shape() -> crate::tui::widgets::charts::TagCharts {
    let sizes = [
        (1_024_000, 87),
        (1_019_904, 86),
        (1_015_808, 86),
        (1_011_712, 86),
    ];
    crate::tui::widgets::charts::TagCharts {
        sizes: std::sync::Arc::new(
            sizes
                .map(|(size, count)| crate::pool::index::SizeCount { size, count })
                .to_vec(),
        ),
        spread: Some(crate::pool::index::AddressHistogram {
            first: Va(FIRST),
            end: Va(FIRST + 601 * 0x1000),
            parts: (0..crate::tui::widgets::charts::PARTS as u64)
                .map(|i| i % 40 * 1000)
                .collect(),
        }),
    }
}

/// The preview of a tag.
pub fn preview(tag: Tag) -> Preview {
    Preview {
        tag,
        whole: true,
        owner: Some("myfault (certain)".into()),
        reasons: vec![
            "its code calls ExAllocatePoolWithTag with the tag (1 call site)".into(),
            "every block has one size".into(),
        ],
        sizes: vec![(1_024_000, 601, 1.0)],
        size_count: 1,
        references: vec!["myfault+0x13aa (certain), ExAllocatePoolWithTag".into()],
        reference_count: Some(1),
        texts: vec![(Va(FIRST), "\"a text in the block\"".into())],
        read: (16, 0),
        failed: None,
    }
}

/// The machine's pool two hours before, one hour before, and now.
pub fn baseline() -> Baseline {
    let table = |hours: u64, leak: u64| {
        format!(
            "# uptime_seconds: {}\n# complete: yes\ntag,pool,allocs,frees,outstanding,bytes\n\
             Leak,nonpaged,{leak},0,{leak},{}\nThre,nonpaged,910,303,607,774048\n\
             CM31,paged,25000,3000,22000,98765432\n",
            hours * 3600,
            leak * 1_024_000
        )
    };
    let tables = [table(1, 200), table(2, 400), table(3, 601)];
    let points = tables.iter().flat_map(|t| {
        crate::series::read_bytes(t.as_bytes(), "earlier.csv")
            .unwrap()
            .points
    });
    let modules = vec![ModuleChange {
        name: "myfault".into(),
        loaded: true,
        path: "\\??\\C:\\myfault.sys".into(),
    }];
    Baseline::new(Comparison::of(points.collect()), Some(modules))
}
