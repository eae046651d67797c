//! The interface that scripts rely on: streams, exit statuses, arguments, and the structure
//! of the JSON.

use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::demo::{answer, directory, json, poolscope};

#[test]
fn every_answer_names_schema_dump_and_warnings() {
    for arguments in [
        &["info", "demo.dmp"][..],
        &["vm", "demo.dmp"],
        &["poolused", "demo.dmp", "2"],
        &["allocs", "demo.dmp", "Leak"],
        &["refs", "demo.dmp", "Leak"],
        &["modules", "demo.dmp"],
        &["diagnose", "demo.dmp"],
    ] {
        let value = json(arguments);
        assert_eq!(value["schema"], "poolscope/1", "{arguments:?}");
        assert_eq!(value["dump"]["build"], 7601);
        assert_eq!(value["dump"]["architecture"], "x64");
        assert!(value["warnings"].is_array());
        let base = value["dump"]["kernel_base"].as_str().unwrap();
        assert!(base.starts_with("0xfffff8"), "{base}");
    }
}

#[test]
fn options_are_accepted_at_any_position() {
    let plain = answer(&["poolused", "demo.dmp", "/t5", "2"]);
    let quiet = ["--no-network", "--quiet", "--no-cache", "--threads", "1"];
    let mut last = vec!["poolused", "demo.dmp", "/t5", "2"];
    last.extend(quiet);
    let mut first = quiet.to_vec();
    first.extend(["poolused", "--symbols", "", "demo.dmp", "/t5", "2"]);
    assert_eq!(answer(&last), plain);
    assert_eq!(answer(&first), plain);
}

#[test]
fn an_allocation_list_adds_up_to_its_summary_and_the_tracker() {
    let value = json(&["allocs", "demo.dmp", "*"]);
    let summary = &value["summary"];
    let rows = value["allocations"].as_array().unwrap();
    let live: Vec<&Value> = rows.iter().filter(|r| r["state"] == "allocated").collect();
    let bytes: u64 = live.iter().map(|r| r["size"].as_u64().unwrap()).sum();
    assert_eq!(summary["allocations"], live.len());
    assert_eq!(summary["bytes"], bytes);
    assert_eq!(summary["unreadable_pages"], 0);
    assert_eq!(
        summary["tracker"]["nonpaged_bytes"],
        summary["nonpaged_bytes"]
    );
    assert_eq!(summary["tracker"]["paged_bytes"], summary["paged_bytes"]);
    let addresses: Vec<u64> = rows
        .iter()
        .map(|r| u64::from_str_radix(&r["address"].as_str().unwrap()[2..], 16).unwrap())
        .collect();
    assert!(addresses.is_sorted());
}

#[test]
fn usage_errors_are_status_2_and_missing_data_is_status_1() {
    for (arguments, status, word) in [
        (&["poolused", "demo.dmp", "6"][..], 2, "exclude"),
        (&["allocs", "demo.dmp", "Leaks"], 2, "four characters"),
        (&["refs", "demo.dmp", "L*"], 2, "wildcard"),
        (&["pool", "demo.dmp", "xyz"], 2, "hexadecimal"),
        (&["nosuch", "demo.dmp"], 2, "unknown command: nosuch"),
        (
            &["demo.dmp", "vm", "demo.dmp"],
            2,
            "command before the dump",
        ),
        (&["modules", "demo.dmp", "0"], 1, "no module"),
        (
            &["pool", "demo.dmp", "fffff880`044b5000"],
            1,
            "not in a page of pool",
        ),
        (&["pool", "demo.dmp", "1000"], 1, "can't be read"),
        (&["vm", "nosuch.dmp"], 1, "nosuch.dmp"),
        (
            &["vm", "demo.dmp", "--pooltag", "nosuch.txt"],
            1,
            "nosuch.txt",
        ),
    ] {
        let output = poolscope(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
        assert!(error.contains(word), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn without_a_terminal_the_error_names_a_text_command() {
    let output = poolscope(&["demo.dmp"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("poolused"));
}

#[test]
fn a_closed_pipe_ends_the_program_silently() {
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("poolscope"))
        .current_dir(directory())
        .env("XDG_CACHE_HOME", directory())
        .env("LOCALAPPDATA", directory())
        .env("ProgramData", directory())
        .args(["allocs", "demo.dmp", "*"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut head = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut head).unwrap();
    let mut error = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut error)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(error, "");
}

#[test]
fn the_users_pooltag_overrides_the_built_in_table() {
    let file = directory().join("overlay.txt");
    std::fs::write(
        &file,
        "rem mine\r\nLeak - myfault.sys - Leaks on purpose\r\n",
    )
    .unwrap();
    let rows = answer(&[
        "poolused",
        "demo.dmp",
        "2",
        "/t3",
        "--pooltag",
        "overlay.txt",
    ]);
    assert!(
        rows.contains("\tLeaks on purpose , Binary: myfault.sys"),
        "{rows}"
    );
    assert!(rows.contains("nt!ex"), "{rows}");
}

#[test]
fn a_diagnosis_has_the_documented_fields() {
    let value = json(&["diagnose", "demo.dmp"]);
    assert_eq!(value["verdict"], "leak");
    let findings = value["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1);
    let finding = &findings[0];
    assert_eq!(finding["tag"], "Leak");
    assert_eq!(finding["pool"], "nonpaged");
    assert_eq!(finding["bytes"], 615_424_000);
    assert!((finding["share"].as_f64().unwrap() - 0.967).abs() < 0.001);
    assert!(finding["reasons"].as_array().unwrap().len() >= 3);
    assert_eq!(finding["owners"][0]["module"], "myfault");
    assert_eq!(finding["owners"][0]["confidence"], "certain");
    assert!(!finding["advice"].as_str().unwrap().is_empty());
}

/// Over all drivers, the sum is what the kernel counts.
#[test]
fn the_sum_over_drivers_equals_the_trackers() {
    let drivers = json(&["drivers", "demo.dmp"]);
    let used = json(&["poolused", "demo.dmp"]);
    for (ours, pool) in [("nonpaged_bytes", "nonpaged"), ("paged_bytes", "paged")] {
        assert_eq!(drivers["total"][ours], used["total"][pool]["bytes"]);
        let rows = drivers["drivers"].as_array().unwrap().iter();
        let sum: u64 = rows
            .chain([&drivers["unowned"]])
            .map(|row| row[ours].as_u64().unwrap())
            .sum();
        assert_eq!(drivers["total"][ours], sum);
    }
    let first = &drivers["drivers"][0];
    assert_eq!(first["module"], "myfault");
    assert_eq!(first["certain_bytes"], 615_424_000);
}
