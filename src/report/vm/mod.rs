//! `!vm 1` in the debugger's layouts.

mod csv;
mod markdown;
mod text;

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::{Line, VmReport};
use crate::kernel::vm::PageFile;

use super::Answer;
use super::text::{clean, kilobytes};

/// The answer of `vm`.
#[derive(Debug, Serialize)]
pub struct Vm<'a> {
    vm: Fields,
    #[serde(skip)]
    report: &'a VmReport,
    /// True to show the source of each number in text.
    #[serde(skip)]
    sources: bool,
}

#[derive(Debug, Serialize)]
struct Fields {
    physical_memory_pages: Option<u64>,
    available_pages: Option<u64>,
    resavail_pages: Option<u64>,
    locked_io_pages: Option<u64>,
    free_system_ptes: Option<u64>,
    /// NT 5.2 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    free_np_ptes: Option<Option<u64>>,
    modified_pages: Option<u64>,
    modified_pf_pages: Option<u64>,
    modified_no_write_pages: Option<u64>,
    nonpaged_pool_usage_pages: Option<u64>,
    nonpaged_pool_max_pages: Option<u64>,
    paged_pools: Vec<PagedPool>,
    paged_pool_usage_pages: Option<u64>,
    paged_pool_max_pages: Option<u64>,
    session_commit_pages: Option<u64>,
    shared_commit_pages: Option<u64>,
    special_pool_pages: Option<u64>,
    shared_process_pages: Option<u64>,
    paged_pool_commit_pages: Option<u64>,
    driver_commit_pages: Option<u64>,
    committed_pages: Option<u64>,
    commit_limit_pages: Option<u64>,
    page_files: Option<Vec<PageFileRecord>>,
    stack_growth_failures: Option<u64>,
    flags: Vec<&'static str>,
    lines: Vec<LineRecord>,
}

#[derive(Debug, Serialize)]
struct PagedPool {
    index: usize,
    usage_pages: Option<u64>,
}

#[derive(Debug, Serialize)]
struct PageFileRecord {
    path: Option<String>,
    /// True for the compressed memory store, which has no path.
    nameless: bool,
    current_kb: Option<u64>,
    free_kb: Option<u64>,
    minimum_kb: Option<u64>,
    maximum_kb: Option<u64>,
    source: String,
    doubt: Option<String>,
}

/// The source of a number, and the doubt about it.
#[derive(Debug, Serialize)]
struct LineRecord {
    line: String,
    pages: Option<u64>,
    source: String,
    doubt: Option<String>,
}

impl<'a> Vm<'a> {
    /// A report of the summary.
    pub fn of(report: &'a VmReport) -> Vm<'a> {
        Vm {
            vm: Fields::of(report),
            report,
            sources: false,
        }
    }

    /// Sets whether text shows the source of each number; JSON and CSV always have it.
    #[must_use]
    pub fn with_sources(mut self, sources: bool) -> Vm<'a> {
        self.sources = sources;
        self
    }
}

impl Fields {
    fn of(r: &VmReport) -> Fields {
        Fields {
            physical_memory_pages: r.physical_memory.pages,
            available_pages: r.available.pages,
            resavail_pages: r.resident_available.pages,
            locked_io_pages: r.locked_io.pages,
            free_system_ptes: r.free_system_ptes.pages,
            free_np_ptes: r.free_nonpaged_ptes.as_ref().map(|l| l.pages),
            modified_pages: r.modified.pages,
            modified_pf_pages: r.modified_pf.pages,
            modified_no_write_pages: r.modified_no_write.pages,
            nonpaged_pool_usage_pages: r.nonpaged_usage.pages,
            nonpaged_pool_max_pages: r.nonpaged_max.pages,
            paged_pools: paged_pools(&r.paged_pools),
            paged_pool_usage_pages: r.paged_usage.pages,
            paged_pool_max_pages: r.paged_max.pages,
            session_commit_pages: r.session_commit.pages,
            shared_commit_pages: r.shared_commit.pages,
            special_pool_pages: r.special_pool.pages,
            shared_process_pages: r.shared_process.pages,
            paged_pool_commit_pages: r.paged_commit.pages,
            driver_commit_pages: r.driver_commit.pages,
            committed_pages: r.committed.pages,
            commit_limit_pages: r.commit_limit.pages,
            page_files: r
                .page_files
                .as_ref()
                .map(|files| files.iter().map(PageFileRecord::of).collect()),
            stack_growth_failures: r.stack_growth_failures,
            flags: r.flags.iter().map(|f| f.word()).collect(),
            lines: r.lines().into_iter().map(LineRecord::of).collect(),
        }
    }
}

fn paged_pools(lines: &[Line]) -> Vec<PagedPool> {
    let pool = |(index, line): (usize, &Line)| PagedPool {
        index,
        usage_pages: line.pages,
    };
    lines.iter().enumerate().map(pool).collect()
}

impl PageFileRecord {
    fn of(file: &PageFile) -> PageFileRecord {
        let kb = |pages: Option<u64>| pages.map(kilobytes);
        PageFileRecord {
            path: file.path.as_deref().map(|p| clean(p).into()),
            nameless: file.nameless,
            source: clean(&file.source).into(),
            doubt: file.doubt.clone(),
            current_kb: kb(file.current),
            free_kb: kb(file.free),
            minimum_kb: kb(file.minimum),
            maximum_kb: kb(file.maximum),
        }
    }
}

impl LineRecord {
    fn of((line, judged): (String, &Line)) -> LineRecord {
        LineRecord {
            line,
            pages: judged.pages,
            source: clean(&judged.source).into(),
            doubt: judged.doubt.clone(),
        }
    }
}

impl Answer for Vm<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        text::write(self, out)
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        csv::write(self, out)
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        markdown::write(self, out)
    }
}
