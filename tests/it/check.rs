//! `check`: statuses, exceptions, and the formats of CI systems.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::demo::poolscope;

fn desk(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Status, stdout and stderr.
fn check(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let rules = folder.join("rules.toml").to_string_lossy().into_owned();
    let mut all = vec!["check", "--rules", &rules];
    all.extend(arguments);
    let output = poolscope(&all).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

const LEAK: &str = "[[rule]]\nname = \"leak is small\"\ntag = \"Leak\"\npool = \"nonpaged\"\nmax_bytes = \"100 MB\"\n";

#[test]
fn a_violated_rule_is_status_3_and_an_exception_is_0() {
    let folder = desk(&[("rules.toml", LEAK)]);
    let junit = folder.path().join("out.xml");
    let name = junit.to_string_lossy().into_owned();
    let (status, out, said) = check(
        folder.path(),
        &["demo.dmp", "--format", "json", "--junit", &name],
    );
    assert_eq!(status, 3, "{said}");
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&value["schema"], &value["passed"]),
        (&"poolscope/1".into(), &false.into())
    );
    let rule = &value["rules"][0];
    assert_eq!(
        (&rule["rule"], &rule["tag"]),
        (&"leak is small".into(), &"Leak".into())
    );
    assert_eq!(
        (&rule["observed"], &rule["passed"]),
        (&615_424_000u64.into(), &false.into())
    );
    let xml = fs::read_to_string(&junit).unwrap();
    assert!(
        xml.contains("failures=\"1\"") && xml.contains("leak is small"),
        "{xml}"
    );

    let allowed = format!(
        "{LEAK}[[allow]]\ntag = \"Leak\"\nreason = \"the test tool\"\nexpires = 2999-12-31\n"
    );
    fs::write(folder.path().join("rules.toml"), allowed).unwrap();
    let (status, out, said) = check(folder.path(), &["demo.dmp"]);
    assert_eq!(status, 0, "{said}");
    assert!(
        out.contains("allowed until 2999-12-31: the test tool"),
        "{out}"
    );

    let ended = format!(
        "{LEAK}[[allow]]\ntag = \"Leak\"\nreason = \"the test tool\"\nexpires = 2001-12-31\n"
    );
    fs::write(folder.path().join("rules.toml"), ended).unwrap();
    let (status, out, _) = check(folder.path(), &["demo.dmp"]);
    assert_eq!(status, 3);
    assert!(out.contains("ended on 2001-12-31"), "{out}");
}

#[test]
fn drivers_pools_and_the_verdict_can_be_limited() {
    let rules = "[[rule]]\ndriver = \"myfault.sys\"\nmax_bytes = \"4 MB\"\n[[rule]]\nmax_verdict = \"suspicious\"\n\
        [[rule]]\ntag = \"*\"\npool = \"nonpaged\"\nmax_share_percent = 50\n[[rule]]\npool = \"paged\"\nmax_bytes = \"64 GB\"\n";
    let folder = desk(&[("rules.toml", rules)]);
    let (status, out, said) = check(folder.path(), &["demo.dmp", "--format", "json"]);
    assert_eq!(status, 3, "{said}");
    let value: Value = serde_json::from_str(&out).unwrap();
    let rules = value["rules"].as_array().unwrap();
    let outcomes: Vec<_> = rules
        .iter()
        .map(|r| (r["limit"].as_str().unwrap(), r["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("max_bytes", "failed"),
            ("max_verdict", "failed"),
            ("max_share_percent", "failed"),
            ("max_bytes", "passed")
        ]
    );
    assert_eq!(rules[0]["driver"], "myfault.sys");
    assert_eq!(rules[1]["observed"], "leak");
    assert_eq!(rules[2]["tag"], "Leak");
}

#[test]
fn evidence_gives_the_same_check_result_as_its_dump() {
    let rules = "[[rule]]\nmax_verdict = \"suspicious\"\n[[rule]]\ntag = \"Leak\"\nmax_verdict = \"normal\"\n\
        [[rule]]\ndriver = \"myfault\"\nmax_bytes = \"4 MB\"\n[[rule]]\ntag = \"Toke\"\nmax_verdict = \"normal\"\n";
    let folder = desk(&[("rules.toml", rules)]);
    let evidence = folder.path().join("case.zip");
    let evidence = evidence.to_str().unwrap();
    poolscope(&["evidence", "demo.dmp", "--out", evidence])
        .assert()
        .success();
    let outcomes = |input: &str| {
        let (status, out, said) = check(folder.path(), &[input, "--format", "json"]);
        assert_eq!(status, 3, "{said}");
        let value: Value = serde_json::from_str(&out).unwrap();
        let rules = value["rules"].as_array().unwrap().clone();
        let of = |r: &Value| (r["observed"].clone(), r["outcome"].clone());
        rules.iter().map(of).collect::<Vec<_>>()
    };
    let all = outcomes("demo.dmp");
    let words: Vec<_> = all.iter().map(|(_, o)| o.as_str().unwrap()).collect();
    assert_eq!(words, ["failed", "failed", "failed", "passed"]);
    assert_eq!(outcomes(evidence), all);
}

#[test]
fn rule_errors_name_the_line_and_unreadable_dumps_do_not_stop_the_check() {
    let folder = desk(&[
        ("rules.toml", "[[rule]]\ntag = \"Leak\"\nmax_byte = 5\n"),
        ("noise.dmp", "\u{1}\u{2}\u{3}"),
    ]);
    let (status, _, said) = check(folder.path(), &["demo.dmp"]);
    assert_eq!(status, 2);
    assert!(said.contains("rules.toml: line 3"), "{said}");

    fs::write(
        folder.path().join("rules.toml"),
        "[[rule]]\ntag = \"Leak\"\nmax_growth_per_hour = 5\n",
    )
    .unwrap();
    let (status, _, said) = check(folder.path(), &["demo.dmp"]);
    assert_eq!(status, 2);
    assert!(
        said.contains("line 1") && said.contains("--baseline"),
        "{said}"
    );

    fs::write(
        folder.path().join("rules.toml"),
        LEAK.replace("100 MB", "1 GB"),
    )
    .unwrap();
    let noise = folder
        .path()
        .join("noise.dmp")
        .to_string_lossy()
        .into_owned();
    let (status, out, said) = check(folder.path(), &[&noise, "demo.dmp", "--format", "json"]);
    assert_eq!(status, 1, "{said}");
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["unreadable"].as_array().unwrap().len(), 1);
    assert_eq!(value["rules"][0]["passed"], true);
    assert_eq!(value["passed"], false);
}

#[test]
fn growth_is_compared_with_a_baseline() {
    let table = |uptime: u64, bytes: u64| {
        format!(
            "# uptime_seconds: {uptime}\n# complete: yes\ntag,pool,allocs,frees,outstanding,bytes\nLeak,nonpaged,5,0,5,{bytes}\n"
        )
    };
    let rules = "[[rule]]\ntag = \"Leak\"\npool = \"nonpaged\"\nmax_growth_per_hour = 1000\n";
    let folder = desk(&[
        ("rules.toml", rules),
        ("a.csv", &table(3600, 1000)),
        ("b.csv", &table(10800, 2000)),
        ("c.csv", &table(10800, 9000)),
    ]);
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (status, out, said) = check(
        folder.path(),
        &[&path("b.csv"), "--baseline", &path("a.csv")],
    );
    assert_eq!(status, 0, "{out}{said}");
    let (status, out, _) = check(
        folder.path(),
        &[&path("c.csv"), "--baseline", &path("a.csv")],
    );
    assert_eq!(status, 3);
    assert!(out.contains("observed 4,000"), "{out}");
}
