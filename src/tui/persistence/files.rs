//! The thread that keeps what comes back the next time.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;

use crate::engine::Machine;

use crate::tui::data::event::Event;
use crate::tui::data::message::Message;
use crate::tui::data::session::SessionState;
use crate::tui::persistence::session::Store;

/// The thread that keeps what comes back the next time.
#[derive(Clone)]
pub struct Files {
    keep: Sender<SessionState>,
    store: Store,
    identity: Arc<OnceLock<Option<u128>>>,
}

impl Files {
    /// Starts it; the first thing it does is to tell what was kept of this dump.
    ///
    /// # Errors
    /// When the system refuses to start a thread.
    pub fn start(
        engine: &Arc<dyn Machine>,
        store: Store,
        out: &Sender<Event>,
    ) -> io::Result<Files> {
        let (keep, wanted) = mpsc::channel::<SessionState>();
        let identity = Arc::new(OnceLock::new());
        let files = Files {
            keep,
            store: store.clone(),
            identity: Arc::clone(&identity),
        };
        let (engine, out) = (Arc::clone(engine), out.clone());
        thread::Builder::new()
            .name("ui-files".into())
            .spawn(move || {
                let identity = *identity.get_or_init(|| engine.identity());
                drop(engine);
                let Some(identity) = identity else {
                    return;
                };
                if let Some(message) = told(store.load(identity)) {
                    let _ = out.send(Event::Message(message));
                }
                while let Ok(mut kept) = wanted.recv() {
                    // Only the latest counts.
                    while let Ok(later) = wanted.try_recv() {
                        kept = later;
                    }
                    if let Err(why) = store.keep(identity, &kept) {
                        let text = format!("marks and place are not kept: {why}");
                        let _ = out.send(Event::Message(Message::NotKept(text)));
                    }
                }
            })?;
        Ok(files)
    }

    /// Keeps it soon.
    pub fn keep(&self, kept: SessionState) {
        // A thread that is gone had no identity of the dump to keep it under.
        let _ = self.keep.send(kept);
    }

    /// Keeps it before it returns. On leaving there is nobody to be told of an error.
    pub fn keep_now(&self, kept: &SessionState) {
        if let Some(Some(identity)) = self.identity.get() {
            let _ = self.store.keep(*identity, kept);
        }
    }
}

fn told(loaded: io::Result<Option<SessionState>>) -> Option<Message> {
    match loaded {
        Ok(None) => None,
        Ok(Some(kept)) => Some(Message::Session(Box::new(kept))),
        Err(why) => Some(Message::Notice(format!(
            "what was kept of this dump can't be read: {why}"
        ))),
    }
}
