//! What screens show and what the parts of the UI say to each other: plain data, which
//! reads no file and draws nothing.

pub mod blocks;
pub mod cell;
pub mod columns;
pub mod event;
pub mod message;
pub mod model;
