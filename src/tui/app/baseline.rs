//! Comparing the open dump with earlier ones: the state machine's side.

use std::path::PathBuf;
use std::sync::Arc;

use crate::report::text::{duration, grouped};

use crate::tui::app::{App, Screen};
use crate::tui::data::baseline::Baseline;
use crate::tui::data::cell::Cell;
use crate::tui::data::message::{Effect, Question};
use crate::tui::data::table::{TableColumn, TableData, TableKind, TableRow};
use crate::tui::input::query::Kind;
use crate::tui::screens::chart::ChartView;
use crate::tui::screens::data_table::DataTable;
use crate::tui::widgets::table::Column;

const POINTS: [TableColumn; 7] = [
    TableColumn::new(Column::number("Point", 5, 1), &["point"], Kind::Number),
    TableColumn::new(
        Column::text("Source", 20, 0).growing(40),
        &["source"],
        Kind::Text,
    ),
    TableColumn::new(Column::text("Kind", 12, 4), &["kind"], Kind::Text),
    TableColumn::new(Column::text("Time", 26, 3), &["time"], Kind::Text),
    TableColumn::new(Column::text("Uptime", 12, 5), &["uptime"], Kind::Text),
    TableColumn::new(
        Column::number("NonP bytes", 15, 2),
        &["np", "nonpaged"],
        Kind::Number,
    ),
    TableColumn::new(
        Column::number("Paged bytes", 15, 2),
        &["paged", "pg"],
        Kind::Number,
    ),
];

const MODULES: [TableColumn; 3] = [
    TableColumn::new(Column::text("Module", 16, 0), &["module"], Kind::Text),
    TableColumn::new(Column::text("Change", 8, 0), &["change"], Kind::Text),
    TableColumn::new(
        Column::text("Path", 20, 1).growing(40),
        &["path"],
        Kind::Text,
    ),
];

impl App {
    /// Compares the open dump with earlier points, in chronological order.
    pub fn compare_with(&mut self, paths: Vec<PathBuf>) {
        self.message = Some(match paths.as_slice() {
            [one] => format!("comparing with {}…", clean(one)),
            all => format!("comparing with {} files…", all.len()),
        });
        self.baseline_paths.clone_from(&paths);
        self.baseline_asked = self.ask_baseline(paths);
    }

    fn ask_baseline(&mut self, paths: Vec<PathBuf>) -> u64 {
        let options = Arc::clone(&self.opening);
        self.ask(Question::Baseline { paths, options })
    }

    /// The same before the main loop runs; returns the effects to execute.
    pub fn start_with_baseline(&mut self, paths: Vec<PathBuf>) -> Vec<Effect> {
        self.compare_with(paths);
        std::mem::take(&mut self.effects)
    }

    /// `:baseline` with files, or without arguments: the list of points.
    pub(in crate::tui) fn baseline_line(&mut self, words: &[String]) -> Result<(), String> {
        match words {
            [] if self.model.baseline.is_none() => {
                return Err("no baseline; `baseline FILE` compares with an earlier dump, evidence file or log".into());
            }
            [] => self.open_table(TableKind::Points),
            [word] if word == "modules" => {
                let Some(baseline) = &self.model.baseline else {
                    return Err("no baseline".into());
                };
                if baseline.modules.is_none() {
                    return Err("no earlier point is a dump, so earlier modules are unknown".into());
                }
                self.open_table(TableKind::ModuleChanges);
            }
            [word] if word == "off" => {
                self.model.baseline = None;
                self.baseline_paths.clear();
                self.tags.by_change = false;
                self.tags.rearrange(&self.model);
                self.ask_baseline(Vec::new());
                self.message = Some("baseline removed".into());
            }
            names => self.compare_with(names.iter().map(|n| super::save::at_home(n)).collect()),
        }
        Ok(())
    }

    /// Requests the comparison again after the dump was read again.
    pub(in crate::tui) fn renew_baseline(&mut self) {
        if !self.baseline_paths.is_empty() {
            let paths = self.baseline_paths.clone();
            self.baseline_asked = self.ask_baseline(paths);
        }
    }

    /// Applies the comparison.
    pub(in crate::tui) fn take_baseline(&mut self, baseline: Baseline) {
        self.message = Some(match baseline.warnings.first() {
            Some(warning) => format!("baseline: {}; {warning}", baseline.words()),
            None => format!(
                "baseline: {}; ( sorts by change, H shows a chart, :baseline lists the points",
                baseline.words()
            ),
        });
        self.model.baseline = Some(Arc::new(baseline));
        self.tags.rearrange(&self.model);
        // The report is made again, now with the trend.
        for screen in &mut self.stack {
            match screen {
                Screen::Report(view) if view.typed.is_none() && view.awaited == 0 => {
                    view.text = None;
                }
                Screen::Table(table)
                    if matches!(table.ask, TableKind::Points | TableKind::ModuleChanges) =>
                {
                    let data = match table.ask {
                        TableKind::Points => points_table(self.model.baseline.as_deref()),
                        _ => modules_table(self.model.baseline.as_deref()),
                    };
                    table.take(data);
                }
                _ => {}
            }
        }
    }

    /// Fills the tables that are made from the baseline.
    pub(in crate::tui) fn fill_from_baseline(&self, table: &mut DataTable) {
        let baseline = self.model.baseline.as_deref();
        match table.ask {
            TableKind::Points => table.take(points_table(baseline)),
            TableKind::ModuleChanges => table.take(modules_table(baseline)),
            _ => {}
        }
    }

    /// `:history` with a tag, with `pools`, or for the tag on screen.
    pub(in crate::tui) fn history_line(&mut self, what: Option<String>) -> Result<(), String> {
        let tag = match what.as_deref() {
            None => {
                self.show_history();
                return Ok(());
            }
            Some("pools") => None,
            Some(text) => {
                let pattern = crate::pool::TagPattern::parse(text).map_err(|e| e.to_string())?;
                Some(self.tag_named(Some(pattern))?)
            }
        };
        self.go(Screen::Chart(ChartView { tag }));
        Ok(())
    }

    /// The chart of the tag on screen, or of both pools.
    pub(in crate::tui) fn show_history(&mut self) {
        let tag = match self.stack.last() {
            None if self.summary_focused => None,
            None => self.tags.current(&self.model).map(|row| row.usage.tag),
            Some(Screen::Summary(_)) => None,
            Some(_) => self.tag_view().map(|view| view.tag),
        };
        self.go(Screen::Chart(ChartView { tag }));
    }
}

fn clean(path: &std::path::Path) -> String {
    crate::report::text::clean(&path.to_string_lossy()).into_owned()
}

fn points_table(baseline: Option<&Baseline>) -> TableData {
    let Some(baseline) = baseline else {
        return TableData::default();
    };
    let bytes = |n: Option<u64>| n.map_or(Cell::Unknown, Cell::Bytes);
    let rows = baseline.points.iter().enumerate().map(|(at, point)| {
        let [nonpaged, paged] = point.pools;
        TableRow {
            mark: ' ',
            cells: vec![
                Cell::Count(at as u64 + 1),
                Cell::Text(point.source.clone()),
                Cell::Text(point.kind.into()),
                match point.time.is_empty() {
                    true => Cell::Unknown,
                    false => Cell::Text(point.time.clone()),
                },
                point
                    .uptime_seconds
                    .map_or(Cell::Unknown, |s| Cell::Text(duration(s))),
                bytes(nonpaged),
                bytes(paged),
            ],
            ..TableRow::default()
        }
    });
    let mut notes = baseline.warnings.clone();
    if let Some(modules) = &baseline.modules {
        let loaded = modules.iter().filter(|m| m.loaded).count() as u64;
        notes.push(format!(
            "modules since the first dump: {} loaded, {} unloaded; `:baseline modules` lists them",
            grouped(loaded),
            grouped(modules.len() as u64 - loaded)
        ));
    }
    TableData {
        columns: &POINTS,
        title: format!(
            "Baseline: {}; the last point is this dump",
            baseline.words()
        ),
        rows: Arc::new(rows.collect()),
        notes,
        ..TableData::default()
    }
}

fn modules_table(baseline: Option<&Baseline>) -> TableData {
    let modules = baseline.and_then(|b| b.modules.as_deref()).unwrap_or(&[]);
    let rows = modules.iter().map(|module| TableRow {
        mark: if module.loaded { '+' } else { 'u' },
        cells: vec![
            Cell::Text(module.name.clone()),
            Cell::Text(if module.loaded { "loaded" } else { "unloaded" }.into()),
            Cell::Text(module.path.clone()),
        ],
        ..TableRow::default()
    });
    TableData {
        columns: &MODULES,
        title: format!(
            "Modules loaded or unloaded since the first dump: {}",
            modules.len()
        ),
        rows: Arc::new(rows.collect()),
        ..TableData::default()
    }
}
