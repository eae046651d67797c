//! Text logs and tables of the pool use of a running machine: PoolMon, `!poolused`, PoolMonX,
//! scripts, performance logs and event logs.
//!
//! A log is recognised by its content, not by its name. Every snapshot in it becomes a [`Point`]:
//! rows per tag, totals of the pools, and the time and completeness that the log states. Missing
//! values are `None`, never zero. The files are untrusted, so [`limits`] bounds lines, cells,
//! rows and snapshots; a note of the log reports each limit that was reached.

mod boot;
mod columns;
mod compare;
mod csv_lines;
mod decode;
mod error;
mod events;
mod form;
pub mod limits;
mod moment;
mod number;
mod pdh;
mod point;
mod poolmon;
mod poolmon_x3;
mod poolused;
mod read;
mod rows;
mod table;
mod tag_text;
mod times;
mod trend;

#[cfg(test)]
mod tests;

pub use compare::{Change, Comparison};
pub use error::SeriesError;
pub use form::{Form, is_log, is_log_file};
pub use moment::Moment;
pub use point::{CounterWidth, Counts, Kind, Listing, Log, Machine, Point, Row, Totals};
pub use read::{read, read_bytes};
pub use trend::Trend;
