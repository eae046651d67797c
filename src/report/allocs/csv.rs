//! `allocs` as CSV.

use std::io::{self, Write};

use super::super::text::json_address;
use super::super::{cell, csv_writer, tag_hex};
use super::Allocs;

pub(super) fn write(answer: &Allocs<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv_writer(out);
    // This column appears only if the list has session pool.
    let sessions = answer.0.has_sessions();
    let guesses = answer.0.has_heuristic();
    let names = [
        "tag", "tag_hex", "address", "size", "pool", "backend", "state",
    ];
    csv.write_record(
        names
            .into_iter()
            .chain(sessions.then_some("session"))
            .chain(guesses.then_some("heuristic")),
    )?;
    for b in answer.0.blocks() {
        let session = b.session.map_or(String::new(), |s| s.to_string());
        let cells = [
            cell(&b.tag.to_string()).as_str(),
            &tag_hex(b.tag),
            &json_address(b.va),
            &b.bytes.to_string(),
            b.kind.word(),
            b.backend.word(),
            b.state.word(),
        ]
        .map(String::from);
        let guess = guesses.then(|| b.heuristic.to_string());
        csv.write_record(
            cells
                .into_iter()
                .chain(sessions.then_some(session))
                .chain(guess),
        )?;
    }
    csv.flush()
}
