//! The fuzz targets, one module each: how to use the bytes, which answers are checked, and
//! the initial inputs.
//!
//! The same files are compiled into the ordinary tests (`tests/memory/fuzz_cases.rs`),
//! which run the seeds and the stored cases. The targets use only the public interface, so
//! they test what users can reach.
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

/// Builds the shared state of a target's runs, which takes longer than the time limit of a run.
pub fn prepare(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    (target.run)(&(target.seeds)()[0]);
}

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: also the name of the harness, of the corpus and of the folder of cases.
    pub name: &'static str,
    /// Takes any bytes, and panics if something is wrong.
    pub run: fn(&[u8]),
    /// Initial inputs, made with the builder. The first one is undamaged.
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
