//! The program on a kernel dump of Server 2003 for x64, without symbols.

use std::path::PathBuf;
use std::sync::OnceLock;

use poolscope::synth::Container;
use poolscope::synth::era::SERVER_2003;
use poolscope::synth::truth::{State, Truth};

use crate::demo::{answer, directory, json};

/// The dump's name in the directory of the sample, and its contents.
fn dump() -> &'static (String, Truth) {
    static DUMP: OnceLock<(String, Truth)> = OnceLock::new();
    DUMP.get_or_init(|| {
        let name = "server-2003.dmp";
        let place = |name: &str| -> PathBuf { directory().join(name) };
        let fresh = format!("server-2003-{}.dmp", std::process::id());
        let machine = crate::machines::of_era(&SERVER_2003);
        machine
            .write(&place(&fresh), Container::WIN7_KERNEL)
            .unwrap();
        std::fs::rename(place(&fresh), place(name)).unwrap();
        (name.into(), machine.truth.clone())
    })
}

#[test]
fn info_names_the_version_and_the_source_of_offsets() {
    let said = answer(&["info", &dump().0]);
    for part in [
        "5.2.3790 x64 (3790.srv03_sp2_rtm.070216-1710)",
        "built-in layouts of build 3790",
        "0xfffffa8000000000-0xfffffaa000000000 paged",
        "0xfffffadfc0000000-0xfffffae000000000 nonpaged",
        "in 2 tables",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

/// The order is that of WinDbg's documentation for that version; unknown lines are marked
/// as unknown.
#[test]
fn vm_has_the_lines_documented_for_that_version() {
    let said = answer(&["vm", &dump().0]);
    let labels: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix('\t')?.split(':').next())
        .collect();
    let documented = [
        "Physical Memory",
        "Page File",
        "Available Pages",
        "ResAvail Pages",
        "Locked IO Pages",
        "Free System PTEs",
        "Free NP PTEs",
        "Modified Pages",
        "NonPagedPool Usage",
        "NonPagedPool Max",
        "PagedPool 0 Usage",
        "PagedPool Usage",
        "PagedPool Maximum",
        "Shared Commit",
        "Special Pool",
        "Shared Process",
        "PagedPool Commit",
        "Driver Commit",
        "Committed pages",
        "Commit limit",
    ];
    let ours: Vec<&str> = labels
        .iter()
        .copied()
        .filter(|l| documented.contains(l))
        .collect();
    assert_eq!(ours, documented, "{said}");
    let vm = json(&["vm", &dump().0]);
    assert_eq!(
        vm["vm"]["physical_memory_pages"],
        dump().1.vm.physical_memory
    );
    for unknown in [
        "free_np_ptes",
        "free_system_ptes",
        "locked_io_pages",
        "page_files",
    ] {
        assert!(vm["vm"].get(unknown).unwrap().is_null(), "{unknown}");
    }
}

#[test]
fn every_command_works_on_server_2003() {
    let (name, truth) = dump();
    let in_use = |b: &&poolscope::synth::truth::Block| {
        b.tag == *b"Leak" && b.state == State::Allocated && !b.big
    };
    let block = truth.blocks.iter().find(in_use).unwrap();
    let address = format!("{:x}", block.va.0);
    let page = json(&["pool", name, &address]);
    let blocks = page["blocks"].as_array().unwrap();
    let asked = blocks
        .iter()
        .find(|b| b["tag"] == "Leak" && b["holds_address"] == true);
    assert!(asked.is_some(), "{page}");
    let leaks = json(&["allocs", name, "Leak"]);
    let nonpaged = truth.tags[b"Leak"].nonpaged;
    let tracker = &leaks["summary"]["tracker"];
    assert_eq!(tracker["nonpaged_allocations"], nonpaged.blocks);
    assert_eq!(tracker["nonpaged_bytes"], nonpaged.bytes);
    assert!(answer(&["poolused", name, "2"]).contains("\n Leak "));
    assert!(answer(&["refs", name, "Leak"]).contains("leaker+"));
    assert!(answer(&["modules", name]).contains("leaker"));
    assert!(answer(&["symbols", name]).contains("built-in layouts of build 3790"));
}
