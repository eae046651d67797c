//! Recorded call stacks: each distinct stack once, with its number of records.

mod csv;
mod markdown;
mod text;

use std::io::{self, Write};

use serde::Serialize;

use crate::engine::{StackRow, Stacks, StacksCoverage};

use super::Answer;
use super::text::{clean, json_address};

/// The answer of `stacks`.
#[derive(Debug, Serialize)]
pub struct StacksReport<'a> {
    of: String,
    stacks: Vec<Row>,
    traced: Vec<Row>,
    coverage: Coverage,
    notes: Vec<String>,
    #[serde(skip)]
    warnings: Vec<String>,
    #[serde(skip)]
    answer: &'a Stacks,
}

#[derive(Debug, Serialize)]
struct Row {
    source: &'static str,
    event: Option<&'static str>,
    address: String,
    size: u64,
    thread: Option<String>,
    frames: Vec<String>,
    symbols: Vec<String>,
    functions: Vec<Option<String>>,
    count: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Coverage {
    verifier_level: Option<u32>,
    drivers: Vec<String>,
    pool_entries: u64,
    log_length: u64,
    log_frames: u64,
    log_entries: u64,
    live_blocks: Option<u64>,
    in_pool: u64,
    in_log: u64,
    unknown_events: u64,
    damaged: u64,
    unreadable: u64,
    trace_on: Option<bool>,
    trace_events: u64,
    trace_lost: Option<u64>,
    layouts: String,
    /// The sentences that are also warnings.
    damage: Vec<String>,
}

impl<'a> StacksReport<'a> {
    /// A report of the engine's answer.
    pub fn of(answer: &'a Stacks) -> StacksReport<'a> {
        StacksReport {
            of: clean(&answer.of).into(),
            stacks: answer.rows.iter().map(Row::of).collect(),
            traced: answer.traced.iter().map(Row::of).collect(),
            coverage: Coverage {
                damage: cleaned(&answer.warnings),
                ..Coverage::of(&answer.coverage)
            },
            notes: cleaned(&answer.notes),
            warnings: cleaned(&answer.warnings),
            answer,
        }
    }

    /// Warnings about damaged records.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The summary, as one line.
    fn headline(&self) -> String {
        let of = &self.of;
        match self.stacks.len() {
            0 => format!("no stacks are recorded for {of}"),
            1 => format!("1 stack is recorded for {of}"),
            n => format!("{n} stacks are recorded for {of}"),
        }
    }
}

fn cleaned(sentences: &[String]) -> Vec<String> {
    sentences.iter().map(|s| clean(s).into()).collect()
}

impl Row {
    fn of(row: &StackRow) -> Row {
        let name = |text: &String| clean(text).into_owned();
        Row {
            source: row.source.word(),
            event: row.event.map(|e| e.word()),
            address: json_address(row.address),
            size: row.size,
            thread: row.thread.map(json_address),
            frames: row.frames.iter().map(|f| json_address(*f)).collect(),
            symbols: row.symbols.iter().map(name).collect(),
            functions: row.functions.iter().map(|f| f.as_ref().map(name)).collect(),
            count: row.count,
            bytes: row.bytes,
        }
    }

    /// A frame's symbol, and its function if the symbol does not contain it.
    fn frame(&self, nth: usize) -> String {
        let symbol = self
            .symbols
            .get(nth)
            .map(String::as_str)
            .unwrap_or_default();
        match self.functions.get(nth).and_then(Option::as_deref) {
            Some(function) if function != symbol => format!("{symbol} ({function})"),
            _ => symbol.to_owned(),
        }
    }
}

impl Coverage {
    fn of(c: &StacksCoverage) -> Coverage {
        Coverage {
            verifier_level: c.level,
            drivers: c.drivers.iter().map(|d| clean(d).into()).collect(),
            pool_entries: c.pool_entries,
            log_length: c.log_length,
            log_frames: c.log_frames,
            log_entries: c.log_entries,
            live_blocks: c.live_blocks,
            in_pool: c.in_pool,
            in_log: c.in_log,
            unknown_events: c.unknown_events,
            damaged: c.damaged,
            unreadable: c.unreadable,
            trace_on: c.trace_on,
            trace_events: c.trace_events,
            trace_lost: c.trace_lost,
            layouts: c.layouts.clone(),
            damage: Vec::new(),
        }
    }
}

impl Answer for StacksReport<'_> {
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
