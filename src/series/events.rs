//! Windows event logs: as XML (`wevtutil qe System /f:xml`) and as .evtx.
//!
//! Event 2004 of the Resource Exhaustion Detector has the sizes of both pools and, on some
//! machines, the three largest tags of each. Events 2019 and 2020 of the server service report
//! that a pool was exhausted; they have no sizes, only a time.

use evtx::{EvtxParser, ParserSettings};
use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesStart, Event as Xml};

use crate::pool::Pool;

use super::error::SeriesError;
use super::limits;
use super::moment::Moment;
use super::number;
use super::point::{Counts, Kind, Listing, Log, Point};
use super::rows::Rows;
use super::tag_text::{Stand, of_text};

const WHAT: &str = "a Windows event log";

/// True for the first line of events in XML.
pub fn is_start(line: &str) -> bool {
    let line = line.trim_start();
    ["<?xml", "<Event", "<event"]
        .iter()
        .any(|start| line.starts_with(start))
}

/// Reads consecutive events, with or without an enclosing element.
///
/// # Errors
/// [`SeriesError::NoRows`] if none of the three events occurs, and [`SeriesError::Unusable`] for
/// a document type declaration.
pub fn read_xml(text: &str, source: &str) -> Result<Log, SeriesError> {
    let mut found = Found::new(source);
    found.xml(text)?;
    found.log()
}

/// Reads a binary event log. Damaged chunks and records are omitted and counted.
///
/// # Errors
/// As [`read_xml`], and if the file's header can't be read.
pub fn read_evtx(bytes: &[u8], source: &str) -> Result<Log, SeriesError> {
    let settings = ParserSettings::new().num_threads(1).indent(false);
    let parser =
        EvtxParser::from_buffer(bytes.to_vec()).map_err(|error| SeriesError::Unusable {
            what: format!("the event log can't be opened: {error}"),
            advice: "export it again: wevtutil epl System system.evtx",
        })?;
    let mut parser = parser.with_configuration(settings);
    let mut found = Found::new(source);
    for record in parser.records() {
        match record {
            Ok(record) if may_matter(&record.data) => {
                if found.xml(&record.data).is_err() {
                    found.damaged += 1;
                }
            }
            Ok(_) => {}
            Err(_) => found.damaged += 1,
        }
        if found.is_full() {
            break;
        }
    }
    found.log()
}

/// A fast check that excludes most events before they are parsed.
fn may_matter(xml: &str) -> bool {
    ["2004", "2019", "2020"].iter().any(|id| xml.contains(id))
}

/// The relevant elements, by local name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    EventId,
    PagedPoolUsage,
    NonPagedPoolUsage,
    PhysicalMemorySize,
    CommitCharge,
    CommitLimit,
    TagName(Pool),
    TagBytes(Pool),
}

fn place(path: &[String]) -> Option<Place> {
    let from_end = |back: usize| {
        path.len()
            .checked_sub(back)
            .and_then(|at| path.get(at))
            .map(String::as_str)
    };
    let (name, parent, above) = (from_end(1)?, from_end(2)?, from_end(3));
    Some(match (above, parent, name) {
        (_, "System", "EventID") => Place::EventId,
        (_, "SystemInfo", "PagedPoolUsage") => Place::PagedPoolUsage,
        (_, "SystemInfo", "NonPagedPoolUsage") => Place::NonPagedPoolUsage,
        (_, "SystemInfo", "PhysicalMemorySize") => Place::PhysicalMemorySize,
        (_, "SystemInfo", "SystemCommitCharge") => Place::CommitCharge,
        (_, "SystemInfo", "SystemCommitLimit") => Place::CommitLimit,
        (Some("PagedPoolInfo"), _, "Name") => Place::TagName(Pool::Paged),
        (Some("NonPagedPoolInfo"), _, "Name") => Place::TagName(Pool::Nonpaged),
        (Some("PagedPoolInfo"), _, "PoolUsed") => Place::TagBytes(Pool::Paged),
        (Some("NonPagedPoolInfo"), _, "PoolUsed") => Place::TagBytes(Pool::Nonpaged),
        _ => return None,
    })
}

/// The event that is being read.
#[derive(Default)]
struct Current {
    id: Option<u64>,
    provider: String,
    time: Option<Moment>,
    rows: Rows,
    tag: Option<String>,
    totals: super::Totals,
}

struct Found {
    source: String,
    points: Vec<Point>,
    /// Number of events that could not be read.
    damaged: u64,
    /// Number of all events.
    seen: u64,
    full: bool,
}

impl Found {
    fn new(source: &str) -> Found {
        Found {
            source: source.into(),
            points: Vec::new(),
            damaged: 0,
            seen: 0,
            full: false,
        }
    }

    fn is_full(&self) -> bool {
        self.full
    }

    fn xml(&mut self, text: &str) -> Result<(), SeriesError> {
        /// Maximum nesting of elements; the three events have seven levels.
        const DEEPEST: usize = 64;
        let mut reader = Reader::from_str(text);
        reader.config_mut().allow_unmatched_ends = true;
        reader.config_mut().check_end_names = false;
        let mut path: Vec<String> = Vec::new();
        let mut current = Current::default();
        let mut value = String::new();
        while !self.full {
            let event = match reader.read_event() {
                Ok(event) => event,
                Err(_) => {
                    self.damaged += 1;
                    break;
                }
            };
            match event {
                Xml::Eof => break,
                Xml::DocType(_) => {
                    return Err(SeriesError::Unusable {
                        what: "the XML has a document type declaration, which no event log has"
                            .into(),
                        advice: "export it again: wevtutil qe System /f:xml > system.xml",
                    });
                }
                Xml::Start(element) => {
                    let name = local(&element);
                    if name == "Event" {
                        current = Current::default();
                        path.clear();
                    }
                    current.attributes(&name, &element);
                    if path.len() >= DEEPEST {
                        self.damaged += 1;
                        break;
                    }
                    path.push(name);
                    value.clear();
                }
                Xml::Empty(element) => current.attributes(&local(&element), &element),
                Xml::Text(text) => append(&mut value, &text.xml10_content()),
                Xml::CData(text) => append(&mut value, &text.xml10_content()),
                Xml::GeneralRef(name) => match name.resolve_char_ref() {
                    Ok(Some(c)) => append(&mut value, c.encode_utf8(&mut [0; 4])),
                    _ => append(
                        &mut value,
                        resolve_xml_entity(&name.xml10_content()).unwrap_or("\u{fffd}"),
                    ),
                },
                Xml::End(_) => {
                    if let Some(place) = place(&path) {
                        current.value(place, &value);
                    }
                    value.clear();
                    if path.pop().is_some_and(|name| name == "Event") {
                        self.event(std::mem::take(&mut current));
                    }
                }
                Xml::Comment(_) | Xml::Decl(_) | Xml::PI(_) => {}
            }
        }
        Ok(())
    }

    fn event(&mut self, current: Current) {
        self.seen += 1;
        let Some(mut point) = current.point(&self.source) else {
            return;
        };
        if self.points.len() >= limits::SNAPSHOTS {
            self.full = true;
            return;
        }
        current.rows.finish(&mut point);
        self.points.push(point);
    }

    fn log(mut self) -> Result<Log, SeriesError> {
        if self.points.is_empty() {
            return Err(match self.seen {
                0 => SeriesError::NoRows {
                    what: WHAT,
                    skipped: self.damaged,
                    advice: "export it again: wevtutil qe System /f:xml > system.xml",
                },
                seen => SeriesError::Unusable {
                    what: format!(
                        "none of the {seen} events is a 2004, 2019 or 2020: no pool usage in this log"
                    ),
                    advice: "give the System log of a machine that ran out of memory or pool",
                },
            });
        }
        // A binary log that has wrapped around is not in chronological order.
        self.points.sort_by_key(|point| point.time);
        let mut notes = Vec::new();
        if self.full {
            notes.push(limits::note());
        }
        if self.damaged > 0 {
            notes.push(format!(
                "{} parts of the event log are damaged and were not read",
                self.damaged
            ));
        }
        Ok(Log {
            what: WHAT,
            points: self.points,
            notes,
        })
    }
}

fn local(element: &BytesStart<'_>) -> String {
    let name = element.local_name();
    let name = String::from_utf8_lossy(name.as_ref().as_bytes()).into_owned();
    name.chars().take(64).collect()
}

fn append(value: &mut String, text: &str) {
    if value.len() + text.len() <= limits::CELL_BYTES {
        value.push_str(text);
    }
}

impl Current {
    fn attributes(&mut self, name: &str, element: &BytesStart<'_>) {
        let attribute = |key: &str| {
            let mut attributes = element.attributes();
            let mut found = attributes.with_checks(false).flatten();
            let found = found.find(|a| a.key.local_name().as_ref() == key)?;
            Some(found.value.chars().take(256).collect::<String>())
        };
        match name {
            "Provider" => self.provider = attribute("Name").unwrap_or_default(),
            "TimeCreated" => {
                let time = attribute("SystemTime");
                self.time = time
                    .and_then(|t| Moment::parse_iso(&t))
                    .map(|(time, _)| time);
            }
            _ => {}
        }
    }

    fn value(&mut self, place: Place, value: &str) {
        let number = number::unsigned(value);
        match place {
            Place::EventId => self.id = number,
            Place::PagedPoolUsage => self.totals.paged_bytes = number,
            Place::NonPagedPoolUsage => self.totals.nonpaged_bytes = number,
            Place::PhysicalMemorySize => self.totals.ram_bytes = number,
            Place::CommitCharge => self.totals.committed_bytes = number,
            Place::CommitLimit => self.totals.commit_limit_bytes = number,
            Place::TagName(_) => self.tag = Some(value.into()),
            Place::TagBytes(pool) => {
                let tag = self
                    .tag
                    .take()
                    .and_then(|tag| of_text(&tag, Stand::CodePage));
                if let (Some(tag), Some(bytes)) = (tag, number) {
                    let counts = Counts {
                        bytes: Some(bytes),
                        ..Counts::default()
                    };
                    self.rows.add(tag, Some(pool), counts);
                }
            }
        }
    }

    /// The point, if the event is one of the three. Other providers use the same event numbers.
    fn point(&self, source: &str) -> Option<Point> {
        let provider = self.provider.to_ascii_lowercase();
        let detector = provider.contains("resource-exhaustion")
            || (provider.is_empty() && self.totals != super::Totals::default());
        let server = provider.starts_with("srv") || provider.is_empty();
        let (event, why) = match self.id? {
            2004 if detector => (
                "memory or pool nearly exhausted (event 2004)",
                "the event has at most the three largest tags of each pool",
            ),
            2019 if server => (
                "nonpaged pool was empty (event 2019)",
                "the event has no tags",
            ),
            2020 if server => ("paged pool was empty (event 2020)", "the event has no tags"),
            _ => return None,
        };
        Some(Point {
            time: self.time,
            totals: self.totals,
            event: Some(event),
            listing: Listing::Truncated(why.into()),
            ..Point::new(source, Kind::EventLog)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Tag;

    const EVENT_2004: &str = r#"<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>
        <Provider Name='Microsoft-Windows-Resource-Exhaustion-Detector' Guid='{0}'/><EventID>2004</EventID>
        <TimeCreated SystemTime='2015-06-01T10:00:00.123456700Z'/></System>
        <UserData><MemoryExhaustionInfo xmlns='http://x'><SystemInfo><SystemCommitLimit>9000000000</SystemCommitLimit>
        <PagedPoolUsage>300000000</PagedPoolUsage><PhysicalMemorySize>8589934592</PhysicalMemorySize>
        <NonPagedPoolUsage>700000000</NonPagedPoolUsage></SystemInfo>
        <PagedPoolInfo><Tag_1><Name>Gpbm</Name><PoolUsed>75059936</PoolUsed></Tag_1>
        <Tag_2><Name>A&amp;&#66;&lt;</Name><PoolUsed>5</PoolUsed></Tag_2></PagedPoolInfo>
        <NonPagedPoolInfo><Tag_1><Name>Leak</Name><PoolUsed>600000000</PoolUsed></Tag_1></NonPagedPoolInfo>
        </MemoryExhaustionInfo></UserData></Event>"#;

    fn simple(id: u32, provider: &str, time: &str) -> String {
        format!(
            "<Event><System><Provider Name=\"{provider}\"/><EventID Qualifiers=\"49152\">{id}</EventID><TimeCreated SystemTime=\"{time}\"/></System></Event>\n"
        )
    }

    #[test]
    fn three_events_become_points_in_chronological_order() {
        let text = [
            simple(2020, "Srv", "2015-06-01T12:00:00Z"),
            EVENT_2004.into(),
            simple(2019, "srv", "2015-06-01T11:00:00Z"),
            simple(
                2004,
                "Microsoft-Windows-Windows Firewall With Advanced Security",
                "2015-06-01T09:00:00Z",
            ),
            simple(7036, "Service Control Manager", "2015-06-01T09:00:00Z"),
        ]
        .concat();
        let log = read_xml(&text, "a.xml").unwrap();
        let events: Vec<_> = log.points.iter().map(|p| p.event.unwrap()).collect();
        assert_eq!(log.points.len(), 3, "{events:?}");
        let first = &log.points[0];
        assert_eq!(first.time.unwrap().to_string(), "2015-06-01T10:00:00.123Z");
        assert_eq!(first.totals.nonpaged_bytes, Some(700_000_000));
        let bytes = |tag| {
            let row = first.get(Tag::of(tag).unwrap()).unwrap();
            (row.nonpaged.bytes, row.paged.bytes)
        };
        assert_eq!(bytes("Gpbm"), (None, Some(75_059_936)));
        assert_eq!(bytes("Leak"), (Some(600_000_000), None));
        assert_eq!(bytes("A&B<"), (None, Some(5)));
        assert!(events[1].contains("2019") && events[2].contains("2020"));
    }

    #[test]
    fn declarations_damage_and_other_events_are_reported() {
        let bomb = "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]><Event/>";
        assert!(matches!(
            read_xml(bomb, "a"),
            Err(SeriesError::Unusable { .. })
        ));
        let other = simple(7036, "x", "2015-06-01T09:00:00Z");
        assert!(matches!(
            read_xml(&other, "a"),
            Err(SeriesError::Unusable { .. })
        ));
        assert!(matches!(
            read_xml("<Event", "a"),
            Err(SeriesError::NoRows { .. })
        ));
        let cut = format!("{EVENT_2004}<Event><System");
        let log = read_xml(&cut, "a").unwrap();
        assert_eq!((log.points.len(), log.notes.len()), (1, 1));
        let deep = format!("{EVENT_2004}{}", "<a>".repeat(100_000));
        assert_eq!(read_xml(&deep, "a").unwrap().points.len(), 1);
    }

    #[test]
    fn a_binary_log_without_records_does_not_panic() {
        let mut bytes = b"ElfFile\0".to_vec();
        assert!(read_evtx(&bytes, "a").is_err());
        bytes.resize(70_000, 0);
        assert!(read_evtx(&bytes, "a").is_err());
    }
}
