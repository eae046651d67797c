//! `diagnose` on tables of tags, through the program.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_poolscope"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus"))
        .args(arguments)
        .output()
        .unwrap()
}

fn json(file: &str) -> Value {
    let output = run(&["diagnose", file, "--format", "json"]);
    assert!(output.status.success(), "{file}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_leak_in_a_table_sets_the_exit_status() {
    let answer = json("msquic-qc1a.csv");
    assert_eq!(answer["verdict"], "leak");
    assert_eq!(answer["severity"], "critical");
    let first = &answer["findings"][0];
    assert_eq!(
        (&first["tag"], &first["pool"]),
        (&"Qc1A".into(), &"nonpaged".into())
    );
    assert_eq!(first["verdict"], "leak");
    assert_eq!(first["owners"][0]["module"], "msquic");
    assert_eq!(first["owners"][0]["confidence"], "possible");
    assert_eq!(answer["top"]["nonpaged"][0]["tag"], "Qc1A");
    let status = |file, more: &[&str]| {
        let mut arguments = vec!["diagnose", file];
        arguments.extend(more);
        run(&arguments).status.code()
    };
    assert_eq!(status("msquic-qc1a.csv", &["--exit-code"]), Some(3));
    assert_eq!(status("msquic-qc1a.csv", &[]), Some(0));
    assert_eq!(status("netadaptercx-static.csv", &["--exit-code"]), Some(0));
}

#[test]
fn a_healthy_table_gets_an_answer_too() {
    let answer = json("netadaptercx-static.csv");
    assert_eq!(answer["verdict"], "normal");
    assert_eq!(answer["findings"].as_array().unwrap().len(), 0);
    assert_eq!(answer["top"]["nonpaged"].as_array().unwrap().len(), 5);
    assert_eq!(answer["top"]["nonpaged"][0]["tag"], "cxbm");
    assert!(answer["nearest"]["sentence"].as_str().unwrap().len() > 20);
    let text = run(&["diagnose", "netadaptercx-static.csv"]).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("Verdict: NORMAL."), "{text}");
    assert!(text.contains("Nearest to a leak"), "{text}");
    assert!(text.contains("Limitations"), "{text}");
}
