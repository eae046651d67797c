//! The diagnosis, for a ticket.

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::judgement::diagnosis::{Diagnosis, Finding};
use crate::engine::Engine;
use crate::memory::PAGE_SIZE;

use super::info::Info;
use super::text::{clean, grouped, human, json_address, markdown as escape};
use super::{Answer, cell, csv_writer, tag_hex};

/// Sizes that are named of a finding.
const SIZES: usize = 4;

/// The answer of `diagnose`.
#[derive(Debug, Serialize)]
pub struct Diagnose {
    verdict: &'static str,
    summary: String,
    flags: Vec<&'static str>,
    findings: Vec<Record>,
    more_findings: usize,
    lockstep: Vec<String>,
    coverage: Vec<String>,
    unknowns: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marked: Vec<Marked>,
    #[serde(skip)]
    machine: Vec<(&'static str, String)>,
    #[serde(skip)]
    pools: Vec<String>,
}

/// What someone marked by hand.
#[derive(Debug, Serialize)]
struct Marked {
    what: String,
    note: String,
}

#[derive(Debug, Serialize)]
struct Record {
    tag: String,
    tag_hex: String,
    pool: &'static str,
    verdict: &'static str,
    bytes: u64,
    outstanding: u64,
    share: Option<f64>,
    description: Option<String>,
    reasons: Vec<String>,
    signs: Vec<Sign>,
    sizes: Vec<Size>,
    exemplars: Vec<String>,
    owners: Vec<OwnerRecord>,
    rejected: Vec<Rejected>,
    notes: Vec<String>,
    references: Vec<String>,
    searched: String,
    contents: Vec<String>,
    objects: Vec<String>,
    lockstep: Option<String>,
    coverage: Vec<String>,
    what: Option<String>,
    advice: String,
    next: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Sign {
    name: &'static str,
    weight: &'static str,
    sentence: String,
}

#[derive(Debug, Serialize)]
struct Size {
    size: u64,
    count: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct OwnerRecord {
    module: String,
    confidence: &'static str,
    reasons: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Rejected {
    module: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Step {
    command: String,
    why: String,
}

fn safe(text: &str) -> String {
    clean(text).into_owned()
}

fn all(texts: &[String]) -> Vec<String> {
    texts.iter().map(|t| safe(t)).collect()
}

impl Marked {
    fn line(&self) -> String {
        match self.note.is_empty() {
            true => self.what.clone(),
            false => format!("{}: {}", self.what, self.note),
        }
    }
}

impl Diagnose {
    /// With what someone marked by hand: what, and the note.
    #[must_use]
    pub fn with_marks(mut self, marks: Vec<(String, String)>) -> Diagnose {
        let safe = |text: String| clean(&text).into_owned();
        self.marked = marks
            .into_iter()
            .map(|(what, note)| Marked {
                what: safe(what),
                note: safe(note),
            })
            .collect();
        self
    }

    /// Of a diagnosis.
    pub fn of(engine: &Engine, d: &Diagnosis) -> Diagnose {
        Diagnose {
            verdict: d.verdict.word(),
            summary: safe(&d.summary),
            flags: d.flags.iter().map(|f| f.word()).collect(),
            findings: d.findings.iter().map(Record::of).collect(),
            more_findings: d.more_findings,
            lockstep: d.groups.iter().map(|g| safe(&g.sentence())).collect(),
            coverage: all(&d.coverage),
            unknowns: all(&d.unknowns),
            marked: Vec::new(),
            machine: Info::of(&engine.info()).machine(),
            pools: pools(engine),
        }
    }
}

/// The two pools as `!vm` has them.
fn pools(engine: &Engine) -> Vec<String> {
    let vm = engine.vm();
    let bytes = |pages: u64| human(pages.saturating_mul(PAGE_SIZE));
    let line = |name: &str, usage: Option<u64>, max: Option<u64>| match (usage, max) {
        (Some(usage), Some(max)) if max > 0 => format!(
            "{name}: {} of {} ({:.0} %)",
            bytes(usage),
            bytes(max),
            usage as f64 / max as f64 * 100.0
        ),
        (Some(usage), _) => format!("{name}: {}, of an unknown maximum", bytes(usage)),
        _ => format!("{name}: use unknown"),
    };
    let mut out = vec![
        line("NonPaged", vm.nonpaged_usage.pages, vm.nonpaged_max.pages),
        line("Paged", vm.paged_usage.pages, vm.paged_max.pages),
    ];
    let banners = vm.flags.iter().map(|f| f.banner());
    out.extend(banners.map(|b| b.replace('*', "").trim().to_owned()));
    out
}

impl Record {
    fn of(f: &Finding) -> Record {
        let owners = f.owners.ranked.iter().map(|o| OwnerRecord {
            module: safe(&o.module),
            confidence: o.certainty.word(),
            reasons: all(&o.reasons),
        });
        let rejected = f.owners.rejected.iter().map(|(module, why)| Rejected {
            module: safe(module),
            reason: safe(why),
        });
        let signs = f.score.components.iter().map(|c| Sign {
            name: c.name,
            weight: c.weight(),
            sentence: safe(&c.sentence),
        });
        let for_it = f.score.components.iter().filter(|c| c.points > 0);
        Record {
            tag: f.tag.to_string(),
            tag_hex: tag_hex(f.tag),
            pool: f.pool.word(),
            verdict: f.score.verdict.word(),
            bytes: f.usage.bytes,
            outstanding: f.usage.outstanding,
            share: f.share,
            description: f.description.as_deref().map(safe),
            reasons: for_it.map(|c| safe(&c.sentence)).collect(),
            signs: signs.collect(),
            sizes: f.sizes.iter().take(SIZES).map(Size::of).collect(),
            exemplars: f.exemplars.iter().map(|va| json_address(*va)).collect(),
            owners: owners.collect(),
            rejected: rejected.collect(),
            notes: all(&f.owners.notes),
            references: all(&f.places),
            searched: f.searched.clone(),
            contents: all(&f.contents),
            objects: all(&f.objects),
            lockstep: f.group.as_ref().map(|g| safe(&g.sentence())),
            coverage: all(&f.coverage),
            what: f.guidance.map(|g| g.is.clone()),
            advice: advice(f),
            next: steps(f),
        }
    }
}

impl Size {
    fn of(s: &crate::pool::index::SizeCount) -> Size {
        Size {
            size: s.size,
            count: s.count,
            bytes: s.bytes(),
        }
    }
}

/// What to do about it, in a sentence or two.
fn advice(f: &Finding) -> String {
    let mut out = match f.owners.best() {
        Some(owner) if owner.module.eq_ignore_ascii_case("nt") => {
            "Windows itself allocates this: find out for whom".to_owned()
        }
        Some(owner) => format!(
            "look for an update of {0}, or ask its vendor with this report",
            safe(&owner.module)
        ),
        None => "look at what the blocks hold to find their owner".to_owned(),
    };
    if let Some(guidance) = f.guidance {
        out += &format!(". {}. {}", capital(&guidance.large), capital(&guidance.ask));
    }
    out
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// The debugger's commands to go on with.
fn steps(f: &Finding) -> Vec<Step> {
    let mut out = Vec::new();
    if f.tag.is_printable() {
        let pool = match f.pool {
            crate::pool::Pool::Nonpaged => "-nonpaged",
            crate::pool::Pool::Paged => "-paged",
        };
        out.push(Step {
            command: format!("!poolfind \"{}\" {pool}", f.tag),
            why: "all of its blocks".into(),
        });
    }
    if let Some(owner) = f.owners.best() {
        out.push(Step {
            command: format!("lmvm {}", safe(&owner.module)),
            why: "its version and vendor".into(),
        });
    }
    if let Some(guidance) = f.guidance {
        out.extend(guidance.next.iter().map(|s| Step {
            command: s.command.clone(),
            why: s.why.clone(),
        }));
    }
    out
}

/// How headings and lists are written.
trait Style {
    fn title(&self, text: &str) -> String;
    fn heading(&self, text: &str) -> String;
    fn item(&self, text: &str) -> String;
    fn sub_item(&self, text: &str) -> String;
    fn command(&self, text: &str) -> String;
}

struct Plain;
struct Markdown;

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
    fn command(&self, text: &str) -> String {
        text.to_owned()
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
    fn command(&self, text: &str) -> String {
        // Escaped with its line.
        text.to_owned()
    }
}

impl Diagnose {
    fn write(&self, style: &dyn Style, out: &mut dyn Write) -> io::Result<()> {
        let title = format!("Verdict: {}. {}.", self.verdict, self.summary);
        writeln!(out, "{}", style.title(&title))?;
        writeln!(out, "{}", style.heading("Machine"))?;
        for (label, value) in &self.machine {
            writeln!(out, "{}", style.item(&format!("{label}: {}", clean(value))))?;
        }
        section(style, out, "Pools", &self.pools)?;
        for finding in &self.findings {
            finding.write(style, out)?;
        }
        if self.more_findings > 0 {
            let more = format!("{} more tags have signs of a leak", self.more_findings);
            section(style, out, "More", &[more])?;
        }
        section(style, out, "Allocated together", &self.lockstep)?;
        section(style, out, "What the numbers cover", &self.coverage)?;
        let marked: Vec<String> = self.marked.iter().map(Marked::line).collect();
        section(style, out, "Marked by hand", &marked)?;
        section(style, out, "What could not be known", &self.unknowns)
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
        let heading = format!(
            "{} in {} pool: {} blocks, {} bytes ({})",
            self.tag,
            self.pool,
            grouped(self.outstanding),
            grouped(self.bytes),
            self.verdict
        );
        writeln!(out, "{}", style.heading(&heading))?;
        let mut item = |text: &str| writeln!(out, "{}", style.item(text));
        if let Some(what) = self.description.as_ref().or(self.what.as_ref()) {
            item(&format!("what it is: {what}"))?;
        }
        item("signs:")?;
        let signs = self
            .signs
            .iter()
            .map(|s| format!("{}: {} ({})", s.name, s.sentence, s.weight));
        list(style, out, signs)?;
        self.write_blocks(style, out)?;
        self.write_owners(style, out)?;
        for (heading, lines) in [
            ("what the blocks hold:", &self.contents),
            ("as kernel objects:", &self.objects),
        ] {
            if !lines.is_empty() {
                writeln!(out, "{}", style.item(heading))?;
                list(style, out, lines.iter().cloned())?;
            }
        }
        let mut item = |text: &str| writeln!(out, "{}", style.item(text));
        if let Some(group) = &self.lockstep {
            item(group)?;
        }
        for sentence in &self.coverage {
            item(sentence)?;
        }
        item(&format!("advice: {}", self.advice))?;
        item("next, in the debugger:")?;
        let next = self
            .next
            .iter()
            .map(|s| format!("{}   ({})", style.command(&s.command), s.why));
        list(style, out, next)
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
        let line = format!("sizes: {}", sizes.join(", "));
        writeln!(out, "{}", style.item(&line))?;
        let line = format!(
            "blocks to look at (first, middle, last): {}",
            self.exemplars.join(", ")
        );
        writeln!(out, "{}", style.item(&line))
    }

    fn write_owners(&self, style: &dyn Style, out: &mut dyn Write) -> io::Result<()> {
        if self.owners.is_empty() {
            let line = format!("owner: unknown; {}", self.searched);
            writeln!(out, "{}", style.item(&line))?;
        }
        for owner in &self.owners {
            let line = format!("owner: {} ({})", owner.module, owner.confidence);
            writeln!(out, "{}", style.item(&line))?;
            list(style, out, owner.reasons.iter().cloned())?;
        }
        if !self.references.is_empty() {
            writeln!(out, "{}", style.item("where it is named:"))?;
            list(style, out, self.references.iter().cloned())?;
        }
        for rejected in &self.rejected {
            let line = format!("not {}: {}", rejected.module, rejected.reason);
            writeln!(out, "{}", style.item(&line))?;
        }
        for note in &self.notes {
            writeln!(out, "{}", style.item(note))?;
        }
        Ok(())
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

impl Answer for Diagnose {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write(&Plain, out)
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write(&Markdown, out)
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv_writer(out);
        csv.write_record([
            "tag",
            "tag_hex",
            "pool",
            "verdict",
            "bytes",
            "share",
            "owner",
            "confidence",
        ])?;
        for f in &self.findings {
            let owner = f.owners.first();
            csv.write_record([
                cell(&f.tag),
                f.tag_hex.clone(),
                f.pool.into(),
                f.verdict.into(),
                f.bytes.to_string(),
                f.share.map(|s| format!("{s:.4}")).unwrap_or_default(),
                cell(owner.map_or("", |o| &o.module)),
                owner.map_or("", |o| o.confidence).into(),
            ])?;
        }
        csv.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_dump_becomes_markup() {
        assert_eq!(
            escape("<script>[a](b) *x* `y` # |"),
            "&lt;script&gt;\\[a\\](b) \\*x\\* \\`y\\` \\# \\|"
        );
    }
}
