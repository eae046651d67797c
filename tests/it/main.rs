//! Tests of the whole program, from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cache;
mod cancel;
mod containers;
mod contract;
mod corruption;
mod demo;
mod file;
mod golden;
mod hostile;
mod identity;
mod keys;
mod layering;
mod matrix;
mod readme;
mod references;
mod refusals;
mod screens;
mod server_2003;
mod supply;
mod symbols;
mod unknown_kernel;
