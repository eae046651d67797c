//! Tests of the whole program, from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ages;
mod attribution;
mod builder;
mod cache;
mod calibration;
mod cancel;
mod check;
mod commands;
mod containers;
mod contents;
mod contract;
mod corruption;
mod dataset;
mod demo;
mod demo_figures;
mod diagnose;
mod diagnose_tables;
mod diff;
mod evidence;
mod file;
mod golden;
mod honesty;
mod hostile;
mod http;
mod identity;
mod images;
mod keys;
mod language;
mod layering;
mod machines;
mod matrix;
#[cfg(feature = "mcp")]
mod mcp;
mod names;
mod published;
mod read_ahead;
#[cfg(unix)]
mod readme;
mod references;
mod refusals;
mod screens;
mod server_2003;
mod shapes;
mod stacks;
mod supply;
mod symbols;
#[cfg(unix)]
mod tui_pty;
#[cfg(unix)]
mod tui_tmux;
mod unknown_kernel;
