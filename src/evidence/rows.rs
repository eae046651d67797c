//! Writes the rows of each table from the answers.

use std::cell::Cell as Counter;
use std::io;

use rustc_hash::FxHashMap;
use serde_json::Value;

use crate::engine::ModuleFacts;
use crate::memory::{PAGE_SIZE, Va};
use crate::pool::block::Block;
use crate::pool::index::{Found, PageCounts, TagFound};
use crate::pool::tracker::{TagUsage, Trackers, Usage};
use crate::pool::{Tag, TagPattern};

use super::answers::{Answers, booted};
use super::cell::{Cell, Sink, address, count, hex, maybe, seconds, tag_hex, text};
use super::schema::{
    AGES, BLOCKS, COUNTERS, DUMPS, FINDINGS, MODULES, OCCUPANCY, POOLS, REFERENCES, SIZES, STACKS,
    TAGS, VERSION,
};

/// Writes all tables except the blocks and the tables that only evidence files have.
///
/// # Errors
/// I/O errors of the sink.
pub fn tables(answers: &Answers<'_>, sink: &mut dyn Sink) -> io::Result<()> {
    dumps(answers, sink)?;
    pools(answers, sink)?;
    counters(answers, sink)?;
    tags(answers, sink)?;
    modules(answers, sink)?;
    references(answers, sink)?;
    sizes(answers, sink)?;
    findings(answers, sink)?;
    stacks(answers, sink)?;
    ages(answers, sink)?;
    occupancy(answers, sink)
}

fn dumps(answers: &Answers<'_>, sink: &mut dyn Sink) -> io::Result<()> {
    let info = &answers.info;
    let facts = &info.dump;
    let parameters: Vec<String> = facts
        .bugcheck_parameters
        .iter()
        .map(|p| format!("{p:#x}"))
        .collect();
    let (major, minor) = facts.version;
    let verdict = answers.diagnose.json();
    let verdict = verdict.as_ref().and_then(|j| j["verdict"].as_str());
    let pdb = facts.symbols.pdb.as_ref();
    sink.row(
        &DUMPS,
        &[
            Cell::Text(file_name(&facts.path)),
            count(info.file_bytes),
            Cell::Text(&facts.format),
            Cell::Text(&info.contents),
            count(facts.build.into()),
            Cell::Text(&format!("{major}.{minor}.{}", facts.build)),
            text(info.build_lab.as_deref()),
            Cell::Text("x64"),
            count(facts.processors.into()),
            maybe(facts.bugcheck.map(u64::from)),
            Cell::Text(&parameters.join(" ")),
            address(facts.kernel_base),
            Cell::Text(&hex(facts.kernel_base)),
            maybe(facts.physical_pages),
            count(facts.pages_present),
            count(facts.pages_cut_off),
            seconds(facts.system_time),
            seconds(booted(facts)),
            maybe(facts.uptime_seconds),
            Cell::Text(facts.symbols.source.word()),
            text(pdb.map(|p| p.name.as_str())),
            text(pdb.map(|p| p.key()).as_deref()),
            text(verdict),
            answers
                .index
                .map_or(Cell::Null, |i| Cell::Bool(i.is_complete())),
            Cell::Text(env!("CARGO_PKG_VERSION")),
            Cell::Text(&format!("{}.{}", VERSION.0, VERSION.1)),
        ],
    )
}

/// The last component of a Windows or Unix path.
pub fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

fn pools(answers: &Answers<'_>, sink: &mut dyn Sink) -> io::Result<()> {
    let vm = answers.machine.vm();
    let bytes = |pages: Option<u64>| maybe(pages.and_then(|p| p.checked_mul(PAGE_SIZE)));
    let total = &answers.machine.trackers().total;
    let counted = !answers.machine.trackers().rows.is_empty();
    let mut found = TagFound::default();
    let totals = answers.index.map(|index| &index.totals);
    for one in totals.iter().flat_map(|t| t.tags.values()) {
        found += *one;
    }
    let walked = |found: Found, pages: &PageCounts| match totals {
        Some(_) => [
            count(found.blocks),
            count(found.bytes),
            count(pages.unreadable()),
        ],
        None => [Cell::Null; 3],
    };
    let none = PageCounts::default();
    let pages = |of: fn(&crate::pool::index::Totals) -> &PageCounts| match totals {
        Some(t) => *of(t),
        None => none,
    };
    let mut row = |pool, usage, maximum, account: Option<&Usage>, walked: [Cell<'static>; 3]| {
        let of = |get: fn(&Usage) -> u64| maybe(account.map(get));
        sink.row(
            &POOLS,
            &[
                Cell::Text(pool),
                usage,
                maximum,
                of(|u| u.allocs),
                of(|u| u.frees),
                of(|u| u.outstanding),
                of(|u| u.bytes),
                walked[0],
                walked[1],
                walked[2],
            ],
        )
    };
    row(
        "nonpaged",
        bytes(vm.nonpaged_usage.pages),
        bytes(vm.nonpaged_max.pages),
        counted.then_some(&total.nonpaged),
        walked(found.nonpaged, &pages(|t| &t.nonpaged_pages)),
    )?;
    row(
        "paged",
        bytes(vm.paged_usage.pages),
        bytes(vm.paged_max.pages),
        counted.then_some(&total.paged),
        walked(found.paged, &pages(|t| &t.paged_pages)),
    )?;
    let sessions = answers.index.is_some_and(|i| i.has_sessions());
    if !sessions {
        return Ok(());
    }
    let session = answers.machine.session_trackers();
    let mut account = session.total.nonpaged;
    account += session.total.paged;
    row(
        "session",
        Cell::Null,
        Cell::Null,
        (!session.rows.is_empty()).then_some(&account),
        walked(found.session, &pages(|t| &t.session_pages)),
    )
}

fn counters(answers: &Answers<'_>, sink: &mut dyn Sink) -> io::Result<()> {
    for (label, line) in answers.machine.vm().lines() {
        sink.row(
            &COUNTERS,
            &[
                Cell::Text(&label),
                maybe(line.pages),
                Cell::Text(&line.source),
                text(line.doubt.as_deref()),
            ],
        )?;
    }
    Ok(())
}

fn tags(answers: &Answers<'_>, sink: &mut dyn Sink) -> io::Result<()> {
    let machine = answers.machine;
    accounts(answers, machine.trackers(), "system", sink)?;
    let sessions = answers.index.is_some_and(|i| i.has_sessions());
    match sessions {
        true => accounts(answers, machine.session_trackers(), "session", sink),
        false => Ok(()),
    }
}

fn accounts(
    answers: &Answers<'_>,
    trackers: &Trackers,
    scope: &str,
    sink: &mut dyn Sink,
) -> io::Result<()> {
    for usage in &trackers.rows {
        let found = answers.index.map(|index| index.totals.tag(usage.tag));
        let sides = |usage: &TagUsage| [("nonpaged", usage.nonpaged), ("paged", usage.paged)];
        for (pool, side) in sides(usage) {
            let blocks = found.map(|f| match (scope, pool) {
                ("session", "paged") => f.session,
                ("session", _) => Found::default(),
                (_, "paged") => f.paged,
                _ => f.nonpaged,
            });
            account(answers, (usage.tag, pool, scope), side, blocks, sink)?;
        }
    }
    Ok(())
}

fn account(
    answers: &Answers<'_>,
    (tag, pool, scope): (Tag, &str, &str),
    side: Usage,
    found: Option<Found>,
    sink: &mut dyn Sink,
) -> io::Result<()> {
    let about = answers.machine.descriptions().get(tag);
    sink.row(
        &TAGS,
        &[
            Cell::Text(&tag.to_string()),
            Cell::Text(&tag_hex(tag)),
            Cell::Text(pool),
            Cell::Text(scope),
            count(side.allocs),
            count(side.frees),
            count(side.outstanding),
            count(side.bytes),
            maybe(found.map(|f| f.blocks)),
            maybe(found.map(|f| f.bytes)),
            text(about.map(|a| a.text.as_str())),
            text(about.and_then(|a| a.binary.as_deref())),
        ],
    )
}

fn modules(answers: &Answers<'_>, sink: &mut dyn Sink) -> io::Result<()> {
    for m in &answers.modules {
        sink.row(
            &MODULES,
            &[
                Cell::Text(&m.name),
                text(m.file.as_deref()),
                text(m.path.as_deref()),
                address(m.base),
                Cell::Text(&hex(m.base)),
                count(m.size.into()),
                maybe(m.timestamp.map(u64::from)),
                text(m.pdb.as_ref().map(|p| p.name.as_str())),
                text(m.pdb.as_ref().map(|p| p.key()).as_deref()),
                Cell::Bool(m.unloaded),
                Cell::Bool(m.is_kernel),
                text(m.maker.company.as_deref()),
                text(m.maker.product.as_deref()),
                text(m.maker.file_version.as_deref()),
                text(m.maker.file_description.as_deref()),
                seconds(m.maker.linked),
                seconds(m.unloaded_at),
            ],
        )?;
    }
    Ok(())
}

fn references(answers: &Answers<'_>, sink: &mut dyn Sink) -> io::Result<()> {
    for (tag, found) in &answers.references {
        for r in &found.found {
            let base = answers.modules.get(r.module).map(|m| m.base);
            let offset = base.and_then(|base| r.va.0.checked_sub(base.0));
            let symbol = r.symbol.as_ref().map(|(name, distance)| match distance {
                0 => format!("{}!{name}", r.module_name),
                _ => format!("{}!{name}+{distance:#x}", r.module_name),
            });
            let bytes: String = r.bytes.iter().map(|b| format!("{b:02x}")).collect();
            let v = &r.verdict;
            sink.row(
                &REFERENCES,
                &[
                    Cell::Text(&tag.to_string()),
                    Cell::Text(&tag_hex(*tag)),
                    Cell::Text(&r.module_name),
                    address(r.va),
                    Cell::Text(&hex(r.va)),
                    maybe(offset),
                    text(r.section.as_deref()),
                    text(symbol.as_deref()),
                    Cell::Bool(r.in_code),
                    Cell::Text(&bytes),
                    text(v.instruction.as_deref()),
                    text(v.api.as_deref()),
                    text(v.function.as_deref()),
                    Cell::Text(v.role.word()),
                    text(v.confidence.map(|c| c.word())),
                    Cell::Text(&v.reason),
                ],
            )?;
        }
    }
    Ok(())
}

fn sizes(answers: &Answers<'_>, sink: &mut dyn Sink) -> io::Result<()> {
    for (tag, sizes) in answers.sizes() {
        for size in sizes {
            sink.row(
                &SIZES,
                &[
                    Cell::Text(&tag.to_string()),
                    Cell::Text(&tag_hex(tag)),
                    count(size.size),
                    count(size.count),
                    count(size.bytes()),
                ],
            )?;
        }
    }
    Ok(())
}

fn stacks(answers: &Answers<'_>, sink: &mut dyn Sink) -> io::Result<()> {
    for (tag, stacks) in &answers.stacks {
        for row in &stacks.rows {
            let frames: Vec<String> = row.frames.iter().map(|frame| hex(*frame)).collect();
            sink.row(
                &STACKS,
                &[
                    Cell::Text(&tag.to_string()),
                    Cell::Text(&tag_hex(*tag)),
                    Cell::Text(row.source.word()),
                    text(row.event.map(|e| e.word())),
                    count(row.count),
                    count(row.bytes),
                    address(row.address),
                    Cell::Text(&hex(row.address)),
                    count(row.size),
                    Cell::Text(&frames.join(" ")),
                    Cell::Text(&row.symbols.join(";")),
                ],
            )?;
        }
    }
    Ok(())
}

/// Findings, from the report's JSON, which is a stable format.
fn findings(answers: &Answers<'_>, sink: &mut dyn Sink) -> io::Result<()> {
    let json = answers.diagnose.json();
    let list = json.as_ref().and_then(|j| j["findings"].as_array());
    for finding in list.into_iter().flatten() {
        let owner = &finding["owners"][0];
        let module = owner["module"].as_str();
        let facts = module.and_then(|name| {
            let named = |m: &&ModuleFacts| m.name.eq_ignore_ascii_case(name);
            let modules = answers.modules.iter().filter(named);
            modules.max_by_key(|m| (!m.unloaded, m.unloaded_at))
        });
        let bytes = finding["bytes"].as_u64();
        let hours = answers.info.dump.uptime_seconds.map(|s| s as f64 / 3600.0);
        let rate = bytes.zip(hours.filter(|h| *h > 0.0));
        let word = |value: &'_ Value| value.as_str().map(str::to_owned);
        let texts = ["tag", "tag_hex", "pool", "verdict"].map(|name| word(&finding[name]));
        let [tag, tag_hex, pool, verdict] = &texts;
        sink.row(
            &FINDINGS,
            &[
                text(tag.as_deref()),
                text(tag_hex.as_deref()),
                text(pool.as_deref()),
                text(verdict.as_deref()),
                maybe(bytes),
                maybe(finding["outstanding"].as_u64()),
                finding["share"].as_f64().map_or(Cell::Null, Cell::Real),
                text(module),
                text(owner["confidence"].as_str()),
                text(
                    facts
                        .and_then(|m| m.pdb.as_ref())
                        .map(|p| p.key())
                        .as_deref(),
                ),
                maybe(facts.and_then(|m| m.timestamp).map(u64::from)),
                text(facts.and_then(|m| m.maker.file_version.as_deref())),
                text(facts.and_then(|m| m.maker.company.as_deref())),
                rate.map_or(Cell::Null, |(bytes, hours)| {
                    Cell::Int((bytes as f64 / hours) as i64)
                }),
                text(finding["advice"].as_str()),
            ],
        )?;
    }
    Ok(())
}

/// Ages, from the block contents of the suspects.
fn ages(answers: &Answers<'_>, sink: &mut dyn Sink) -> io::Result<()> {
    let facts = &answers.info.dump;
    // The slices divide the time from boot to dump.
    let span = booted(facts).zip(facts.uptime_seconds);
    for (tag, census) in &answers.censuses {
        let Some(ages) = &census.ages else {
            continue;
        };
        for (slice, blocks) in ages.histogram.iter().enumerate() {
            let start = span.map(|(boot, uptime)| {
                let into = u128::from(uptime) * slice as u128 / ages.histogram.len() as u128;
                boot.saturating_add(i64::try_from(into).unwrap_or(i64::MAX))
            });
            sink.row(
                &AGES,
                &[
                    Cell::Text(&tag.to_string()),
                    Cell::Text(&tag_hex(*tag)),
                    Cell::Text(&ages.source),
                    Cell::Text(ages.shape.word()),
                    count(ages.blocks_with_time),
                    count(ages.blocks),
                    filetime(ages.oldest),
                    filetime(ages.newest),
                    count(slice as u64),
                    seconds(start),
                    count(*blocks),
                ],
            )?;
        }
    }
    Ok(())
}

fn occupancy(answers: &Answers<'_>, sink: &mut dyn Sink) -> io::Result<()> {
    for row in answers.occupancy.iter().flatten() {
        sink.row(
            &OCCUPANCY,
            &[
                Cell::Text(&row.pool),
                count(row.tenths),
                count(row.pages),
                count(row.blocks),
                count(row.used_bytes),
                count(row.cached_bytes),
                count(row.free_bytes),
            ],
        )?;
    }
    Ok(())
}

/// Converts a FILETIME (100 ns since 1601) to microseconds since 1970.
fn filetime(time: u64) -> Cell<'static> {
    const TO_1970: i64 = 11_644_473_600_000_000;
    match i64::try_from(time / 10) {
        Ok(micros) => Cell::Time(micros - TO_1970),
        Err(_) => Cell::Null,
    }
}

/// Selects the blocks to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// All blocks, with hexadecimal addresses.
    All,
    /// A limited number of blocks.
    Bounded {
        /// Limit for the blocks of all suspects together.
        suspects: u64,
        /// Limit for each other tag.
        others: u64,
    },
}

/// The result of writing the blocks of a dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Number of blocks written.
    pub written: u64,
    /// Number of blocks in the index that the table does not list.
    pub left_out: u64,
}

/// Writes blocks in index order: by session, then by address.
///
/// # Errors
/// I/O errors of the sink.
pub fn blocks(answers: &Answers<'_>, listed: Listed, sink: &mut dyn Sink) -> io::Result<Outcome> {
    let Some(index) = answers.index else {
        return Ok(Outcome::default());
    };
    let mut out = Outcome::default();
    let Listed::Bounded {
        suspects: most,
        others,
    } = listed
    else {
        let mut rows = BlockRows::new(true);
        for block in index.matching(&TagPattern::any()) {
            out.written += 1;
            rows.write(&block, sink)?;
        }
        return Ok(out);
    };
    let suspects = answers.suspects();
    let of_suspects: u64 = suspects.iter().map(|tag| index.blocks(*tag).len()).sum();
    let mut rows = BlockRows::new(false);
    // Blocks of a tag follow each other, so that most row groups have one text in most columns.
    let mut choices: FxHashMap<Tag, Choice> = FxHashMap::default();
    let left_out = Counter::new(0);
    let chosen = index.chosen(|tag, length| {
        let choice = choices.entry(tag).or_insert_with(|| {
            let all = index.blocks(tag).len();
            let keep = if suspects.contains(&tag) { 0 } else { others };
            Choice::new(all, keep)
        });
        let places = choice.of_next(length);
        if !suspects.contains(&tag) {
            left_out.set(left_out.get() + length - places.count);
        }
        places
    });
    for block in chosen {
        out.written += 1;
        rows.write(&block, sink)?;
    }
    out.left_out = left_out.get();
    for tag in suspects {
        let list = index.blocks(tag);
        let all = list.len();
        // If not all of the suspects' blocks fit, each gets a share by its length.
        let keep = match of_suspects > most {
            true => (u128::from(all) * u128::from(most) / u128::from(of_suspects)) as u64,
            false => all,
        };
        out.left_out += all - keep;
        let mut choice = Choice::new(all, keep);
        let mut places = choice.of_next(all).peekable();
        for (at, block) in (0..).zip(list.iter()) {
            if places.next_if_eq(&at).is_some() {
                out.written += 1;
                rows.write(&block, sink)?;
            }
        }
    }
    Ok(out)
}

/// Selects `keep` of `length` items evenly: an item is selected if the running sum of `keep /
/// length` reaches a new whole number there.
struct Choice {
    length: u64,
    keep: u64,
    at: u64,
}

impl Choice {
    fn new(length: u64, keep: u64) -> Choice {
        Choice {
            length: length.max(1),
            keep: keep.min(length),
            at: 0,
        }
    }

    /// Number of selected items among the first `at`.
    fn kept(&self, at: u64) -> u64 {
        (u128::from(at) * u128::from(self.keep) / u128::from(self.length)) as u64
    }

    /// The selected indexes among the next `count` items, relative to the first of them.
    fn of_next(&mut self, count: u64) -> Places {
        let start = self.at;
        self.at += count;
        let first = self.kept(start);
        Places {
            length: self.length,
            keep: self.keep.max(1),
            start,
            next: first + 1,
            count: self.kept(self.at) - first,
        }
    }
}

/// An iterator over selected indexes, in order.
struct Places {
    length: u64,
    keep: u64,
    /// Number of items before these.
    start: u64,
    /// The ordinal of the next selected item, from 1.
    next: u64,
    /// Number of items that remain.
    count: u64,
}

impl Iterator for Places {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.count = self.count.checked_sub(1)?;
        let end = (u128::from(self.next) * u128::from(self.length)).div_ceil(self.keep.into());
        self.next += 1;
        // The index at which the number of selected items rises to `next`.
        (end as u64).checked_sub(self.start + 1)
    }
}

/// Writes blocks as rows. The texts of a tag are made once for blocks that follow each other.
struct BlockRows {
    /// Addresses also as text.
    with_hex: bool,
    tag: Option<Tag>,
    text: String,
    hex: String,
}

impl BlockRows {
    fn new(with_hex: bool) -> BlockRows {
        BlockRows {
            with_hex,
            tag: None,
            text: String::new(),
            hex: String::new(),
        }
    }

    fn write(&mut self, b: &Block, sink: &mut dyn Sink) -> io::Result<()> {
        if self.tag != Some(b.tag) {
            self.tag = Some(b.tag);
            self.text = b.tag.to_string();
            self.hex = tag_hex(b.tag);
        }
        let address_hex = self.with_hex.then(|| hex(b.va));
        sink.row(
            &BLOCKS,
            &[
                Cell::Text(&self.text),
                Cell::Text(&self.hex),
                address(b.va),
                text(address_hex.as_deref()),
                count(b.bytes),
                Cell::Text(b.kind.word()),
                Cell::Text(b.backend.word()),
                Cell::Text(b.state.word()),
                maybe(b.session.map(u64::from)),
                Cell::Bool(b.heuristic),
                Cell::Bool(b.protected),
            ],
        )
    }
}

/// The address in a row.
pub fn va_of(value: i64) -> Va {
    Va(value.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_even_and_exact() {
        for (length, keep) in [(10, 3), (3, 10), (1, 1), (1000, 1), (7, 0), (1000, 999)] {
            for parts in [1, 3] {
                let mut choice = Choice::new(length, keep);
                let mut kept = Vec::new();
                for part in 0..parts {
                    let start = length * part / parts;
                    let count = length * (part + 1) / parts - start;
                    kept.extend(choice.of_next(count).map(|at| start + at));
                }
                assert_eq!(kept.len() as u64, keep.min(length), "{length} {keep}");
                let even = |at: u64, nth: u64| at * keep.min(length) / length == nth;
                let mut all = (0..).zip(&kept);
                assert!(
                    all.all(|(nth, at)| even(*at, nth) && *at < length),
                    "{kept:?}"
                );
            }
        }
    }
}
