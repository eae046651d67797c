//! Failures of datasets: a later version, truncated or missing files, two writers at once,
//! a full disk. Each costs only the rows it must, and is reported.

use std::fs;
use std::path::{Path, PathBuf};

use poolscope::evidence::read;
use poolscope::evidence::schema::{AGES, VERSION};
use poolscope::synth::legacy::Allocation;
use poolscope::synth::truth::Pool;
use poolscope::synth::{Container, Machine, era, small};
use serde_json::Value;

use crate::demo::poolscope;

/// Dumps of some machines in a folder.
fn dumps(folder: &Path, count: u64) -> Vec<PathBuf> {
    let one = |nth: u64| {
        let mut spec = small::of_era(&era::WIN7);
        spec.seed = nth;
        spec.system_time += nth * 36_000_000_000;
        let path = folder.join(format!("{nth}.dmp"));
        let machine = Machine::build(&spec).unwrap();
        machine.write(&path, Container::BitmapKernel).unwrap();
        path
    };
    (0..count).map(one).collect()
}

/// Status and stderr of an export.
fn export(dumps: &[PathBuf], out: &Path) -> (Option<i32>, String) {
    let mut command = poolscope(&["export", "--quiet", "--no-cache"]);
    let output = command.args(dumps).arg("--out").arg(out).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

/// Answer and stderr of `fleet`.
fn fleet(path: &Path) -> (Option<Value>, String) {
    let mut command = poolscope(&["fleet", "--format", "json", "--quiet", "--no-cache"]);
    let output = command.arg(path).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (serde_json::from_slice(&output.stdout).ok(), said)
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => out.extend(files(&path)),
            false => out.push(path),
        }
    }
    out.sort();
    out
}

#[test]
fn a_dataset_of_a_later_version_is_neither_read_nor_added_to() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    let dumps = dumps(folder.path(), 2);
    assert_eq!(export(&dumps[..1], &set).0, Some(0));
    for file in files(&set) {
        let mut bytes = fs::read(&file).unwrap();
        let key = b"poolscope.schema";
        let at = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len();
        let (major, minor) = VERSION;
        let value = format!("{major}.{minor}");
        let value = bytes[at..].windows(3).position(|w| w == value.as_bytes());
        bytes[at + value.unwrap()] = b'7';
        fs::write(&file, bytes).unwrap();
    }
    let (answer, said) = fleet(&set);
    assert!(
        answer.is_none() && said.contains("schema 7.") && said.contains("use a newer poolscope"),
        "{said}"
    );
    let before = files(&set);
    let (status, said) = export(&dumps, &set);
    assert_eq!(status, Some(1));
    assert!(
        said.contains("schema 7.") && said.contains("another folder"),
        "{said}"
    );
    assert_eq!(files(&set), before);
}

#[test]
fn a_damaged_file_is_named_and_costs_only_its_dump() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    let dumps = dumps(folder.path(), 4);
    assert_eq!(export(&dumps, &set).0, Some(0));
    let of = |table: &str| files(&set.join(table));
    let cut = |file: &Path| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    };
    cut(&of("dumps")[0]);
    cut(&of("findings")[1]);
    fs::remove_file(&of("findings")[2]).unwrap();
    let (answer, said) = fleet(&set);
    let answer = answer.unwrap();
    assert_eq!(answer["dumps"], 1, "{answer}");
    assert_eq!(answer["warnings"].as_array().unwrap().len(), 3);
    for (nth, word) in [
        (0, "table dumps"),
        (1, "table findings"),
        (2, "export the dump again"),
    ] {
        let name = of("dumps")[nth]
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let line = said.lines().find(|l| l.contains(&name)).unwrap_or_default();
        assert!(line.contains(word), "{word}: {said}");
    }
    // A second export makes them complete.
    assert_eq!(export(&dumps, &set).0, Some(0));
    assert_eq!(fleet(&set).0.unwrap()["dumps"], 4);
    // Other files in the folder are named, once each.
    let mixed = folder.path().join("mixed");
    fs::create_dir(&mixed).unwrap();
    fs::rename(&set, mixed.join("set")).unwrap();
    fs::write(mixed.join("note.txt"), "hello").unwrap();
    fs::write(mixed.join("cut.dmp"), &fs::read(&dumps[0]).unwrap()[..3000]).unwrap();
    let (answer, said) = fleet(&mixed);
    let answer = answer.unwrap();
    assert_eq!(answer["dumps"], 4, "{answer}");
    assert_eq!(answer["skipped"].as_array().unwrap().len(), 2, "{said}");
    assert!(
        said.contains("note.txt") && said.contains("cut.dmp"),
        "{said}"
    );
}

#[test]
fn parallel_writers_leave_complete_files() {
    let folder = tempfile::tempdir().unwrap();
    let (alone, together) = (folder.path().join("alone"), folder.path().join("together"));
    let dumps = dumps(folder.path(), 6);
    assert_eq!(export(&dumps, &alone).0, Some(0));
    std::thread::scope(|scope| {
        let (dumps, together) = (&dumps, &together);
        let writers = (0..4).map(|_| scope.spawn(move || export(dumps, together)));
        for writer in writers.collect::<Vec<_>>() {
            let (status, said) = writer.join().unwrap();
            assert_eq!(status, Some(0), "{said}");
        }
    });
    let content = |folder: &Path| -> Vec<(PathBuf, Vec<u8>)> {
        let all = files(folder).into_iter();
        all.map(|f| {
            (
                f.strip_prefix(folder).unwrap().to_owned(),
                fs::read(&f).unwrap(),
            )
        })
        .collect()
    };
    assert!(content(&alone) == content(&together));
}

#[test]
fn the_ages_in_a_dataset_equal_those_of_contents() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    // Blocks of a leaking tag, each with its allocation time.
    let mut spec = small::of_era(&era::WIN7);
    spec.runs.last_mut().unwrap().1 += 0x900;
    spec.vm.physical_memory += 0x900;
    for _ in 0..3000 {
        let block = Allocation::new(*b"AcmF", Pool::NonPaged, 0x800);
        spec.allocations.push(block);
    }
    let mut machine = Machine::build(&spec).unwrap();
    let own = machine.truth.blocks.iter().filter(|b| b.tag == *b"AcmF");
    let bodies: Vec<_> = own.map(|b| b.body()).collect();
    for (at, body) in (0..).zip(bodies) {
        let time = spec.system_time - spec.uptime + spec.uptime / 3000 * at;
        machine.memory.u64(body.add(0x28), time);
    }
    let path = folder.path().join("leak.dmp");
    machine.write(&path, Container::BitmapKernel).unwrap();
    let (status, said) = export(std::slice::from_ref(&path), &set);
    assert_eq!(status, Some(0), "{said}");
    let place = |name| read::place(&AGES, name);
    let [tag, source, slice, blocks, all] =
        ["tag", "source", "slice", "blocks", "blocks_with_time"].map(place);
    let mut rows = Vec::new();
    for file in files(&set.join("ages")) {
        let read = read::read(&AGES, fs::read(file).unwrap().into(), 1000, |batch| {
            rows.extend(batch.rows().map(|row| {
                let text = |at| row.text(at).unwrap().to_owned();
                let number = |at| row.int(at).unwrap();
                (
                    text(tag),
                    text(source),
                    number(slice),
                    number(blocks),
                    number(all),
                )
            }));
            Ok(())
        });
        read.unwrap();
    }
    let file = path.to_str().unwrap();
    let findings = crate::demo::json(&["diagnose", file])["findings"].clone();
    assert_eq!(findings[0]["tag"], "AcmF");
    let ages = &crate::demo::json(&["contents", file, "AcmF"])["ages"];
    assert_eq!(ages["shape"], "steady");
    let with_time = ages["blocks_with_time"].as_i64().unwrap();
    assert!(with_time > 2900, "{ages}");
    let own: Vec<_> = rows.iter().filter(|r| r.0 == "AcmF").collect();
    assert_eq!(own.len(), 24);
    for (nth, row) in own.iter().enumerate() {
        assert_eq!(
            (row.2, row.3),
            (nth as i64, ages["histogram"][nth].as_i64().unwrap())
        );
        assert_eq!(
            (&row.1[..], row.4),
            (ages["source"].as_str().unwrap(), with_time)
        );
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_partial_file() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    let dumps = dumps(folder.path(), 3);
    let program = assert_cmd::cargo::cargo_bin("poolscope");
    // A file that exceeds the size limit fails as on a full disk.
    let line = format!(
        "ulimit -f 4; exec {} export --quiet --no-cache {}/*.dmp --out {}",
        program.display(),
        folder.path().display(),
        set.display()
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &line])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("can't be written") && said.contains("--out"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(files(&set), Vec::<PathBuf>::new());
    // With enough room, the export works again.
    assert_eq!(export(&dumps, &set).0, Some(0));
    assert!(
        files(&set)
            .iter()
            .all(|f| f.extension().is_some_and(|e| e == "parquet"))
    );
    assert_eq!(fleet(&set).0.unwrap()["dumps"], 3);
}
