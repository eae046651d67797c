//! What the fuzzer calls, one module a target: what is done with the bytes, which answers
//! are checked, and where the first inputs come from.
//!
//! The same files are compiled into the ordinary tests (`tests/memory/fuzz_cases.rs`), which run
//! the seeds and the cases that were found. Only the public interface is used, so what is
//! fuzzed is what users reach.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bed;
mod input;
mod locate;
mod machines;
mod placed;
mod shown;

pub mod big_tables;
pub mod cabinet;
pub mod container;
pub mod evidence;
pub mod functions;
pub mod heaps;
pub mod identity;
pub mod images;
pub mod index_file;
pub mod keys;
pub mod legacy;
pub mod memory_images;
pub mod modules;
pub mod page_tables;
pub mod pdb;
pub mod pooltag;
pub mod ranges;
pub mod series;
pub mod symbol_path;
pub mod typed;
pub mod verifier;
pub mod whole;

/// Builds what a target's runs share, which takes longer than a run may.
pub fn prepare(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    (target.run)(&(target.seeds)()[0]);
}

/// One target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: of the harness, the corpus and the folder of cases.
    pub name: &'static str,
    /// Takes any bytes, and panics when something is wrong.
    pub run: fn(&[u8]),
    /// Inputs to begin with, made with the builder. The first is something undamaged.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($module:ident),* $(,)?) => {
        /// All targets.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($module),
            run: $module::run,
            seeds: $module::seeds,
        }),*];
    };
}

targets![
    container,
    ranges,
    memory_images,
    page_tables,
    modules,
    images,
    identity,
    functions,
    pdb,
    pooltag,
    big_tables,
    legacy,
    heaps,
    symbol_path,
    cabinet,
    index_file,
    keys,
    typed,
    evidence,
    series,
    verifier,
    whole,
];
