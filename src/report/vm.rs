//! `!vm 1` in the debugger's layouts.

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::{Flag, Line, VmReport};
use crate::kernel::vm::PageFile;

use super::text::{clean, kilobytes};
use super::{Answer, cell, csv_writer, optional};

/// The answer of `vm`.
#[derive(Debug, Serialize)]
pub struct Vm<'a> {
    vm: Fields,
    #[serde(skip)]
    report: &'a VmReport,
    /// Text says where each number comes from.
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
    /// On NT 5.2 only.
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
    /// The store of compressed memory, which has none.
    nameless: bool,
    current_kb: Option<u64>,
    free_kb: Option<u64>,
    minimum_kb: Option<u64>,
    maximum_kb: Option<u64>,
    source: String,
    doubt: Option<String>,
}

/// Where each number comes from and what is wrong with it.
#[derive(Debug, Serialize)]
struct LineRecord {
    line: String,
    pages: Option<u64>,
    source: String,
    doubt: Option<String>,
}

impl<'a> Vm<'a> {
    /// Of a judged summary.
    pub fn of(report: &'a VmReport) -> Vm<'a> {
        Vm {
            vm: Fields::of(report),
            report,
            sources: false,
        }
    }

    /// The same with the source of each number in text; JSON and CSV always have it.
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

/// The two layouts of the debugger: a tab before each line and no blank where there is
/// none up to Windows 8.1, wider columns later.
#[derive(Clone, Copy)]
struct Layout {
    indent: &'static str,
    /// The column in which the count ends, behind the indent.
    count_end: usize,
    /// Characters of the kilobytes.
    kb: usize,
}

impl Layout {
    fn of(report: &VmReport) -> Layout {
        match report.is_modern() {
            true => Layout {
                indent: "",
                count_end: 33,
                kb: 11,
            },
            false => Layout {
                indent: "\t",
                count_end: 28,
                kb: 10,
            },
        }
    }

    fn line(self, out: &mut dyn Write, label: &str, line: &Line) -> io::Result<()> {
        let label = format!("{label}:");
        let width = self.count_end.saturating_sub(label.len());
        let Layout { indent, kb, .. } = self;
        match line.pages {
            Some(pages) => write!(
                out,
                "{indent}{label}{pages:>width$} ({:>kb$} Kb)",
                kilobytes(pages)
            )?,
            None => write!(out, "{indent}{label}{:>width$}", "unknown")?,
        }
        match (&line.doubt, line.pages) {
            (Some(doubt), _) => writeln!(out, "  <-- {}", clean(doubt)),
            (None, None) => writeln!(out, "  ({})", clean(&line.source)),
            (None, Some(_)) => writeln!(out),
        }
    }

    fn page_file(self, out: &mut dyn Write, file: &PageFile) -> io::Result<()> {
        let Layout { indent, .. } = self;
        match (&file.path, file.nameless) {
            (Some(path), _) => writeln!(out, "{indent}Page File: {}", clean(path))?,
            (None, true) => writeln!(out, "{indent}Page File: No Name for Paging File")?,
            (None, false) => writeln!(out, "{indent}Page File: (its name is not in the dump)")?,
        }
        let kb = |pages: Option<u64>| pages.map_or("unknown".into(), |p| kilobytes(p).to_string());
        writeln!(
            out,
            "{indent}  Current:{:>10} Kb  Free Space:{:>10} Kb",
            kb(file.current),
            kb(file.free)
        )?;
        writeln!(
            out,
            "{indent}  Minimum:{:>10} Kb  Maximum:   {:>10} Kb",
            kb(file.minimum),
            kb(file.maximum)
        )?;
        match &file.doubt {
            Some(doubt) => writeln!(out, "{indent}  <-- {}", clean(doubt)),
            None => Ok(()),
        }
    }

    fn page_files(self, out: &mut dyn Write, report: &VmReport) -> io::Result<()> {
        match &report.page_files {
            Some(files) => files.iter().try_for_each(|f| self.page_file(out, f)),
            None => writeln!(out, "{}Page File: unknown", self.indent),
        }
    }
}

/// The warnings that stand behind a line.
fn banners(report: &VmReport, label: &str) -> impl Iterator<Item = &'static str> {
    let here: &[Flag] = match label {
        "NonPagedPool Max" => &[Flag::ExcessiveNonpaged, Flag::HighNonpaged],
        "PagedPool Maximum" => &[Flag::ExcessivePaged, Flag::HighPaged],
        _ => &[],
    };
    let flags = report.flags.clone();
    here.iter()
        .filter(move |f| flags.contains(f))
        .map(|f| f.banner())
}

impl Answer for Vm<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let r = self.report;
        let layout = Layout::of(r);
        match r.is_modern() {
            true => {
                layout.page_files(out, r)?;
                writeln!(out)?;
            }
            false => writeln!(out, "\n*** Virtual Memory Usage ***")?,
        }
        for (at, (label, line)) in r.lines().into_iter().enumerate() {
            layout.line(out, &label, line)?;
            if self.sources && line.pages.is_some() {
                let judged = match &line.doubt {
                    Some(_) => "doubtful",
                    None if line.guessed => "plausible, at a place that was inferred",
                    None => "plausible",
                };
                let source = clean(&line.source);
                writeln!(out, "{}    from {source}; {judged}", layout.indent)?;
            }
            if at == 0 && !r.is_modern() {
                layout.page_files(out, r)?;
            }
            let failures = r.stack_growth_failures.filter(|&n| n > 0);
            if let Some(failures) = failures.filter(|_| label == "Free System PTEs") {
                writeln!(
                    out,
                    "{}******* {} kernel stack growth attempts have failed ******",
                    layout.indent, failures
                )?;
            }
            for banner in banners(r, &label) {
                writeln!(out, "{}{banner}", layout.indent)?;
            }
        }
        Ok(())
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv_writer(out);
        csv.write_record(["line", "pages", "kb", "source", "doubt"])?;
        for (label, line) in self.report.lines() {
            csv.write_record([
                label,
                optional(line.pages),
                optional(line.pages.map(kilobytes)),
                cell(&line.source),
                cell(line.doubt.as_deref().unwrap_or_default()),
            ])?;
        }
        csv.flush()
    }
}
