//! One file per screen: its state, what it draws and what it is called in the debugger.

pub mod bytes;
pub mod copy_view;
pub mod data_table;
pub mod help;
pub mod layout;
pub mod modules;
pub mod report;
pub mod status;
pub mod summary;
pub mod tag;
pub mod tags;
