//! One file per screen: its state, its drawing, and the corresponding WinDbg command.

pub mod bytes;
pub mod chart;
pub mod chooser;
pub mod copy_view;
pub mod data_table;
pub mod help;
pub mod layout;
pub mod modules;
pub mod preview;
pub mod report;
pub mod status;
pub mod summary;
pub mod tag;
pub mod tag_columns;
pub mod tags;
