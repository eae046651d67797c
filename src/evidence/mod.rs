//! Answers as tables. One schema serves exported datasets and evidence files. Every command and
//! screen can open an evidence file in place of the dump that it was made from.

pub mod answers;
#[doc(hidden)]
pub mod archive;
pub mod cell;
mod csv;
pub mod export;
pub mod fleet;
mod machine;
mod occupancy;
mod parquet;
pub mod read;
mod redact;
mod rows;
pub mod schema;
mod write;

pub use machine::Evidence;
pub use redact::Redactor;
pub use write::{Choices, write};

use std::path::Path;
use std::sync::Arc;

use crate::engine::{Engine, Machine, OpenError, Options};

/// Opens a dump or an evidence file; the content decides which it is.
///
/// # Errors
/// An [`OpenError`] that says what the file is and what to do.
pub fn open(path: &Path, options: &Options) -> Result<Arc<dyn Machine>, OpenError> {
    if archive::is_zip(path) {
        match Evidence::open(path, options) {
            Ok(evidence) => {
                if let Some(given) = &options.partner {
                    return Err(OpenError::Evidence(format!(
                        "{} was given as the partner of this file; an evidence file has none: \
                            omit --partner",
                        given.display()
                    )));
                }
                return Ok(Arc::new(evidence));
            }
            Err(why) if archive::is_ours(path) => return Err(why),
            // A zip that may contain a dump: the dump reader reports what to do.
            Err(_) => {}
        }
    }
    Ok(Arc::new(Engine::open(path, options)?))
}
