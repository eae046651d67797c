//! Reads earlier points in time, and compares the open dump with them.

use std::path::{Path, PathBuf};

use crate::engine::{Machine, ModuleFacts, Options};
use crate::report::text::clean;
use crate::series::{self, Comparison, Point};
use crate::symbols::Network;

use crate::tui::data::baseline::{Baseline, ModuleChange};

/// The data of one file: its points, its modules (for a dump), and notes.
struct Earlier {
    points: Vec<Point>,
    modules: Option<Vec<ModuleFacts>>,
    notes: Vec<String>,
}

/// Compares the open dump with earlier points. Returns the data of the screens, and the
/// points with the open dump last.
///
/// # Errors
/// The file that cannot be read, and why.
pub fn compare(
    engine: &dyn Machine,
    paths: &[PathBuf],
    options: &Options,
) -> Result<(Baseline, Comparison), String> {
    let mut points = Vec::new();
    let mut modules: Option<Vec<ModuleFacts>> = None;
    let mut notes = Vec::new();
    for path in paths {
        let name = clean(&path.to_string_lossy()).into_owned();
        let earlier = read(path, options).map_err(|why| match why.contains(&name) {
            true => why,
            false => format!("{name}: {why}"),
        })?;
        points.extend(earlier.points);
        modules = modules.or(earlier.modules);
        notes.extend(earlier.notes.iter().map(|n| format!("{name}: {n}")));
    }
    points.push(engine.point());
    let comparison = Comparison::of(points);
    let changes = modules.map(|earlier| module_changes(&earlier, &engine.module_list()));
    let mut baseline = Baseline::new(comparison.clone(), changes);
    baseline
        .warnings
        .extend(notes.iter().map(|n| clean(n).into_owned()));
    if engine.engine().is_none() {
        baseline.warnings.push(
            "the verdict is the one that the evidence file holds: it does not use the trend".into(),
        );
    }
    Ok((baseline, comparison))
}

fn read(path: &Path, options: &Options) -> Result<Earlier, String> {
    if series::is_log_file(path) {
        let log = series::read(path).map_err(|e| e.to_string())?;
        return Ok(Earlier {
            points: log.points,
            modules: None,
            notes: log.notes,
        });
    }
    let options = Options {
        // Only counters are compared: local symbols are enough for them.
        network: Network::Off,
        ..options.clone()
    };
    let machine = crate::evidence::open(path, &options).map_err(|e| e.to_string())?;
    Ok(Earlier {
        points: vec![machine.point()],
        modules: Some(machine.module_list()),
        notes: machine.warnings(),
    })
}

/// Differences by module name: loaded now but not before, and loaded before but not now.
fn module_changes(earlier: &[ModuleFacts], now: &[ModuleFacts]) -> Vec<ModuleChange> {
    let has = |all: &[ModuleFacts], name: &str| {
        let mut loaded = all.iter().filter(|m| !m.unloaded);
        loaded.any(|m| m.name.eq_ignore_ascii_case(name))
    };
    let change = |module: &ModuleFacts, loaded| ModuleChange {
        name: clean(&module.name).into_owned(),
        loaded,
        path: clean(module.path.as_deref().unwrap_or_default()).into_owned(),
    };
    let loaded = now.iter().filter(|m| !m.unloaded && !has(earlier, &m.name));
    let unloaded = earlier.iter().filter(|m| !m.unloaded && !has(now, &m.name));
    loaded
        .map(|m| change(m, true))
        .chain(unloaded.map(|m| change(m, false)))
        .collect()
}
