//! `!verifier`: the state of Driver Verifier, its drivers, their blocks, and its log.

use crate::analysis::verifier::NAMES;
use crate::characters::grouped;
use crate::command::Refusal;
use crate::command::request::Verifier as Wanted;
use crate::engine::Engine;
use crate::kernel::verifier::{Driver, Kinds, Record, level};
use crate::pool::Tag;

use super::listing::{Listing, Value};

/// Maximum number of log records to list.
const MOST_RECORDS: usize = 1 << 14;

impl Engine {
    /// `!verifier [FLAGS [DRIVER]]`.
    pub(super) fn verifier_records(&self, wanted: &Wanted) -> Result<Listing, Refusal> {
        let mut out = if wanted.flags & Wanted::LOG != 0 {
            self.verifier_log()
        } else if wanted.flags & Wanted::BLOCKS != 0 {
            self.verifier_blocks(wanted.driver.as_deref())?
        } else {
            self.verifier_state(wanted.driver.as_deref())?
        };
        let read = self.verifier();
        out.notes.extend(read.notes.iter().cloned());
        out.notes.extend(read.damage.iter().cloned());
        Ok(out.bounded())
    }

    /// The verified drivers with this name, or all of them.
    fn verified(&self, name: Option<&str>) -> Result<Vec<&Driver>, Refusal> {
        let all = self.verifier().drivers.iter();
        let Some(name) = name else {
            return Ok(all.collect());
        };
        let base = self.module_named(name).map(|m| m.base);
        let own: Vec<&Driver> = all.filter(|d| Some(d.base) == base).collect();
        match own.is_empty() {
            true => Err(Refusal(format!(
                "!verifier: {name} is not among the verified drivers; `!verifier` lists them"
            ))),
            false => Ok(own),
        }
    }

    fn verifier_state(&self, name: Option<&str>) -> Result<Listing, Refusal> {
        let mut out = Listing::new("Driver Verifier", &["name", "value"]);
        match level(self.kernel()) {
            Some(level) => {
                out.push(vec!["level".into(), Value::Hex(level.into())]);
                for (bit, name) in NAMES {
                    let on = level & bit != 0;
                    out.push(vec![name.into(), on.into()]);
                }
            }
            None => out
                .notes
                .push("the level of Driver Verifier can't be read in this dump".into()),
        }
        for driver in self.verified(name)? {
            let name = &driver.name;
            let c = &driver.counters;
            for (what, value) in [
                ("nonpaged allocations", c.allocations[1]),
                ("paged allocations", c.allocations[0]),
                ("nonpaged bytes", c.bytes[1]),
                ("paged bytes", c.bytes[0]),
                ("peak nonpaged bytes", c.peak_bytes[1]),
                ("peak paged bytes", c.peak_bytes[0]),
                ("locked bytes (no pool)", c.not_pool[0]),
                ("bytes of pages for MDLs (no pool)", c.not_pool[1]),
                ("contiguous bytes (no pool)", c.not_pool[2]),
            ] {
                out.push(vec![format!("{name}: {what}").into(), value.into()]);
            }
            let blocks = driver.tracked.entries.len() as u64;
            out.push(vec![
                format!("{name}: blocks with a recorded caller").into(),
                blocks.into(),
            ]);
        }
        if let Some(log) = &self.verifier().log {
            out.push(vec![
                "records of the log".into(),
                u64::from(log.length).into(),
            ]);
        }
        for suspect in &self.verifier().suspects {
            out.push(vec![
                format!("to be verified: {}", suspect.name).into(),
                format!("{} loads, {} unloads", suspect.loads, suspect.unloads).into(),
            ]);
        }
        Ok(out)
    }

    fn verifier_blocks(&self, name: Option<&str>) -> Result<Listing, Refusal> {
        let mut out = Listing::new(
            "outstanding blocks of verified drivers",
            &["pool address", "size", "tag", "caller", "symbol", "driver"],
        );
        for driver in self.verified(name)? {
            for entry in &driver.tracked.entries {
                out.push(vec![
                    entry.address.into(),
                    entry.bytes.into(),
                    Tag::new(entry.tag).to_string().into(),
                    entry.caller.into(),
                    self.symbol_at(entry.caller).into(),
                    driver.name.clone().into(),
                ]);
            }
        }
        Ok(out)
    }

    fn verifier_log(&self) -> Listing {
        let mut out = Listing::new(
            "log of pool allocations and frees, the newest first",
            &["pool address", "size", "event", "thread", "frames"],
        );
        let Some(log) = &self.verifier().log else {
            out.notes
                .push("this dump has no log of allocations and frees".into());
            return out;
        };
        let kernel = self.kernel();
        let kinds = Kinds::of(kernel);
        let (newest, _) = log.newest(kernel, &kinds);
        let mut ages: Vec<(u32, u32)> = Vec::new();
        let read = log.each(kernel, &mut |record| {
            ages.push((log.age(newest, record.slot), record.slot));
        });
        ages.sort_unstable();
        let all = ages.len();
        ages.truncate(MOST_RECORDS);
        let mut lines = Vec::new();
        for record in ages.iter().filter_map(|(_, slot)| log.at(kernel, *slot)) {
            lines.extend(self.as_windbg(&record));
            let frames: Vec<String> = record.frames.iter().map(|f| f.to_string()).collect();
            out.push(vec![
                record.address.into(),
                Value::Hex(record.size),
                record.event(&kinds).map(|e| e.word()).into(),
                record.thread.into(),
                frames.join(" ").into(),
            ]);
        }
        out.lines = Some(lines);
        if all > MOST_RECORDS {
            out.notes.push(format!(
                "only the newest {} of {} records are listed; `stacks ADDRESS` searches all",
                grouped(MOST_RECORDS as u64),
                grouped(all as u64)
            ));
        }
        if read.damaged + read.unreadable > 0 {
            out.notes.push(format!(
                "{} records are damaged, {} can't be read",
                grouped(read.damaged),
                grouped(read.unreadable)
            ));
        }
        out
    }

    /// A record in the format of `!verifier 80`.
    fn as_windbg(&self, record: &Record) -> Vec<String> {
        let mut lines = vec![format!(
            "Pool block {:016x}, Size {:016x}, Thread {:016x}",
            record.address.0, record.size, record.thread.0
        )];
        lines.extend(record.frames.iter().map(|frame| {
            let symbol = self.symbol_at(*frame).unwrap_or_default();
            format!("{:016x} {symbol}", frame.0)
        }));
        lines.push(String::new());
        lines
    }
}
