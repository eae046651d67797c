//! A screen of any kind, and a location to return to.

use crate::tui::data::table::TableKind;
use crate::tui::screens::bytes::BytesView;
use crate::tui::screens::chart::ChartView;
use crate::tui::screens::data_table::DataTable;
use crate::tui::screens::modules::ModulesView;
use crate::tui::screens::report::ReportView;
use crate::tui::screens::tag::TagView;

/// A screen above the first one.
#[derive(Clone, Debug)]
pub enum Screen {
    /// The full `!vm` output, from a line on.
    Summary(u64),
    /// A tag.
    Tag(Box<TagView>),
    /// Memory.
    Bytes(Box<BytesView>),
    /// The loaded modules.
    Modules(ModulesView),
    /// A data table.
    Table(Box<DataTable>),
    /// The report.
    Report(ReportView),
    /// The history of a tag or of both pools over the points of the baseline.
    Chart(ChartView),
}

impl Screen {
    /// True for screens that start a new path.
    pub fn begins_path(&self) -> bool {
        match self {
            Screen::Modules(_) => true,
            Screen::Report(view) => view.typed.is_none(),
            Screen::Table(table) => matches!(
                table.ask,
                TableKind::Drivers
                    | TableKind::Marks
                    | TableKind::Points
                    | TableKind::ModuleChanges
            ),
            Screen::Chart(view) => view.tag.is_none(),
            _ => false,
        }
    }

    /// Adds this screen to the path. A subset of a tag that is already on the path is not
    /// added again: how it was selected is not a separate step.
    pub fn crumbs(&self, out: &mut Vec<String>) {
        match self {
            Screen::Summary(_) => out.push("!vm".into()),
            Screen::Tag(view) => {
                let tag = view.tag.to_string();
                match out.iter().position(|crumb| *crumb == tag) {
                    Some(at) => out.truncate(at + 1),
                    None => out.push(tag),
                }
                out.extend(view.part_words());
            }
            Screen::Modules(_) => out.push("Modules".into()),
            Screen::Table(table) => {
                if let Some(tag) = table.ask.tag().map(|tag| tag.to_string())
                    && !out.contains(&tag)
                {
                    out.push(tag);
                }
                out.push(table.crumb.clone());
            }
            Screen::Report(view) => out.push(view.name()),
            Screen::Chart(view) => {
                if let Some(tag) = view.tag.map(|tag| tag.to_string())
                    && !out.contains(&tag)
                {
                    out.push(tag);
                }
                out.push(view.name());
            }
            Screen::Bytes(view) => {
                out.push(view.title.clone());
                out.push(view.shape.word().into());
            }
        }
    }
}

/// A location to return to.
#[derive(Clone, Debug, Default)]
pub struct Location {
    /// The screens above the first one, topmost last.
    pub stack: Vec<Screen>,
    /// The summary had the focus.
    pub summary_focused: bool,
}
