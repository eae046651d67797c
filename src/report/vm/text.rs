//! `vm` as text.

use std::io::{self, Write};

use crate::analysis::{Flag, Line, VmReport};
use crate::kernel::vm::PageFile;

use super::super::text::{clean, kilobytes};
use super::Vm;

pub(super) fn write(answer: &Vm<'_>, out: &mut dyn Write) -> io::Result<()> {
    let r = answer.report;
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
        if answer.sources && line.pages.is_some() {
            let judged = match &line.doubt {
                Some(_) => "doubtful",
                None if line.guessed => "plausible, at an inferred location",
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

/// The two layouts of the debugger: up to Windows 8.1 with a tab before each line and without
/// padding; later with wider columns.
#[derive(Clone, Copy)]
struct Layout {
    indent: &'static str,
    /// The column in which the count ends, after the indent.
    count_end: usize,
    /// Width of the kilobytes column, in characters.
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

/// The warnings that follow a line.
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
