//! Text logs and tables that show the pool of a running machine: PoolMon, `!poolused`,
//! PoolMonX, scripts, performance logs and event logs.
//!
//! A log is recognised by its content, never by its name. Every snapshot in it becomes one
//! [`Point`]: rows per tag, totals of the pools, and what the log says about time and
//! completeness. What a log does not hold is `None`, never zero. The files come from
//! anywhere, so lines, cells, rows and snapshots are bounded by [`limits`], and a limit that
//! was met is a note of the log.

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
