//! The data that screens show and that the parts of the UI exchange. This module reads no
//! files and draws nothing.

pub mod baseline;
pub mod block_filter;
pub mod blocks;
pub mod cell;
pub mod columns;
pub mod event;
pub mod job;
pub mod mark;
pub mod message;
pub mod model;
pub mod order;
pub mod preview;
pub mod session;
pub mod settings;
pub mod table;
