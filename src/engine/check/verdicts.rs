//! The verdicts that rules are checked against: of a diagnosis that is made now, or of the
//! report that an evidence file keeps.

use serde_json::Value;

use crate::analysis::judgement::Verdict;
use crate::analysis::judgement::diagnosis::Diagnosis;
use crate::pool::{Pool, Tag};

/// The verdict of a dump, and those of its findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// Of the whole dump.
    pub overall: Verdict,
    /// Of each finding: its tag, its pool (`None` where a table names none).
    pub findings: Vec<(Tag, Option<Pool>, Verdict)>,
}

impl Verdicts {
    /// Of a diagnosis.
    pub fn of(diagnosis: &Diagnosis) -> Verdicts {
        let findings = diagnosis.findings.iter();
        Verdicts {
            overall: diagnosis.verdict,
            findings: findings
                .map(|f| (f.tag(), f.row.pool, f.score.verdict))
                .collect(),
        }
    }

    /// Of a report as JSON. `None` when it is none, or is damaged in what counts here: a
    /// finding that is not understood must not pass.
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
    fn a_report_that_is_not_understood_has_no_verdicts() {
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
