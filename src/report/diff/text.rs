//! `diff` as text.

use std::io::{self, Write};

use super::{Diff, HEADS};

pub(super) fn write(answer: &Diff, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "Points")?;
    writeln!(
        out,
        "{:>4}  {:<18}  {:<24}  {:>12}  {:>16}  {:>16}  source",
        "", "kind", "time", "uptime", "nonpaged bytes", "paged bytes"
    )?;
    for (at, point) in answer.points.iter().enumerate() {
        let [nonpaged, paged] = point.pools();
        writeln!(
            out,
            "{:>4}  {:<18}  {:<24}  {:>12}  {nonpaged:>16}  {paged:>16}  {}",
            at + 1,
            point.kind,
            point.when(),
            point.up(),
            point.name()
        )?;
        if let Some(event) = point.event {
            writeln!(out, "      {event}")?;
        }
    }
    writeln!(out, "{}\n", answer.boot_line())?;
    let [trend, first, last, change, rate, blocks] = HEADS;
    writeln!(
        out,
        "Tag   {trend:<11} {first:>17} {last:>17} {change:>17} {rate:>17} {blocks:>14}"
    )?;
    for tag in answer.shown() {
        let [trend, first, last, change, rate, blocks] = tag.cells();
        writeln!(
            out,
            "{}  {trend:<11} {first:>17} {last:>17} {change:>17} {rate:>17} {blocks:>14}",
            tag.tag
        )?;
    }
    writeln!(out, "\n{}", answer.rest_line())
}
