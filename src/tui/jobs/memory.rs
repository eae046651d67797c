//! Memory as the dump has it, with what its pointers point at.

use crate::engine::Engine;
use crate::memory::{PAGE_SIZE, Va};
use crate::report::text::clean;

use crate::tui::data::model::Bytes;

/// Reads memory, holes included, and names what its pointers point at.
pub fn read(engine: &Engine, start: Va, length: u64, session: Option<u32>) -> Bytes {
    let mut out = Bytes {
        start,
        ..Bytes::default()
    };
    while (out.bytes.len() as u64) < length {
        let done = out.bytes.len() as u64;
        let at = start.add(done);
        let here = (PAGE_SIZE - at.offset() as u64).min(length - done);
        let mut page = vec![0; here as usize];
        // `read` knows when the file failed under it and left zeros.
        match engine.space_in(session, at).read(at, &mut page) {
            Ok(()) => out.bytes.extend(page.into_iter().map(Some)),
            Err(fault) => {
                out.bytes.resize((done + here) as usize, None);
                out.holes.push((at, fault.reason()));
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

/// What a pointer points at: a module, or a block of pool.
pub fn target(engine: &Engine, va: Va) -> Option<String> {
    if !va.is_kernel() {
        return None;
    }
    let kernel = engine.kernel();
    if let Some(module) = kernel.module_at(va) {
        let offset = va.0 - module.base.0;
        let symbol = match module.is_kernel {
            true => kernel.symbols.nearest(offset as u32),
            false => None,
        };
        let name = match symbol {
            Some((symbol, 0)) => format!("{}!{symbol}", module.name()),
            Some((symbol, distance)) if distance < 0x10000 => {
                format!("{}!{symbol}+{distance:#x}", module.name())
            }
            _ => format!("{}+{offset:#x}", module.name()),
        };
        return Some(clean(&name).into_owned());
    }
    let in_pool = engine.regions().at(va).is_some() || engine.big().holding(va).is_some();
    if !in_pool {
        return None;
    }
    let page = engine.pool_page(va).ok();
    let holder = page
        .as_ref()
        .and_then(|p| p.blocks.iter().find(|b| b.holds_address));
    Some(match (holder, engine.regions().at(va)) {
        (Some(holder), _) => {
            let block = holder.block;
            let offset = va.0 - block.va.0;
            format!(
                "{} block+{offset:#x}, {} pool",
                block.tag,
                block.kind.word()
            )
        }
        (None, Some(region)) => format!("{} pool", region.kind.word()),
        (None, None) => return None,
    })
}
