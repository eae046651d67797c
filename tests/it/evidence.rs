//! Evidence files and datasets give the same answers as the dump, in every command.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use poolscope::engine::{Engine, Machine, Options};
use poolscope::evidence::archive::{self, Manifest, Stored};
use poolscope::evidence::read::{self, place};
use poolscope::evidence::schema::{self, BLOCKS, DUMPS, FINDINGS, OCCUPANCY, TABLES, TAGS, Table};
use poolscope::evidence::{self, Choices, Evidence};
use poolscope::pool::TagPattern;
use poolscope::pool::index::Snapshot;
use poolscope::synth::{Container, Machine as Synth, era, small};

use serde_json::Value;

use crate::demo::{answer, directory, json, poolscope};
use crate::screens::Screens;

/// The evidence file of the sample.
fn sample() -> &'static str {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let out = [
            "evidence",
            "demo.dmp",
            "--out",
            "demo.evidence",
            "--contents",
        ];
        answer(&out);
    });
    "demo.evidence"
}

/// The dump of a small machine, in a folder.
fn dump(folder: &Path, name: &str, era: &'static era::Era) -> PathBuf {
    let path = folder.join(name);
    let machine = Synth::build(&small::of_era(era)).unwrap();
    machine.write(&path, Container::BitmapKernel).unwrap();
    path
}

/// The evidence of a small machine, in memory.
fn bytes_of_evidence(choices: &Choices) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = dump(folder.path(), "secretname.dmp", &era::WIN7);
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Default::default()).unwrap();
    let out = folder.path().join("it.evidence");
    evidence::write(&engine, &index, &out, choices).unwrap();
    fs::read(out).unwrap()
}

#[test]
fn every_command_answers_the_same_from_evidence_and_dump() {
    let evidence = sample();
    // Caches the index, so that `refs` knows the block contents, as the evidence file does.
    answer(&["diagnose", "demo.dmp"]);
    let size = fs::metadata(directory().join(evidence)).unwrap().len();
    assert!(size < 10 << 20, "{size} bytes");
    for command in [
        &["vm"][..],
        &["vm", "--sources"],
        &["poolused", "2"],
        &["poolused", "1", "T*"],
        &["modules"],
        &["modules", "fffff880044b5000"],
        &["refs", "Leak"],
        &["refs", "Proc"],
        &["allocs", "Leak"],
        &["contents", "Leak"],
        &["drivers"],
        &["diagnose"],
    ] {
        // The file stores these two as they were printed; all else is rendered from one value.
        let formats = match command {
            ["diagnose" | "drivers"] => &["text", "json"][..],
            _ => &["json"],
        };
        for format in formats {
            let asked = |file: &str| {
                let (verb, rest) = command.split_first().unwrap();
                let all = [&[*verb, file][..], rest, &["--format", format]].concat();
                answer(&all)
            };
            assert_eq!(asked("demo.dmp"), asked(evidence), "{command:?} {format}");
        }
    }
    // Tags without stored answers, because there is nothing to store.
    for (verb, tag) in [("contents", "zzzz"), ("stacks", "Leak"), ("stacks", "zzzz")] {
        let asked = |file| json(&[verb, file, tag]);
        assert_eq!(asked("demo.dmp"), asked(evidence), "{verb} {tag}");
    }
}

#[test]
fn data_missing_from_evidence_is_reported() {
    let evidence = sample();
    let info = answer(&["info", evidence]);
    for part in [
        "Evidence",
        "tags:",
        "blocks:",
        "not replaced by keyed hashes",
    ] {
        assert!(info.contains(part), "{part}: {info}");
    }
    assert_eq!(json(&["info", evidence])["evidence"]["contents"], true);
    // A tag with few blocks, whose contents are not stored.
    let used = json(&["poolused", evidence]);
    let used = used["tags"].as_array().unwrap().iter();
    let bytes = |t: &Value| {
        t["nonpaged"]["bytes"].as_u64().unwrap() + t["paged"]["bytes"].as_u64().unwrap()
    };
    let small = used
        .filter(|t| bytes(t) > 0)
        .min_by_key(|t| bytes(t))
        .unwrap();
    let small = small["tag"].as_str().unwrap();
    let (no_objects, no_contents) = (
        format!("no objects of {small}"),
        format!("no contents of {small}"),
    );
    for (command, part) in [
        (
            &["pool", evidence, "fffff80000000000"][..],
            "does not have the page",
        ),
        (&["contents", evidence, "Leak", "--size", "32"], "all sizes"),
        (&["objects", evidence, small], &no_objects),
        (&["contents", evidence, small], &no_contents),
        (&["info", evidence, "--partner", "x"], "omit --partner"),
    ] {
        let output = poolscope(command).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert!(told.contains(part), "{command:?}: {told}");
    }
}

#[test]
fn the_screens_are_the_same_for_evidence_and_dump() {
    sample();
    let mut dump = Screens::open(&directory().join("demo.dmp")).unwrap();
    let mut evidence = Screens::open(&directory().join("demo.evidence")).unwrap();
    // The duration of the walk is shown last.
    let rows = |screen: String| {
        let rows = screen.lines().filter(|row| !row.starts_with("Pool walked"));
        rows.map(str::to_owned).collect::<Vec<_>>()
    };
    for screens in [&mut dump, &mut evidence] {
        screens.wait_for_owners();
    }
    assert_eq!(rows(dump.screen()), rows(evidence.screen()));
    // The summary of the machine, and the modules.
    for keys in ["v", "m"] {
        assert_eq!(rows(dump.keys(keys)), rows(evidence.keys(keys)), "{keys}");
    }
}

#[test]
fn evidence_made_from_evidence_is_the_same() {
    let evidence = sample();
    answer(&[
        "evidence",
        evidence,
        "--out",
        "again.evidence",
        "--contents",
    ]);
    for command in ["poolused", "diagnose", "drivers"] {
        assert_eq!(
            answer(&[command, evidence]),
            answer(&[command, "again.evidence"])
        );
    }
    let listed = |file: &str| json(&["info", file])["evidence"]["blocks_listed"].clone();
    assert_eq!(listed(evidence), listed("again.evidence"));
    // The counts are for all blocks, although the file lists only some of them.
    let table = |file: &str| {
        let mut file = Stored::open(&directory().join(file)).unwrap();
        file.table(&OCCUPANCY).unwrap().unwrap()
    };
    assert_eq!(table(evidence), table("again.evidence"));
}

#[test]
fn no_name_is_left_in_redacted_evidence() {
    let choices = Choices {
        contents: false,
        redact: true,
        host: Some("ACMESERVER7".into()),
    };
    let names = ["secretname", "acmeserver7", "leaker.exe"];
    let found = |choices: &Choices| -> Vec<&'static str> {
        let mut file = Stored::of_bytes(bytes_of_evidence(choices)).unwrap();
        let mut all = serde_json::to_vec(&file.manifest).unwrap();
        for table in TABLES {
            all.extend(file.table(table).unwrap().unwrap());
        }
        let text = String::from_utf8_lossy(&all).to_lowercase();
        names.into_iter().filter(|n| text.contains(n)).collect()
    };
    assert_eq!(found(&choices), Vec::<&str>::new());
    let plain = Choices {
        redact: false,
        ..choices
    };
    // Proves that the test can find them.
    assert!(found(&plain).len() >= 2, "{:?}", found(&plain));
}

/// Asks for everything in the file; nothing may panic.
fn ask(file: Stored) -> Result<(), String> {
    let opened = Evidence::of(file, Path::new("it.evidence"), &Options::default());
    let machine = opened.map_err(|e| e.to_string())?;
    let machine: &dyn Machine = &machine;
    let _ = (machine.info(), machine.vm().lines(), machine.modules(None));
    let index = machine.kept_index(&|| true).index.unwrap_or_default();
    let any = TagPattern::any();
    let _ = machine.allocs(&index, &any, true).blocks().count();
    let _ = machine.coverage_of(&any, &index).sentences();
    let tags: Vec<_> = machine
        .trackers()
        .rows
        .iter()
        .map(|r| r.tag)
        .take(20)
        .collect();
    for tag in tags {
        let _ = machine.tag_references(tag);
        let question = poolscope::analysis::census::Question::of(tag);
        let _ = machine.census(&index, question, &|| true, &Default::default());
        let _ = machine.objects_of(&index, tag, 0, &|| true);
    }
    let _ = machine.by_driver(None);
    Ok(())
}

#[test]
fn damaged_evidence_never_causes_a_panic() {
    let whole = bytes_of_evidence(&Choices::default());
    assert_eq!(ask(Stored::of_bytes(whole.clone()).unwrap()), Ok(()));
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    // The container.
    for _ in 0..60 {
        let mut bytes = whole.clone();
        let at = (random() % bytes.len() as u64) as usize;
        bytes[at] ^= random() as u8 | 1;
        if random().is_multiple_of(4) {
            bytes.truncate(at);
        }
        if let Ok(file) = Stored::of_bytes(bytes) {
            let _ = ask(file);
        }
    }
    // The tables, with correct checksums.
    for round in 0..66 {
        let mut file = Stored::of_bytes(whole.clone()).unwrap();
        let manifest = file.manifest.clone();
        let mut tables: Vec<(&'static Table, u64, Vec<u8>)> = Vec::new();
        for (nth, table) in TABLES.into_iter().enumerate() {
            let mut bytes = file.table(table).unwrap().unwrap().to_vec();
            if nth == round % TABLES.len() {
                for _ in 0..1 + random() % 8 {
                    let at = (random() % bytes.len() as u64) as usize;
                    bytes[at] = random() as u8;
                }
            }
            tables.push((table, 0, bytes));
        }
        let made = archive::pack(Cursor::new(Vec::new()), manifest, &tables).unwrap();
        if let Ok(file) = Stored::of_bytes(made.into_inner()) {
            let _ = ask(file);
        }
    }
}

#[test]
fn another_version_is_distinguished_from_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.evidence");
    let told = |schema| {
        let manifest = Manifest {
            format: archive::FORMAT.into(),
            schema,
            ..Manifest::default()
        };
        archive::write(&path, manifest, &[]).unwrap();
        evidence::open(&path, &Options::default())
            .unwrap_err()
            .to_string()
    };
    let (major, minor) = schema::VERSION;
    assert!(told((major + 1, 0)).contains("use a newer poolscope"));
    assert!(told((major - 1, 0)).contains("older"));
    // A later minor version only adds columns.
    assert!(told((major, minor + 1)).contains("no answers"));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let cut = evidence::open(&path, &Options::default()).unwrap_err();
    assert!(cut.to_string().contains("damaged"), "{cut}");
    fs::write(&path, b"PK\x03\x04 and no more").unwrap();
    let zip = evidence::open(&path, &Options::default()).unwrap_err();
    assert!(zip.to_string().contains("unzip"), "{zip}");
}

/// The sum of a column over the rows of a table.
fn sum(folder: &Path, table: &'static Table, column: &str) -> (u64, i64) {
    let mut files = Vec::new();
    let mut folders = vec![folder.join(table.name)];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    let at = place(table, column);
    let (mut rows, mut sum) = (0, 0);
    for file in files {
        let bytes = fs::read(file).unwrap().into();
        rows += read::read(table, bytes, u64::MAX, |batch| {
            sum += batch.rows().filter_map(|row| row.int(at)).sum::<i64>();
            Ok(())
        })
        .unwrap();
    }
    (rows, sum)
}

#[test]
fn a_dataset_has_the_sums_of_poolused_and_a_bad_dump_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let dumps = [("a.dmp", &era::WIN7), ("b.dmp", &era::WIN10_2004)];
    let paths = dumps.map(|(name, era)| dump(folder.path(), name, era));
    let bad = folder.path().join("bad.dmp");
    fs::write(&bad, b"no dump").unwrap();
    let out = folder.path().join("set");
    let export = || {
        let files = [&paths[0], &bad, &paths[1]].map(|p| p.to_str().unwrap().to_owned());
        let mut command = poolscope(&["export", "--blocks", "--quiet", "--no-cache"]);
        command.args(files).arg("--out").arg(&out);
        command.output().unwrap()
    };
    let first = export();
    let told = String::from_utf8_lossy(&first.stderr).into_owned();
    assert_eq!(first.status.code(), Some(1), "{told}");
    assert!(
        told.contains("bad.dmp") && told.contains("1 of 3"),
        "{told}"
    );
    let counted: u64 = paths
        .iter()
        .map(|path| {
            let engine = Engine::open(path, &Options::default()).unwrap();
            let total = engine.trackers().total;
            total.nonpaged.bytes + total.paged.bytes
        })
        .sum();
    let blocks: u64 = paths
        .iter()
        .map(|path| {
            let engine = Engine::open(path, &Options::default()).unwrap();
            let index: Snapshot = engine.index(Default::default()).unwrap();
            index.matching(&TagPattern::any()).count() as u64
        })
        .sum();
    // Twice: the same rows, without duplicates.
    for _ in 0..2 {
        let sessions: i64 = 0;
        let (_, bytes) = sum(&out, &schema::POOLS, "bytes");
        assert!(bytes >= counted as i64 + sessions, "{bytes} {counted}");
        assert_eq!(sum(&out, &DUMPS, "build").0, 2);
        assert_eq!(sum(&out, &BLOCKS, "size").0, blocks);
        assert!(sum(&out, &TAGS, "bytes").1 >= counted as i64);
        let of_pages = |column| sum(&out, &OCCUPANCY, column).1;
        let bytes = ["used_bytes", "cached_bytes", "free_bytes"].map(of_pages);
        assert_eq!(bytes.iter().sum::<i64>(), of_pages("pages") * 4096);
        assert!(bytes.iter().all(|n| *n > 0), "{bytes:?}");
        export();
    }
    // As CSV, which replaces the other format.
    let mut csv = poolscope(&["export", "--format", "csv", "--quiet", "--no-cache"]);
    csv.args(&paths).arg("--out").arg(&out).assert().success();
    let text = fs::read_dir(out.join("tags")).unwrap().count();
    assert!(text > 0 && sum(&out, &BLOCKS, "size").0 == 0);
}

#[test]
fn a_fleet_counts_each_dump_once_in_any_mix_of_inputs() {
    sample();
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    let set = set.to_str().unwrap();
    answer(&["export", "demo.dmp", "--out", set]);
    let fleet = json(&["fleet", "demo.evidence", set, "demo.dmp"]);
    assert_eq!(fleet["dumps"], 1, "{fleet}");
    let suspect = &fleet["suspects"][0];
    assert_eq!(suspect["driver"], "myfault");
    assert_eq!(suspect["tag"], "Leak");
    assert_eq!(suspect["bytes"], 615_424_000);
    for format in ["text", "csv", "markdown"] {
        assert!(answer(&["fleet", set, "--format", format]).contains("myfault"));
    }
    let (rows, _) = sum(Path::new(set), &FINDINGS, "bytes");
    assert!(rows >= 1);
}
