//! Reading memory from the dump, with the targets of its pointers.

use crate::engine::Machine;
use crate::memory::{PAGE_SIZE, Va};
use crate::report::text::clean;

use crate::tui::data::model::Bytes;

/// Reads memory including unreadable ranges, and names the targets of pointers.
pub fn read(engine: &dyn Machine, start: Va, length: u64, session: Option<u32>) -> Bytes {
    let mut out = Bytes {
        start,
        ..Bytes::default()
    };
    while (out.bytes.len() as u64) < length {
        let done = out.bytes.len() as u64;
        let at = start.add(done);
        let here = (PAGE_SIZE - at.offset() as u64).min(length - done);
        let mut page = vec![0; here as usize];
        // `read` reports if the file failed during the read and left zeros.
        match engine.read(session, at, &mut page) {
            Ok(()) => out.bytes.extend(page.into_iter().map(Some)),
            Err(why) => {
                out.bytes.resize((done + here) as usize, None);
                out.holes.push((at, why));
            }
        }
    }
    let mut at = Va(start.0.saturating_add(7) & !7);
    while out.covers(at, 8) {
        if let Some(name) = out.qword(at).and_then(|value| target(engine, Va(value))) {
            out.pointers.push((at, name));
        }
        let Some(next) = at.0.checked_add(8) else {
            break;
        };
        at = Va(next);
    }
    out
}

/// The target of a pointer: a module, or a block of pool.
pub fn target(engine: &dyn Machine, va: Va) -> Option<String> {
    Some(clean(&engine.points_at(va)?).into_owned())
}
