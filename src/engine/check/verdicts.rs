//! The verdicts that rules are checked against: from a new diagnosis, or from the report in an
//! evidence file.

use serde_json::Value;

use crate::analysis::judgement::Verdict;
use crate::analysis::judgement::diagnosis::Diagnosis;
use crate::pool::{Pool, Tag};

/// The verdicts of a dump and of its findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// The verdict of the whole dump.
    pub overall: Verdict,
    /// Tag, pool and verdict of each finding; the pool is `None` if the source has none.
    pub findings: Vec<(Tag, Option<Pool>, Verdict)>,
}

impl Verdicts {
    /// The verdicts of a diagnosis.
    pub fn of(diagnosis: &Diagnosis) -> Verdicts {
        let findings = diagnosis.findings.iter();
        Verdicts {
            overall: diagnosis.verdict,
            findings: findings
                .map(|f| (f.tag(), f.row.pool, f.score.verdict))
                .collect(),
        }
    }

    /// The verdicts of a JSON report. `None` if it is not a report or a required field is
    /// invalid: a finding that can't be parsed must not pass.
    pub fn of_report(json: &str) -> Option<Verdicts> {
        let report: Value = serde_json::from_str(json).ok()?;
        let findings = report.get("findings")?.as_array()?.iter();
        let finding = |f: &Value| {
            let hex = f.get("tag_hex")?.as_str()?.strip_prefix("0x")?;
            let tag = Tag::new(u32::from_str_radix(hex, 16).ok()?);
            let pool = match f.get("pool")?.as_str()? {
                "nonpaged" => Some(Pool::Nonpaged),
                "paged" => Some(Pool::Paged),
                _ => None,
            };
            Some((tag, pool, verdict(f)?))
        };
        Some(Verdicts {
            overall: verdict(&report)?,
            findings: findings.map(finding).collect::<Option<Vec<_>>>()?,
        })
    }
}

fn verdict(of: &Value) -> Option<Verdict> {
    let word = of.get("verdict")?.as_str()?;
    let all = [
        Verdict::Unknown,
        Verdict::Normal,
        Verdict::Suspicious,
        Verdict::Leak,
    ];
    all.into_iter().find(|v| v.word() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_report_has_no_verdicts() {
        let good = r#"{"verdict":"leak","findings":[{"tag_hex":"0x6b61654c","pool":"nonpaged","verdict":"leak"}]}"#;
        let read = Verdicts::of_report(good).unwrap();
        assert_eq!(read.overall, Verdict::Leak);
        let leak = (
            Tag::of("Leak").unwrap(),
            Some(Pool::Nonpaged),
            Verdict::Leak,
        );
        assert_eq!(read.findings, [leak]);
        for (part, other) in [
            ("0x6b61654c", "Leak"),
            ("\"leak\"}", "\"lea\"}"),
            ("findings", "finding"),
            ("\"verdict\":\"leak\",", ""),
        ] {
            assert_eq!(
                Verdicts::of_report(&good.replace(part, other)),
                None,
                "{part}"
            );
        }
    }
}
