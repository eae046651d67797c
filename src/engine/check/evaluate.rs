//! Checks rules against one dump or log.

use time::Date;

use crate::analysis::attribution::drivers::Drivers;
use crate::analysis::judgement::Verdict;
use crate::pool::{Pool, Tag};
use crate::series::{Comparison, Counts, Listing, Point};

use super::limits::Limit;
use super::rules::{Allowance, Allowed, Rule, Rules, Target};
use super::verdicts::Verdicts;

/// The input of a check. Fields that no rule needs may be `None`.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The dump or log.
    pub point: &'a Point,
    /// The comparison of the baseline (first) with the point.
    pub comparison: Option<&'a Comparison>,
    /// Pool use by owner.
    pub drivers: Option<&'a Drivers>,
    /// The verdicts on the point.
    pub verdicts: Option<&'a Verdicts>,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Within the limit.
    Passed,
    /// Beyond the limit, but allowed by an exception.
    Allowed,
    /// Beyond the limit.
    Failed,
    /// The value is unknown.
    Unknown,
}

/// The observed value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observed {
    /// Bytes or allocations; bytes per hour may be negative.
    Number(i128),
    /// A percentage.
    Share(f64),
    /// A verdict.
    Verdict(Verdict),
}

/// The result of one check: one limit of a rule, for one tag or driver.
#[derive(Clone, Debug)]
pub struct RuleResult {
    /// The dump or log, as the user named it.
    pub source: String,
    /// The rule's name.
    pub rule: String,
    /// The rule's line in the rules file.
    pub line: usize,
    /// The limit.
    pub limit: Limit,
    /// The result.
    pub outcome: Outcome,
    /// The observed value; `None` if it is unknown.
    pub observed: Option<Observed>,
    /// The tag, if the check is for a tag.
    pub tag: Option<Tag>,
    /// The driver, if the check is for a driver.
    pub driver: Option<String>,
    /// The pool; `None` for both.
    pub pool: Option<Pool>,
    /// The reason of the exception, or the reason why the value is unknown.
    pub note: Option<String>,
}

/// Checks all rules against a dump. `today` decides which exceptions are still valid.
pub fn evaluate(rules: &Rules, subject: &Subject<'_>, today: Date) -> Vec<RuleResult> {
    let mut out = Vec::new();
    for rule in &rules.rules {
        for &limit in &rule.limits {
            let check = Check {
                rule,
                limit,
                subject,
                allowances: &rules.allowances,
                today,
            };
            out.extend(check.results());
        }
    }
    out
}

/// A value, or the reason why it is unknown.
type Known = Result<Observed, String>;

struct Check<'a> {
    rule: &'a Rule,
    limit: Limit,
    subject: &'a Subject<'a>,
    allowances: &'a [Allowance],
    today: Date,
}

impl Check<'_> {
    fn results(&self) -> Vec<RuleResult> {
        match &self.rule.target {
            Target::Machine => vec![self.result(None, None, self.of_machine())],
            Target::Driver(driver) => vec![self.result(None, Some(driver), self.of_driver(driver))],
            Target::Tag(pattern) => match pattern.exact() {
                Some(tag) => vec![self.result(Some(tag), None, self.of_tag(tag))],
                None => self.of_pattern(),
            },
        }
    }

    /// The results for all tags beyond the limit, otherwise for the tag nearest to it.
    fn of_pattern(&self) -> Vec<RuleResult> {
        let Target::Tag(pattern) = &self.rule.target else {
            return Vec::new();
        };
        let point = self.subject.point;
        let tags = point
            .rows
            .iter()
            .map(|r| r.tag)
            .filter(|tag| pattern.matches(*tag));
        // A tag of an incomplete table may lack a pool; the available counts are checked.
        let results: Vec<RuleResult> = tags
            .map(|tag| self.result(Some(tag), None, self.of_tag(tag)))
            .collect();
        let (beyond, within): (Vec<_>, Vec<_>) = results
            .into_iter()
            .filter(|r| r.outcome != Outcome::Unknown || matches!(point.listing, Listing::Complete))
            .partition(|r| {
                matches!(
                    r.outcome,
                    Outcome::Failed | Outcome::Allowed | Outcome::Unknown
                )
            });
        let fails = beyond.iter().any(|r| r.outcome == Outcome::Failed);
        let mut out = beyond;
        if let (false, Listing::Truncated(why)) = (fails, &point.listing) {
            let unlisted = Err(format!("the listing is not complete ({why})"));
            out.push(self.result(None, None, unlisted));
        } else if out.is_empty() {
            let nearest = within
                .into_iter()
                .max_by(|a, b| rank(a).total_cmp(&rank(b)));
            // If no tag matches, the rule passes.
            out.push(nearest.unwrap_or_else(|| self.result(None, None, Ok(self.nothing()))));
        }
        out
    }

    fn nothing(&self) -> Observed {
        match self.limit {
            Limit::Share(_) => Observed::Share(0.0),
            Limit::Verdict(_) => Observed::Verdict(Verdict::Normal),
            _ => Observed::Number(0),
        }
    }

    fn result(&self, tag: Option<Tag>, driver: Option<&str>, observed: Known) -> RuleResult {
        let mut result = RuleResult {
            source: self.subject.point.source.clone(),
            rule: self.rule.name.clone(),
            line: self.rule.line,
            limit: self.limit,
            outcome: Outcome::Passed,
            observed: observed.as_ref().ok().copied(),
            tag,
            driver: driver.map(str::to_owned),
            pool: self.rule.pool,
            note: observed.as_ref().err().cloned(),
        };
        result.outcome = match observed {
            Err(_) => Outcome::Unknown,
            Ok(observed) if self.is_within(observed) => Outcome::Passed,
            Ok(_) => Outcome::Failed,
        };
        if result.outcome == Outcome::Failed
            && let Some(allowance) = self.allowance(tag, driver)
        {
            let Allowance {
                reason,
                expires,
                line,
                ..
            } = allowance;
            if self.today <= *expires {
                result.outcome = Outcome::Allowed;
                result.note = Some(format!("allowed until {expires}: {reason}"));
            } else {
                result.note = Some(format!(
                    "the exception of line {line} ended on {expires}: {reason}"
                ));
            }
        }
        result
    }

    fn is_within(&self, observed: Observed) -> bool {
        match (self.limit, observed) {
            (
                Limit::Bytes(most) | Limit::Outstanding(most) | Limit::Growth(most),
                Observed::Number(n),
            ) => n <= most.into(),
            (Limit::Share(most), Observed::Share(n)) => n <= most,
            (Limit::Verdict(worst), Observed::Verdict(v)) => v <= worst,
            _ => false,
        }
    }

    /// The matching exception; if there are several, the one that expires last.
    fn allowance(&self, tag: Option<Tag>, driver: Option<&str>) -> Option<&Allowance> {
        let fits = |a: &&Allowance| {
            let pool = a.pool.is_none() || a.pool == self.rule.pool;
            let what = match &a.what {
                Allowed::Rule(name) => *name == self.rule.name,
                Allowed::Tag(pattern) => tag.is_some_and(|tag| pattern.matches(tag)),
                Allowed::Driver(name) => {
                    driver.is_some_and(|d| is_driver(d, name))
                        || tag.is_some_and(|tag| self.is_owned(tag, name))
                }
            };
            pool && what
        };
        self.allowances
            .iter()
            .filter(fits)
            .max_by_key(|a| a.expires)
    }

    fn is_owned(&self, tag: Tag, driver: &str) -> bool {
        let rows = self.subject.drivers.iter().flat_map(|d| &d.rows);
        let mut owners = rows.filter(|d| is_driver(&d.module, driver));
        owners.any(|d| d.tags.iter().any(|holding| holding.tag == tag))
    }

    /// The pools that the rule covers.
    fn pools(&self) -> &'static [Pool] {
        match self.rule.pool {
            Some(Pool::Nonpaged) => &[Pool::Nonpaged],
            Some(Pool::Paged) => &[Pool::Paged],
            None => &[Pool::Nonpaged, Pool::Paged],
        }
    }

    /// True for a pool that the rule covers, and for a row without a pool.
    fn covers(&self, pool: Option<Pool>) -> bool {
        pool.is_none_or(|pool| self.pools().contains(&pool))
    }

    fn of_machine(&self) -> Known {
        let point = self.subject.point;
        let bytes = |point: &Point| -> Result<i128, String> {
            self.pools().iter().try_fold(0, |sum, &pool| {
                let bytes = point.pool_bytes(pool);
                let why = || {
                    format!(
                        "the size of {} pool is not in {}",
                        pool.word(),
                        point.source
                    )
                };
                Ok(sum + i128::from(bytes.ok_or_else(why)?))
            })
        };
        match self.limit {
            Limit::Bytes(_) => bytes(point).map(Observed::Number),
            Limit::Share(_) => {
                let memory = point
                    .totals
                    .ram_bytes
                    .filter(|b| *b > 0)
                    .ok_or("the machine's memory is not known")?;
                Ok(Observed::Share(
                    bytes(point)? as f64 * 100.0 / memory as f64,
                ))
            }
            Limit::Growth(_) => {
                let (earlier, later, hours) = self.baseline()?;
                let grown = bytes(later)? - bytes(earlier)?;
                Ok(Observed::Number((grown as f64 / hours).round() as i128))
            }
            Limit::Verdict(_) => match self.verdicts()?.overall {
                Verdict::Unknown => {
                    Err("there is no verdict: the kernel counters are not in the dump".into())
                }
                verdict => Ok(Observed::Verdict(verdict)),
            },
            Limit::Outstanding(_) => Err("allocations are counted per tag".into()),
        }
    }

    fn of_tag(&self, tag: Tag) -> Known {
        match self.limit {
            Limit::Bytes(_) => self.sum(tag, |c| c.bytes).map(Observed::Number),
            Limit::Outstanding(_) => self.sum(tag, |c| c.outstanding).map(Observed::Number),
            Limit::Share(_) => Ok(Observed::Share(self.share(self.sum(tag, |c| c.bytes)?)?)),
            Limit::Growth(_) => self.growth(tag),
            Limit::Verdict(_) => {
                let findings = self.verdicts()?.findings.iter();
                let of_tag = findings.filter(|(of, pool, _)| *of == tag && self.covers(*pool));
                Ok(Observed::Verdict(
                    of_tag
                        .map(|(_, _, verdict)| *verdict)
                        .max()
                        .unwrap_or(Verdict::Normal),
                ))
            }
        }
    }

    /// A count of a tag, summed over the rule's pools.
    fn sum(&self, tag: Tag, get: fn(&Counts) -> Option<u64>) -> Result<i128, String> {
        let point = self.subject.point;
        self.pools().iter().try_fold(0i128, |sum, &pool| {
            let counts = point.counts(tag, pool);
            let value = get(&counts).ok_or_else(|| match &point.listing {
                Listing::Truncated(why) => {
                    format!("not in the listing, which is not complete ({why})")
                }
                _ => format!("not in the listing of {} pool", pool.word()),
            })?;
            Ok(sum + i128::from(value))
        })
    }

    /// The percentage of the pools' bytes.
    fn share(&self, bytes: i128) -> Result<f64, String> {
        let point = self.subject.point;
        if let Listing::Truncated(why) = &point.listing {
            return Err(format!(
                "a share needs all tags, and the listing is not complete ({why})"
            ));
        }
        let all: u64 = self
            .pools()
            .iter()
            .filter_map(|&pool| point.listed_bytes(pool))
            .sum();
        match all {
            0 => Err("the listing has no bytes".into()),
            all => Ok(bytes as f64 * 100.0 / all as f64),
        }
    }

    fn of_driver(&self, driver: &str) -> Known {
        let drivers = self
            .subject
            .drivers
            .ok_or("the tags of a driver are known only for a dump, not for a log")?;
        let row = drivers.rows.iter().find(|d| is_driver(&d.module, driver));
        let bytes = || -> i128 {
            let of = |pool: &Pool| row.map_or(0, |d| d.bytes[usize::from(*pool == Pool::Paged)]);
            self.pools().iter().map(|pool| i128::from(of(pool))).sum()
        };
        match self.limit {
            Limit::Bytes(_) => Ok(Observed::Number(bytes())),
            Limit::Share(_) => Ok(Observed::Share(self.share(bytes())?)),
            Limit::Growth(_) => {
                self.baseline()?;
                let tags = row.iter().flat_map(|d| &d.tags);
                let grown = tags.map(|holding| match self.growth(holding.tag)? {
                    Observed::Number(n) => Ok(n),
                    _ => Ok(0),
                });
                let sum: Result<i128, String> = grown.sum();
                sum.map(Observed::Number)
            }
            Limit::Verdict(_) => {
                let findings = self.verdicts()?.findings.iter();
                let owned = findings
                    .filter(|(tag, pool, _)| self.is_owned(*tag, driver) && self.covers(*pool));
                Ok(Observed::Verdict(
                    owned
                        .map(|(_, _, verdict)| *verdict)
                        .max()
                        .unwrap_or(Verdict::Normal),
                ))
            }
            Limit::Outstanding(_) => Err("allocations are counted per tag".into()),
        }
    }

    /// Growth of a tag in the rule's pools since the baseline, in bytes per hour.
    fn growth(&self, tag: Tag) -> Known {
        let (_, _, hours) = self.baseline()?;
        let Some(change) = self.subject.comparison.and_then(|c| c.get(tag)) else {
            return Ok(Observed::Number(0));
        };
        let mut grown = 0i128;
        for &pool in self.pools() {
            let side = match pool {
                Pool::Nonpaged => &change.nonpaged,
                Pool::Paged => &change.paged,
            };
            let at = |counts: Option<&Counts>| counts.and_then(|c| c.bytes);
            match (at(side.first()), at(side.last())) {
                (Some(a), Some(b)) => grown += i128::from(b) - i128::from(a),
                _ => return Err(format!("{} pool is not known at both points", pool.word())),
            }
        }
        Ok(Observed::Number((grown as f64 / hours).round() as i128))
    }

    /// The baseline, the point, and the hours between them.
    fn baseline(&self) -> Result<(&Point, &Point, f64), String> {
        let points = self.subject.comparison.map(|c| &c.points[..]);
        let Some([first, .., last]) = points else {
            return Err("there is no baseline".into());
        };
        let hours = first.hours_to(last);
        let hours = hours.ok_or("the hours since the baseline are not known")?;
        Ok((first, last, hours))
    }

    fn verdicts(&self) -> Result<&Verdicts, String> {
        self.subject
            .verdicts
            .ok_or_else(|| "a verdict needs a dump, or evidence with a whole report".into())
    }
}

fn rank(result: &RuleResult) -> f64 {
    match result.observed {
        Some(Observed::Number(n)) => n as f64,
        Some(Observed::Share(n)) => n,
        Some(Observed::Verdict(verdict)) => f64::from(verdict as u8),
        None => f64::MIN,
    }
}

/// Driver names are compared without case, and `.sys` may be omitted.
fn is_driver(module: &str, name: &str) -> bool {
    let stem = |text: &str| {
        let lower = text.to_ascii_lowercase();
        lower
            .strip_suffix(".sys")
            .map(str::to_owned)
            .unwrap_or(lower)
    };
    stem(module) == stem(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::read_bytes;
    use time::Month;

    fn table(bytes: u64, uptime: u64) -> Point {
        let text = format!(
            "# uptime_seconds: {uptime}\n# ram_bytes: 1000000\n# nonpaged_pool_bytes: 400000\n# complete: yes\n\
             tag,pool,allocs,frees,outstanding,bytes\nLeak,nonpaged,5,0,5,{bytes}\nIo,nonpaged,5,1,4,1000\nIo,paged,5,1,4,500\n"
        );
        read_bytes(text.as_bytes(), "t.csv")
            .unwrap()
            .points
            .remove(0)
    }

    fn day(day: u8) -> Date {
        Date::from_calendar_date(2027, Month::March, day).unwrap()
    }

    fn results(rules: &str, point: &Point, baseline: Option<&Point>) -> Vec<RuleResult> {
        let rules = Rules::parse(rules).unwrap();
        let comparison = baseline.map(|b| Comparison::of(vec![b.clone(), point.clone()]));
        let subject = Subject {
            point,
            comparison: comparison.as_ref(),
            drivers: None,
            verdicts: None,
        };
        evaluate(&rules, &subject, day(15))
    }

    fn one(rule: &str, point: &Point) -> (Outcome, Option<Observed>) {
        let results = results(rule, point, None);
        assert_eq!(results.len(), 1, "{results:?}");
        (results[0].outcome, results[0].observed)
    }

    #[test]
    fn every_limit_is_checked_against_its_value() {
        let point = table(9000, 3600);
        let number = |n| Some(Observed::Number(n));
        let tag = |limit: &str| {
            one(
                &format!("[[rule]]\ntag = \"Leak\"\npool = \"nonpaged\"\n{limit}\n"),
                &point,
            )
        };
        assert_eq!(tag("max_bytes = 9000"), (Outcome::Passed, number(9000)));
        assert_eq!(tag("max_bytes = 8999"), (Outcome::Failed, number(9000)));
        assert_eq!(tag("max_outstanding = 4"), (Outcome::Failed, number(5)));
        assert_eq!(
            tag("max_share_percent = 90"),
            (Outcome::Passed, Some(Observed::Share(90.0)))
        );
        assert_eq!(tag("max_share_percent = 89.9").0, Outcome::Failed);
        assert_eq!(
            one("[[rule]]\ntag = \"Io\"\nmax_bytes = 1499\n", &point),
            (Outcome::Failed, number(1500))
        );
        assert_eq!(
            one("[[rule]]\ntag = \"None\"\nmax_bytes = 0\n", &point),
            (Outcome::Passed, number(0))
        );
        assert_eq!(
            one(
                "[[rule]]\npool = \"nonpaged\"\nmax_bytes = 400000\n",
                &point
            )
            .0,
            Outcome::Passed
        );
        assert_eq!(
            one(
                "[[rule]]\npool = \"nonpaged\"\nmax_share_percent = 39\n",
                &point
            ),
            (Outcome::Failed, Some(Observed::Share(40.0)))
        );
        assert_eq!(
            one("[[rule]]\npool = \"paged\"\nmax_bytes = 5\n", &point),
            (Outcome::Unknown, None)
        );
        assert_eq!(
            one("[[rule]]\nmax_verdict = \"suspicious\"\n", &point),
            (Outcome::Unknown, None)
        );
        assert_eq!(
            one("[[rule]]\ndriver = \"a.sys\"\nmax_bytes = 5\n", &point),
            (Outcome::Unknown, None)
        );
    }

    #[test]
    fn a_pattern_lists_the_tags_beyond_the_limit() {
        let point = table(9000, 3600);
        let found = results(
            "[[rule]]\ntag = \"*\"\npool = \"nonpaged\"\nmax_bytes = 5000\n",
            &point,
            None,
        );
        assert_eq!((found.len(), found[0].tag), (1, Tag::of("Leak")));
        let within = results(
            "[[rule]]\ntag = \"*\"\npool = \"nonpaged\"\nmax_bytes = 50000\n",
            &point,
            None,
        );
        assert_eq!(
            (within[0].outcome, within[0].observed),
            (Outcome::Passed, Some(Observed::Number(9000)))
        );
        let mut cut = point.clone();
        cut.listing = Listing::Truncated("top 2".into());
        let found = results(
            "[[rule]]\ntag = \"*\"\npool = \"nonpaged\"\nmax_bytes = 50000\n",
            &cut,
            None,
        );
        assert_eq!(
            found[0].outcome,
            Outcome::Unknown,
            "a part can't pass for all"
        );
    }

    #[test]
    fn growth_is_bytes_per_hour_since_the_baseline() {
        let rule = "[[rule]]\ntag = \"Leak\"\nmax_growth_per_hour = 2000\n";
        let found = results(rule, &table(9000, 10_800), Some(&table(3000, 3600)));
        assert_eq!(
            (found[0].outcome, found[0].observed),
            (Outcome::Failed, Some(Observed::Number(3000)))
        );
        let found = results(rule, &table(6000, 10_800), Some(&table(3000, 3600)));
        assert_eq!(
            (found[0].outcome, found[0].observed),
            (Outcome::Passed, Some(Observed::Number(1500)))
        );
        assert_eq!(
            results(rule, &table(6000, 10_800), None)[0].outcome,
            Outcome::Unknown
        );
    }

    #[test]
    fn exceptions_are_valid_through_their_last_day() {
        let rule = "[[rule]]\ntag = \"*\"\npool = \"nonpaged\"\nmax_bytes = 5000\n";
        let allow = |day: u8, what: &str| {
            format!("{rule}[[allow]]\n{what}\nreason = \"known\"\nexpires = 2027-03-{day}\n")
        };
        let point = table(9000, 3600);
        let outcome = |text: &str| results(text, &point, None)[0].outcome;
        assert_eq!(outcome(&allow(15, "tag = \"Leak\"")), Outcome::Allowed);
        assert_eq!(outcome(&allow(14, "tag = \"Leak\"")), Outcome::Failed);
        assert_eq!(outcome(&allow(31, "tag = \"Io\"")), Outcome::Failed);
        assert_eq!(
            outcome(&allow(31, "tag = \"Leak\"\npool = \"paged\"")),
            Outcome::Failed
        );
        let ended = results(&allow(14, "tag = \"Leak\""), &point, None);
        assert!(
            ended[0]
                .note
                .as_ref()
                .unwrap()
                .contains("ended on 2027-03-14")
        );
    }
}
