//! Rules files in TOML. They are parsed and checked before any dump is opened. Every error has
//! its line number.

use serde::Deserialize;
use thiserror::Error;
use time::{Date, Month};
use toml::Spanned;
use toml::value::{Datetime, Value};

use crate::analysis::judgement::Verdict;
use crate::pool::{Pool, TagPattern};

use super::limits::{Limit, size};

/// The subject of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A pool as a whole, or the whole dump for a limit on the verdict.
    Machine,
    /// Every tag that matches, each by itself.
    Tag(TagPattern),
    /// A driver, by its file name with or without extension.
    Driver(String),
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The name in reports.
    pub name: String,
    /// The line in the file, from 1.
    pub line: usize,
    /// The subject.
    pub target: Target,
    /// The pool; `None` for the sum of both.
    pub pool: Option<Pool>,
    /// The limits, which are checked separately.
    pub limits: Vec<Limit>,
}

/// An exception from the rules.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// The line in the file, from 1.
    pub line: usize,
    /// The tags, the driver, or the rule that it exempts.
    pub what: Allowed,
    /// The pool; `None` for both.
    pub pool: Option<Pool>,
    /// The user's reason.
    pub reason: String,
    /// The last day on which it is valid.
    pub expires: Date,
}

/// The subject of an exception.
#[derive(Clone, Debug, PartialEq)]
pub enum Allowed {
    /// All tags that match.
    Tag(TagPattern),
    /// A driver.
    Driver(String),
    /// A rule, by name.
    Rule(String),
}

/// The contents of a rules file.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The rules in file order; never empty.
    pub rules: Vec<Rule>,
    /// The exceptions.
    pub allowances: Vec<Allowance>,
}

/// An error in a rules file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {what}")]
pub struct RulesError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "rule")]
    rules: Vec<Spanned<RawRule>>,
    #[serde(default, rename = "allow")]
    allowances: Vec<Spanned<RawAllowance>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: Option<String>,
    tag: Option<Spanned<String>>,
    driver: Option<Spanned<String>>,
    pool: Option<Spanned<String>>,
    max_bytes: Option<Spanned<Value>>,
    max_share_percent: Option<Spanned<Value>>,
    max_outstanding: Option<Spanned<Value>>,
    max_growth_per_hour: Option<Spanned<Value>>,
    max_verdict: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAllowance {
    tag: Option<Spanned<String>>,
    driver: Option<Spanned<String>>,
    rule: Option<Spanned<String>>,
    pool: Option<Spanned<String>>,
    reason: Option<Spanned<String>>,
    expires: Option<Spanned<Datetime>>,
}

/// Maximum size of a rules file, in bytes; a thousand rules take 100 KB.
const MOST_BYTES: usize = 4 << 20;

impl Rules {
    /// Parses a rules file.
    ///
    /// # Errors
    /// A [`RulesError`] for the first error.
    pub fn parse(text: &str) -> Result<Rules, RulesError> {
        if text.len() > MOST_BYTES {
            return Err(RulesError {
                line: 1,
                what: format!("the file has more than {} MB", MOST_BYTES >> 20),
            });
        }
        let lines = Lines(text);
        let file: File = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            lines.error(at, error.message().trim().to_owned())
        })?;
        let names: Vec<String> = file
            .rules
            .iter()
            .filter_map(|r| r.get_ref().name.clone())
            .collect();
        let rules: Result<Vec<Rule>, _> = file.rules.into_iter().map(|r| rule(&lines, r)).collect();
        let allowances = file.allowances.into_iter();
        let allowances: Result<Vec<_>, _> =
            allowances.map(|a| allowance(&lines, a, &names)).collect();
        let rules = Rules {
            rules: rules?,
            allowances: allowances?,
        };
        match rules.rules.is_empty() {
            true => Err(lines.error(0, "there is no rule: begin one with [[rule]]".into())),
            false => Ok(rules),
        }
    }

    /// The line of the first rule that needs a baseline.
    pub fn needs_baseline(&self) -> Option<usize> {
        let growth = |r: &&Rule| r.limits.iter().any(|l| matches!(l, Limit::Growth(_)));
        self.rules.iter().find(growth).map(|r| r.line)
    }

    /// True if a rule has a limit on the verdict, which requires a pool walk.
    pub fn needs_verdict(&self) -> bool {
        self.rules
            .iter()
            .any(|r| r.limits.iter().any(|l| matches!(l, Limit::Verdict(_))))
    }

    /// True if a rule or an exception refers to a driver, which requires a search of all images.
    pub fn needs_drivers(&self) -> bool {
        self.rules
            .iter()
            .any(|r| matches!(r.target, Target::Driver(_)))
            || self
                .allowances
                .iter()
                .any(|a| matches!(a.what, Allowed::Driver(_)))
    }
}

/// Converts offsets in a text to line numbers.
struct Lines<'a>(&'a str);

impl Lines<'_> {
    fn of(&self, offset: usize) -> usize {
        let before = self.0.as_bytes().get(..offset).unwrap_or_default();
        before.iter().filter(|b| **b == b'\n').count() + 1
    }

    fn error(&self, offset: usize, what: String) -> RulesError {
        RulesError {
            line: self.of(offset),
            what,
        }
    }

    fn wrong<T>(&self, place: &Spanned<T>, what: impl Into<String>) -> RulesError {
        self.error(place.span().start, what.into())
    }

    fn pool(&self, text: Option<&Spanned<String>>) -> Result<Option<Pool>, RulesError> {
        let Some(text) = text else { return Ok(None) };
        match text.get_ref().as_str() {
            "nonpaged" => Ok(Some(Pool::Nonpaged)),
            "paged" => Ok(Some(Pool::Paged)),
            "both" => Ok(None),
            other => Err(self.wrong(
                text,
                format!("pool is `{other}`: write nonpaged, paged or both"),
            )),
        }
    }

    fn pattern(&self, text: &Spanned<String>) -> Result<TagPattern, RulesError> {
        TagPattern::parse(text.get_ref()).map_err(|error| self.wrong(text, error.to_string()))
    }

    fn driver(&self, text: &Spanned<String>) -> Result<String, RulesError> {
        let name = text.get_ref().trim();
        match name.is_empty() || name.contains(['/', '\\']) {
            true => Err(self.wrong(text, "driver is a file name, for example myfault.sys")),
            false => Ok(name.to_owned()),
        }
    }

    fn bytes(&self, value: &Spanned<Value>) -> Result<u64, RulesError> {
        let read = match value.get_ref() {
            Value::Integer(n) => u64::try_from(*n).ok(),
            Value::String(text) => size(text),
            _ => None,
        };
        read.ok_or_else(|| self.wrong(value, "write bytes as a number, or a size as \"500 MB\""))
    }

    fn count(&self, value: &Spanned<Value>) -> Result<u64, RulesError> {
        let read = value
            .get_ref()
            .as_integer()
            .and_then(|n| u64::try_from(n).ok());
        read.ok_or_else(|| self.wrong(value, "write a number of allocations, 0 or more"))
    }

    fn percent(&self, value: &Spanned<Value>) -> Result<f64, RulesError> {
        let read = match value.get_ref() {
            Value::Integer(n) => Some(*n as f64),
            Value::Float(n) => Some(*n),
            _ => None,
        };
        read.filter(|n| (0.0..=100.0).contains(n))
            .ok_or_else(|| self.wrong(value, "write a percentage from 0 to 100"))
    }

    fn verdict(&self, text: &Spanned<String>) -> Result<Verdict, RulesError> {
        match text.get_ref().as_str() {
            "normal" => Ok(Verdict::Normal),
            "suspicious" => Ok(Verdict::Suspicious),
            other => Err(self.wrong(
                text,
                format!(
                    "max_verdict is `{other}`: write normal, or suspicious to forbid only leak"
                ),
            )),
        }
    }
}

fn rule(lines: &Lines<'_>, raw: Spanned<RawRule>) -> Result<Rule, RulesError> {
    let at = raw.span().start;
    let raw = raw.into_inner();
    let target = match (&raw.tag, &raw.driver) {
        (Some(_), Some(driver)) => {
            return Err(lines.wrong(driver, "a rule is about a tag or a driver, not both"));
        }
        (Some(tag), None) => Target::Tag(lines.pattern(tag)?),
        (None, Some(driver)) => Target::Driver(lines.driver(driver)?),
        (None, None) => Target::Machine,
    };
    let pool = lines.pool(raw.pool.as_ref())?;
    let mut limits = Vec::new();
    if let Some(value) = &raw.max_bytes {
        limits.push(Limit::Bytes(lines.bytes(value)?));
    }
    if let Some(value) = &raw.max_share_percent {
        limits.push(Limit::Share(lines.percent(value)?));
    }
    if let Some(value) = &raw.max_outstanding {
        if !matches!(target, Target::Tag(_)) {
            return Err(lines.wrong(
                value,
                "max_outstanding needs a tag: name one with tag = \"…\"",
            ));
        }
        limits.push(Limit::Outstanding(lines.count(value)?));
    }
    if let Some(value) = &raw.max_growth_per_hour {
        limits.push(Limit::Growth(lines.bytes(value)?));
    }
    if let Some(text) = &raw.max_verdict {
        limits.push(Limit::Verdict(lines.verdict(text)?));
    }
    if limits.is_empty() {
        let all =
            "max_bytes, max_share_percent, max_outstanding, max_growth_per_hour or max_verdict";
        return Err(lines.error(at, format!("the rule has no limit: add {all}")));
    }
    Ok(Rule {
        name: raw
            .name
            .unwrap_or_else(|| name(raw.tag.as_ref(), raw.driver.as_ref(), pool)),
        line: lines.of(at),
        target,
        pool,
        limits,
    })
}

fn name(
    tag: Option<&Spanned<String>>,
    driver: Option<&Spanned<String>>,
    pool: Option<Pool>,
) -> String {
    let what = match (tag, driver) {
        (Some(tag), _) => format!("tag {}", tag.get_ref()),
        (None, Some(driver)) => format!("driver {}", driver.get_ref()),
        (None, None) => String::new(),
    };
    match (what.as_str(), pool) {
        ("", None) => "machine".into(),
        ("", Some(pool)) => format!("{} pool", pool.word()),
        (what, None) => what.into(),
        (what, Some(pool)) => format!("{what}, {} pool", pool.word()),
    }
}

fn allowance(
    lines: &Lines<'_>,
    raw: Spanned<RawAllowance>,
    names: &[String],
) -> Result<Allowance, RulesError> {
    let at = raw.span().start;
    let raw = raw.into_inner();
    let what = match (&raw.tag, &raw.driver, &raw.rule) {
        (Some(tag), None, None) => Allowed::Tag(lines.pattern(tag)?),
        (None, Some(driver), None) => Allowed::Driver(lines.driver(driver)?),
        (None, None, Some(rule)) => match names.contains(rule.get_ref()) {
            true => Allowed::Rule(rule.get_ref().clone()),
            false => {
                return Err(lines.wrong(rule, format!("no rule has the name `{}`", rule.get_ref())));
            }
        },
        _ => return Err(lines.error(at, "an exception names one of tag, driver and rule".into())),
    };
    let reason = raw
        .reason
        .as_ref()
        .map(|r| r.get_ref().trim())
        .unwrap_or_default();
    if reason.is_empty() {
        return Err(lines.error(at, "an exception needs a reason: add reason = \"…\"".into()));
    }
    let Some(expires) = &raw.expires else {
        return Err(lines.error(
            at,
            "an exception needs a last day: add expires = 2027-03-31".into(),
        ));
    };
    let date = expires.get_ref().date.and_then(|date| {
        let month = Month::try_from(date.month).ok()?;
        Date::from_calendar_date(date.year.into(), month, date.day).ok()
    });
    Ok(Allowance {
        line: lines.of(at),
        what,
        pool: lines.pool(raw.pool.as_ref())?,
        reason: reason.to_owned(),
        expires: date
            .ok_or_else(|| lines.wrong(expires, "expires is a date, for example 2027-03-31"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rules_file_is_parsed() {
        let rules = Rules::parse(include_str!("../../../docs/rules.toml")).unwrap();
        assert!(rules.rules.len() >= 5 && !rules.allowances.is_empty());
        assert!(rules.needs_baseline().is_some() && rules.needs_verdict() && rules.needs_drivers());
        let leak = Rules::parse("\n[[rule]]\ntag = \"Leak\"\npool = \"nonpaged\"\nmax_bytes = \"10 MB\"\nmax_outstanding = 5\n").unwrap();
        let [rule] = &leak.rules[..] else { panic!() };
        assert_eq!(
            (rule.name.as_str(), rule.line, rule.pool),
            ("tag Leak, nonpaged pool", 2, Some(Pool::Nonpaged))
        );
        assert_eq!(rule.limits, [Limit::Bytes(10 << 20), Limit::Outstanding(5)]);
    }

    #[test]
    fn every_error_has_its_line_number() {
        let rule = "[[rule]]\ntag = \"Leak\"\nmax_bytes = 5\n";
        let with_rule = |text: &str| format!("{rule}{text}");
        for (text, line, word) in [
            ("".to_owned(), 1, "no rule"),
            ("[[rule]]\ntag = \"Leak\"\n".into(), 1, "no limit"),
            (
                "[[rule]]\ntag = \"Leaks\"\nmax_bytes = 5\n".into(),
                2,
                "four characters",
            ),
            (
                "[[rule]]\ntag = \"Leak\"\nmax_bytes = \"much\"\n".into(),
                3,
                "500 MB",
            ),
            (
                "[[rule]]\ntag = \"Leak\"\nmax_bytes = -5\n".into(),
                3,
                "bytes",
            ),
            (
                "[[rule]]\npool = \"big\"\nmax_bytes = 5\n".into(),
                2,
                "nonpaged",
            ),
            (
                "[[rule]]\ntag = \"Leak\"\nmax_share_percent = 500\n".into(),
                3,
                "percentage",
            ),
            (
                "[[rule]]\npool = \"paged\"\nmax_outstanding = 5\n".into(),
                3,
                "tag",
            ),
            ("[[rule]]\nmax_verdict = \"leak\"\n".into(), 2, "normal"),
            (
                "[[rule]]\ntag = \"Leak\"\nmax_byte = 5\n".into(),
                3,
                "max_byte",
            ),
            ("[[rule]]\ntag = \n".into(), 2, ""),
            (
                with_rule("[[allow]]\ntag = \"Leak\"\nexpires = 2027-01-01\n"),
                4,
                "reason",
            ),
            (
                with_rule("[[allow]]\ntag = \"Leak\"\nreason = \"x\"\n"),
                4,
                "last day",
            ),
            (
                with_rule("[[allow]]\nreason = \"x\"\nexpires = 2027-01-01\n"),
                4,
                "one of",
            ),
            (
                with_rule("[[allow]]\nrule = \"other\"\nreason = \"x\"\nexpires = 2027-01-01\n"),
                5,
                "other",
            ),
            (
                with_rule("[[allow]]\ntag = \"Leak\"\nreason = \"x\"\nexpires = 10:00:00\n"),
                7,
                "date",
            ),
        ] {
            let error = Rules::parse(&text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.what.contains(word), "{text}: {error}");
        }
    }
}
