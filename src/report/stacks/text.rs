//! `stacks` as text: each stack with its frames below, as debuggers list them.

use std::io::{self, Write};

use super::super::text::{grouped, human, plain_address};
use super::StacksReport;

/// Writes it.
pub(super) fn write(answer: &StacksReport<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", answer.headline())?;
    let rows = answer.stacks.iter().zip(&answer.answer.rows);
    for (row, facts) in rows {
        let times = match row.count {
            1 => "1 block".to_owned(),
            n => format!("{} blocks", grouped(n)),
        };
        writeln!(
            out,
            "\n{times}, {} {} ({}); pool block {}, size {:#x}",
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
