//! The results of checking dumps against rules: the answer of `check`.

mod csv;
mod junit;
mod text;

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use crate::engine::check::{Limit, Observed, Outcome, RuleResult};

use super::table::{Align, table};
use super::text::{clean, grouped};
use super::{Answer, tag_hex};

/// The answer of `check`.
#[derive(Debug, Serialize)]
pub struct Check {
    passed: bool,
    rules: Vec<Row>,
    unreadable: Vec<Unreadable>,
}

/// An input that could not be opened.
#[derive(Debug, Serialize)]
struct Unreadable {
    source: String,
    error: String,
}

#[derive(Debug, Serialize)]
struct Row {
    rule: String,
    passed: bool,
    observed: Value,
    tag: Option<String>,
    tag_hex: Option<String>,
    driver: Option<String>,
    pool: Option<&'static str>,
    limit: &'static str,
    allowed: Value,
    outcome: &'static str,
    note: Option<String>,
    source: String,
    line: usize,
}

impl Row {
    fn of(result: &RuleResult) -> Row {
        let text = |t: &String| clean(t).into_owned();
        Row {
            rule: text(&result.rule),
            passed: matches!(result.outcome, Outcome::Passed | Outcome::Allowed),
            observed: result.observed.map_or(Value::Null, observed),
            tag: result.tag.map(|t| t.to_string()),
            tag_hex: result.tag.map(tag_hex),
            driver: result.driver.as_ref().map(text),
            pool: result.pool.map(|p| p.word()),
            limit: result.limit.key(),
            allowed: allowed(result.limit),
            outcome: word(result.outcome),
            note: result.note.as_ref().map(text),
            source: text(&result.source),
            line: result.line,
        }
    }

    /// The subject of the rule, for text output.
    fn subject(&self) -> String {
        let what = self.tag.as_deref().or(self.driver.as_deref());
        match (what, self.pool) {
            (Some(what), Some(pool)) => format!("{what} ({pool})"),
            (Some(what), None) => what.into(),
            (None, Some(pool)) => format!("{pool} pool"),
            (None, None) => "-".into(),
        }
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Allowed => "allowed",
        Outcome::Failed => "failed",
        Outcome::Unknown => "unknown",
    }
}

fn observed(observed: Observed) -> Value {
    match observed {
        Observed::Number(n) => i64::try_from(n).map_or(Value::Null, Value::from),
        // One decimal place is enough to compare; more digits suggest a false precision.
        Observed::Share(n) => Value::from((n * 10.0).round() / 10.0),
        Observed::Verdict(verdict) => Value::from(verdict.word()),
    }
}

fn allowed(limit: Limit) -> Value {
    match limit {
        Limit::Bytes(n) | Limit::Outstanding(n) | Limit::Growth(n) => Value::from(n),
        Limit::Share(n) => Value::from(n),
        Limit::Verdict(verdict) => Value::from(verdict.word()),
    }
}

/// A value for text output.
fn shown(value: &Value, limit: &str) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Number(n) => match (n.as_i64(), limit) {
            (_, "max_share_percent") => format!("{:.1}%", n.as_f64().unwrap_or_default()),
            (Some(n), _) if n < 0 => format!("-{}", grouped(n.unsigned_abs())),
            (Some(n), _) => grouped(n.unsigned_abs()),
            _ => n.to_string(),
        },
        other => other.to_string(),
    }
}

impl Check {
    /// A report of the results, and of inputs that could not be opened (name and error).
    pub fn of(results: &[RuleResult], unreadable: &[(String, String)]) -> Check {
        let rules: Vec<Row> = results.iter().map(Row::of).collect();
        let unreadable = unreadable.iter().map(|(source, error)| Unreadable {
            source: clean(source).into(),
            error: clean(error).into(),
        });
        let unreadable: Vec<Unreadable> = unreadable.collect();
        Check {
            passed: unreadable.is_empty() && rules.iter().all(|r| r.passed),
            rules,
            unreadable,
        }
    }

    /// Writes JUnit XML for CI systems: one test suite per input, one test case per check.
    ///
    /// # Errors
    /// I/O errors of the writer.
    pub fn junit(&self, out: &mut dyn Write) -> io::Result<()> {
        junit::write(self, out)
    }

    /// Number of checks with this outcome.
    fn count(&self, outcome: Outcome) -> usize {
        self.rules
            .iter()
            .filter(|r| r.outcome == word(outcome))
            .count()
    }

    fn summary(&self) -> String {
        format!(
            "{}: {} passed, {} allowed, {} failed, {} unknown, {} inputs not readable",
            if self.passed { "PASSED" } else { "NOT PASSED" },
            self.count(Outcome::Passed),
            self.count(Outcome::Allowed),
            self.count(Outcome::Failed),
            self.count(Outcome::Unknown),
            self.unreadable.len()
        )
    }
}

impl Answer for Check {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        text::write(self, out)
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        csv::write(self, out)
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}\n", self.summary())?;
        let columns = [
            ("outcome", Align::Left),
            ("rule", Align::Left),
            ("of", Align::Left),
            ("limit", Align::Left),
            ("observed", Align::Right),
            ("allowed", Align::Right),
            ("source", Align::Left),
            ("note", Align::Left),
        ];
        let rows = self.rules.iter().map(|r| {
            vec![
                r.outcome.to_owned(),
                r.rule.clone(),
                r.subject(),
                r.limit.to_owned(),
                shown(&r.observed, r.limit),
                shown(&r.allowed, r.limit),
                r.source.clone(),
                r.note.clone().unwrap_or_default(),
            ]
        });
        table(out, &columns, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{Pool, Tag};

    fn result(outcome: Outcome) -> RuleResult {
        RuleResult {
            source: "a<b>.dmp".into(),
            rule: "tag \"Leak\" & more".into(),
            line: 3,
            limit: Limit::Bytes(5000),
            outcome,
            observed: Some(Observed::Number(9000)),
            tag: Tag::of("Leak"),
            driver: None,
            pool: Some(Pool::Nonpaged),
            note: None,
        }
    }

    fn junit(check: &Check) -> String {
        let mut out = Vec::new();
        check.junit(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn junit_output_is_valid_for_ci_systems() {
        let results = [
            Outcome::Passed,
            Outcome::Failed,
            Outcome::Unknown,
            Outcome::Allowed,
        ]
        .map(result);
        let check = Check::of(&results, &[("c.dmp".into(), "cut\u{1b}[2J".into())]);
        assert!(!check.passed);
        let xml = junit(&check);
        let mut reader = quick_xml::Reader::from_str(&xml);
        while !matches!(reader.read_event().unwrap(), quick_xml::events::Event::Eof) {}
        assert!(
            xml.contains("tests=\"5\" failures=\"1\" errors=\"2\""),
            "{xml}"
        );
        assert!(
            xml.contains("&lt;b&gt;") && xml.contains("&amp; more"),
            "{xml}"
        );
        assert!(!xml.contains('\u{1b}'), "{xml}");
    }

    #[test]
    fn the_answer_passes_only_if_every_check_passes() {
        assert!(Check::of(&[result(Outcome::Passed), result(Outcome::Allowed)], &[]).passed);
        assert!(!Check::of(&[result(Outcome::Unknown)], &[]).passed);
        assert!(!Check::of(&[result(Outcome::Passed)], &[("a".into(), "b".into())]).passed);
        let json = serde_json::to_value(Check::of(&[result(Outcome::Failed)], &[])).unwrap();
        assert_eq!(json["rules"][0]["observed"], 9000);
        assert_eq!(json["rules"][0]["tag"], "Leak");
        assert_eq!(json["passed"], false);
    }
}
