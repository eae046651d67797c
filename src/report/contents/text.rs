//! `contents` as text.

use std::io::{self, Write};

use super::super::text::grouped;
use super::{AgesRecord, Contents, FAMILIES, FamilyRow, KINDS};

pub(super) fn write(answer: &Contents, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {}", answer.tag, answer.coverage)?;
    for module in &answer.modules {
        writeln!(out, "  {}: {}", module.module, module.sentence)?;
    }
    if let Some(ages) = &answer.ages {
        history(ages, out)?;
    }
    if answer.offsets.is_empty() {
        return answer.notes.iter().try_for_each(|n| writeln!(out, "{n}"));
    }
    writeln!(out, "\n  offset  contents")?;
    for row in answer.told() {
        let kinds: Vec<String> = row
            .counts
            .iter()
            .take(KINDS)
            .map(|k| format!("{:.1}% {}", k.share * 100.0, k.what))
            .collect();
        writeln!(out, "{:>+8x}  {}", row.offset, kinds.join("; "))?;
    }
    let rest = answer.offsets.len() - answer.told().count();
    writeln!(
        out,
        "  at the other {rest} offsets: zeros, constants, numbers and text only"
    )?;
    writeln!(out, "\n    blocks   share  layout")?;
    for family in answer.families.iter().take(FAMILIES) {
        writeln!(out, "{}", family.line())?;
    }
    let more = answer.families.len().saturating_sub(FAMILIES);
    if more > 0 {
        writeln!(out, "and {more} further families")?;
    }
    if answer.in_no_family > 0 {
        writeln!(out, "{:>10} belong to no family", answer.in_no_family)?;
    }
    answer.notes.iter().try_for_each(|n| writeln!(out, "{n}"))
}

/// The number of allocated blocks over the time from boot to dump.
fn history(ages: &AgesRecord, out: &mut dyn Write) -> io::Result<()> {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = ages.histogram.iter().copied().max().unwrap_or(0).max(1);
    let bar = |count: &u64| {
        let height = (*count as usize * 8).div_ceil(most as usize);
        BARS.get(height).copied().unwrap_or('█')
    };
    let bars: String = ages.histogram.iter().map(bar).collect();
    let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "unknown".into());
    writeln!(
        out,
        "  Ages: {}, {} blocks with a time between boot and dump; shape: {}",
        ages.source,
        grouped(ages.blocks_with_time),
        ages.shape
    )?;
    writeln!(out, "    boot |{bars}| dump")?;
    writeln!(
        out,
        "    oldest {}, newest {}; freed blocks leave no trace\n    {}",
        time(&ages.oldest),
        time(&ages.newest),
        ages.recognised
    )
}

impl FamilyRow {
    fn line(&self) -> String {
        let size = match self.smallest == self.largest {
            true => format!("{} bytes", grouped(self.smallest)),
            false => format!(
                "{} to {} bytes",
                grouped(self.smallest),
                grouped(self.largest)
            ),
        };
        let mut out = format!(
            "{:>10} {:>6.1}%  {size}, such as {}",
            grouped(self.blocks),
            self.share * 100.0,
            self.at
        );
        if !self.modules.is_empty() {
            out += &format!(": {}", self.modules.join(", "));
        }
        if let Some(text) = &self.text {
            out += &format!("  \"{text}\"");
        }
        out
    }
}
