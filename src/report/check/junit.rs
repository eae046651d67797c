//! `check` as JUnit XML.

use std::io::{self, Write};

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, Event};

use super::{Check, Row, shown};

pub(super) fn write(answer: &Check, out: &mut dyn Write) -> io::Result<()> {
    let mut xml = Writer::new_with_indent(out, b' ', 1);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let failed = answer
        .rules
        .iter()
        .filter(|r| r.outcome == "failed")
        .count();
    let unknown = answer
        .rules
        .iter()
        .filter(|r| r.outcome == "unknown")
        .count();
    let mut suite = BytesStart::new("testsuite");
    let tests = (answer.rules.len() + answer.unreadable.len()).to_string();
    let errors = (unknown + answer.unreadable.len()).to_string();
    suite.push_attribute(("name", "poolscope check"));
    suite.push_attribute(("tests", tests.as_str()));
    suite.push_attribute(("failures", failed.to_string().as_str()));
    suite.push_attribute(("errors", errors.as_str()));
    xml.write_event(Event::Start(BytesStart::new("testsuites")))?;
    xml.write_event(Event::Start(suite))?;
    for input in &answer.unreadable {
        case(
            &mut xml,
            &input.source,
            "readable",
            Some(("error", &input.error)),
        )?;
    }
    for row in &answer.rules {
        let name = format!("{}: {} {}", row.rule, row.subject(), row.limit);
        let problem = match row.outcome {
            "failed" => Some(("failure", message(row))),
            "unknown" => Some(("error", message(row))),
            _ => None,
        };
        let problem = problem.as_ref().map(|(kind, text)| (*kind, text.as_str()));
        case(&mut xml, &row.source, &name, problem)?;
    }
    xml.write_event(Event::End(BytesEnd::new("testsuite")))?;
    xml.write_event(Event::End(BytesEnd::new("testsuites")))?;
    writeln!(xml.into_inner())
}

fn message(row: &Row) -> String {
    let mut text = format!(
        "observed {}, allowed {} (line {} of the rules)",
        shown(&row.observed, row.limit),
        shown(&row.allowed, row.limit),
        row.line
    );
    if let Some(note) = &row.note {
        text += &format!("; {note}");
    }
    text
}

fn case(
    xml: &mut Writer<&mut dyn Write>,
    source: &str,
    name: &str,
    problem: Option<(&str, &str)>,
) -> io::Result<()> {
    let mut case = BytesStart::new("testcase");
    case.push_attribute(("classname", source));
    case.push_attribute(("name", name));
    let Some((kind, message)) = problem else {
        return xml.write_event(Event::Empty(case));
    };
    xml.write_event(Event::Start(case))?;
    let mut element = BytesStart::new(kind);
    element.push_attribute(("message", message));
    xml.write_event(Event::Empty(element))?;
    xml.write_event(Event::End(BytesEnd::new("testcase")))
}
