//! All events of the main loop, in one channel: keys, resizes, signals, answers.

use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::Machine;

use crate::tui::data::message::Message;
use crate::tui::data::model::Model;

/// Something that wakes the main loop.
#[derive(Debug)]
pub enum Event {
    /// A message to the state machine.
    Message(Message),
    /// The dump was read again: a new engine answers from now on.
    Reopened(Box<Reopened>),
    /// A signal to end, suspend or resume.
    Signal(i32),
    /// The terminal sends no more keys.
    InputLost(std::io::Error),
}

/// The dump, read again with the kernel's PDB.
#[derive(Debug)]
pub struct Reopened {
    /// The new engine.
    pub engine: Arc<dyn Machine>,
    /// The new engine's data.
    pub model: Model,
    /// The PDB.
    pub file: PathBuf,
}
