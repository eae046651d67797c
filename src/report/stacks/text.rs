//! `stacks` as text: each stack followed by its frames, as in debuggers.

use std::io::{self, Write};

use crate::engine::StackRow;

use super::super::text::{grouped, human, plain_address};
use super::{Row, StacksReport};

pub(super) fn write(answer: &StacksReport<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", answer.headline())?;
    stacks(out, &answer.stacks, &answer.answer.rows)?;
    if !answer.traced.is_empty() {
        writeln!(
            out,
            "\nAllocations in trace buffers (ETW) without a later free there"
        )?;
        stacks(out, &answer.traced, &answer.answer.traced)?;
    }
    let c = &answer.coverage;
    writeln!(out, "\nCoverage")?;
    let level = match c.verifier_level {
        Some(level) => format!("level {level:#x}"),
        None => "level not readable".to_owned(),
    };
    writeln!(
        out,
        "    Driver Verifier: {level}; {} on the lists of {}; {} in the log, which has room for {} with {} frames each",
        counted(c.pool_entries, "block"),
        counted(c.drivers.len() as u64, "driver"),
        counted(c.log_entries, "record"),
        grouped(c.log_length),
        c.log_frames
    )?;
    for line in answer.notes.iter().chain(&answer.warnings) {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

fn counted(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        n => format!("{} {what}s", grouped(n)),
    }
}

/// Writes each stack with its frames.
fn stacks(out: &mut dyn Write, rows: &[Row], facts: &[StackRow]) -> io::Result<()> {
    for (row, facts) in rows.iter().zip(facts) {
        let times = match row.count {
            1 => "1 block".to_owned(),
            n => format!("{} blocks", grouped(n)),
        };
        writeln!(
            out,
            "\n{times}, {}, {} ({}); pool block {}, size {:#x}",
            human(row.bytes),
            row.event.unwrap_or("allocated or freed"),
            row.source,
            plain_address(facts.address),
            row.size,
        )?;
        if let Some(thread) = facts.thread {
            writeln!(out, "    thread {}", plain_address(thread))?;
        }
        for (nth, frame) in facts.frames.iter().enumerate() {
            writeln!(out, "    {} {}", plain_address(*frame), row.frame(nth))?;
        }
        if facts.frames.is_empty() {
            writeln!(out, "    no frames were recorded")?;
        }
    }
    Ok(())
}
