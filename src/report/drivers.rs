//! Pool use by driver.

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::attribution::drivers::{Driver, Drivers, Holding};

use super::identity::IdentityRecord;
use super::table::{self, Align};
use super::text::{clean, grouped};
use super::{Answer, cell, csv_writer, tag_hex};

/// What is counted.
const RULE: &str = "the bytes of a tag are counted for its most likely owner; nt allocates much on \
    behalf of others";

/// Tags that are named of each driver in text.
const TAGS: usize = 4;

/// The answer of `drivers`.
#[derive(Debug, Serialize)]
pub struct DriversReport {
    drivers: Vec<Row>,
    unowned: Row,
    total: Total,
}

#[derive(Debug, Serialize)]
struct Row {
    module: Option<String>,
    nonpaged_bytes: u64,
    paged_bytes: u64,
    certain_bytes: u64,
    tags: Vec<TagRow>,
    #[serde(flatten)]
    identity: IdentityRecord,
}

#[derive(Debug, Serialize)]
struct TagRow {
    tag: String,
    tag_hex: String,
    nonpaged_bytes: u64,
    paged_bytes: u64,
    confidence: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
struct Total {
    nonpaged_bytes: u64,
    paged_bytes: u64,
}

impl Row {
    fn of(driver: &Driver) -> Row {
        Row {
            module: (!driver.module.is_empty()).then(|| clean(&driver.module).into()),
            nonpaged_bytes: driver.bytes[0],
            paged_bytes: driver.bytes[1],
            certain_bytes: driver.certain,
            tags: driver.tags.iter().map(TagRow::of).collect(),
            identity: IdentityRecord::of(driver.identity.as_ref()),
        }
    }

    /// Its first tags, and how many more there are.
    fn named(&self) -> String {
        let named: Vec<&str> = self
            .tags
            .iter()
            .take(TAGS)
            .map(|t| t.tag.as_str())
            .collect();
        let more = self.tags.len().saturating_sub(TAGS);
        let more = match more {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        format!("{}{more}", named.join(" "))
    }

    fn line(&self) -> String {
        format!(
            "{:<20} {:>16} {:>16} {:>16}  {:<31} {}",
            self.module.as_deref().unwrap_or("(no known owner)"),
            grouped(self.nonpaged_bytes),
            grouped(self.paged_bytes),
            grouped(self.certain_bytes),
            self.named(),
            self.identity.phrase.as_deref().unwrap_or_default()
        )
        .trim_end()
        .to_owned()
    }
}

impl TagRow {
    fn of(holding: &Holding) -> TagRow {
        TagRow {
            tag: holding.tag.to_string(),
            tag_hex: tag_hex(holding.tag),
            nonpaged_bytes: holding.bytes[0],
            paged_bytes: holding.bytes[1],
            confidence: holding.certainty.map(|c| c.word()),
        }
    }
}

impl DriversReport {
    /// A report of pool use by driver.
    pub fn of(drivers: &Drivers) -> DriversReport {
        let rows: Vec<Row> = drivers.rows.iter().map(Row::of).collect();
        let unowned = Row::of(&drivers.unowned);
        let mut total = Total::default();
        for row in rows.iter().chain([&unowned]) {
            total.nonpaged_bytes = total.nonpaged_bytes.saturating_add(row.nonpaged_bytes);
            total.paged_bytes = total.paged_bytes.saturating_add(row.paged_bytes);
        }
        DriversReport {
            drivers: rows,
            unowned,
            total,
        }
    }
}

impl Answer for DriversReport {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<20} {:>16} {:>16} {:>16}  {:<31} version, company, link date",
            "driver", "nonpaged bytes", "paged bytes", "confirmed bytes", "tags"
        )?;
        for row in self.drivers.iter().chain([&self.unowned]) {
            writeln!(out, "{}", row.line())?;
        }
        writeln!(
            out,
            "{:<20} {:>16} {:>16}",
            "total",
            grouped(self.total.nonpaged_bytes),
            grouped(self.total.paged_bytes)
        )?;
        writeln!(
            out,
            "\n{RULE} (`poolscope refs DUMP TAG` gives the reasons)"
        )
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.drivers.iter().chain([&self.unowned]).map(|row| {
            vec![
                row.module
                    .clone()
                    .unwrap_or_else(|| "no known owner".into()),
                grouped(row.nonpaged_bytes),
                grouped(row.paged_bytes),
                grouped(row.certain_bytes),
                row.named(),
                row.identity.phrase.clone().unwrap_or_default(),
            ]
        });
        let total = vec![
            "total".to_owned(),
            grouped(self.total.nonpaged_bytes),
            grouped(self.total.paged_bytes),
            String::new(),
            String::new(),
            String::new(),
        ];
        table::table(
            out,
            &[
                ("driver", Align::Left),
                ("nonpaged bytes", Align::Right),
                ("paged bytes", Align::Right),
                ("confirmed bytes", Align::Right),
                ("tags", Align::Left),
                ("version, company, link date", Align::Left),
            ],
            rows.chain([total]),
        )?;
        writeln!(out, "\n{}", table::plain(RULE))
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv_writer(out);
        csv.write_record([
            "module",
            "tag",
            "tag_hex",
            "nonpaged_bytes",
            "paged_bytes",
            "confidence",
            "file",
            "file_version",
            "company",
            "linked",
            "unloaded",
        ])?;
        for row in self.drivers.iter().chain([&self.unowned]) {
            let identity = &row.identity;
            for tag in &row.tags {
                csv.write_record([
                    cell(row.module.as_deref().unwrap_or_default()),
                    cell(&tag.tag),
                    tag.tag_hex.clone(),
                    tag.nonpaged_bytes.to_string(),
                    tag.paged_bytes.to_string(),
                    tag.confidence.unwrap_or_default().into(),
                    cell(identity.file.as_deref().unwrap_or_default()),
                    cell(identity.file_version.as_deref().unwrap_or_default()),
                    cell(identity.company.as_deref().unwrap_or_default()),
                    identity.linked.clone().unwrap_or_default(),
                    identity.unloaded.map(|u| u.to_string()).unwrap_or_default(),
                ])?;
            }
        }
        csv.flush()
    }
}
