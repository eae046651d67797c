//! Modules by pattern, and symbols.

use crate::command::Refusal;
use crate::command::request::{Modules, address_of, wildcard};
use crate::memory::Va;

use crate::engine::Engine;

use super::listing::{Listing, Value};

/// Maximum number of symbols to list.
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
    pub(super) fn symbols_like(&self, module: &str, name: &str) -> Result<Listing, Refusal> {
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
        let mut out = Listing::new(format!("symbols {module}!{name}"), &["address", "symbol"]);
        let mut lines = Vec::new();
        for module in modules {
            let mut found: Vec<(Va, String)> = Vec::new();
            let is_kernel = module.base == self.kernel().base;
            let mut take = |name: &str, rva: u32| {
                if found.len() < MOST_SYMBOLS && fits(name) {
                    found.push((module.base.add(rva.into()), name.to_owned()));
                }
            };
            let mut all = self.kernel().modules.iter();
            let index = all.position(|m| m.base == module.base && !m.unloaded);
            let from_pdb =
                index.is_some_and(|index| self.names().each(self.kernel(), index, &mut take));
            let exports = self.exports_of(module);
            found.extend(
                exports
                    .into_iter()
                    .filter(|(_, name)| fits(name))
                    .take(MOST_SYMBOLS),
            );
            found.sort();
            found.dedup();
            let prefix = if is_kernel {
                "nt".to_owned()
            } else {
                module.name()
            };
            for (at, name) in found {
                lines.push(format!("{at} {prefix}!{name}"));
                out.push(vec![at.into(), format!("{prefix}!{name}").into()]);
            }
            if !from_pdb {
                out.notes.push(format!("{prefix}: exported symbols only"));
            }
        }
        if out.rows.is_empty() {
            return Err(Refusal(format!(
                "no symbol matches {module}!{name}; symbols come from the PDB of nt and from export tables"
            )));
        }
        out.notes.truncate(8);
        out.lines = Some(lines);
        Ok(out)
    }

    /// `lm m PATTERN`, `lmvm`, `lm a`.
    pub(super) fn modules_like(&self, wanted: &Modules) -> Result<Listing, Refusal> {
        let holding = wanted.holding.as_ref().map(address_of).transpose()?;
        let mut out = Listing::new(
            "modules",
            &["start", "end", "module", "image", "timestamp", "pdb"],
        );
        let mut lines = Vec::new();
        if !wanted.verbose {
            lines.push("start             end                 module name".to_owned());
        }
        for module in &self.kernel().modules {
            let name = module.name();
            if !wanted.fits(&name) || holding.is_some_and(|at| !module.contains(at)) {
                continue;
            }
            let image = module.path.clone().or_else(|| module.file.clone());
            let stamp = module.image.as_ref().map(|image| image.timestamp);
            let pdb = module.pdb().map(|id| format!("{} {}", id.name, id.key()));
            let unloaded = if module.unloaded { " (unloaded)" } else { "" };
            lines.push(format!(
                "{} {}   {name}{unloaded}",
                module.base,
                module.end()
            ));
            if wanted.verbose {
                lines.push(format!(
                    "    Image path: {}",
                    image.clone().unwrap_or_else(|| "?".into())
                ));
                lines.push(match &pdb {
                    Some(pdb) => format!("    PDB:        {pdb}"),
                    None => "    PDB:        not in the dump".to_owned(),
                });
                lines.push(match stamp {
                    Some(stamp) => format!("    Timestamp:  {stamp:08X}"),
                    None => "    Timestamp:  not in the dump".to_owned(),
                });
                lines.push(format!("    ImageSize:  {:08X}", module.size));
            }
            out.push(vec![
                module.base.into(),
                module.end().into(),
                name.into(),
                image.into(),
                stamp.map_or(Value::Unknown, |stamp| Value::Hex(stamp.into())),
                pdb.into(),
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
