//! `poolused` as text.

use std::io::{self, Write};

use crate::engine::Sort;

use super::{PoolUsed, Side, figure, remark};

pub(super) fn write(answer: &PoolUsed, out: &mut dyn Write) -> io::Result<()> {
    let order = match answer.sort {
        Sort::Tag => "Tag",
        Sort::Nonpaged => "NonPaged Pool Consumed",
        Sort::Paged => "Paged Pool Consumed",
    };
    writeln!(out, " Sorting by {order}\n")?;
    let columns = if answer.verbose {
        writeln!(
            out,
            "                            NonPaged                                         Paged"
        )?;
        writeln!(
            out,
            " Tag       Allocs       Frees      Diff         Used       Allocs       Frees      Diff         Used\n"
        )?;
        verbose
    } else {
        writeln!(out, "               NonPaged                  Paged")?;
        writeln!(
            out,
            " Tag     Allocs         Used     Allocs         Used\n"
        )?;
        brief
    };
    for row in answer.visible() {
        let numbers = columns(&row.nonpaged, &row.paged);
        writeln!(out, " {} {numbers}\t{}", row.tag, remark(row))?;
    }
    writeln!(
        out,
        "\nTOTAL {}",
        columns(&answer.total.nonpaged, &answer.total.paged)
    )
}

fn brief(n: &Side, p: &Side) -> String {
    format!(
        "{:>9} {:>12} {:>10} {:>12}",
        figure(n.outstanding),
        figure(n.bytes),
        figure(p.outstanding),
        figure(p.bytes)
    )
}

fn verbose(n: &Side, p: &Side) -> String {
    let [n_allocs, n_frees] = n.since_boot();
    let [p_allocs, p_frees] = p.since_boot();
    format!(
        "{n_allocs:>11} {n_frees:>11} {:>9} {:>12} {p_allocs:>12} {p_frees:>11} {:>9} {:>12}",
        figure(n.outstanding),
        figure(n.bytes),
        figure(p.outstanding),
        figure(p.bytes)
    )
}
