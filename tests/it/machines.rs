//! Machines that many tests use: each is built once per process.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use poolscope::synth::era::{Era, WIN7};
use poolscope::synth::{Machine, Spec};

/// The build, and whether all its pages are present.
type Key = (&'static str, bool);

/// A machine that is built on first use.
type Slot = Arc<OnceLock<&'static Machine>>;

fn shared(era: &'static Era, whole: bool) -> &'static Machine {
    static MACHINES: LazyLock<Mutex<HashMap<Key, Slot>>> = LazyLock::new(Mutex::default);
    // Machines of different builds can be built in parallel.
    let slot = {
        let mut machines = MACHINES.lock().unwrap_or_else(|e| e.into_inner());
        Arc::clone(machines.entry((era.lab, whole)).or_default())
    };
    slot.get_or_init(|| {
        let spec = match whole {
            true => whole_spec(era),
            false => poolscope::synth::small::of_era(era),
        };
        Box::leak(Box::new(Machine::build(&spec).unwrap()))
    })
}

/// The small machine of a build. A test that changes it must clone it.
pub fn of_era(era: &'static Era) -> &'static Machine {
    shared(era, false)
}

/// The small machine of Windows 7.
pub fn small() -> &'static Machine {
    shared(&WIN7, false)
}

/// The small machine of a build with every page present and nothing damaged.
pub fn whole(era: &'static Era) -> &'static Machine {
    shared(era, true)
}

/// The specification of [`whole`], for tests that change it.
pub fn whole_spec(era: &'static Era) -> Spec {
    let mut spec = poolscope::synth::small::of_era(era);
    for shape in [&mut spec.nonpaged, &mut spec.paged] {
        shape.paged_out = 0;
        shape.paged_out_big = 0;
        shape.omitted = 0;
        shape.damaged = 0;
    }
    spec
}
