//! Tests of whole logs, including the recognition of their layout.

use super::*;
use crate::pool::{Pool, Tag};

fn log(text: &str) -> Log {
    read_bytes(text.as_bytes(), "log").unwrap()
}

/// Outstanding allocations and bytes of a tag, nonpaged and paged.
fn of(point: &Point, tag: &str) -> [(Option<u64>, Option<u64>); 2] {
    let row = point.get(Tag::of(tag).unwrap()).unwrap();
    [row.nonpaged, row.paged].map(|c| (c.outstanding, c.bytes))
}

const NONE: (Option<u64>, Option<u64>) = (None, None);

#[test]
fn each_snapshot_of_a_file_is_a_point() {
    let snapshot = |leak: u64| {
        format!(
            " Memory:  260620K Avail:   96364K  PageFlts:     0   InRam Krnl: 1916K P:17856K\n \
             Commit: 203500K Limit: 640916K Peak: 260632K            Pool N: 8332K P:27220K\n\n \
             Tag  Type     Allocs            Frees            Diff   Bytes       Per Alloc\n\n \
             Leak Nonp  {leak} 0 {leak} {} 1024\n Io   Paged 5 1 4 256 64\n",
            leak * 1024
        )
    };
    let text = format!(
        "2024-05-17T12:00:00Z\n{}2024-05-17T13:00:00Z\n{}",
        snapshot(5),
        snapshot(9)
    );
    let log = log(&text);
    assert_eq!(log.points.len(), 2);
    let [a, b] = &log.points[..] else { panic!() };
    assert_eq!((a.snapshot, b.snapshot), (Some(1), Some(2)));
    assert_eq!(b.time.unwrap().seconds_since(a.time.unwrap()), 3600.0);
    assert_eq!(of(a, "Leak"), [(Some(5), Some(5120)), NONE]);
    assert_eq!(of(b, "Io"), [NONE, (Some(4), Some(256))]);
    assert_eq!((a.kind, &a.listing), (Kind::PoolMon, &Listing::Unstated));
}

#[test]
fn a_screen_is_truncated_and_a_snapshot_is_complete() {
    let head = " Tag  Type     Allocs            Frees            Diff   Bytes       Per Alloc\n";
    let rows = |pool: &str| -> String {
        (0..250)
            .map(|n| format!(" T{n:03} {pool} 5 1 4 256 64\n"))
            .collect()
    };
    let both = format!("{head}{}{}", rows("Nonp"), rows("Paged"));
    assert_eq!(log(&both).points[0].listing, Listing::Complete);
    let one = log(&format!("{head}{}", rows("Nonp")));
    assert_eq!(one.points[0].listing, Listing::Unstated);
    assert!(one.points[0].has(Pool::Nonpaged) && !one.points[0].has(Pool::Paged));
    let screen = format!(" System pool information\n{both}");
    assert!(matches!(
        log(&screen).points[0].listing,
        Listing::Truncated(_)
    ));
    let changes = format!("{head} Leak Nonp 5 (  1) 1 (  0) 4 256 ( 64) 64\n");
    assert!(matches!(
        log(&changes).points[0].listing,
        Listing::Truncated(_)
    ));
    let sessions = log(&format!(
        "All sessions pool information\n{head}{}",
        rows("Paged")
    ));
    assert!(sessions.points[0].session);
}

#[test]
fn the_totals_of_poolused_show_whether_the_list_is_complete() {
    let text = "0: kd> !poolused 2\n....\n Sorting by NonPaged Pool Consumed\n\n               NonPaged                  Paged\n \
        Tag     Allocs         Used     Allocs         Used\n\n \
        Leak       601    615424000          0            0\tUNKNOWN pooltag 'Leak', please update pooltag.txt\n \
        Io           4          256          1           64\tgeneral IO\n\nTOTAL       605    615424256          1           64\n0: kd> q\n";
    let whole = log(text);
    assert_eq!(whole.points[0].listing, Listing::Complete);
    assert_eq!(
        of(&whole.points[0], "Leak"),
        [(Some(601), Some(615_424_000)), (Some(0), Some(0))]
    );
    let cut = log(&text.replace("TOTAL       605", "TOTAL       606"));
    assert!(matches!(cut.points[0].listing, Listing::Truncated(_)));
    let twice = log(&format!("{text}{text}"));
    assert_eq!(twice.points.len(), 2);
}

#[test]
fn listings_of_the_same_time_are_one_point() {
    let heads = "               NonPaged                  Paged\n Tag     Allocs         Used     Allocs         Used\n\n";
    let text = format!(
        "kd> !poolused 2\n.\n Sorting by NonPaged Pool Consumed\n\n{heads} Cont      1094      6525216          0            0\tx\n\n\
         kd> !poolused 4\n.\n Sorting by Paged Pool Consumed\n\n{heads} CM31         0            0      19797     91705344\tx\n"
    );
    let merged = log(&text);
    assert_eq!(merged.points.len(), 1);
    assert_eq!(
        of(&merged.points[0], "CM31")[1],
        (Some(19797), Some(91_705_344))
    );
    // The same tag with other counts is another point in time.
    let moved = text.replace(
        "CM31         0            0      19797",
        "Cont         1           64      19797",
    );
    assert_eq!(log(&moved).points.len(), 2);
}

#[test]
fn comments_of_a_tag_table_describe_its_source() {
    let text = "# windows: Windows 10 x64\n# ram_bytes: 17179869184\n# uptime_seconds: 3600\n\
        # nonpaged_pool_bytes: 1000000\n# paged_pool_bytes:\n# complete: top 2 only\n# vm: Memory:1K Avail:1K\n\
        tag,pool,allocs,frees,outstanding,bytes\n\"CM  \",paged,1283,1002,281,1377312\nLeak,nonpaged,,,601,615424000\nNtfC,,,,503712,\n";
    let read = log(text);
    let point = &read.points[0];
    assert_eq!(
        (point.kind, point.uptime_seconds),
        (Kind::TagTable, Some(3600))
    );
    assert_eq!(point.windows.as_deref(), Some("Windows 10 x64"));
    assert_eq!(
        (point.totals.nonpaged_bytes, point.totals.paged_bytes),
        (Some(1_000_000), None)
    );
    assert!(matches!(point.listing, Listing::Truncated(_)));
    assert_eq!(of(point, "CM"), [NONE, (Some(281), Some(1_377_312))]);
    assert_eq!(of(point, "Leak")[0], (Some(601), Some(615_424_000)));
    assert_eq!(
        point
            .get(Tag::of("NtfC").unwrap())
            .unwrap()
            .unplaced
            .outstanding,
        Some(503_712)
    );
    let whole = log(&text.replace("top 2 only", "yes"));
    assert_eq!(whole.points[0].listing, Listing::Complete);
}

#[test]
fn scripts_and_poolmonx_are_recognised_by_headings() {
    let powershell = log(
        "\"Tag\",\"PagedAllocs\",\"PagedFrees\",\"PagedDiff\",\"PagedUsedBytes\",\"NonPagedAllocs\",\"NonPagedFrees\",\"NonPagedDiff\",\"NonPagedUsedBytes\",\"TotalUsedBytes\"\n\
        \"Leak\",\"0\",\"0\",\"0\",\"0\",\"601\",\"0\",\"601\",\"615424000\",\"615424000\"\n\
        \"Wrap\",\"0\",\"0\",\"0\",\"0\",\"6\",\"4294967290\",\"-4294967284\",\"1536\",\"1536\"\n",
    );
    let point = &powershell.points[0];
    assert_eq!(point.kind, Kind::PoolMonPowerShell);
    assert_eq!(
        of(point, "Leak"),
        [(Some(601), Some(615_424_000)), (Some(0), Some(0))]
    );
    assert_eq!(of(point, "Wrap")[0], (Some(12), Some(1536)));
    let text = "Tag,Type,Allocs,Frees,Diff,Bytes,KBytes,B / Alloc,Source,Source Description,\nLeak,Non Paged,601,0,601,615424000,601000 KB,1024000,myfault,test, of leaks,\nLeak,Paged,5,1,4,256,0 KB,64,,,\n";
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let x = read_bytes(&wide, "x.csv").unwrap();
    assert_eq!(x.points[0].kind, Kind::PoolMonX);
    assert_eq!(
        of(&x.points[0], "Leak"),
        [(Some(601), Some(615_424_000)), (Some(4), Some(256))]
    );
    let x3 = log("Leak,0x6B61654C,0,0,0,0,1,234,567,1,233,966,601,615,424,000,,\n");
    assert_eq!(
        (x3.points[0].kind, of(&x3.points[0], "Leak")[0]),
        (Kind::PoolMonX, (Some(601), Some(615_424_000)))
    );
}

#[test]
fn a_column_of_times_gives_several_points() {
    let text = "timestamp;Tag;Pool;Diff;Bytes\n2024-05-17T12:00:00Z;Leak;Nonp;1;1.024\n2024-05-17T12:00:00Z;Io;Nonp;1;64\n2024-05-17T13:00:00Z;Leak;Nonp;2;2.048\n";
    let read = log(text);
    assert_eq!(read.points.len(), 2);
    assert_eq!(
        read.points[1].time.unwrap().to_string(),
        "2024-05-17T13:00:00Z"
    );
    assert_eq!(of(&read.points[1], "Leak")[0], (Some(2), Some(2048)));
}

#[test]
fn blank_separated_columns_are_parsed_and_truncated_ones_are_rejected() {
    let read = log(
        "Tag    NpAllocs NpFrees  NpBytes   PgAllocs PgFrees PgBytes\n------ -------- -------- -------- -------- -------- --------\n\
        Thre     614895   614419   606688        0        0        0\nDh 1     5 1 64 0 0 0\n",
    );
    assert_eq!(of(&read.points[0], "Thre")[0], (Some(476), Some(606_688)));
    assert_eq!(of(&read.points[0], "Dh 1")[0], (Some(4), Some(64)));
    let cut = read_bytes(b"Tag  PagedAllocs PagedFrees PagedUse...\n", "a");
    assert!(matches!(cut, Err(SeriesError::Unusable { .. })), "{cut:?}");
}

#[test]
fn files_that_are_not_logs_are_rejected_with_advice() {
    let refused = |bytes: &[u8]| read_bytes(bytes, "a").unwrap_err().to_string();
    assert!(refused(b"").contains("empty"));
    assert!(
        refused(b"Dear all,\nthe Paged pool is large, and the tag is Leak.\n")
            .contains("not a log")
    );
    assert!(refused(b"a,b,c\n1,2,3\n").contains("not a log"));
    assert!(refused(b"PK\x03\x04\0\0").contains("zip"));
    assert!(refused(b"ElfFile\0").contains("event log"));
    assert!(refused(&[7; 4096]).contains("not a log"));
    assert!(refused(b"tag,bytes\nLeak,5\n").contains("pool"));
    assert!(refused(b" Memory:1K Avail:1K\n Tag Type Allocs\n").contains("no row"));
}

#[test]
fn rows_with_other_units_than_the_header_are_rejected() {
    let text = " Memory: 260620K Avail: 96364K\n Commit: 1K Limit: 2K Peak: 3K  Pool N: 10K P: 10K\n Tag  Type Allocs\n Leak Nonp 5 1 4 102400000 25600000\n";
    let refused = read_bytes(text.as_bytes(), "a").unwrap_err().to_string();
    assert!(refused.contains("units"), "{refused}");
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_bytes(&bytes, "a");
        }

        #[test]
        fn no_line_after_known_headings_causes_a_panic(line in "[ -~\\t\u{80}-\u{3000}]{0,120}", heads in 0usize..7) {
            let heads = [
                " Tag  Type     Allocs\n",
                " Tag     Allocs         Used     Allocs         Used\n",
                " Tag Allocs Frees Diff Used Allocs Frees Diff Used\n",
                "tag,pool,allocs,frees,outstanding,bytes\n",
                "\"(PDH-CSV 4.0) (x)(-60)\",\"\\Memory\\Pool Paged Bytes\"\n",
                "Leak,0x6B61654C,0,0,0,0,5,1,4,64,,\n",
                "<Event><System><EventID>2004</EventID></System></Event>",
            ][heads];
            let text = format!("{heads}{line}\n Leak Nonp {line}\nLeak,0x6B61654C,{line}\n");
            if let Ok(log) = read_bytes(text.as_bytes(), "a") {
                prop_assert!(!log.points.is_empty());
                for point in &log.points {
                    prop_assert!(point.rows.is_sorted_by(|a, b| a.tag < b.tag));
                }
            }
        }
    }
}

mod comparing {
    use super::*;

    fn table(complete: &str, rows: &str) -> Point {
        let text =
            format!("# complete: {complete}\ntag,pool,allocs,frees,outstanding,bytes\n{rows}");
        log(&text).points.remove(0)
    }

    fn trend(points: &[Point], tag: &str) -> Option<Trend> {
        let compared = Comparison::of(points.to_vec());
        compared.get(Tag::of(tag).unwrap()).and_then(|c| c.trend)
    }

    #[test]
    fn an_absent_tag_is_zero_only_in_a_complete_listing() {
        let row = "Leak,nonpaged,5,0,5,5120\nIo,paged,5,1,4,256\n";
        let more = format!("{row}New1,paged,5,1,4,256\n");
        for (complete, expected) in [
            ("yes", Some(Trend::New)),
            ("top 2 only", None),
            ("no", None),
            // Not stated, but two of three tags are the same.
            ("", Some(Trend::New)),
        ] {
            let points = [table(complete, row), table("yes", &more)];
            assert_eq!(trend(&points, "New1"), expected, "{complete}");
        }
        // Not stated, and with another selection of tags.
        let few = table("", "Leak,nonpaged,5,0,5,5120\n");
        let many: String = (0..9)
            .map(|n| format!("Tag{n},nonpaged,5,0,5,5120\n"))
            .collect();
        assert_eq!(trend(&[few, table("yes", &many)], "Tag3"), None);
    }

    #[test]
    fn an_unlisted_pool_does_not_hide_the_other() {
        let both = table("yes", "Leak,nonpaged,5,0,5,5120\nLeak,paged,1,0,1,64\n");
        let one = table("top 1", "Leak,nonpaged,9,0,9,9216\n");
        let points = [both.clone(), one.clone()];
        let compared = Comparison::of(points.to_vec());
        let leak = compared.get(Tag::of("Leak").unwrap()).unwrap();
        assert_eq!(
            (leak.trend, leak.growth),
            (Some(Trend::Growing), Some(4096))
        );
        assert_eq!(leak.paged[1], Counts::default());
        // If two points have both pools, both pools are compared.
        let later = table("yes", "Leak,nonpaged,5,0,5,5120\nLeak,paged,2,0,2,128\n");
        let compared = Comparison::of(vec![both, one, later]);
        let leak = compared.get(Tag::of("Leak").unwrap()).unwrap();
        assert_eq!(leak.growth, Some(64));
    }

    #[test]
    fn placeholder_characters_match_their_tag() {
        let exact = table(
            "yes",
            "rx\\x01\\x02,nonpaged,5,0,5,5120\nLeak,nonpaged,5,0,5,64\n",
        );
        let heads = " Tag     Allocs         Used     Allocs         Used\n";
        let dots = log(&format!(
            "{heads} rx..         6         6144          0            0\tx\n"
        ))
        .points
        .remove(0);
        let compared = Comparison::of(vec![exact, dots]);
        let tag = Tag::new(u32::from_le_bytes(*b"rx\x01\x02"));
        assert_eq!(compared.get(tag).unwrap().growth, Some(1024));
        assert!(
            compared.warnings.iter().any(|w| w.contains("printable")),
            "{:?}",
            compared.warnings
        );
    }

    #[test]
    fn a_comparison_beyond_the_limit_keeps_the_largest_tags_with_a_warning() {
        let rows: String = (0..400)
            .map(|n| format!("t{n:03},nonpaged,5,0,5,{}\n", 64 * (n + 1)))
            .collect();
        let points: Vec<Point> = std::iter::repeat_n(table("yes", &rows), 10).collect();
        let compared = Comparison::within(points, 3000);
        assert_eq!(compared.changes.len(), 300);
        assert!(compared.get(Tag::of("t399").unwrap()).is_some());
        assert!(compared.get(Tag::of("t000").unwrap()).is_none());
        assert!(
            compared.warnings.iter().any(|w| w.contains("left out")),
            "{:?}",
            compared.warnings
        );
    }
}

/// A binary event log, built by hand: one chunk, elements without templates.
mod event_log {
    use super::*;

    struct Element {
        name: &'static str,
        attributes: Vec<(&'static str, &'static str)>,
        inside: Inside,
    }

    enum Inside {
        Text(&'static str),
        Elements(Vec<Element>),
    }

    fn element(name: &'static str, inside: Vec<Element>) -> Element {
        Element {
            name,
            attributes: Vec::new(),
            inside: Inside::Elements(inside),
        }
    }

    fn text(name: &'static str, text: &'static str) -> Element {
        Element {
            name,
            attributes: Vec::new(),
            inside: Inside::Text(text),
        }
    }

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    /// The offset of a name in the chunk; the name follows it.
    fn put_name(out: &mut Vec<u8>, name: &str) {
        let at = out.len() as u32 + 4;
        out.extend(at.to_le_bytes());
        out.extend([0; 6]);
        out.extend((name.len() as u16).to_le_bytes());
        out.extend(wide(name));
        out.extend([0; 2]);
    }

    fn put_text(out: &mut Vec<u8>, text: &str) {
        out.extend([5, 1]);
        out.extend((text.len() as u16).to_le_bytes());
        out.extend(wide(text));
    }

    fn put(out: &mut Vec<u8>, element: &Element) {
        let attributes = !element.attributes.is_empty();
        out.push(if attributes { 0x41 } else { 0x01 });
        out.extend([0; 4]);
        put_name(out, element.name);
        if attributes {
            out.extend([0; 4]);
        }
        for (at, (name, value)) in element.attributes.iter().enumerate() {
            out.push(if at + 1 < element.attributes.len() {
                0x46
            } else {
                0x06
            });
            put_name(out, name);
            put_text(out, value);
        }
        out.push(2);
        match &element.inside {
            Inside::Text(text) => put_text(out, text),
            Inside::Elements(all) => all.iter().for_each(|e| put(out, e)),
        }
        out.push(4);
    }

    fn file(events: &[Element]) -> Vec<u8> {
        const CHUNK: usize = 0x10000;
        let mut chunk = vec![0; 0x200];
        for (at, event) in events.iter().enumerate() {
            let start = chunk.len();
            chunk.extend([0x2a, 0x2a, 0, 0, 0, 0, 0, 0]);
            chunk.extend((at as u64 + 1).to_le_bytes());
            chunk.extend(130_000_000_000_000_000u64.to_le_bytes());
            chunk.extend([0x0f, 1, 1, 0]);
            put(&mut chunk, event);
            chunk.push(0);
            let size = (chunk.len() - start + 4) as u32;
            chunk.extend(size.to_le_bytes());
            chunk[start + 4..start + 8].copy_from_slice(&size.to_le_bytes());
        }
        let end = chunk.len() as u32;
        let last = events.len() as u64;
        let head = [
            &b"ElfChnk\0"[..],
            &1u64.to_le_bytes(),
            &last.to_le_bytes(),
            &1u64.to_le_bytes(),
            &last.to_le_bytes(),
            &128u32.to_le_bytes(),
            &(end - 1).to_le_bytes(),
            &end.to_le_bytes(),
        ]
        .concat();
        chunk[..head.len()].copy_from_slice(&head);
        chunk.resize(CHUNK, 0);
        let mut out = [
            &b"ElfFile\0"[..],
            &0u64.to_le_bytes(),
            &0u64.to_le_bytes(),
            &(last + 1).to_le_bytes(),
            &128u32.to_le_bytes(),
            &[1, 0, 3, 0, 0, 0x10, 1, 0],
        ]
        .concat();
        out.resize(120, 0);
        // The flag for a header without checksum.
        out.extend(4u32.to_le_bytes());
        out.resize(0x1000, 0);
        out.extend(chunk);
        out
    }

    fn event(
        id: &'static str,
        provider: &'static str,
        time: &'static str,
        data: Vec<Element>,
    ) -> Element {
        let with = |name, attribute: (&'static str, &'static str)| Element {
            name,
            attributes: vec![attribute],
            inside: Inside::Elements(Vec::new()),
        };
        let system = vec![
            with("Provider", ("Name", provider)),
            text("EventID", id),
            with("TimeCreated", ("SystemTime", time)),
        ];
        element(
            "Event",
            vec![element("System", system), element("UserData", data)],
        )
    }

    fn sample() -> Vec<u8> {
        let tags = element(
            "Tag_1",
            vec![text("Name", "Leak"), text("PoolUsed", "615424000")],
        );
        let info = element(
            "MemoryExhaustionInfo",
            vec![
                element(
                    "SystemInfo",
                    vec![
                        text("PagedPoolUsage", "300000000"),
                        text("NonPagedPoolUsage", "700000000"),
                    ],
                ),
                element("NonPagedPoolInfo", vec![tags]),
            ],
        );
        let detector = "Microsoft-Windows-Resource-Exhaustion-Detector";
        file(&[
            event(
                "7036",
                "Service Control Manager",
                "2015-06-01T08:00:00Z",
                Vec::new(),
            ),
            event("2004", detector, "2015-06-01T10:00:00Z", vec![info]),
            event("2019", "Srv", "2015-06-01T11:00:00Z", Vec::new()),
        ])
    }

    #[test]
    fn a_binary_event_log_gives_the_same_points_as_its_xml() {
        let log = read_bytes(&sample(), "System.evtx").unwrap();
        let [first, second] = &log.points[..] else {
            panic!("{log:?}")
        };
        assert_eq!(first.kind, Kind::EventLog);
        assert_eq!(first.time.unwrap().to_string(), "2015-06-01T10:00:00Z");
        assert_eq!(first.totals.nonpaged_bytes, Some(700_000_000));
        assert_eq!(of(first, "Leak"), [(None, Some(615_424_000)), NONE]);
        assert!(second.event.unwrap().contains("2019") && second.rows.is_empty());
    }

    #[test]
    fn damage_to_a_binary_event_log_is_reported_or_rejected() {
        let whole = sample();
        let used = whole.iter().rposition(|b| *b != 0).unwrap();
        for at in (0..used).step_by(7) {
            for value in [0, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                if let Ok(log) = read_bytes(&bytes, "a") {
                    assert!(!log.points.is_empty());
                }
            }
        }
        for length in [8, 100, 4096, 5000, 4096 + 0x200, used - 50] {
            if let Ok(log) = read_bytes(&whole[..length], "a") {
                assert!(!log.points.is_empty());
            }
        }
    }
}
