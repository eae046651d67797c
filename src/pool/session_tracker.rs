//! The trackers of session pool: a `_POOL_TRACKER_TABLE` per session, and one for the tags that
//! did not fit.
//!
//! A session's tables are in its own address space. `nt!ExpSessionPoolTrackTable` points to the
//! table of the currently mapped session. Kernels without that symbol (Windows 11) have it as
//! `_MM_SESSION_SPACE.PoolTags`.

use rustc_hash::FxHashMap;

use crate::kernel::Kernel;
use crate::kernel::sessions::{Session, Sessions};
use crate::memory::Va;

use super::tracker::{Layout, MAX_ENTRIES, Trackers, add_table};

const TYPE: &str = "_MM_SESSION_SPACE";
/// Number of entries if no symbol has it: 2^8, and one for tags that did not fit.
const USUAL_ENTRIES: u64 = 257;

/// Address of a table, and its number of entries.
type Table = (Va, u64);

/// Reads and sums the tables of all sessions; `!poolused 8` shows those of one. A table that
/// several sessions share is counted once.
pub fn read(kernel: &Kernel, sessions: &Sessions) -> Trackers {
    let mut out = Trackers {
        notes: sessions.notes.clone(),
        ..Trackers::default()
    };
    let Some(layout) = Layout::of(kernel).filter(|_| place(kernel).is_some()) else {
        // An empty variable means no session pool; without the symbol, the state is unknown.
        out.notes.push(match kernel.symbol("ExpSessionPoolTrackTable") {
            Some(_) => "nt!ExpSessionPoolTrackTable points nowhere: no session had pool when this dump was written".into(),
            None => "the session pool trackers of this build are not known without its PDB".into(),
        });
        return out;
    };
    if sessions.sessions.is_empty() {
        out.notes.push("no session was found in this dump".into());
    }
    let mut rows = FxHashMap::default();
    let mut seen = Vec::new();
    for session in &sessions.sessions {
        let tables = [
            place(kernel).and_then(|place| place.of(session)),
            expansion(kernel, session),
        ];
        for (table, entries) in tables.into_iter().flatten() {
            let at = session.space.translate(table).ok();
            if at.is_some() && seen.contains(&at) {
                continue;
            }
            seen.push(at);
            out.tables.push(table);
            out.entries = out.entries.max(entries);
            let notes = &mut out.notes;
            add_table(&session.space, &layout, table, entries, &mut rows, notes);
        }
    }
    out.settle(rows, &layout);
    out
}

/// The location of a session's table.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// At the same address in every session.
    Fixed(Table),
    /// Through a pointer in the session's structure.
    Pointed(u64, u64),
}

fn place(kernel: &Kernel) -> Option<Place> {
    let size = kernel
        .number_in("ExpSessionPoolTrackTableSize")
        .filter(|n| (2..=MAX_ENTRIES).contains(n));
    let fixed = kernel.pointer_in("ExpSessionPoolTrackTable", None);
    if let Some(fixed) = fixed.zip(size) {
        return Some(Place::Fixed(fixed));
    }
    let field = kernel.symbols.field(TYPE, "PoolTags")?;
    let entries = size.unwrap_or(USUAL_ENTRIES);
    (field.size == 8).then_some(Place::Pointed(field.offset.into(), entries))
}

impl Place {
    fn of(self, session: &Session) -> Option<Table> {
        match self {
            Place::Fixed(table) => Some(table),
            Place::Pointed(offset, entries) => {
                let table = session.space.pointer(session.at.add(offset)).ok()?;
                table.is_kernel().then_some((table, entries))
            }
        }
    }
}

/// The table of tags that did not fit.
fn expansion(kernel: &Kernel, session: &Session) -> Option<Table> {
    let read = |name| {
        let offset = kernel.offset(TYPE, name)?;
        session.space.u64(session.at.add(offset)).ok()
    };
    let table = Va(read("PoolTrackTableExpansion")?);
    let entries = read("PoolTrackTableExpansionSize")?;
    (table.is_kernel() && (1..=MAX_ENTRIES).contains(&entries)).then_some((table, entries))
}
