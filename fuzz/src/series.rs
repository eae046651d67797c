//! Logs of pool usage, in every layout and encoding, and rules for `check`.

use poolscope::engine::check::Rules;
use poolscope::report::{Answer, Diff};
use poolscope::series::{Comparison, limits, read_bytes};

use super::input::Input;
use super::shown;

/// The first byte decides whether the rest is a log, two logs, or rules.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.u8() {
        Some(0) => rules(&String::from_utf8_lossy(input.0)),
        Some(1) => {
            let (first, second) = input.0.split_at(input.0.len() / 2);
            compare(&[first, second]);
        }
        Some(_) => compare(&[input.0]),
        None => {}
    }
}

fn compare(files: &[&[u8]]) {
    let mut points = Vec::new();
    for bytes in files {
        let Ok(log) = read_bytes(bytes, "log") else {
            continue;
        };
        assert!(!log.points.is_empty() && log.points.len() <= 2 * limits::SNAPSHOTS);
        let rows: usize = log.points.iter().map(|p| p.rows.len()).sum();
        assert!(rows <= limits::ROWS && rows <= bytes.len());
        for point in &log.points {
            assert!(point.rows.is_sorted_by(|a, b| a.tag < b.tag));
        }
        points.extend(log.points);
    }
    // The comparison has a row per tag and a column per point, so it can grow with both.
    let cells: usize = points.iter().map(|p| p.rows.len().max(1)).sum::<usize>() * points.len();
    if cells > 100_000 {
        return;
    }
    let comparison = Comparison::of(points);
    comparison
        .warnings
        .iter()
        .for_each(|w| shown::check(&poolscope::report::text::clean(w)));
    let answer = Diff::of(&comparison);
    let mut out = Vec::new();
    answer.text(&mut out).unwrap();
    answer.csv(&mut out).unwrap();
    answer.markdown(&mut out).unwrap();
    shown::check_lines(&out);
}

fn rules(text: &str) {
    match Rules::parse(text) {
        Ok(rules) => assert!(!rules.rules.is_empty()),
        Err(error) => assert!(error.line <= text.lines().count() + 1),
    }
}

/// A log of each layout, and the example from the docs.
pub fn seeds() -> Vec<Vec<u8>> {
    let poolmon = b" Memory: 2096696K Avail: 1150336K  PageFlts: 8135   InRam Krnl: 5004K P:158756K\n Commit:1535208K Limit:4193392K Peak:2779016K            Pool N:43452K P:187796K\n System pool information\n Tag  Type     Allocs            Frees            Diff   Bytes       Per Alloc\n\n Io   Nonp    1021112 (   1)   1020985 (   1)   127   91912 (     0)    723\n Wrap Nonp 6 4294967290 12 1536 128\n";
    let poolused = b"0: kd> !poolused 2\n.\n Sorting by NonPaged Pool Consumed\n\n               NonPaged                  Paged\n Tag     Allocs         Used     Allocs         Used\n\n Leak       601    615424000          0            0\tUNKNOWN pooltag 'Leak', please update pooltag.txt\n rx..         3         1248          0            0\tx\nTOTAL       604    615425248          0            0\n";
    let table = b"# windows: Windows 10 x64\n# uptime_seconds: 3600\n# complete: yes\ntag,pool,allocs,frees,outstanding,bytes\n\"Io  \",paged,1283,1002,281,1377312\nLeak,nonpaged,,,601,615424000\n";
    let powershell = b"\"Tag\",\"PagedAllocs\",\"PagedFrees\",\"PagedDiff\",\"PagedUsedBytes\",\"NonPagedAllocs\",\"NonPagedFrees\",\"NonPagedDiff\",\"NonPagedUsedBytes\",\"TotalUsedBytes\"\r\n\"Leak\",\"0\",\"0\",\"0\",\"0\",\"601\",\"0\",\"601\",\"615424000\",\"615424000\"\r\n";
    let x3 = b"Leak,0x6B61654C,0,0,0,0,1,234,567,1,233,966,601,615,424,000,,\n";
    let pdh = b"\"(PDH-CSV 4.0) (Romance Standard Time)(-60)\",\"\\\\H\\Memory\\Pool Nonpaged Bytes\"\n\"05/15/2018 02:13:06.123\",\"734003200\"\n\"05/15/2018 03:13:06.123\",\" \"\n";
    let events = b"<Event xmlns='x'><System><Provider Name='Microsoft-Windows-Resource-Exhaustion-Detector'/><EventID>2004</EventID><TimeCreated SystemTime='2015-06-01T10:00:00Z'/></System><UserData><MemoryExhaustionInfo><SystemInfo><PagedPoolUsage>5</PagedPoolUsage></SystemInfo><PagedPoolInfo><Tag_1><Name>Gpbm</Name><PoolUsed>75059936</PoolUsed></Tag_1></PagedPoolInfo></MemoryExhaustionInfo></UserData></Event>";
    let wide: Vec<u8> = "Tag,Type,Allocs,Frees,Diff,Bytes,KBytes,B / Alloc,Source,\nLeak,Paged,5,1,4,256,0 KB,64,a,\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let evtx = [&b"ElfFile\0"[..], &[0; 4096]].concat();
    let one = |log: &[u8]| [&[2], log].concat();
    let mut seeds: Vec<Vec<u8>> = [
        &poolmon[..],
        poolused,
        table,
        powershell,
        x3,
        pdh,
        events,
        &wide,
        &evtx,
    ]
    .into_iter()
    .map(one)
    .collect();
    seeds.push([&[1], &poolmon[..], poolmon].concat());
    seeds.push([&[0], &include_bytes!("../../docs/rules.toml")[..]].concat());
    seeds
}
