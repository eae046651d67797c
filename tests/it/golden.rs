//! Snapshots of every output for the sample dump. `demo_figures.rs` checks the figures with
//! the published machine.

use crate::demo::answer;

/// The first and the last lines of a long answer.
fn ends(text: &str, first: usize, last: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= first + last {
        return text.into();
    }
    let left_out = lines.len() - first - last;
    let mut out = lines[..first].to_vec();
    let note = format!("[{left_out} lines]");
    out.push(&note);
    out.extend(&lines[lines.len() - last..]);
    out.join("\n")
}

macro_rules! golden {
    ($($name:ident: $arguments:expr;)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(ends(&answer(&$arguments), 24, 8));
        }
    )*};
}

golden! {
    info: ["info", "demo.dmp"];
    info_csv: ["info", "demo.dmp", "--format", "csv"];
    vm_csv: ["vm", "demo.dmp", "--format", "csv"];
    poolused_by_tag: ["poolused", "demo.dmp"];
    poolused_top: ["poolused", "demo.dmp", "/t5", "2"];
    poolused_verbose_paged: ["poolused", "demo.dmp", "5", "/t8"];
    poolused_wildcard: ["poolused", "demo.dmp", "2", "n?t*"];
    poolused_csv: ["poolused", "demo.dmp", "--format", "csv"];
    allocs: ["allocs", "demo.dmp", "Leak"];
    allocs_csv: ["allocs", "demo.dmp", "netv", "--format", "csv"];
    // Without the cache: the index of an earlier command would influence the owner.
    refs: ["refs", "demo.dmp", "Leak", "--no-cache"];
    refs_csv: ["refs", "demo.dmp", "Leak", "--format", "csv", "--no-cache"];
    refs_none: ["refs", "demo.dmp", "Zzzz", "--no-cache"];
    drivers: ["drivers", "demo.dmp"];
    drivers_csv: ["drivers", "demo.dmp", "--format", "csv"];
    contents: ["contents", "demo.dmp", "Leak"];
    contents_sample: ["contents", "demo.dmp", "netv", "--sample", "200", "--pool", "nonpaged"];
    contents_csv: ["contents", "demo.dmp", "Thre", "--format", "csv"];
    objects: ["objects", "demo.dmp", "Process"];
    objects_csv: ["objects", "demo.dmp", "Toke", "--format", "csv"];
    objects_none: ["objects", "demo.dmp", "Leak"];
    modules: ["modules", "demo.dmp"];
    modules_csv: ["modules", "demo.dmp", "--format", "csv"];
    modules_at: ["modules", "demo.dmp", "fffff880`044b63aa"];
}

#[test]
fn vm() {
    insta::assert_snapshot!(answer(&["vm", "demo.dmp", "1"]));
}

#[test]
fn diagnose() {
    insta::assert_snapshot!(answer(&["diagnose", "demo.dmp"]));
    let markdown = ["diagnose", "demo.dmp", "--format", "markdown"];
    insta::assert_snapshot!("diagnose_markdown", answer(&markdown));
    let csv = ["diagnose", "demo.dmp", "--format", "csv"];
    insta::assert_snapshot!("diagnose_csv", answer(&csv));
}

/// Markdown answers contain tables.
#[test]
fn markdown() {
    for (name, arguments) in [
        ("refs", &["refs", "demo.dmp", "Leak", "--no-cache"][..]),
        ("info", &["info", "demo.dmp"]),
        ("vm", &["vm", "demo.dmp"]),
        ("poolused", &["poolused", "demo.dmp", "2", "/t5"]),
        ("modules", &["modules", "demo.dmp", "fffff880044b5000"]),
        (
            "contents",
            &["contents", "demo.dmp", "Leak", "--sample", "64"],
        ),
        ("objects", &["objects", "demo.dmp", "Proc"]),
        ("symbols", &["symbols", "demo.dmp", "--symbols", "/none"]),
        ("allocs", &["allocs", "demo.dmp", "Leak"]),
    ] {
        let all = [arguments, &["--format", "markdown"]].concat();
        let mut said = answer(&all);
        if cfg!(windows) && name == "symbols" {
            // The path of a file, whose separators are escaped.
            said = said.replace("\\\\", "/");
        }
        insta::assert_snapshot!(format!("{name}_markdown"), ends(&said, 24, 8));
    }
}

/// A page of pool: that of the first small block of a tag.
#[test]
fn pool() {
    let rows = answer(&["allocs", "demo.dmp", "Thre", "--format", "csv"]);
    let address = rows.lines().nth(1).unwrap().split(',').nth(2).unwrap();
    insta::assert_snapshot!(ends(&answer(&["pool", "demo.dmp", address]), 24, 8));
    let csv = ["pool", "demo.dmp", address, "--format", "csv"];
    insta::assert_snapshot!("pool_csv", ends(&answer(&csv), 24, 8));
}

/// JSON, indented so that a diff shows the changed lines.
#[test]
fn json() {
    for (name, arguments) in [
        ("info", vec!["info", "demo.dmp"]),
        ("vm", vec!["vm", "demo.dmp"]),
        ("poolused", vec!["poolused", "demo.dmp", "2", "Thr*"]),
        ("refs", vec!["refs", "demo.dmp", "Leak", "--no-cache"]),
        ("modules", vec!["modules", "demo.dmp", "fffff880044b5000"]),
        ("allocs", vec!["allocs", "demo.dmp", "Pool"]),
        ("diagnose", vec!["diagnose", "demo.dmp"]),
    ] {
        let mut value = crate::demo::json(&arguments);
        // Sorted, so that the program's field order does not matter.
        value.sort_all_objects();
        let text = serde_json::to_string_pretty(&value).unwrap();
        insta::assert_snapshot!(format!("json_{name}"), ends(&text, 90, 30));
    }
}
