//! Tests of the whole program, from outside.

mod contract;
mod demo;
mod golden;
mod layering;
mod symbols;
