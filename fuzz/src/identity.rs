//! The vendor of a driver: the resource tree, its version resource, and the debug directory.

use std::path::Path;
use std::sync::{Mutex, OnceLock};

use poolscope::kernel::identity::{Identity, Maker, ModuleIdentity};
use poolscope::synth::image::Data;
use poolscope::synth::resource::Version;
use poolscope::synth::{era, small};

use super::bed::{Bed, Place};
use super::locate::{self, Whole};
use super::machines;

/// Maximum characters of a string in a version resource.
const LONGEST: usize = 512;

fn beds() -> &'static [Mutex<Bed>] {
    static BEDS: OnceLock<Vec<Mutex<Bed>>> = OnceLock::new();
    BEDS.get_or_init(|| {
        let specs = [small::spec(), small::of_era(&era::WIN10_2004)].map(|mut spec| {
            let driver = spec.modules.iter_mut().find(|m| m.file == "leaker.sys");
            let version = Version::new(
                "Example Software",
                "Example Backup",
                "Backup filter",
                [3, 2, 4120, 7],
            );
            let data = [Data::Version(version), Data::Reproducible];
            driver.unwrap().data.extend(data);
            spec
        });
        specs
            .iter()
            .map(|spec| machines::bed(spec, groups))
            .collect()
    })
}

fn groups(whole: &Whole) -> Vec<Vec<Place>> {
    let modules = &whole.engine.kernel().modules;
    let driver = modules.iter().find(|m| m.name() == "leaker").unwrap();
    let image = driver.image.as_ref().unwrap();
    let at = |place: Option<(u32, u32)>, most: u64| {
        let (rva, size) = place.unwrap();
        whole.memory(driver.base.add(rva.into()), u64::from(size).min(most))
    };
    let out = vec![
        // The tree, the fixed numbers, and all strings.
        at(image.resource_directory, 0x58),
        at(image.resource_directory, 0xa0),
        at(image.resource_directory, 0x400),
        at(image.debug_directory, 0x100),
        whole.memory(driver.base, 0x200),
    ];
    assert!(out.iter().all(|group| !group.is_empty()));
    out
}

/// The first byte chooses the machine; the rest damages its driver's resources.
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
        let identity = Identity::read(&kernel.space, module, Some(1_900_000_000));
        let maker = Maker::of(&identity);
        let strings = [
            &maker.company,
            &maker.product,
            &maker.file_version,
            &maker.file_description,
        ];
        // If there are no strings, a note gives the reason.
        assert!(strings.iter().any(|s| s.is_some()) || maker.note.is_some());
        for text in strings.into_iter().flatten() {
            assert!(!text.is_empty() && text.chars().count() <= LONGEST);
        }
        let shown = ModuleIdentity {
            file: module.name(),
            file_version: maker.file_version,
            company: maker.company,
            linked: maker.linked,
            unloaded: module.unloaded,
            unloaded_at: None,
        };
        assert!(shown.phrase().starts_with(&module.name()));
    }
}
