//! Everything that the main loop waits for, in one channel: keys, sizes, signals, answers.

use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::Machine;

use crate::tui::data::message::Message;
use crate::tui::data::model::Model;

/// Something that wakes the main loop.
#[derive(Debug)]
pub enum Event {
    /// For the state machine.
    Message(Message),
    /// The dump was read again: another engine answers from now on.
    Reopened(Box<Reopened>),
    /// A signal that ends, suspends or resumes.
    Signal(i32),
    /// The terminal gives no more keys.
    InputLost(std::io::Error),
}

/// The dump, read again with its kernel's PDB.
#[derive(Debug)]
pub struct Reopened {
    /// What answers from now on.
    pub engine: Arc<dyn Machine>,
    /// What it says at once.
    pub model: Model,
    /// The PDB.
    pub file: PathBuf,
}
