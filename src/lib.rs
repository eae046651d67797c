//! poolscope reads a 64-bit Windows kernel dump and finds the driver that leaks pool memory.
//!
//! From a dump to the verdict:
//!
//! ```
//! use poolscope::engine::{Engine, Options};
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("MEMORY.DMP");
//! # poolscope::synth::demo::write(&path)?;
//!
//! let engine = Engine::open(&path, &Options::default())?;
//! let index = engine.index(Default::default())?;
//! let diagnosis = engine.diagnose(&index);
//! println!("{:?}: {}", diagnosis.verdict, diagnosis.summary);
//! for finding in &diagnosis.findings {
//!     println!("{}: {:?}", finding.row.tag, finding.places);
//! }
//! # let first = &diagnosis.findings[0];
//! # assert_eq!(first.row.tag.to_string(), "Leak");
//! # assert!(first.places[0].contains(" in myfault+"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Engine::open`](engine::Engine::open) reads a few megabytes, independent of the dump's size.
//! [`Engine::index`](engine::Engine::index) walks the whole pool in parallel. Every answer
//! states its coverage. Data that can't be read is an error or `None`, never zero.
//!
//! # Tags, blocks, references, diagnosis
//!
//! ```
//! use poolscope::engine::{Engine, Options, Selection, Sort};
//! use poolscope::pool::{Tag, TagPattern};
//! use poolscope::report::Diagnose;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("MEMORY.DMP");
//! # poolscope::synth::demo::write(&path)?;
//!
//! // The accounts of each tag, as `!poolused` prints them; no index is needed.
//! let engine = Engine::open(&path, &Options::default())?;
//! let largest = Selection { sort: Sort::Nonpaged, top: Some(5), ..Selection::default() };
//! let used = engine.pool_used(&largest)?;
//! for row in &used.rows {
//!     println!("{} {} bytes", row.usage.tag, row.usage.nonpaged.bytes);
//! }
//! # assert_eq!(used.rows[0].usage.nonpaged.bytes, 615_424_000);
//!
//! // Every allocation of a tag, as `!poolfind` finds them, and how that compares with
//! // the account.
//! let index = engine.index(Default::default())?;
//! let leak = TagPattern::parse("Leak")?;
//! let allocations = engine.allocs(&index, &leak, false);
//! for block in allocations.blocks().take(3) {
//!     println!("{} {} bytes", block.va, block.bytes);
//! }
//! println!("{:?}", allocations.coverage.sentences());
//! # assert_eq!(allocations.summary.all.blocks, 601);
//!
//! // The modules whose code has the tag, and how surely each allocates with it.
//! let references = engine.references(Tag::new(u32::from_le_bytes(*b"Leak")));
//! for module in &references.modules {
//!     println!("{}: {:?}", module.module_name, module.standing);
//! }
//! # assert_eq!(references.modules[0].module_name, "myfault");
//!
//! // The verdict with its evidence, as one record that becomes JSON, text or Markdown.
//! let report = Diagnose::of(&engine, &engine.diagnose(&index));
//! println!("{}", serde_json::to_string_pretty(&report)?);
//! # assert!(serde_json::to_string(&report)?.contains("\"verdict\":\"leak\""));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Layers
//!
//! Each layer imports only those above it in this list: [`addr`] (address types), [`dump`]
//! (containers), [`memory`] (address translation), [`symbols`] and [`kernel`] (structures and
//! their locations), [`pool`] (blocks and the index), [`series`] (logs of a running machine),
//! [`analysis`] (owners and verdicts), [`engine`] (all answers for one dump), [`report`] (answers
//! as text), [`evidence`] (answers as tables and files). Modules that are hidden in this
//! documentation belong to the program: they are public for its binary, tests and fuzz targets,
//! and change without notice.

pub mod addr;
pub mod analysis;
#[doc(hidden)]
pub mod bytes;
#[doc(hidden)]
pub mod characters;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod command;
pub mod dump;
pub mod engine;
pub mod evidence;
pub mod kernel;
#[cfg(feature = "mcp")]
#[doc(hidden)]
pub mod mcp;
pub mod memory;
pub mod pool;
pub mod report;
pub mod series;
pub mod symbols;
#[doc(hidden)]
pub mod synth;
#[doc(hidden)]
pub mod system;
#[doc(hidden)]
pub mod tui;
