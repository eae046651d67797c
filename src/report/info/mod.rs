//! The type and contents of a dump: the `info` command, and the `dump` object of every answer.

mod csv;
mod image;
mod markdown;
mod text;

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::judgement::words::duration;
use crate::engine::{self, DumpFacts, EvidenceFacts, SymbolFacts};

use image::ImageRecord;

use super::Answer;
use super::text::{clean, grouped, human, json_address, rfc3339};

/// The `dump` object.
#[derive(Clone, Debug, Serialize)]
pub struct DumpRecord {
    path: String,
    format: String,
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
    /// A record of the engine's facts.
    pub fn of(facts: &DumpFacts) -> DumpRecord {
        let (major, minor) = facts.version;
        let parameters = facts.bugcheck_parameters.iter();
        DumpRecord {
            path: clean(&facts.path).into(),
            format: clean(&facts.format).into(),
            dump_type: facts.dump_type,
            build: facts.build,
            version: format!("{major}.{minor}.{}", facts.build),
            architecture: "x64",
            processors: facts.processors,
            bugcheck: facts.bugcheck.map(|code| BugCheckRecord {
                code,
                parameters: parameters.map(|p| format!("{p:#x}")).collect(),
            }),
            kernel_base: json_address(facts.kernel_base),
            directory_table: format!("{:#x}", facts.directory_table),
            physical_pages: facts.physical_pages,
            pages_present: facts.pages_present,
            pages_cut_off: facts.pages_cut_off,
            system_time: facts.system_time.and_then(rfc3339),
            uptime_seconds: facts.uptime_seconds,
            symbols: SymbolRecord::of(&facts.symbols),
        }
    }
}

impl SymbolRecord {
    fn of(facts: &SymbolFacts) -> SymbolRecord {
        let pdb = facts.pdb.as_ref();
        SymbolRecord {
            source: facts.source.word(),
            pdb: pdb.map(|id| clean(&id.name).into()),
            id: pdb.map(|id| id.key()),
            detail: clean(&facts.detail).into(),
        }
    }
}

/// The answer of `info`.
#[derive(Debug, Serialize)]
pub struct Info {
    info: Details,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<EvidenceRecord>,
    #[serde(skip)]
    dump: DumpRecord,
    #[serde(skip)]
    needed: Option<String>,
}

/// The contents of an evidence file.
#[derive(Debug, Serialize)]
struct EvidenceRecord {
    path: String,
    tool: String,
    schema: String,
    redacted: bool,
    contents: bool,
    blocks_listed: u64,
    blocks_left_out: u64,
    notes: Vec<String>,
    tables: Vec<InsideRecord>,
}

#[derive(Debug, Serialize)]
struct InsideRecord {
    name: String,
    rows: u64,
    bytes: u64,
}

impl EvidenceRecord {
    fn of(facts: &EvidenceFacts) -> EvidenceRecord {
        let tables = facts.tables.iter().map(|t| InsideRecord {
            name: clean(&t.name).into(),
            rows: t.rows,
            bytes: t.bytes,
        });
        EvidenceRecord {
            path: clean(&facts.path).into(),
            tool: clean(&facts.tool).into(),
            schema: format!("{}.{}", facts.schema.0, facts.schema.1),
            redacted: facts.redacted,
            contents: facts.contents,
            blocks_listed: facts.blocks_listed,
            blocks_left_out: facts.blocks_left_out,
            notes: facts.notes.iter().map(|n| clean(n).into()).collect(),
            tables: tables.collect(),
        }
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let said = |yes: bool, what: &str| match yes {
            true => what.to_owned(),
            false => format!("not {what}"),
        };
        let mut rows = vec![
            (
                "Evidence",
                format!("{}, schema {}, by {}", self.path, self.schema, self.tool),
            ),
            ("Names", said(self.redacted, "replaced by keyed hashes")),
            (
                "Block bytes",
                said(self.contents, "inside, of sample blocks"),
            ),
            (
                "Blocks",
                format!(
                    "{} listed, {} counted only",
                    grouped(self.blocks_listed),
                    grouped(self.blocks_left_out)
                ),
            ),
        ];
        rows.extend(self.notes.iter().map(|note| ("Note", note.clone())));
        for t in &self.tables {
            let (count, bytes) = (grouped(t.rows), grouped(t.bytes));
            rows.push(("Table", format!("{}: {count} rows, {bytes} bytes", t.name)));
        }
        rows
    }
}

#[derive(Debug, Serialize)]
struct Details {
    contents: String,
    file_bytes: u64,
    build_lab: Option<String>,
    modules: u64,
    tags: u64,
    tracker_tables: u64,
    pool_regions: Vec<RegionRecord>,
    image: Option<ImageRecord>,
}

#[derive(Debug, Serialize)]
struct RegionRecord {
    pool: &'static str,
    start: String,
    end: String,
    source: String,
}

impl Info {
    /// A report of the engine's answer.
    pub fn of(info: &engine::Info) -> Info {
        let regions = info.regions.iter().map(|r| RegionRecord {
            pool: r.pool.word(),
            start: json_address(r.start),
            end: json_address(r.end),
            source: clean(&r.source).into(),
        });
        Info {
            info: Details {
                contents: clean(&info.contents).into(),
                file_bytes: info.file_bytes,
                build_lab: info.build_lab.as_deref().map(|t| clean(t).into()),
                modules: info.modules,
                tags: info.tags,
                tracker_tables: info.tracker_tables,
                pool_regions: regions.collect(),
                image: info.image.as_ref().map(ImageRecord::of),
            },
            evidence: info.evidence.as_ref().map(EvidenceRecord::of),
            dump: DumpRecord::of(&info.dump),
            needed: info.wanted_pdb.as_deref().map(|p| clean(p).into()),
        }
    }

    /// The rows about the machine for other reports, without addresses.
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

    /// The rows as pairs of label and value.
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
            ("Uptime", d.uptime_seconds.map_or(UNKNOWN.into(), duration)),
            ("Symbols", self.symbols()),
        ];
        if let Some(needed) = &self.needed {
            rows.push(("PDB wanted", needed.clone()));
        }
        if let Some(image) = &i.image {
            rows.extend(image.rows());
        }
        rows.push(("Modules", grouped(i.modules)));
        rows.push((
            "Pool trackers",
            format!("{} tags in {} tables", grouped(i.tags), i.tracker_tables),
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
        rows.extend(self.evidence.iter().flat_map(EvidenceRecord::rows));
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
                "{} of {} physical pages present",
                grouped(self.dump.pages_present),
                grouped(all)
            ),
            None => format!(
                "{} physical pages present",
                grouped(self.dump.pages_present)
            ),
        };
        if self.dump.pages_cut_off > 0 {
            out += &format!(
                "; {} more are missing at the end of the file",
                self.dump.pages_cut_off
            );
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

/// For an image of a running machine.
const NO_BUGCHECK: &str = "none: the machine was running";
const UNKNOWN: &str = "not in the dump";

fn bugcheck(b: &BugCheckRecord) -> String {
    format!("{:#x} ({})", b.code, b.parameters.join(", "))
}

impl Answer for Info {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(
            rfc3339(1_273_651_200).as_deref(),
            Some("2010-05-12T08:00:00Z")
        );
        assert_eq!(rfc3339(i64::MAX), None);
    }
}
