//! Modules by pattern, and symbols.

use crate::characters::grouped;
use crate::command::Refusal;
use crate::command::request::{Modules, address_of, wildcard};
use crate::command::symbol_query::{SymbolColumns, SymbolQuery};
use crate::memory::Va;

use crate::engine::Engine;
use crate::engine::modules::ModuleFacts;
use crate::pool::Tag;

use super::listing::{Listing, Value};

/// Maximum number of notes of `x`; each module can have two.
const MOST_NOTES: usize = 8;
/// Maximum number of symbols of a module to list.
const MOST_SYMBOLS: usize = 1 << 16;

impl Engine {
    /// `ln`: the symbol at an address, or the nearest one before it.
    pub(super) fn nearest_to(&self, at: Va) -> Result<Listing, Refusal> {
        let Some(module) = self.kernel().module_at(at) else {
            return Err(Refusal(format!(
                "{at} is not in a loaded module; `!pool {at}` shows the pool page it is in"
            )));
        };
        let mut out = Listing::new(format!("nearest to {at}"), &["address", "symbol", "module"]);
        let symbol = self.symbol_at(at);
        out.lines = Some(vec![format!(
            "({at})   {}",
            symbol.as_deref().unwrap_or("?")
        )]);
        out.push(vec![at.into(), symbol.into(), module.name().into()]);
        let mut modules = self.kernel().modules.iter();
        let index = modules.position(|m| m.base == module.base && !m.unloaded);
        let names = self.names();
        let has_pdb = index.is_some_and(|index| names.source(index).is_some());
        if module.base != self.kernel().base && !has_pdb {
            out.notes.push(match module.pdb() {
                Some(id) => format!(
                    "no PDB of {} on the symbol path ({} {}): names are those of exports",
                    module.name(),
                    id.name,
                    id.key()
                ),
                None => format!(
                    "the debug record of {} is not in the dump: names are those of exports",
                    module.name()
                ),
            });
        }
        let refused = index.map_or(&[][..], |index| names.refused(index));
        out.notes.extend(refused.iter().cloned());
        let origin = index.and_then(|index| {
            let rva = u32::try_from(at.0.checked_sub(module.base.0)?).ok()?;
            let (origins, _) = names.origins(self.kernel(), index, &[rva]);
            origins.into_iter().next()?.line
        });
        if let Some((file, line)) = origin {
            out.notes.push(format!("source: {file}:{line}"));
        }
        Ok(out)
    }

    /// `x`: symbols of modules.
    pub(super) fn symbols_like(&self, query: &SymbolQuery) -> Result<Listing, Refusal> {
        let (module, name) = (query.module.as_str(), query.name.as_str());
        let lower = module.to_ascii_lowercase();
        let kernel = matches!(lower.as_str(), "nt" | "ntoskrnl" | "ntkrnlmp");
        let loaded = self.kernel().modules.iter().filter(|m| !m.unloaded);
        let modules: Vec<_> = loaded
            .filter(|m| match m.base == self.kernel().base {
                true => kernel || wildcard(lower.as_bytes(), b"nt"),
                false => {
                    let name = m.name().to_ascii_lowercase();
                    let bare = name.strip_suffix(".sys").unwrap_or(&name);
                    wildcard(lower.as_bytes(), bare.as_bytes())
                }
            })
            .collect();
        if modules.is_empty() {
            return Err(Refusal(format!(
                "{module}: no such module; `lm` lists the modules"
            )));
        }
        let wanted = name.to_ascii_lowercase();
        let fits = |name: &str| wildcard(wanted.as_bytes(), name.to_ascii_lowercase().as_bytes());
        let columns: &[_] = match query.columns {
            SymbolColumns::Both => &["address", "symbol"],
            SymbolColumns::Address => &["address"],
            SymbolColumns::Name => &["symbol"],
        };
        let mut out = Listing::new(format!("symbols {module}!{name}"), columns);
        let mut lines = Vec::new();
        for module in modules {
            let mut found: Vec<(Va, String)> = Vec::new();
            let is_kernel = module.base == self.kernel().base;
            let mut more = false;
            let mut take = |name: &str, rva: u32| {
                if fits(name) {
                    more |= found.len() >= MOST_SYMBOLS;
                    if !more {
                        found.push((module.base.add(rva.into()), name.to_owned()));
                    }
                }
            };
            let mut all = self.kernel().modules.iter();
            let index = all.position(|m| m.base == module.base && !m.unloaded);
            let from_pdb =
                index.is_some_and(|index| self.names().each(self.kernel(), index, &mut take));
            let exports = self.exports_of(module);
            let mut exports = exports.into_iter().filter(|(_, name)| fits(name));
            found.extend(exports.by_ref().take(MOST_SYMBOLS));
            more |= exports.next().is_some();
            found.sort();
            found.dedup();
            if query.by_name {
                found.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
            }
            let prefix = if is_kernel {
                "nt".to_owned()
            } else {
                module.name()
            };
            let listed = found.len();
            for (at, name) in found {
                let symbol = format!("{prefix}!{name}");
                let (line, row) = match query.columns {
                    SymbolColumns::Both => {
                        (format!("{at} {symbol}"), vec![at.into(), symbol.into()])
                    }
                    SymbolColumns::Address => (at.to_string(), vec![at.into()]),
                    SymbolColumns::Name => (symbol.clone(), vec![symbol.into()]),
                };
                lines.push(line);
                out.push(row);
            }
            if !from_pdb {
                out.notes.push(format!("{prefix}: exported symbols only"));
            }
            if more {
                let listed = grouped(listed as u64);
                out.notes.push(format!(
                    "{prefix}: not all matching symbols are listed, only {listed}; a longer pattern matches fewer"
                ));
            }
        }
        if out.rows.is_empty() {
            return Err(Refusal(format!(
                "no symbol matches {module}!{name}; symbols come from the PDB of nt and from export tables"
            )));
        }
        limit(&mut out.notes);
        out.lines = Some(lines);
        Ok(out)
    }

    /// `?`: a value in all forms that it may be meant in.
    pub(super) fn value_of(&self, at: Va) -> Listing {
        let mut out = Listing::new("expression", &["hexadecimal", "decimal", "tag", "symbol"]);
        // The debugger prints a signed number.
        let decimal = i64::from_ne_bytes(at.0.to_ne_bytes());
        let tag = u32::try_from(at.0).ok().map(Tag::new);
        let tag = tag.filter(|tag| tag.bytes().iter().all(|b| (0x20..0x7f).contains(b)));
        let symbol = self.symbol_at(at);
        let mut lines = vec![format!("Evaluate expression: {decimal} = {at}")];
        if let Some(tag) = tag {
            lines.push(format!("    Tag:    {}", tag.typed()));
        }
        if let Some(symbol) = &symbol {
            lines.push(format!("    Symbol: {symbol}"));
        }
        out.lines = Some(lines);
        out.push(vec![
            at.into(),
            decimal.to_string().into(),
            tag.map(Tag::typed).into(),
            symbol.into(),
        ]);
        out
    }

    /// `lm m PATTERN`, `lmvm`, `lm a`, `lm t`.
    pub(super) fn modules_like(&self, wanted: &Modules) -> Result<Listing, Refusal> {
        let holding = wanted.holding.as_ref().map(address_of).transpose()?;
        let mut rows = self.modules(holding).rows;
        let fits = |row: &ModuleFacts| {
            wanted.fits(&row.name) || row.file.as_ref().is_some_and(|file| wanted.fits(file))
        };
        rows.retain(fits);
        if wanted.names {
            // A name alone does not say that the module was unloaded.
            rows.retain(|row| !row.unloaded);
        }
        if wanted.by_name {
            rows.sort_by_key(|row| (row.unloaded, row.name.to_ascii_lowercase()));
        }
        let mut out = Listing::new(
            "modules",
            &[
                "start",
                "end",
                "module",
                "image",
                "timestamp",
                "linked",
                "pdb",
                "company",
                "file version",
            ],
        );
        let mut lines = Vec::new();
        if !wanted.verbose && !wanted.names {
            lines.push("start             end                 module name".to_owned());
        }
        for row in rows {
            lines.extend(lines_of(&row, wanted));
            let linked = row.maker.linked.and_then(date);
            let pdb = row.pdb.map(|id| format!("{} {}", id.name, id.key()));
            out.push(vec![
                row.base.into(),
                row.end.into(),
                row.name.into(),
                row.path.or(row.file).into(),
                row.timestamp
                    .map_or(Value::Unknown, |stamp| Value::Hex(stamp.into())),
                linked.into(),
                pdb.into(),
                row.maker.company.into(),
                row.maker.file_version.into(),
            ]);
        }
        if out.rows.is_empty() {
            return Err(Refusal(match (&wanted.pattern, holding) {
                (_, Some(at)) => format!("no module of this dump holds {at}"),
                (Some(pattern), _) => {
                    format!("no module matches {pattern}; `lm` lists all modules")
                }
                _ => "no modules were found in this dump".to_owned(),
            }));
        }
        out.lines = Some(lines);
        Ok(out)
    }
}

/// A module as the debugger prints it: one line, and with `v` all that is known.
fn lines_of(row: &ModuleFacts, wanted: &Modules) -> Vec<String> {
    let name = &row.name;
    if wanted.names {
        return vec![name.clone()];
    }
    let image = row.path.as_ref().or(row.file.as_ref());
    let image = image.map_or("path not in the dump", String::as_str);
    let stamp = match (row.timestamp, row.maker.linked.and_then(date)) {
        (Some(stamp), Some(date)) => format!("{date} ({stamp:08X})"),
        // A hash of the build, or a date that can't be one.
        (Some(stamp), None) => format!("{stamp:08X} (not a date)"),
        (None, _) => "not in the dump".to_owned(),
    };
    let unloaded = if row.unloaded { " (unloaded)" } else { "" };
    let mut first = format!("{} {}   {name:<10}{unloaded}", row.base, row.end);
    if !wanted.verbose {
        for (asked, what) in [(wanted.path, image), (wanted.time, stamp.as_str())] {
            if asked {
                first += "   ";
                first += what;
            }
        }
        return vec![first.trim_end().to_owned()];
    }
    let pdb = match &row.pdb {
        Some(id) => format!("{} {}", id.name, id.key()),
        None => "not in the dump".to_owned(),
    };
    let mut out = vec![first.trim_end().to_owned()];
    let size = format!("{:08X}", row.size);
    for (heading, value) in [
        ("Image path:", Some(image)),
        ("PDB:", Some(pdb.as_str())),
        ("Timestamp:", Some(stamp.as_str())),
        ("ImageSize:", Some(size.as_str())),
        ("CompanyName:", row.maker.company.as_deref()),
        ("ProductName:", row.maker.product.as_deref()),
        ("FileVersion:", row.maker.file_version.as_deref()),
        ("FileDescription:", row.maker.file_description.as_deref()),
        ("Identity:", row.maker.note.as_deref()),
    ] {
        out.extend(value.map(|value| format!("    {heading:<17} {value}")));
    }
    out
}

/// Seconds since 1970 as a date and a time.
fn date(seconds: i64) -> Option<String> {
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    at.format(&time::format_description::well_known::Rfc3339)
        .ok()
}

/// Limits the notes of `x`, and says how many are left out.
fn limit(notes: &mut Vec<String>) {
    let more = notes.len().saturating_sub(MOST_NOTES);
    if more > 0 {
        notes.truncate(MOST_NOTES);
        notes.push(format!(
            "there are {more} more such notes; a pattern for fewer modules shows them"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_that_are_left_out_are_counted() {
        let mut few = vec!["a".to_owned(); MOST_NOTES];
        let mut many = vec!["a".to_owned(); MOST_NOTES + 3];
        limit(&mut few);
        limit(&mut many);
        assert_eq!(few, vec!["a"; MOST_NOTES]);
        assert_eq!(many.len(), MOST_NOTES + 1);
        assert!(many[MOST_NOTES].starts_with("there are 3 more"));
    }
}
