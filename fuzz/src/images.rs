//! Images in memory: headers, debug record, exports, imports, unwind data, and the code
//! that leads to the call with the tag.

use std::path::Path;
use std::sync::{Mutex, OnceLock};

use poolscope::analysis::references::{self, Targets};
use poolscope::kernel::functions::Functions;
use poolscope::kernel::imports::Imports;
use poolscope::kernel::sessions;
use poolscope::memory::Va;
use poolscope::pool::Tag;
use poolscope::synth::{era, small};

use super::bed::{Bed, Place};
use super::locate::{self, Whole};
use super::machines;

fn beds() -> &'static [Mutex<Bed>] {
    static BEDS: OnceLock<Vec<Mutex<Bed>>> = OnceLock::new();
    BEDS.get_or_init(|| {
        let specs = [small::spec(), small::of_era(&era::WIN10_2004)];
        specs
            .iter()
            .map(|spec| machines::bed(spec, groups))
            .collect()
    })
}

fn groups(whole: &Whole) -> Vec<Vec<Place>> {
    let modules = &whole.engine.kernel().modules;
    let named = |name: &str| modules.iter().find(|m| m.name() == name).unwrap();
    let (leaker, nt) = (named("leaker"), named("nt"));
    let image = leaker.image.as_ref().unwrap();
    let at = |place: Option<(u32, u32)>| match place {
        Some((rva, size)) => whole.memory(leaker.base.add(rva.into()), u64::from(size).min(0x1000)),
        None => Vec::new(),
    };
    let code: Vec<Place> = image
        .sections
        .iter()
        .filter(|s| s.executable)
        .flat_map(|s| whole.memory(leaker.base.add(s.rva.into()), s.size.into()))
        .collect();
    let mut out = vec![
        whole.memory(leaker.base, 0x400),
        whole.memory(nt.base, 0x400),
        code,
        at(image.import_directory),
        at(image.exception_directory),
        whole.memory(leaker.base, leaker.size.into()),
        // The small tables of nt.
        directories(whole, nt.base),
    ];
    out.retain(|group| !group.is_empty());
    assert!(out.len() >= 5);
    out
}

/// The export and debug directories of an image.
fn directories(whole: &Whole, base: Va) -> Vec<Place> {
    let space = &whole.engine.kernel().space;
    let pe = base.add(space.u32(base.add(0x3c)).unwrap().into());
    let mut out = Vec::new();
    for directory in [0u64, 6] {
        let at = pe.add(0x18 + 0x70 + directory * 8);
        let (rva, size) = (space.u32(at).unwrap(), space.u32(at.add(4)).unwrap());
        out.extend(whole.memory(base.add(rva.into()), u64::from(size).clamp(0x40, 0x800)));
    }
    out
}

/// The first byte chooses the machine; the rest damages its images.
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
    for module in kernel.modules.iter().filter(|m| !m.is_kernel) {
        let Some(image) = &module.image else { continue };
        let functions = Functions::read(&kernel.space, image);
        for rva in (0..image.size.min(0x1_0000)).step_by(0x333) {
            if let Some(function) = functions.at(rva) {
                let start = functions.start_of(&kernel.space, image, function);
                std::hint::black_box(start);
            }
            std::hint::black_box(image.section(rva));
        }
        std::hint::black_box(Imports::read(&kernel.space, image));
        std::hint::black_box(image.exports(&kernel.space));
    }
    let sessions = sessions::find(&kernel);
    let targets = Targets::of(&kernel, &sessions);
    for tag in ["Leak", "Thr\u{e5}"] {
        let Some(tag) = Tag::of(tag) else { continue };
        let found = references::find_while(&kernel, &sessions, &targets, tag, &|| true);
        let found = found.unwrap();
        assert_eq!(found.ranked().len(), found.found.len());
    }
}
