//! The diagnosis as text and Markdown.

use std::io::{self, Write};

use crate::report::text::{clean, grouped, human, markdown as escape};

use super::{Diagnose, Marked, Record, TopRecord};

/// The markup of headings and lists.
pub(super) trait Style {
    fn title(&self, text: &str) -> String;
    fn heading(&self, text: &str) -> String;
    fn item(&self, text: &str) -> String;
    fn sub_item(&self, text: &str) -> String;
    fn step(&self, command: &str, why: &str) -> String;
}

pub(super) struct Plain;
pub(super) struct Markdown;

impl Style for Plain {
    fn title(&self, text: &str) -> String {
        text.to_owned()
    }
    fn heading(&self, text: &str) -> String {
        format!("\n{text}")
    }
    fn item(&self, text: &str) -> String {
        format!("  {text}")
    }
    fn sub_item(&self, text: &str) -> String {
        format!("      {text}")
    }
    fn step(&self, command: &str, why: &str) -> String {
        self.sub_item(&format!("{command}   ({why})"))
    }
}

impl Style for Markdown {
    fn title(&self, text: &str) -> String {
        format!("# {}", escape(text))
    }
    fn heading(&self, text: &str) -> String {
        format!("\n## {}\n", escape(text))
    }
    fn item(&self, text: &str) -> String {
        format!("- {}", escape(text))
    }
    fn sub_item(&self, text: &str) -> String {
        format!("  - {}", escape(text))
    }
    fn step(&self, command: &str, why: &str) -> String {
        // Code can be copied as it stands; what could end it, or is markup to someone, is
        // escaped instead.
        let plain = |c: char| c.is_ascii_alphanumeric() || " !\"'-*?_.:+/(),".contains(c);
        match command.chars().all(plain) {
            true => format!("  - `{command}` ({})", escape(why)),
            false => self.sub_item(&format!("{command} ({why})")),
        }
    }
}

impl Diagnose {
    pub(super) fn write(&self, style: &dyn Style, out: &mut dyn Write) -> io::Result<()> {
        let title = format!(
            "Verdict: {}. {}.",
            self.verdict.to_uppercase(),
            self.summary
        );
        writeln!(out, "{}", style.title(&title))?;
        self.write_lead(style, out)?;
        for finding in &self.findings {
            finding.write(style, out)?;
        }
        if self.more_findings > 0 {
            let more = format!(
                "{} more tags show parts of a leak pattern",
                self.more_findings
            );
            section(style, out, "More findings", &[more])?;
        }
        section(style, out, "Correlated tags", &self.lockstep)?;
        section(style, out, "Pools", &self.pools)?;
        section(
            style,
            out,
            "Largest tags, nonpaged pool",
            &lines(&self.top.nonpaged),
        )?;
        section(
            style,
            out,
            "Largest tags, paged pool",
            &lines(&self.top.paged),
        )?;
        let marked: Vec<String> = self.marked.iter().map(Marked::line).collect();
        section(style, out, "Marked by hand", &marked)?;
        writeln!(out, "{}", style.heading("Machine"))?;
        for (label, value) in &self.machine {
            writeln!(out, "{}", style.item(&format!("{label}: {}", clean(value))))?;
        }
        section(style, out, "Coverage", &self.coverage)?;
        section(style, out, "Limitations", &self.unknowns)
    }

    /// The first lines: three lines of evidence, the next action, and the state of the pools.
    fn write_lead(&self, style: &dyn Style, out: &mut dyn Write) -> io::Result<()> {
        if let Some(first) = self.findings.first() {
            let owner = first.owners.first().filter(|_| first.owner.is_some());
            if let Some(identity) = owner.and_then(|o| o.identity.phrase.as_ref()) {
                writeln!(out, "{}", style.item(&format!("Owner: {identity}")))?;
            }
            for line in &first.strongest {
                writeln!(out, "{}", style.item(&format!("Evidence: {line}")))?;
            }
            writeln!(
                out,
                "{}",
                style.item(&format!("Next action: {}", first.advice))
            )?;
        } else if let Some(nearest) = &self.nearest {
            let line = format!("Nearest to a leak: {}", nearest.sentence);
            writeln!(out, "{}", style.item(&line))?;
        }
        writeln!(
            out,
            "{}",
            style.item(&format!("Severity: {}", self.severity_line()))
        )
    }

    fn severity_line(&self) -> String {
        // A leak that is far from a limit is not without weight.
        let mut out = match (self.severity, self.findings.is_empty()) {
            ("none", false) => "low".to_owned(),
            (severity, _) => severity.to_owned(),
        };
        let worst = self
            .pressure
            .iter()
            .filter(|p| p.severity == self.severity)
            .max_by(|a, b| a.share.total_cmp(&b.share));
        match worst {
            Some(worst) => out += &format!("; {}", worst.sentence),
            None => out = "unknown; pool use or limits are not known".to_owned(),
        }
        // A prediction beyond ten years is meaningless.
        if let Some(hours) = self.exhausted_in_hours.filter(|hours| *hours < 87_600.0) {
            let when = match hours {
                ..72.0 => format!("{hours:.1} hours"),
                _ => format!("{} days", grouped((hours / 24.0).round() as u64)),
            };
            out += &format!("; limit reached in {when} at the average rate");
        }
        out
    }
}

fn lines(top: &[TopRecord]) -> Vec<String> {
    top.iter().map(TopRecord::line).collect()
}

impl TopRecord {
    fn line(&self) -> String {
        let mut out = format!("{}: {}", self.tag, human(self.bytes.unwrap_or(0)));
        if let Some(share) = self.share {
            out += &format!(" ({:.1}%)", share * 100.0);
        }
        if let Some(blocks) = self.outstanding {
            out += &format!(", {} blocks", grouped(blocks));
        }
        out += &match &self.owner {
            Some(owner) => format!(", {owner}"),
            None => ", owner unknown".into(),
        };
        if let Some(kind) = self.kind.as_ref().or(self.description.as_ref()) {
            out += &format!("; {kind}");
        }
        out
    }
}

fn section(
    style: &dyn Style,
    out: &mut dyn Write,
    heading: &str,
    items: &[String],
) -> io::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(out, "{}", style.heading(heading))?;
    for item in items {
        writeln!(out, "{}", style.item(item))?;
    }
    Ok(())
}

impl Record {
    fn write(&self, style: &dyn Style, out: &mut dyn Write) -> io::Result<()> {
        let mut heading = format!("Tag '{}', {} pool", self.tag, self.pool);
        if let Some(blocks) = self.outstanding {
            heading += &format!(", {} blocks", grouped(blocks));
        }
        if let Some(bytes) = self.bytes {
            heading += &format!(", {} bytes", grouped(bytes));
        }
        heading += &format!(" ({})", self.verdict);
        writeln!(out, "{}", style.heading(&heading))?;
        let mut item = |text: &str| writeln!(out, "{}", style.item(text));
        if let Some(what) = self.description.as_ref().or(self.what.as_ref()) {
            item(&format!("Description: {what}"))?;
        }
        item(&format!("Evidence ({} points):", self.points))?;
        let signs = self
            .signs
            .iter()
            .map(|s| format!("{}: {} ({})", s.name, s.sentence, s.weight));
        list(style, out, signs)?;
        if let Some(chain) = &self.chain {
            writeln!(out, "{}", style.item("Pinning chain:"))?;
            let all = format!("tags: {}", chain.tags.join(", "));
            list(style, out, [chain.sentence.clone(), all].into_iter())?;
        }
        self.write_blocks(style, out)?;
        self.write_owners(style, out)?;
        for (heading, lines) in [
            ("Block contents:", &self.contents),
            ("Kernel objects:", &self.objects),
        ] {
            if !lines.is_empty() {
                writeln!(out, "{}", style.item(heading))?;
                list(style, out, lines.iter().cloned())?;
            }
        }
        let mut item = |text: &str| writeln!(out, "{}", style.item(text));
        if let Some(group) = &self.lockstep {
            item(&format!("Correlated tags: {group}"))?;
        }
        for sentence in &self.coverage {
            item(sentence)?;
        }
        item(&format!("Advice: {}", self.advice))?;
        item("Next steps in the debugger:")?;
        for step in &self.next {
            writeln!(out, "{}", style.step(&step.command, &step.why))?;
        }
        Ok(())
    }

    fn write_blocks(&self, style: &dyn Style, out: &mut dyn Write) -> io::Result<()> {
        if self.sizes.is_empty() {
            return Ok(());
        }
        let sizes = self
            .sizes
            .iter()
            .map(|s| format!("{} x {}", grouped(s.size), grouped(s.count)));
        let sizes: Vec<String> = sizes.collect();
        let line = format!("Sizes: {}", sizes.join(", "));
        writeln!(out, "{}", style.item(&line))?;
        let exemplars: Vec<String> = self.exemplars.iter().map(|a| in_text(a)).collect();
        let line = format!(
            "Sample blocks (first, middle, last): {}",
            exemplars.join(", ")
        );
        writeln!(out, "{}", style.item(&line))
    }

    fn write_owners(&self, style: &dyn Style, out: &mut dyn Write) -> io::Result<()> {
        if let Some(allocator) = &self.allocator {
            let line = format!("Allocator: {allocator}");
            writeln!(out, "{}", style.item(&line))?;
        }
        if self.owner.is_none() {
            let mut line = "Owner: unknown".to_owned();
            if !self.searched.is_empty() {
                line += &format!("; {}", self.searched);
            }
            writeln!(out, "{}", style.item(&line))?;
        }
        for owner in &self.owners {
            let mut line = format!("Suspect: {} ({})", owner.module, owner.confidence);
            if let Some(identity) = &owner.identity.phrase {
                line += &format!(": {identity}");
            }
            writeln!(out, "{}", style.item(&line))?;
            list(style, out, owner.reasons.iter().cloned())?;
        }
        if !self.references.is_empty() {
            writeln!(out, "{}", style.item("References:"))?;
            list(style, out, self.references.iter().cloned())?;
        }
        for rejected in &self.rejected {
            let line = format!("Not {}: {}", rejected.module, rejected.reason);
            writeln!(out, "{}", style.item(&line))?;
        }
        for note in &self.notes {
            writeln!(out, "{}", style.item(note))?;
        }
        Ok(())
    }
}

/// An address of the record as a text has it: ``fffffa80`02400000``.
fn in_text(address: &str) -> String {
    let digits = address.strip_prefix("0x").unwrap_or(address);
    match digits.split_at_checked(8) {
        Some((high, low)) if digits.len() == 16 => format!("{high}`{low}"),
        _ => address.to_owned(),
    }
}

fn list(
    style: &dyn Style,
    out: &mut dyn Write,
    items: impl Iterator<Item = String>,
) -> io::Result<()> {
    for item in items {
        writeln!(out, "{}", style.sub_item(&item))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_dump_is_escaped() {
        assert_eq!(
            escape("<script>[a](b) *x* `y` # |"),
            "&lt;script&gt;\\[a\\](b) \\*x\\* \\`y\\` \\# \\|"
        );
    }
}
