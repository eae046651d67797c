//! Names for stack frames.

use rustc_hash::FxHashMap;

use crate::kernel::verifier::Kinds;
use crate::memory::Va;
use crate::symbols::Source;

use super::StackRow;
use crate::engine::Engine;

/// Adds names to the frames of all rows.
pub(super) fn add(engine: &Engine, kinds: &Kinds<'_>, rows: &mut [StackRow]) {
    let mut known: FxHashMap<Va, (String, Option<String>)> = FxHashMap::default();
    for row in rows {
        let names = row.frames.iter().map(|frame| {
            let name = known.entry(*frame);
            name.or_insert_with(|| of(engine, kinds, *frame)).clone()
        });
        (row.symbols, row.functions) = names.unzip();
    }
}

/// A frame as `module+0x…`, or with its function if the module's PDB is available; and the
/// function as far as known without a PDB.
fn of(engine: &Engine, kinds: &Kinds<'_>, frame: Va) -> (String, Option<String>) {
    let kernel = engine.kernel();
    let names = engine.names();
    let found = names.at(kernel, engine.sessions(), frame);
    let found = found.and_then(|(at, place)| Some((at, place, kernel.modules.get(at)?)));
    let Some((at, place, module)) = found else {
        let mut unloaded = kernel.modules.iter().filter(|m| m.unloaded);
        let gone = unloaded.find(|m| m.contains(frame));
        let name = gone.map_or_else(
            || format!("{:#x}", frame.0),
            |m| format!("{}+{:#x} (unloaded)", m.name(), frame.0 - m.base.0),
        );
        return (name, None);
    };
    let source = match module.base == kernel.base {
        true => Some(kernel.symbol_source()),
        false => names.source(at),
    };
    let offset = format!("{}+{:#x}", module.name(), frame.0 - module.base.0);
    let named = place.name.contains('!').then_some(place.name);
    if let (Some(Source::Pdb { .. }), Some(name)) = (source, &named) {
        return (name.clone(), named);
    }
    // Built-in functions of nt have a known length; an export may be far from the address.
    let built_in = kinds
        .function(frame)
        .map(|(name, distance)| match distance {
            0 => format!("{}!{name}", module.name()),
            _ => format!("{}!{name}+{distance:#x}", module.name()),
        });
    (offset, built_in.or(named))
}
