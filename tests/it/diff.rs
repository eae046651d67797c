//! `diff`, and the other commands that read logs.

use std::fs;
use std::path::{Path, PathBuf};

use poolscope::memory::Va;
use poolscope::synth::Container;
use poolscope::synth::era::WIN10_1809;
use serde_json::{Value, json as object};
use tempfile::TempDir;

use crate::demo::{self, answer, poolscope};
use crate::machines;

/// A folder with the sample dump and a file with each text.
fn desk(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_string_lossy().into_owned()
}

/// Status, stdout and stderr.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = poolscope(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn diff(inputs: &[&str]) -> (Value, String) {
    let mut arguments = vec!["diff"];
    arguments.extend(inputs);
    arguments.extend(["--format", "json"]);
    let (status, out, err) = run(&arguments);
    assert_eq!(status, 0, "{err}");
    (serde_json::from_str(&out).unwrap(), err)
}

fn change<'a>(value: &'a Value, tag: &str) -> &'a Value {
    let changes = value["changes"].as_array().unwrap();
    changes
        .iter()
        .find(|c| c["tag"] == tag)
        .unwrap_or_else(|| panic!("no {tag}"))
}

/// The sample dump, written at a later time (in 100 ns) after the same or another boot.
fn dump(folder: &TempDir, name: &str, later: u64, uptime: u64) -> String {
    const TIME: usize = 0xfa8;
    const UPTIME: usize = 0x1030;
    let to = folder.path().join(name);
    demo::copy(&to, |start, bytes| {
        if start > 0 {
            return;
        }
        for (at, more) in [(TIME, later), (UPTIME, uptime)] {
            let field: [u8; 8] = bytes[at..at + 8].try_into().unwrap();
            let sum = u64::from_le_bytes(field) + more;
            bytes[at..at + 8].copy_from_slice(&sum.to_le_bytes());
        }
    });
    to.to_string_lossy().into_owned()
}

const HOUR: u64 = 36_000_000_000;

#[test]
fn dumps_of_the_same_boot_are_recognised() {
    let folder = desk(&[]);
    let first = dump(&folder, "a.dmp", 0, 0);
    let later = dump(&folder, "b.dmp", HOUR, HOUR);
    let rebooted = dump(&folder, "c.dmp", 5 * HOUR, 0);
    let (one, said) = diff(&[&first, &later]);
    assert_eq!(one["same_boot"], true, "{said}");
    assert_eq!(one["points"][0]["boot"], one["points"][1]["boot"]);
    assert_eq!(one["points"][0]["kind"], "dump");
    assert_eq!(one["dump"]["build"], 7601);
    assert_eq!(change(&one, "Leak")["trend"], "pinned");
    assert_eq!(change(&one, "Leak")["rate_bytes_per_hour"], 0);
    let (other, said) = diff(&[&first, &later, &rebooted]);
    assert_eq!(other["same_boot"], false);
    assert_ne!(other["points"][0]["boot"], other["points"][2]["boot"]);
    assert!(said.contains("boot"), "{said}");
    let warnings = other["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .any(|w| w.as_str().unwrap().contains("boot"))
    );
}

/// Clocks are set and a machine can start twice in minutes: the number of the boot decides
/// where the kernel counts it.
#[test]
fn the_boot_number_distinguishes_boots_where_clocks_do_not() {
    const MINUTE: u64 = HOUR / 60;
    let folder = desk(&[]);
    let dump = |name: &str, later: u64, uptime: u64, number: u32| {
        let mut machine = machines::of_era(&WIN10_1809).clone();
        machine.header.system_time += later;
        machine.header.uptime += uptime;
        machine.memory.u32(Va(0xffff_f780_0000_02c4), number);
        let to = folder.path().join(name);
        machine.write(&to, Container::Full).unwrap();
        to.to_string_lossy().into_owned()
    };
    let first = dump("a.dmp", 0, 0, 58);
    // The clock was set forward by five minutes.
    let drifted = dump("b.dmp", HOUR + 5 * MINUTE, HOUR, 58);
    let restarted = dump("c.dmp", HOUR, HOUR, 59);
    let (value, _) = diff(&[&first, &drifted, &restarted]);
    let boots: Vec<&Value> = (0..3).map(|i| &value["points"][i]["boot"]).collect();
    assert_eq!(boots[0], boots[1]);
    assert_ne!(boots[0], boots[2]);
    let keys: Vec<PathBuf> = [&first, &drifted, &restarted]
        .iter()
        .map(|path| {
            let to = format!("{path}.tables");
            let (status, _, said) = run(&["export", path, "--out", &to]);
            assert_eq!(status, 0, "{said}");
            let only = |folder: PathBuf| fs::read_dir(folder).unwrap().next().unwrap().unwrap();
            // TABLE/machine=…/boot=…
            let machine = only(Path::new(&to).join("tags"));
            only(machine.path()).file_name().into()
        })
        .collect();
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
}

#[test]
fn a_dump_agrees_with_its_own_listings() {
    let text = answer(&["poolused", "demo.dmp", "1"]);
    let csv = answer(&["poolused", "demo.dmp", "--format", "csv"]);
    let folder = desk(&[("used.txt", &text), ("used.csv", &csv)]);
    let (value, _) = diff(&[
        "demo.dmp",
        &path(&folder, "used.txt"),
        &path(&folder, "used.csv"),
    ]);
    assert_eq!(value["same_boot"], Value::Null);
    let kinds: Vec<_> = value["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["kind"].clone())
        .collect();
    assert_eq!(kinds, ["dump", "poolused", "tag-table"]);
    assert_eq!(value["points"][1]["time"], Value::Null);
    let leak = change(&value, "Leak");
    assert_eq!(
        leak["nonpaged"]["bytes"],
        object!([615_424_000u64, 615_424_000u64, 615_424_000u64])
    );
    assert_eq!(leak["rate_bytes_per_hour"], Value::Null);
    for change in value["changes"].as_array().unwrap() {
        let trend = change["trend"].as_str().unwrap();
        assert!(["pinned", "unchanged"].contains(&trend), "{change}");
    }
}

fn snapshot(rows: &str) -> String {
    format!(
        " Memory: 2096696K Avail: 1150336K  PageFlts: 8135   InRam Krnl: 5004K P:158756K\n \
         Commit:1535208K Limit:4193392K Peak:2779016K            Pool N:943452K P:187796K\n\n \
         Tag  Type     Allocs            Frees            Diff   Bytes       Per Alloc\n\n{rows}"
    )
}

#[test]
fn poolmon_snapshots_give_a_series() {
    let one = snapshot(
        " Leak Nonp  10 0 10 10240 1024\n Held Paged 2000 0 2000 2048000 1024\n Wrap Nonp 4294967290 4294967280 10 640 64\n Io   Nonp 9 5 4 256 64\n",
    );
    let two = snapshot(
        " Leak Nonp  20 0 20 20480 1024\n Held Paged 2000 0 2000 2048000 1024\n Wrap Nonp 5 4294967290 11 704 64\n Io   Nonp 9 5 4 256 64\n New1 Paged 5 1 4 256 64\n",
    );
    let folder = desk(&[
        (
            "series.log",
            &format!("2024-05-17T12:00:00Z\n{one}2024-05-17T14:00:00Z\n{two}"),
        ),
        ("untimed.log", &one),
    ]);
    let (value, _) = diff(&[&path(&folder, "series.log")]);
    assert_eq!(value["points"][1]["time"], "2024-05-17T14:00:00Z");
    assert_eq!(value["points"][1]["nonpaged_pool_bytes"], 943_452u64 * 1024);
    assert_eq!(value["dump"], Value::Null);
    let leak = change(&value, "Leak");
    assert_eq!(
        (&leak["trend"], &leak["rate_bytes_per_hour"]),
        (&object!("growing"), &object!(5120))
    );
    assert_eq!(change(&value, "Held")["trend"], "pinned");
    assert_eq!(
        change(&value, "Wrap")["nonpaged"]["outstanding"],
        object!([10, 11])
    );
    assert_eq!(change(&value, "New1")["trend"], "new");
    assert_eq!(value["changes"][0]["tag"], "Leak", "by growth");
    let (value, _) = diff(&[&path(&folder, "untimed.log"), &path(&folder, "series.log")]);
    assert_eq!(value["points"][0]["time"], Value::Null);
    assert_eq!(change(&value, "Leak")["rate_bytes_per_hour"], Value::Null);
}

#[test]
fn tags_missing_from_a_screen_are_neither_new_nor_gone() {
    let head = " System pool information\n";
    let one = format!(
        "{head}{}",
        snapshot(
            " Leak Nonp  10 (  1) 0 (  0) 10 10240 ( 64) 1024\n Old1 Nonp 5 (  0) 1 (  0) 4 256 (  0) 64\n"
        )
    );
    let two = format!(
        "{head}{}",
        snapshot(
            " Leak Nonp  20 (  1) 0 (  0) 20 20480 ( 64) 1024\n New1 Nonp 5 (  0) 1 (  0) 4 256 (  0) 64\n"
        )
    );
    let folder = desk(&[("one.txt", &one), ("two.txt", &two)]);
    let (value, said) = diff(&[&path(&folder, "one.txt"), &path(&folder, "two.txt")]);
    for tag in ["Old1", "New1"] {
        assert_eq!(change(&value, tag)["trend"], Value::Null, "{tag}");
    }
    assert_eq!(
        change(&value, "New1")["nonpaged"]["bytes"],
        object!([null, 256])
    );
    assert_eq!(change(&value, "Leak")["trend"], "growing");
    assert!(said.contains("not complete"), "{said}");
}

#[test]
fn falling_counters_mean_a_reboot_and_performance_logs_have_no_tags() {
    let rows = |n: u64| -> String {
        (0..8)
            .map(|t| format!(" Tag{t} Nonp {n} 0 {n} {} 64\n", n * 64))
            .collect()
    };
    let pdh = "\"(PDH-CSV 4.0) (Romance Standard Time)(-60)\",\"\\\\H\\Memory\\Pool Nonpaged Bytes\"\n\"05/15/2018 02:13:06.123\",\"734003200\"\n\"05/15/2018 03:13:06.123\",\"834003200\"\n";
    let folder = desk(&[
        ("a.log", &snapshot(&rows(5000))),
        ("b.log", &snapshot(&rows(30))),
        ("p.csv", pdh),
    ]);
    let (_, said) = diff(&[&path(&folder, "a.log"), &path(&folder, "b.log")]);
    assert!(said.contains("boot"), "{said}");
    let (value, said) = diff(&[&path(&folder, "p.csv"), "demo.dmp"]);
    assert_eq!(value["points"][0]["kind"], "perf-counters");
    assert_eq!(value["points"][0]["time"], "2018-05-15T01:13:06.123Z");
    assert!(said.contains("no tags"), "{said}");
    assert_eq!(
        change(&value, "Leak")["nonpaged"]["bytes"],
        object!([null, null, 615_424_000u64])
    );
}

#[test]
fn files_that_are_not_logs_are_status_1_with_a_reason() {
    let prose = "Dear all,\nthe Paged pool is large, and the tag is Leak.\n";
    let folder = desk(&[
        ("empty.log", ""),
        ("prose.txt", prose),
        ("noise.bin", "\u{1}\u{2}\u{3}\u{4}"),
        ("one.log", &snapshot(" Leak Nonp 10 0 10 10240 1024\n")),
    ]);
    for (name, word) in [
        ("empty.log", "empty"),
        ("prose.txt", "not a log"),
        ("noise.bin", "error"),
    ] {
        let (status, out, said) = run(&["diff", &path(&folder, name), "demo.dmp"]);
        assert_eq!((status, out.as_str()), (1, ""), "{name}: {said}");
        assert!(said.contains(word), "{name}: {said}");
    }
    let (status, _, said) = run(&["diff", &path(&folder, "one.log")]);
    assert_eq!(status, 1);
    assert!(said.contains("one point"), "{said}");
    let (status, _, said) = run(&["vm", &path(&folder, "one.log")]);
    assert_eq!(status, 1);
    assert!(
        said.contains("PoolMon") && said.contains("needs a dump"),
        "{said}"
    );
    let (status, _, _) = run(&["diff"]);
    assert_eq!(status, 2);
}

#[test]
fn poolused_reads_tag_tables() {
    let table = "# complete: top 2 only\ntag,pool,allocs,frees,outstanding,bytes\n\"CM  \",paged,1283,1002,281,1377312\nLeak,nonpaged,,,601,615424000\n";
    let folder = desk(&[("t.csv", table)]);
    let (status, out, said) = run(&["poolused", &path(&folder, "t.csv"), "2", "--format", "json"]);
    assert_eq!(status, 0, "{said}");
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["schema"], "poolscope/1");
    assert_eq!(value["tags"][0]["tag"], "Leak");
    assert_eq!(value["tags"][0]["nonpaged"]["allocs"], Value::Null);
    assert_eq!(value["tags"][0]["paged"]["bytes"], Value::Null);
    assert_eq!(value["total"]["paged"]["bytes"], 1_377_312);
    assert!(said.contains("not complete"), "{said}");
    let (status, text, _) = run(&["poolused", &path(&folder, "t.csv"), "CM*"]);
    assert_eq!(status, 0);
    assert!(text.contains("CM ") && !text.contains("Leak"), "{text}");
}

#[test]
fn the_text_names_both_ends_and_unlisted_tags() {
    let one = snapshot(" Leak Nonp  10 0 10 10240 1024\n Io   Nonp 9 5 4 256 64\n");
    let two = snapshot(" Leak Nonp  20 0 20 20480 1024\n Io   Nonp 9 5 4 256 64\n");
    let folder = desk(&[("one.log", &one), ("two.log", &two)]);
    let out = |format: &str| {
        let (status, out, said) = run(&[
            "diff",
            &path(&folder, "one.log"),
            &path(&folder, "two.log"),
            "--format",
            format,
        ]);
        assert_eq!(status, 0, "{said}");
        let folder = folder.path().to_string_lossy().into_owned();
        out.replace(&folder, "DIR").replace("DIR\\", "DIR/")
    };
    let text = out("text");
    let rows = [
        "Same boot: unknown",
        "DIR/two.log",
        "Leak  growing                10,240            20,480           +10,240",
        "2 tags; not listed: 1 unchanged, 0 with fewer than two known values",
    ];
    for row in rows {
        assert!(text.contains(row), "{row}\n{text}");
    }
    assert!(!text.contains("\nIo"), "{text}");
    let markdown = out("markdown");
    let row = "| Leak | growing | 10,240 | 20,480 | +10,240 | - | +10 |";
    assert!(markdown.contains(row), "{markdown}");
    assert!(
        out("csv").contains("\nLeak,0x6b61654c,growing,10240,,10,0,10,10240,"),
        "{}",
        out("csv")
    );
    assert!(Path::new(&path(&folder, "one.log")).exists());
}
