//! Compares many dumps: suspects by driver, tag and pool, over evidence files, dumps and exported
//! datasets.

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

/// Maximum number of rows of each table of a file.
const MOST_ROWS: u64 = 1 << 20;
/// Maximum size of a dataset file, in bytes.
const LARGEST_FILE: u64 = 1 << 30;
/// Minimum number of dumps of a suspect before one of them is reported as an outlier.
const FEWEST: usize = 4;
/// An outlier has more than this many times the median.
const FAR: u64 = 3;

/// The facts about one dump that a fleet needs.
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

/// How a suspect's bytes changed between dumps of one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trend {
    /// Each later dump has more, on every machine with several dumps of one boot.
    Growing,
    /// Some later dumps have more, others do not.
    Mixed,
    /// No later dump has more.
    Steady,
}

/// A suspect: a tag in a pool, with one version of one driver.
#[derive(Clone, Debug, Serialize)]
pub struct Suspect {
    /// The likeliest owner; null if there is none.
    pub driver: Option<String>,
    /// The driver's file version; the identity of its PDB if no dump of this build has the
    /// version.
    pub driver_version: Option<String>,
    /// The tag.
    pub tag: String,
    /// The pool.
    pub pool: String,
    /// Windows versions of the dumps.
    pub windows: Vec<String>,
    /// The minimum number of machines: machines with a name (`--host`) count by name; the others
    /// count separately if they differ in memory or processors, or ran at the same time.
    pub hosts: u64,
    /// Number of dumps with this suspect.
    pub dumps: u64,
    /// Number of dumps with the verdict "leak".
    pub leaks: u64,
    /// Bytes, summed over the latest dump of each boot.
    pub bytes: u64,
    /// The median bytes of all dumps.
    pub median_bytes: u64,
    /// The largest bytes of one dump.
    pub largest_bytes: u64,
    /// The trend; null if no boot has several dumps.
    pub trend: Option<Trend>,
}

/// A dump with unusually many bytes of a suspect.
#[derive(Clone, Debug, Serialize)]
pub struct Outlier {
    /// The file name.
    pub file: String,
    /// The machine key.
    pub machine: String,
    /// The tag.
    pub tag: String,
    /// Bytes in this dump.
    pub bytes: u64,
    /// The median bytes of all dumps with this suspect.
    pub median_bytes: u64,
}

/// The answer of `fleet`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Fleet {
    /// Number of dumps read.
    pub dumps: u64,
    /// The minimum number of machines.
    pub hosts: u64,
    /// Number of dumps with no finding.
    pub without_findings: u64,
    /// Suspects, ordered by the number of hosts, descending.
    pub suspects: Vec<Suspect>,
    /// Outliers.
    pub outliers: Vec<Outlier>,
    /// Files that could not be read, with the reason.
    pub skipped: Vec<String>,
}

/// An input by type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// An evidence file.
    Evidence(PathBuf),
    /// The folder of a dataset.
    Dataset(PathBuf),
    /// A dump file.
    Dump(PathBuf),
}

/// The inputs at the given paths; folders are searched recursively.
pub fn inputs(paths: &[PathBuf]) -> (Vec<Input>, Vec<String>) {
    let (mut out, mut skipped) = (Vec::new(), Vec::new());
    for path in paths {
        find(path, 0, &mut out, &mut skipped);
    }
    (out, skipped)
}

/// Maximum depth of folders to search.
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

/// Reads evidence files and datasets; the caller walks the dumps.
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

/// Reads the dumps of an evidence file.
///
/// # Errors
/// The reason why it can't be read.
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
                // Every export writes this table, even without rows.
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

/// Complete files only: a file in progress has a name that starts with a dot.
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
    /// Compares these dumps. A dump that occurs in several inputs counts once.
    pub fn of(dumps: Vec<Dump>, skipped: Vec<String>) -> Fleet {
        let unique: BTreeMap<_, Dump> = dumps.into_iter().map(|d| (d.keys.clone(), d)).collect();
        let dumps: Vec<Dump> = unique.into_values().collect();
        // The version resource may be paged out in some dumps of a build, so take it from any.
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

/// The minimum number of machines: by name or, if similar machines share a name, by the number of
/// boots that ran at the same time. One machine has only one boot at a time.
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

/// The maximum number of boots that ran at the same time, among boots with known times.
fn up_together(boots: &BTreeMap<&str, (Option<i64>, Option<i64>)>) -> u64 {
    let known = boots.values().filter_map(|up| up.0.zip(up.1));
    let ordered = known.filter(|(booted, written)| booted < written);
    // At equal times an end (-1) sorts before a start (+1).
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

/// The time of a dump (seconds since 1970), and the bytes of a tag at that time.
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
    /// The word used in reports.
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
    fn concurrent_boots_distinguish_similar_machines() {
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
    fn a_suspect_is_summed_over_hosts_and_their_latest_dumps() {
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
