//! What kind of dump this is: the `info` command, and the `dump` object of every answer.

use std::io::{self, Write};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::engine::Engine;
use crate::symbols::Source;

use super::text::{clean, human, json_address};
use super::{Answer, cell, csv_writer, optional};

/// The `dump` object.
#[derive(Clone, Debug, Serialize)]
pub struct DumpRecord {
    path: String,
    format: &'static str,
    dump_type: Option<u32>,
    build: u32,
    version: String,
    architecture: &'static str,
    processors: u32,
    bugcheck: Option<BugCheckRecord>,
    kernel_base: String,
    directory_table: String,
    physical_pages: Option<u64>,
    pages_present: u64,
    pages_cut_off: u64,
    system_time: Option<String>,
    uptime_seconds: Option<u64>,
    symbols: SymbolRecord,
}

#[derive(Clone, Debug, Serialize)]
struct BugCheckRecord {
    code: u32,
    parameters: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct SymbolRecord {
    source: &'static str,
    pdb: Option<String>,
    id: Option<String>,
    detail: String,
}

impl DumpRecord {
    /// Of an open dump.
    pub fn of(engine: &Engine) -> DumpRecord {
        let (dump, kernel) = (engine.dump(), engine.kernel());
        let machine = &kernel.machine;
        let (major, minor) = kernel.version;
        DumpRecord {
            path: clean(&dump.path().to_string_lossy()).into(),
            format: dump.format(),
            dump_type: dump.header().map(|header| header.dump_type),
            build: kernel.build,
            version: format!("{major}.{minor}.{}", kernel.build),
            architecture: "x64",
            processors: machine.processors,
            bugcheck: machine.bugcheck.map(|bugcheck| BugCheckRecord {
                code: bugcheck.code,
                parameters: bugcheck
                    .parameters
                    .iter()
                    .map(|p| format!("{p:#x}"))
                    .collect(),
            }),
            kernel_base: json_address(kernel.base),
            directory_table: format!("{:#x}", machine.directory_table),
            physical_pages: machine.physical_pages,
            pages_present: dump.pages_present(),
            pages_cut_off: dump.pages_cut_off(),
            system_time: machine.system_time.and_then(time_of),
            uptime_seconds: machine.uptime.map(|t| t / TICKS),
            symbols: SymbolRecord::of(engine),
        }
    }
}

impl SymbolRecord {
    fn of(engine: &Engine) -> SymbolRecord {
        let kernel = engine.kernel();
        let source = kernel.symbol_source();
        let pdb = kernel.pdb.as_ref();
        SymbolRecord {
            source: match source {
                Source::Pdb { .. } => "pdb",
                Source::BuiltIn { .. } | Source::Layout { .. } => "built-in",
                Source::None => "none",
            },
            pdb: pdb.map(|id| clean(&id.name).into()),
            id: pdb.map(|id| id.key()),
            detail: clean(&source.to_string()).into(),
        }
    }
}

/// Intervals of 100 ns in a second: the unit of Windows system times.
const TICKS: u64 = 10_000_000;
/// Seconds from 1601, where Windows counts from, to 1970.
const EPOCH: i64 = 11_644_473_600;

/// A Windows system time as RFC 3339; `None` outside the years that format has.
fn time_of(ticks: u64) -> Option<String> {
    let seconds = i64::try_from(ticks / TICKS).ok()? - EPOCH;
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    time.format(&Rfc3339).ok()
}

fn uptime_text(seconds: u64) -> String {
    let (days, rest) = (seconds / 86400, seconds % 86400);
    let (hours, minutes) = (rest / 3600, rest % 3600 / 60);
    let unit = if days == 1 { "day" } else { "days" };
    format!("{days} {unit} {hours}:{minutes:02}:{:02}", rest % 60)
}

/// The answer of `info`.
#[derive(Debug, Serialize)]
pub struct Info {
    info: Details,
    #[serde(skip)]
    dump: DumpRecord,
    #[serde(skip)]
    needed: Option<String>,
}

#[derive(Debug, Serialize)]
struct Details {
    contents: String,
    file_bytes: u64,
    build_lab: Option<String>,
    modules: usize,
    tags: usize,
    tracker_tables: usize,
    pool_regions: Vec<RegionRecord>,
}

#[derive(Debug, Serialize)]
struct RegionRecord {
    pool: &'static str,
    start: String,
    end: String,
    source: &'static str,
}

impl Info {
    /// Of an open dump.
    pub fn of(engine: &Engine) -> Info {
        let kernel = engine.kernel();
        let regions = engine.regions().regions.iter().map(|r| RegionRecord {
            pool: r.kind.word(),
            start: json_address(r.start),
            end: json_address(r.end),
            source: r.source,
        });
        let has_pdb = matches!(kernel.symbol_source(), Source::Pdb { .. });
        Info {
            info: Details {
                contents: engine.dump().contents(),
                file_bytes: engine.dump().file_length(),
                build_lab: kernel.build_lab.as_deref().map(|t| clean(t).into()),
                modules: kernel.modules.iter().filter(|m| !m.unloaded).count(),
                tags: engine.trackers().rows.len(),
                tracker_tables: engine.trackers().tables.len(),
                pool_regions: regions.collect(),
            },
            dump: DumpRecord::of(engine),
            needed: kernel
                .pdb
                .as_ref()
                .filter(|_| !has_pdb)
                .and_then(|id| id.needed())
                .map(|n| n.store_path),
        }
    }

    /// What a report says of the machine: the rows without addresses.
    pub fn machine(&self) -> Vec<(&'static str, String)> {
        const OF_MACHINE: [&str; 8] = [
            "File",
            "Dump",
            "Windows",
            "Processors",
            "Pages",
            "Bugcheck",
            "Written",
            "Uptime",
        ];
        let mut rows = self.rows();
        rows.retain(|(label, _)| OF_MACHINE.contains(label) || *label == "Symbols");
        rows
    }

    /// The rows as label and value.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let (d, i) = (&self.dump, &self.info);
        let mut rows = vec![
            ("File", format!("{} ({})", d.path, human(i.file_bytes))),
            (
                "Dump",
                match d.dump_type {
                    Some(kind) => format!("{} (type {kind}): {}", d.format, i.contents),
                    None => format!("{}: {}", d.format, i.contents),
                },
            ),
            ("Windows", self.windows()),
            ("Processors", d.processors.to_string()),
            ("Pages", self.pages()),
            (
                "Bugcheck",
                d.bugcheck.as_ref().map_or(NO_BUGCHECK.into(), bugcheck),
            ),
            ("Kernel base", d.kernel_base.clone()),
            ("Page tables", d.directory_table.clone()),
            ("Written", d.system_time.clone().unwrap_or(UNKNOWN.into())),
            (
                "Uptime",
                d.uptime_seconds.map_or(UNKNOWN.into(), uptime_text),
            ),
            ("Symbols", self.symbols()),
        ];
        if let Some(needed) = &self.needed {
            rows.push(("PDB wanted", needed.clone()));
        }
        rows.push(("Modules", i.modules.to_string()));
        rows.push((
            "Pool trackers",
            format!("{} tags in {} tables", i.tags, i.tracker_tables),
        ));
        for region in &i.pool_regions {
            let RegionRecord {
                pool,
                start,
                end,
                source,
            } = region;
            rows.push(("Pool region", format!("{start}-{end} {pool} (by {source})")));
        }
        rows
    }

    fn windows(&self) -> String {
        let lab = self
            .info
            .build_lab
            .as_deref()
            .unwrap_or("build lab unknown");
        format!("{} {} ({lab})", self.dump.version, self.dump.architecture)
    }

    fn pages(&self) -> String {
        let mut out = match self.dump.physical_pages {
            Some(all) => format!(
                "{} of {all} physical pages present",
                self.dump.pages_present
            ),
            None => format!("{} physical pages present", self.dump.pages_present),
        };
        if self.dump.pages_cut_off > 0 {
            out += &format!("; {} more are cut off the file", self.dump.pages_cut_off);
        }
        out
    }

    fn symbols(&self) -> String {
        let s = &self.dump.symbols;
        match (&s.pdb, &s.id) {
            (Some(pdb), Some(id)) => format!("{} for {pdb} {id}", s.detail),
            _ => format!("{}; the kernel's PDB identity is not in the dump", s.detail),
        }
    }
}

/// Where an image of a machine that runs says that nothing went wrong.
const NO_BUGCHECK: &str = "none: the machine was running";
const UNKNOWN: &str = "not in the dump";

fn bugcheck(b: &BugCheckRecord) -> String {
    format!("{:#x} ({})", b.code, b.parameters.join(", "))
}

impl Answer for Info {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for (label, value) in self.rows() {
            writeln!(out, "{label:<14} {value}")?;
        }
        Ok(())
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv_writer(out);
        csv.write_record([
            "path",
            "format",
            "build",
            "version",
            "processors",
            "bugcheck",
            "kernel_base",
            "directory_table",
            "physical_pages",
            "pages_present",
            "system_time",
            "uptime_seconds",
            "symbols",
            "pdb",
            "id",
        ])?;
        let d = &self.dump;
        csv.write_record([
            cell(&d.path),
            d.format.into(),
            d.build.to_string(),
            d.version.clone(),
            d.processors.to_string(),
            d.bugcheck
                .as_ref()
                .map(|b| format!("{:#x}", b.code))
                .unwrap_or_default(),
            d.kernel_base.clone(),
            d.directory_table.clone(),
            optional(d.physical_pages),
            d.pages_present.to_string(),
            d.system_time.clone().unwrap_or_default(),
            optional(d.uptime_seconds),
            d.symbols.source.into(),
            cell(d.symbols.pdb.as_deref().unwrap_or_default()),
            d.symbols.id.clone().unwrap_or_default(),
        ])?;
        csv.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_times_are_written_as_rfc_3339() {
        // 2010-05-12T08:00:00Z is 1273651200 seconds after 1970 (date -u).
        let ticks = (1_273_651_200 + 11_644_473_600) * TICKS;
        assert_eq!(time_of(ticks).as_deref(), Some("2010-05-12T08:00:00Z"));
        assert_eq!(time_of(u64::MAX), None);
        assert_eq!(uptime_text(90_061), "1 day 1:01:01");
    }
}
