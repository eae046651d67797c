//! Building blocks of screens: lines of text, lists, tables, charts.

pub mod charts;
pub mod draw;
pub mod list;
pub mod pane;
pub mod table;
