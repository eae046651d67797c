//! The answers of the tools: the JSON of the corresponding command.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::analysis::Descriptions;
use crate::command::request::PoolChoice;
use crate::engine::{self, ListedPoolUsed, Machine, Selection, diagnose_points};
use crate::pool::page::PageError;
use crate::pool::{Tag, TagPattern};
use crate::report::text::{grouped, parse_address};
use crate::report::{self, Allocs, Answer, Diagnose, Diff, Format, Info, Page, PoolUsed, Refs, Vm};
use crate::series::{Comparison, Listing, Log};

use super::arguments::{self, Blocks, OfTag, Open, Tags, Whole};
use super::bounds::{Rows, Window, fit};
use super::session::{Opened, Session, Source, Why};

type Result<T> = std::result::Result<T, Why>;
/// Returns false when the answer is no longer needed.
type Wanted<'a> = &'a (dyn Fn() -> bool + Sync);

/// Answers a call. `None` for an unknown tool.
pub fn answer(
    session: &Session,
    tool: &str,
    given: &Map<String, Value>,
    wanted: Wanted<'_>,
) -> Option<Result<Value>> {
    let ask = Ask {
        session,
        wanted,
        tool,
    };
    Some(match tool {
        "open" => arguments::read(given).and_then(|a| ask.open(&a)),
        "summary" => arguments::read(given).and_then(|a| ask.summary(&a)),
        "tags" => arguments::read(given).and_then(|a| ask.tags(&a)),
        "tag" => arguments::read(given).and_then(|a| ask.tag(&a)),
        "references" => arguments::read(given).and_then(|a| ask.references(&a)),
        "blocks" => arguments::read(given).and_then(|a| ask.blocks(&a)),
        "diagnose" => arguments::read(given).and_then(|a| ask.diagnose(&a)),
        "diff" => arguments::read(given).and_then(|a| ask.diff(&a)),
        _ => return None,
    })
}

struct Ask<'a> {
    session: &'a Session,
    wanted: Wanted<'a>,
    tool: &'a str,
}

/// An answer about a machine, as the command line writes it.
fn of_machine(machine: &dyn Machine, answer: &impl Answer) -> Result<Value> {
    let mut out = Vec::new();
    report::write(machine, answer, Format::Json, &mut out).map_err(|e| e.to_string())?;
    serde_json::from_slice(&out).map_err(|e| e.to_string())
}

/// The same for logs, or for several files.
fn of_files(
    facts: Option<&engine::DumpFacts>,
    warnings: &[String],
    answer: &impl Answer,
) -> Result<Value> {
    let mut out = Vec::new();
    report::write_for(facts, warnings, answer, Format::Json, &mut out)
        .map_err(|e| e.to_string())?;
    serde_json::from_slice(&out).map_err(|e| e.to_string())
}

/// All rows of a list of an answer.
fn rows(answer: &Value, list: &'static str) -> Option<Rows> {
    let total = answer.get(list)?.as_array()?.len() as u64;
    Some(Rows {
        list,
        is_window: false,
        total,
    })
}

/// The share of the machine's memory that a file contains.
fn pages(machine: &dyn Machine) -> String {
    let facts = machine.facts();
    let mut out = match facts.physical_pages {
        Some(all) => format!(
            "{} of {} physical pages are in the file",
            grouped(facts.pages_present),
            grouped(all)
        ),
        None => format!(
            "{} physical pages are in the file",
            grouped(facts.pages_present)
        ),
    };
    if facts.pages_cut_off > 0 {
        out += &format!("; {} more are cut off", grouped(facts.pages_cut_off));
    }
    out
}

/// Notes on the coverage of an answer that was made from kernel counters only.
fn counters(machine: &dyn Machine) -> Vec<String> {
    vec![
        pages(machine),
        "kernel counters; the pool was not walked for this".into(),
    ]
}

fn pattern(text: &str) -> Result<TagPattern> {
    TagPattern::parse(text).map_err(|e| e.to_string())
}

/// The tag that a client names, as it appears in the dump.
fn one_tag(machine: &dyn Machine, text: Option<&str>) -> Result<Tag> {
    let text = text.ok_or("name a tag, for example {\"tag\": \"Leak\"}")?;
    let pattern = pattern(text)?;
    let tag = pattern
        .exact()
        .ok_or("a tag with a wildcard stands for many: name one tag; tags lists them by pattern")?;
    Ok(machine.tag_as_typed(tag, &pattern))
}

impl Ask<'_> {
    fn window(&self, part: &arguments::Part, file: &Path, rest: &[&str]) -> Result<Window> {
        let file = file.to_string_lossy();
        let mut question = vec![self.tool, &*file];
        question.extend(rest);
        Window::of(part, &question)
    }

    fn open(&self, asked: &Open) -> Result<Value> {
        let Some(path) = &asked.path else {
            return self.list(asked);
        };
        let file = self.session.file(Some(path))?;
        let window = self.window(&asked.part(), &file.path, &[])?;
        match &file.source {
            Source::Machine(machine) => {
                let answer = of_machine(&**machine, &Info::of(&machine.info()))?;
                fit(answer, None, window, vec![pages(&**machine)])
            }
            Source::Log(log) => {
                let answer = json!({
                    "schema": report::SCHEMA,
                    "dump": null,
                    "warnings": log.notes,
                    "log": {"path": file.path.to_string_lossy(), "what": log.what, "points": log.points.len()},
                });
                let covers = "counts per tag, no memory: use tags, diagnose and diff";
                fit(answer, None, window, vec![covers.into()])
            }
        }
    }

    fn list(&self, asked: &Open) -> Result<Value> {
        let (files, more) = self.session.allowed().list();
        let window = self.window(&asked.part(), Path::new(""), &[])?;
        let listed: Vec<Value> = files
            .iter()
            .map(|f| json!({"path": f.path.to_string_lossy(), "bytes": f.bytes}))
            .collect();
        let covers = match more {
            0 => "all files that can be opened, four directories deep".to_owned(),
            n => format!("{} more files can be opened and are not listed", grouped(n)),
        };
        let answer =
            json!({"schema": report::SCHEMA, "dump": null, "warnings": [], "files": listed});
        let all = rows(&answer, "files");
        fit(answer, all, window, vec![covers])
    }

    fn summary(&self, asked: &Whole) -> Result<Value> {
        let file = self.session.file(asked.dump.as_deref())?;
        let machine = file.machine()?;
        let window = self.window(&asked.part(), &file.path, &[])?;
        let answer = of_machine(machine, &Vm::of(machine.vm()))?;
        fit(answer, None, window, counters(machine))
    }

    fn tags(&self, asked: &Tags) -> Result<Value> {
        let file = self.session.file(asked.dump.as_deref())?;
        let text = asked.pattern.as_deref().unwrap_or("*");
        let selection = Selection {
            sort: asked.sort.into(),
            verbose: true,
            session: asked.session,
            top: None,
            pattern: pattern(text)?,
        };
        let question = [text, &format!("{:?} {}", asked.sort, asked.session)];
        let window = self.window(&asked.part(), &file.path, &question)?;
        let (answer, covers) = match &file.source {
            Source::Machine(machine) => {
                let used = machine.pool_used(&selection).map_err(|e| e.to_string())?;
                let mut covers = counters(&**machine);
                covers.extend(used.notes.iter().cloned());
                (of_machine(&**machine, &PoolUsed::of(&used))?, covers)
            }
            Source::Log(log) => self.listed(log, &selection)?,
        };
        let all = rows(&answer, "tags");
        fit(answer, all, window, covers)
    }

    fn descriptions(&self) -> Result<Descriptions> {
        let pooltag = self.session.options().pooltag.as_deref();
        engine::descriptions(pooltag).map_err(|e| e.to_string())
    }

    /// The last snapshot of a log.
    fn listed(&self, log: &Log, selection: &Selection) -> Result<(Value, Vec<String>)> {
        let point = log.points.last().ok_or("the log has no snapshot")?;
        let used = ListedPoolUsed::of(point, &self.descriptions()?, selection);
        let used = used.map_err(|e| e.to_string())?;
        let mut covers = vec![match log.points.len() {
            1 => "the only snapshot of the log".to_owned(),
            n => format!("the last of {n} snapshots; diff compares all"),
        }];
        if let Listing::Truncated(why) = &point.listing {
            covers.push(format!("the listing is not complete: {why}"));
        }
        let answer = of_files(None, &log.notes, &PoolUsed::listed(&used))?;
        Ok((answer, covers))
    }

    fn tag(&self, asked: &OfTag) -> Result<Value> {
        let file = self.session.file(asked.dump.as_deref())?;
        let machine = file.machine()?;
        let tag = one_tag(machine, asked.tag.as_deref())?;
        let window = self.window(&asked.part(), &file.path, &[&tag.typed()])?;
        let index = file.index(self.wanted)?;
        let pattern = TagPattern::of(tag);
        let found = machine.allocs(&index, &pattern, false);
        let blocks = Allocs::of(&found).part(0, 0);
        let covers = blocks.notes();
        let mut answer = of_machine(machine, &blocks)?;
        if let Some(answer) = answer.as_object_mut() {
            answer.remove("allocations");
            self.counts_and_owners(machine, &index, tag, answer)?;
        }
        fit(answer, None, window, covers)
    }

    /// Counts and owner of a tag.
    fn counts_and_owners(
        &self,
        machine: &dyn Machine,
        index: &crate::pool::index::Snapshot,
        tag: Tag,
        answer: &mut Map<String, Value>,
    ) -> Result<()> {
        let selection = Selection {
            sort: engine::Sort::Tag,
            verbose: true,
            session: false,
            top: None,
            pattern: TagPattern::of(tag),
        };
        let used = machine.pool_used(&selection).map_err(|e| e.to_string())?;
        let used = serde_json::to_value(PoolUsed::of(&used)).map_err(|e| e.to_string())?;
        for name in ["nonpaged", "paged", "description", "binary"] {
            let value = used["tags"][0].get(name).cloned();
            answer.insert(name.into(), value.unwrap_or(Value::Null));
        }
        let attribution = match machine.engine() {
            Some(engine) => Some(engine.attribution(tag, Some(index))),
            None => machine.attribution_made(tag),
        };
        let Some(attribution) = attribution else {
            answer.insert("owners".into(), Value::Null);
            return Ok(());
        };
        let owners = attribution.owners.ranked.iter().map(|owner| {
            json!({"module": owner.module, "confidence": owner.certainty.word(), "reasons": owner.reasons})
        });
        answer.insert("owners".into(), owners.collect());
        answer.insert("allocator".into(), json!(attribution.allocator()));
        answer.insert("shared_by".into(), json!(attribution.owners.shared_by));
        Ok(())
    }

    fn references(&self, asked: &OfTag) -> Result<Value> {
        let file = self.session.file(asked.dump.as_deref())?;
        let machine = file.machine()?;
        let tag = one_tag(machine, asked.tag.as_deref())?;
        let window = self.window(&asked.part(), &file.path, &[&tag.typed()])?;
        let found = machine.references_while(tag, self.wanted);
        let found = found.ok_or("the request was cancelled")?;
        let found = engine::TagReferences {
            attribution: machine.attribution_of(tag),
            ..engine::TagReferences::of(tag, found, &machine.module_list())
        };
        let answer = Refs::of(&found);
        let covers = vec![answer.coverage()];
        let answer = of_machine(machine, &answer)?;
        let all = rows(&answer, "references");
        fit(answer, all, window, covers)
    }

    fn blocks(&self, asked: &Blocks) -> Result<Value> {
        let file = self.session.file(asked.dump.as_deref())?;
        match (&asked.tag, &asked.address) {
            (Some(tag), None) => self.blocks_of(&file, asked, tag),
            (None, Some(address)) => self.page(&file, asked, address),
            _ => Err("name either a tag or an address".into()),
        }
    }

    fn blocks_of(&self, file: &Opened, asked: &Blocks, text: &str) -> Result<Value> {
        let machine = file.machine()?;
        let mut pattern = pattern(text)?;
        if let Some(tag) = pattern.exact() {
            pattern = TagPattern::of(machine.tag_as_typed(tag, &pattern));
        }
        let question = [text, &format!("{:?} {}", asked.pool, asked.heuristic)];
        let window = self.window(&asked.part(), &file.path, &question)?;
        let index = file.index(self.wanted)?;
        let found = machine.allocs(&index, &pattern, asked.heuristic);
        let found = found.only(PoolChoice::from(asked.pool));
        let total = found.blocks().count() as u64;
        let answer = Allocs::of(&found).part(window.start, window.rows);
        let covers = answer.notes();
        let rows = Rows {
            list: "allocations",
            is_window: true,
            total,
        };
        fit(of_machine(machine, &answer)?, Some(rows), window, covers)
    }

    fn page(&self, file: &Opened, asked: &Blocks, text: &str) -> Result<Value> {
        let machine = file.machine()?;
        let va = parse_address(text).ok_or_else(|| {
            format!("not a valid address: {text} (hexadecimal, for example 0xfffffa8002400000)")
        })?;
        let window = self.window(&asked.part(), &file.path, &[text])?;
        let page = machine.page(va).map_err(|error| match error {
            PageError::Unreadable(fault) => format!("{va} can't be read: {fault}"),
            PageError::NotPool => format!("{va} is not in a page of pool"),
            PageError::NotKept => {
                format!("the evidence file does not have the page of {va}; open the dump")
            }
        })?;
        let answer = of_machine(machine, &Page::of(&page, machine.descriptions()))?;
        let all = rows(&answer, "blocks");
        fit(answer, all, window, vec![pages(machine)])
    }

    fn diagnose(&self, asked: &Whole) -> Result<Value> {
        let file = self.session.file(asked.dump.as_deref())?;
        let window = self.window(&asked.part(), &file.path, &[])?;
        let answer = match &file.source {
            Source::Log(log) => {
                let diagnosis = diagnose_points(&log.points, &self.descriptions()?);
                of_files(
                    None,
                    &log.notes,
                    &Diagnose::of_table(&diagnosis, Vec::new()),
                )?
            }
            Source::Machine(machine) => match machine.engine() {
                Some(dump) => {
                    let index = file.index(self.wanted)?;
                    of_machine(&**machine, &Diagnose::of(dump, &dump.diagnose(&index)))?
                }
                None => {
                    let kept = machine.kept_answer("diagnose", Format::Json.word());
                    let kept = kept
                        .ok_or("the evidence file has no report: create it again from the dump")?;
                    serde_json::from_str(kept)
                        .map_err(|e| format!("the report in the evidence file is damaged: {e}"))?
                }
            },
        };
        let all = rows(&answer, "findings");
        fit(answer, all, window, Vec::new())
    }

    fn diff(&self, asked: &arguments::Diff) -> Result<Value> {
        let mut points = Vec::new();
        let mut warnings = Vec::new();
        let mut newest = None;
        let mut names = Vec::new();
        for path in &asked.dumps {
            let file = self.session.file(Some(path))?;
            warnings.extend(file.warnings().iter().map(|w| format!("{path}: {w}")));
            if let Source::Machine(machine) = &file.source {
                newest = Some(machine.facts());
            }
            points.extend(file.points());
            names.push(file.path.to_string_lossy().into_owned());
        }
        if points.len() < 2 {
            return Err(
                "there is one point in time only: name a second dump or log to compare it with, for example {\"dumps\": [\"before.dmp\", \"after.dmp\"]}".into(),
            );
        }
        let window = self.window(&asked.part(), Path::new(&names.join("\n")), &[])?;
        let comparison = Comparison::of(points);
        warnings.extend(comparison.warnings.iter().cloned());
        let answer = of_files(newest.as_ref(), &warnings, &Diff::of(&comparison))?;
        let points = answer["points"].as_array();
        let part = points.into_iter().flatten();
        let part = part.filter(|p| p["complete"] == Value::Bool(false)).count();
        let covers = match part {
            0 => "all tags of every point; null where a point has no value".to_owned(),
            n => format!("{n} points list some tags only: the others are unknown there"),
        };
        let all = rows(&answer, "changes");
        fit(answer, all, window, vec![covers])
    }
}
