//! What `info` reports about each container: its type, what it contains and what it lacks.

use poolscope::report::text::grouped;
use poolscope::synth::{Container, Machine, small};

use crate::demo::{answer, directory, json};

const ALL: [(Container, &str, &str); 8] = [
    (Container::Full, "full (type 1): all physical memory", ""),
    (
        Container::WIN7_KERNEL,
        "kernel (type 2): kernel memory",
        "user pages are left out",
    ),
    (
        Container::SummaryWide,
        "kernel (type 2): kernel memory",
        "user pages are left out",
    ),
    (
        Container::BitmapFull,
        "bitmap-full (type 5): all physical memory",
        "",
    ),
    (
        Container::BitmapKernel,
        "kernel (type 6): kernel memory",
        "user pages are left out",
    ),
    (
        Container::RangesKernel,
        "debugger-kernel (type 8): kernel memory",
        "user pages are left out",
    ),
    (
        Container::RangesKernelAndUser,
        "debugger-kernel-and-user (type 9): kernel and user memory",
        "free pages are left out",
    ),
    (
        Container::RangesFull,
        "debugger-complete (type 10): all physical memory",
        "",
    ),
];

/// The row of `info` with a label.
fn row(text: &str, label: &str) -> String {
    let found = text.lines().find(|l| l.starts_with(label));
    found
        .unwrap_or_else(|| panic!("{label}: {text}"))
        .to_owned()
}

fn written(machine: &Machine, container: Container, live: bool) -> String {
    let name = format!("container-{}-{live}.dmp", container.dump_type());
    machine.write(&directory().join(&name), container).unwrap();
    name
}

#[test]
fn info_states_what_each_container_contains_and_lacks() {
    for live in [false, true] {
        let mut spec = small::spec();
        spec.options.live = live;
        let machine = Machine::build(&spec).unwrap();
        for (container, holds, leaves_out) in ALL {
            let name = written(&machine, container, live);
            let text = answer(&["info", &name]);
            let dump = row(&text, "Dump");
            assert_eq!(dump.contains(holds), !live, "{dump}");
            let what = holds.split(": ").last().unwrap();
            assert!(dump.contains(what) && dump.contains(leaves_out), "{dump}");
            assert!(dump.contains("paged out"), "{dump}");
            assert_eq!(
                dump.contains("mirrored while the system ran"),
                live,
                "{dump}"
            );

            let answer = json(&["info", &name]);
            let field = |name: &str| answer["dump"][name].as_u64().unwrap();
            assert_eq!(field("dump_type"), u64::from(container.dump_type()));
            let frames: u64 = spec.runs.iter().map(|r| r.1).sum();
            assert_eq!(field("physical_pages"), frames);
            let present = field("pages_present");
            assert_eq!(present == frames, container.stores_all(), "{present}");
            let pages = row(&text, "Pages");
            let said = format!(
                "{} of {} physical pages present",
                grouped(present),
                grouped(frames)
            );
            assert!(pages.contains(&said), "{pages}");
            std::fs::remove_file(directory().join(&name)).unwrap();
        }
    }
}
