//! From the header to the kernel: the debugger data block, the module lists, the processor
//! blocks, the sessions and the counters.

use std::path::Path;
use std::sync::{Mutex, OnceLock};

use poolscope::kernel::{sessions, vm};
use poolscope::memory::Va;
use poolscope::synth::{era, small};

use super::bed::{Bed, Place};
use super::locate::{self, Whole};
use super::machines;

fn beds() -> &'static [Mutex<Bed>] {
    static BEDS: OnceLock<Vec<Mutex<Bed>>> = OnceLock::new();
    BEDS.get_or_init(|| {
        let mut unknown = small::of_era(&era::WIN81);
        unknown.options.unknown_kernel = true;
        let specs = [
            small::spec(),
            small::of_era(&era::WIN10_2004),
            small::of_era(&era::SERVER_2003),
            unknown,
        ];
        specs
            .iter()
            .map(|spec| machines::bed(spec, groups))
            .collect()
    })
}

fn groups(whole: &Whole) -> Vec<Vec<Place>> {
    let header = &whole.engine.kernel().machine;
    let kernel = whole.engine.kernel();
    let header_fields = Place {
        at: 8,
        length: 0x80,
        va: 0,
    };
    let mut processors = Vec::new();
    for block in kernel.processor_blocks() {
        processors.extend(whole.memory(block, 0x800));
    }
    let unloaded = kernel.modules.iter().filter(|m| m.unloaded).count() as u64;
    let mut texts = whole.variables(&["MmUnloadedDrivers", "NtBuildLab", "KeNumberProcessors"]);
    if let Some(table) = kernel.pointer_in("MmUnloadedDrivers", None) {
        texts.extend(whole.memory(table, (unloaded + 1) * 0x28));
    }
    let mut lists = whole.memory(header.processes, 16);
    let space = &kernel.space;
    let mut at = space.pointer(header.processes).unwrap();
    while at != header.processes && lists.len() < 100 {
        lists.extend(whole.memory(Va(at.0 & !0xf), 0x200));
        at = space.pointer(at).unwrap();
    }
    let mut out = vec![
        vec![header_fields],
        whole.memory(header.debugger_data, 0x380),
        whole.loader_list(),
        processors,
        texts,
        lists,
    ];
    out.retain(|group| !group.is_empty());
    assert!(out.len() >= 5);
    out
}

/// The first byte chooses the machine; the rest damages it.
pub fn run(data: &[u8]) {
    machines::run_on(beds(), data, ask);
}

/// The undamaged machines.
pub fn seeds() -> Vec<Vec<u8>> {
    machines::untouched(beds().len())
}

fn ask(path: &Path) {
    let Some(kernel) = locate::kernel(path) else {
        return;
    };
    for module in &kernel.modules {
        std::hint::black_box((module.name(), module.end(), module.pdb()));
        assert!(module.base.is_kernel());
    }
    std::hint::black_box(kernel.module_at(kernel.base).is_some());
    std::hint::black_box(kernel.processor_blocks());
    std::hint::black_box(sessions::find(&kernel));
    std::hint::black_box(vm::read(&kernel));
    assert!(kernel.notes.len() < 10_000);
}
