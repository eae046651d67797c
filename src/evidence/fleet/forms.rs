//! The output formats of `fleet`: text, JSON, CSV and Markdown.

use std::io::{self, Write};

use serde::Serialize;

use crate::report::table::{Align, plain, table};
use crate::report::text::{clean, grouped, human};
use crate::report::{Format, cell};

use super::{Fleet, Trend};

#[derive(Serialize)]
struct Envelope<'a> {
    schema: &'static str,
    warnings: &'a [String],
    #[serde(flatten)]
    fleet: &'a Fleet,
}

impl Fleet {
    /// Writes the answer in the given format.
    ///
    /// # Errors
    /// I/O errors of the writer.
    pub fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Json => {
                let envelope = Envelope {
                    schema: crate::report::SCHEMA,
                    warnings: &self.skipped,
                    fleet: &self.safe(),
                };
                serde_json::to_writer(&mut *out, &envelope)?;
                writeln!(out)
            }
            Format::Csv => self.csv(out),
            Format::Markdown => self.markdown(out),
            Format::Text => self.text(out),
        }
    }

    /// A copy without control characters that a terminal would interpret.
    fn safe(&self) -> Fleet {
        let mut out = self.clone();
        let own = |text: &mut String| *text = clean(text).into_owned();
        for s in &mut out.suspects {
            s.driver.iter_mut().for_each(own);
            s.driver_version.iter_mut().for_each(own);
            own(&mut s.tag);
            own(&mut s.pool);
            s.windows.iter_mut().for_each(own);
        }
        for o in &mut out.outliers {
            own(&mut o.file);
            own(&mut o.machine);
            own(&mut o.tag);
        }
        out.skipped.iter_mut().for_each(own);
        out
    }

    fn head(&self) -> String {
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        format!(
            "{} dump{} of {} machine{}; {} without findings; {} not readable",
            grouped(self.dumps),
            plural(self.dumps),
            grouped(self.hosts),
            plural(self.hosts),
            grouped(self.without_findings),
            grouped(self.skipped.len() as u64)
        )
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let all = self.safe();
        writeln!(out, "{}\n", all.head())?;
        writeln!(
            out,
            "{:<20} {:<6} {:<9} {:>6} {:>6} {:>6} {:>12} {:>12}  {:<8} Windows",
            "Driver", "Tag", "Pool", "Hosts", "Dumps", "Leaks", "Bytes", "Median", "Trend"
        )?;
        for s in &all.suspects {
            writeln!(
                out,
                "{:<20} {:<6} {:<9} {:>6} {:>6} {:>6} {:>12} {:>12}  {:<8} {}",
                s.driver.as_deref().unwrap_or("(unknown)"),
                s.tag,
                s.pool,
                s.hosts,
                s.dumps,
                s.leaks,
                human(s.bytes),
                human(s.median_bytes),
                s.trend.map_or("-", Trend::word),
                s.windows.join(" ")
            )?;
            if let Some(version) = &s.driver_version {
                writeln!(out, "    version {version}")?;
            }
        }
        if !all.outliers.is_empty() {
            writeln!(out, "\nOutliers")?;
        }
        for o in &all.outliers {
            writeln!(
                out,
                "  {} ({}): {} in {}, median {}",
                o.file,
                o.machine,
                human(o.bytes),
                o.tag,
                human(o.median_bytes)
            )?;
        }
        Ok(())
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}\n", self.head())?;
        let columns = [
            ("driver", Align::Left),
            ("version", Align::Left),
            ("tag", Align::Left),
            ("pool", Align::Left),
            ("hosts", Align::Right),
            ("dumps", Align::Right),
            ("leaks", Align::Right),
            ("bytes", Align::Right),
            ("median bytes", Align::Right),
            ("trend", Align::Left),
            ("Windows", Align::Left),
        ];
        let rows = self.suspects.iter().map(|s| {
            vec![
                s.driver.clone().unwrap_or_else(|| "(unknown)".into()),
                s.driver_version.clone().unwrap_or_default(),
                s.tag.clone(),
                s.pool.clone(),
                grouped(s.hosts),
                grouped(s.dumps),
                grouped(s.leaks),
                grouped(s.bytes),
                grouped(s.median_bytes),
                s.trend.map_or("", Trend::word).to_owned(),
                s.windows.join(", "),
            ]
        });
        table(out, &columns, rows)?;
        for o in &self.outliers {
            let (file, machine) = (plain(&o.file), plain(&o.machine));
            let (bytes, usual) = (human(o.bytes), human(o.median_bytes));
            writeln!(
                out,
                "\nOutlier: {file} ({machine}): {bytes} in {}, median {usual}",
                plain(&o.tag)
            )?;
        }
        Ok(())
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record([
            "driver",
            "driver_version",
            "tag",
            "pool",
            "windows",
            "hosts",
            "dumps",
            "leaks",
            "bytes",
            "median_bytes",
            "largest_bytes",
            "trend",
        ])?;
        for s in &self.suspects {
            csv.write_record([
                cell(s.driver.as_deref().unwrap_or_default()),
                cell(s.driver_version.as_deref().unwrap_or_default()),
                cell(&s.tag),
                cell(&s.pool),
                cell(&s.windows.join(" ")),
                s.hosts.to_string(),
                s.dumps.to_string(),
                s.leaks.to_string(),
                s.bytes.to_string(),
                s.median_bytes.to_string(),
                s.largest_bytes.to_string(),
                s.trend.map_or("", Trend::word).to_owned(),
            ])?;
        }
        csv.flush()
    }
}
