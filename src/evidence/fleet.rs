//! What many dumps have in common: suspects by driver, tag and pool, over evidence files,
//! dumps and exported datasets.

mod forms;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rayon::prelude::*;
use serde::Serialize;

use super::archive::{Stored, is_zip};
use super::read::{self, Row, place};
use super::schema::{DUMPS, FINDINGS};

/// Rows of each table of one file.
const MOST_ROWS: u64 = 1 << 20;
/// Bytes of a file of a dataset.
const LARGEST_FILE: u64 = 1 << 30;
/// Dumps that a suspect must have before one of them is an outlier.
const FEWEST: usize = 4;
/// An outlier has so many times the median.
const FAR: u64 = 3;

/// One dump, as far as a fleet needs it.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    keys: (String, String, String),
    file: String,
    version: String,
    booted: Option<i64>,
    written: Option<i64>,
    findings: Vec<Finding>,
}

#[derive(Clone, Debug, Default)]
struct Finding {
    tag: String,
    pool: String,
    verdict: String,
    bytes: u64,
    owner: Option<String>,
    identity: Option<String>,
    file_version: Option<String>,
}

/// How a suspect's bytes went from dump to dump of one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trend {
    /// More in each later dump, on every machine that has several of one boot.
    Growing,
    /// Both ways.
    Mixed,
    /// Never more.
    Steady,
}

/// A suspect: a driver's tag in a pool, in one version of the driver.
#[derive(Clone, Debug, Serialize)]
pub struct Suspect {
    /// The likeliest owner; null for none.
    pub driver: Option<String>,
    /// Its file version; where that was read in no dump of this build, the identity of its
    /// PDB.
    pub driver_version: Option<String>,
    /// The tag.
    pub tag: String,
    /// The pool.
    pub pool: String,
    /// Builds of Windows.
    pub windows: Vec<String>,
    /// Machines, at the least: those with a name (`--host`), and of the others those that
    /// differ in memory or processors, or were up at the same time.
    pub hosts: u64,
    /// Dumps.
    pub dumps: u64,
    /// Of those, dumps that are judged a leak.
    pub leaks: u64,
    /// Bytes over the latest dump of each boot.
    pub bytes: u64,
    /// The median of all dumps, and the most.
    pub median_bytes: u64,
    /// The most of one dump.
    pub largest_bytes: u64,
    /// Null where no boot has several dumps.
    pub trend: Option<Trend>,
}

/// A dump that is unlike the others with its suspect.
#[derive(Clone, Debug, Serialize)]
pub struct Outlier {
    /// The file.
    pub file: String,
    /// The machine.
    pub machine: String,
    /// The tag.
    pub tag: String,
    /// Its bytes there.
    pub bytes: u64,
    /// The median of all dumps with that suspect.
    pub median_bytes: u64,
}

/// The answer of `fleet`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Fleet {
    /// Dumps that were read.
    pub dumps: u64,
    /// Machines.
    pub hosts: u64,
    /// Dumps with no finding.
    pub without_findings: u64,
    /// Suspects on the most hosts first.
    pub suspects: Vec<Suspect>,
    /// Dumps that are unlike the others.
    pub outliers: Vec<Outlier>,
    /// Files that could not be read, and why.
    pub skipped: Vec<String>,
}

/// What a path holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// An evidence file.
    Evidence(PathBuf),
    /// The folder of a dataset.
    Dataset(PathBuf),
    /// A dump.
    Dump(PathBuf),
}

/// What is at the paths: files as they are, folders with all that is in them.
pub fn inputs(paths: &[PathBuf]) -> (Vec<Input>, Vec<String>) {
    let (mut out, mut skipped) = (Vec::new(), Vec::new());
    for path in paths {
        find(path, 0, &mut out, &mut skipped);
    }
    (out, skipped)
}

/// Folders in folders that are looked into.
const DEEPEST: u32 = 16;

fn find(path: &Path, depth: u32, out: &mut Vec<Input>, skipped: &mut Vec<String>) {
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(why) => return skipped.push(format!("{}: {why}", path.display())),
    };
    if about.is_file() {
        out.push(match is_zip(path) {
            true => Input::Evidence(path.to_owned()),
            false => Input::Dump(path.to_owned()),
        });
        return;
    }
    if path.join(DUMPS.name).is_dir() {
        out.push(Input::Dataset(path.to_owned()));
        return;
    }
    if depth == DEEPEST {
        return skipped.push(format!("{}: folders are nested too deep", path.display()));
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(why) => return skipped.push(format!("{}: {why}", path.display())),
    };
    let mut inside: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    inside.sort();
    inside
        .iter()
        .for_each(|path| find(path, depth + 1, out, skipped));
}

/// Reads evidence files and datasets; dumps are walked by the caller.
pub fn read_all(inputs: &[Input]) -> (Vec<Dump>, Vec<String>) {
    let read: Vec<(Vec<Dump>, Vec<String>)> = inputs
        .par_iter()
        .map(|input| match input {
            Input::Evidence(path) => one(path, evidence(path)),
            Input::Dataset(folder) => dataset(folder),
            Input::Dump(_) => Default::default(),
        })
        .collect();
    let (dumps, skipped): (Vec<_>, Vec<_>) = read.into_iter().unzip();
    (dumps.concat(), skipped.concat())
}

fn one(path: &Path, read: Result<Vec<Dump>, String>) -> (Vec<Dump>, Vec<String>) {
    match read {
        Ok(dumps) => (dumps, Vec::new()),
        Err(why) => (Vec::new(), vec![format!("{}: {why}", path.display())]),
    }
}

/// The dumps of an evidence file.
///
/// # Errors
/// Why it can't be read.
pub fn evidence(path: &Path) -> Result<Vec<Dump>, String> {
    let mut file = Stored::open(path).map_err(|e| e.to_string())?;
    let mut get = |table| file.table(table).map_err(|e| e.to_string());
    let (dumps, findings) = (get(&DUMPS)?, get(&FINDINGS)?);
    let dumps = dumps.ok_or("it has no table of dumps")?;
    dumps_of(dumps, findings)
}

fn dataset(folder: &Path) -> (Vec<Dump>, Vec<String>) {
    let mut files = Vec::new();
    let mut skipped = Vec::new();
    parquet_files(&folder.join(DUMPS.name), 0, &mut files, &mut skipped);
    let read: Vec<(Vec<Dump>, Vec<String>)> = files
        .par_iter()
        .map(|file| {
            let read = || {
                let inside = file.strip_prefix(folder.join(DUMPS.name)).unwrap_or(file);
                let findings = folder.join(FINDINGS.name).join(inside);
                // Every export writes it, also without a row.
                let findings = whole(&findings)
                    .map_err(|why| format!("its findings: {why}; export the dump again"))?;
                dumps_of(whole(file)?, Some(findings))
            };
            one(file, read())
        })
        .collect();
    let (dumps, unread): (Vec<_>, Vec<_>) = read.into_iter().unzip();
    skipped.extend(unread.concat());
    (dumps.concat(), skipped)
}

fn whole(path: &Path) -> Result<Bytes, String> {
    let about = fs::metadata(path).map_err(|e| e.to_string())?;
    if about.len() > LARGEST_FILE {
        return Err("it is too large".into());
    }
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    Ok(bytes.into())
}

/// Whole files only: those that are being written start with a dot.
fn parquet_files(folder: &Path, depth: u32, out: &mut Vec<PathBuf>, skipped: &mut Vec<String>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) if depth < DEEPEST => entries,
        Ok(_) => return skipped.push(format!("{}: folders are nested too deep", folder.display())),
        Err(why) => return skipped.push(format!("{}: {why}", folder.display())),
    };
    let mut inside: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    inside.sort();
    for path in inside {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            parquet_files(&path, depth + 1, out, skipped);
        } else if name.ends_with(".parquet") && !name.starts_with('.') {
            out.push(path);
        }
    }
}

fn owned(row: Row<'_>, column: usize) -> String {
    row.text(column).unwrap_or_default().to_owned()
}

fn dumps_of(dumps: Bytes, findings: Option<Bytes>) -> Result<Vec<Dump>, String> {
    let mut out: BTreeMap<String, Dump> = BTreeMap::new();
    let at = |name| place(&DUMPS, name);
    let columns = [
        "machine", "boot", "dump", "file", "version", "booted", "written",
    ];
    let [machine, boot, dump, file, version, booted, written] = columns.map(at);
    let read = read::read(&DUMPS, dumps, MOST_ROWS, |batch| {
        for row in batch.rows() {
            let keys = (owned(row, machine), owned(row, boot), owned(row, dump));
            let known = Dump {
                file: owned(row, file),
                version: owned(row, version),
                booted: row.int(booted),
                written: row.int(written),
                findings: Vec::new(),
                keys: keys.clone(),
            };
            out.insert(keys.2, known);
        }
        Ok(())
    });
    read.map_err(|e| e.to_string())?;
    let Some(findings) = findings else {
        return Ok(out.into_values().collect());
    };
    let at = |name| place(&FINDINGS, name);
    let columns = [
        "dump",
        "tag",
        "pool",
        "verdict",
        "bytes",
        "owner",
        "owner_identity",
        "owner_file_version",
    ]
    .map(at);
    let [dump, tag, pool, verdict, bytes, owner, identity, version] = columns;
    let read = read::read(&FINDINGS, findings, MOST_ROWS, |batch| {
        for row in batch.rows() {
            let Some(known) = row.text(dump).and_then(|key| out.get_mut(key)) else {
                continue;
            };
            known.findings.push(Finding {
                tag: owned(row, tag),
                pool: owned(row, pool),
                verdict: owned(row, verdict),
                bytes: row.count(bytes).unwrap_or(0),
                owner: row.text(owner).map(str::to_owned),
                identity: row.text(identity).map(str::to_owned),
                file_version: row.text(version).map(str::to_owned),
            });
        }
        Ok(())
    });
    read.map_err(|e| e.to_string())?;
    Ok(out.into_values().collect())
}

type Key = (Option<String>, Option<String>, String, String);

impl Fleet {
    /// Of these dumps. The same dump in several inputs counts once.
    pub fn of(dumps: Vec<Dump>, skipped: Vec<String>) -> Fleet {
        let unique: BTreeMap<_, Dump> = dumps.into_iter().map(|d| (d.keys.clone(), d)).collect();
        let dumps: Vec<Dump> = unique.into_values().collect();
        // The version resource may be paged out in one dump and not in another of the same
        // build.
        let all = dumps.iter().flat_map(|dump| &dump.findings);
        let versions: BTreeMap<&String, &String> = all
            .filter_map(|f| Some((f.identity.as_ref()?, f.file_version.as_ref()?)))
            .collect();
        let version = |f: &Finding| {
            let of_build = || versions.get(f.identity.as_ref()?).copied();
            let known = f.file_version.as_ref().or_else(of_build);
            known.or(f.identity.as_ref()).cloned()
        };
        let mut groups: BTreeMap<Key, Vec<(&Dump, &Finding)>> = BTreeMap::new();
        for dump in &dumps {
            for finding in &dump.findings {
                let key = (
                    finding.owner.clone(),
                    version(finding),
                    finding.tag.clone(),
                    finding.pool.clone(),
                );
                groups.entry(key).or_default().push((dump, finding));
            }
        }
        let mut suspects: Vec<Suspect> = groups.iter().map(|(k, g)| suspect(k, g)).collect();
        suspects.sort_by_key(|s| std::cmp::Reverse((s.hosts, s.bytes)));
        Fleet {
            dumps: dumps.len() as u64,
            hosts: hosts(dumps.iter()),
            without_findings: dumps.iter().filter(|d| d.findings.is_empty()).count() as u64,
            suspects,
            outliers: groups.values().flat_map(|g| outliers(g)).collect(),
            skipped,
        }
    }
}

/// Machines, at the least: by their names, and where alike machines have the same one, by
/// their boots. One machine is not up twice at the same time.
fn hosts<'a>(dumps: impl Iterator<Item = &'a Dump>) -> u64 {
    type Up = (Option<i64>, Option<i64>);
    let mut machines: BTreeMap<&str, BTreeMap<&str, Up>> = BTreeMap::new();
    for dump in dumps {
        let boots = machines.entry(&dump.keys.0).or_default();
        let up = boots.entry(&dump.keys.1).or_default();
        up.0 = up.0.or(dump.booted);
        up.1 = up.1.max(dump.written);
    }
    machines.values().map(up_together).sum()
}

/// The most boots that are up at the same time, of those whose times are known.
fn up_together(boots: &BTreeMap<&str, (Option<i64>, Option<i64>)>) -> u64 {
    let known = boots.values().filter_map(|up| up.0.zip(up.1));
    let ordered = known.filter(|(booted, written)| booted < written);
    // At the same moment an end comes before a start.
    let mut steps: Vec<(i64, i64)> = ordered
        .flat_map(|(booted, written)| [(booted, 1), (written, -1)])
        .collect();
    steps.sort_unstable();
    let mut up = 0;
    let most = steps.iter().map(|(_, step)| {
        up += step;
        up
    });
    most.max().unwrap_or(0).max(1).unsigned_abs()
}

fn median(group: &[(&Dump, &Finding)]) -> u64 {
    let mut all: Vec<u64> = group.iter().map(|(_, f)| f.bytes).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or(0)
}

/// When a machine was dumped (seconds since 1970), and a tag's bytes then.
type Moment = (Option<i64>, u64);

fn suspect(key: &Key, group: &[(&Dump, &Finding)]) -> Suspect {
    let (driver, driver_version, tag, pool) = key.clone();
    let windows: BTreeSet<&String> = group.iter().map(|(d, _)| &d.version).collect();
    let mut boots: BTreeMap<(&String, &String), Vec<Moment>> = BTreeMap::new();
    for (dump, finding) in group {
        let boot = boots.entry((&dump.keys.0, &dump.keys.1)).or_default();
        boot.push((dump.written, finding.bytes));
    }
    boots.values_mut().for_each(|boot| boot.sort_unstable());
    let latest = boots.values().filter_map(|boot| boot.last());
    let steps: Vec<bool> = boots
        .values()
        .flat_map(|boot| boot.windows(2))
        .map(|pair| matches!(pair, [a, b] if b.1 > a.1))
        .collect();
    let grows = steps.iter().filter(|grows| **grows).count();
    Suspect {
        driver,
        driver_version,
        tag,
        pool,
        windows: windows.into_iter().cloned().collect(),
        hosts: hosts(group.iter().map(|(dump, _)| *dump)),
        dumps: group.len() as u64,
        leaks: group.iter().filter(|(_, f)| f.verdict == "leak").count() as u64,
        bytes: latest.fold(0, |sum, one| sum.saturating_add(one.1)),
        median_bytes: median(group),
        largest_bytes: group.iter().map(|(_, f)| f.bytes).max().unwrap_or(0),
        trend: match (steps.len(), grows) {
            (0, _) => None,
            (all, grows) if all == grows => Some(Trend::Growing),
            (_, 0) => Some(Trend::Steady),
            _ => Some(Trend::Mixed),
        },
    }
}

fn outliers(group: &[(&Dump, &Finding)]) -> Vec<Outlier> {
    let usual = median(group);
    let far = |bytes: u64| bytes > usual.saturating_mul(FAR);
    let found = group
        .iter()
        .filter(|(_, f)| group.len() >= FEWEST && far(f.bytes));
    found
        .map(|(dump, finding)| Outlier {
            file: dump.file.clone(),
            machine: dump.keys.0.clone(),
            tag: finding.tag.clone(),
            bytes: finding.bytes,
            median_bytes: usual,
        })
        .collect()
}

impl Trend {
    /// The word in answers.
    pub fn word(self) -> &'static str {
        match self {
            Trend::Growing => "growing",
            Trend::Mixed => "mixed",
            Trend::Steady => "steady",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(machine: &str, written: i64, bytes: u64) -> Dump {
        Dump {
            keys: (machine.into(), "b".into(), format!("d{machine}{written}")),
            file: format!("{machine}.dmp"),
            written: Some(written),
            findings: vec![Finding {
                tag: "Leak".into(),
                pool: "nonpaged".into(),
                verdict: "leak".into(),
                bytes,
                owner: Some("myfault".into()),
                identity: None,
                file_version: None,
            }],
            ..Dump::default()
        }
    }

    #[test]
    fn alike_machines_are_told_from_each_other_by_boots_at_the_same_time() {
        let of = |boot: &str, booted, written| {
            let mut one = dump("a", written, 10);
            one.keys.1 = boot.into();
            one.booted = Some(booted);
            one
        };
        let dumps = [of("1", 0, 10), of("1", 0, 20), of("2", 20, 30)];
        assert_eq!(hosts(dumps.iter()), 1, "one machine that was started again");
        let more = [of("3", 5, 25), of("4", 8, 12)];
        assert_eq!(hosts(dumps.iter().chain(&more)), 3);
        let unknown = [dump("a", 1, 1), dump("b", 1, 1)];
        assert_eq!(hosts(unknown.iter()), 2);
    }

    #[test]
    fn a_suspect_is_added_up_over_hosts_and_its_latest_dumps() {
        let dumps = vec![
            dump("a", 1, 10),
            dump("a", 2, 30),
            dump("b", 1, 20),
            dump("b", 1, 20),
            dump("c", 1, 10),
            dump("d", 1, 500),
        ];
        let fleet = Fleet::of(dumps, Vec::new());
        let [one] = &fleet.suspects[..] else {
            panic!("{fleet:?}");
        };
        assert_eq!((one.hosts, one.dumps, one.bytes), (4, 5, 560));
        assert_eq!((one.median_bytes, one.largest_bytes), (20, 500));
        assert_eq!(one.trend, Some(Trend::Growing));
        assert_eq!(fleet.outliers.len(), 1);
        assert_eq!(fleet.outliers[0].machine, "d");
    }
}
