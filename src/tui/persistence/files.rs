//! The background thread that saves and restores sessions and settings.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use crate::engine::Machine;

use crate::tui::data::event::Event;
use crate::tui::data::message::Message;
use crate::tui::data::session::SessionState;
use crate::tui::data::settings::Settings;
use crate::tui::persistence::session::Store;

/// Data to save.
enum Kept {
    Session(Box<SessionState>),
    Settings(Settings),
}

/// Handle of the background thread that saves and restores.
#[derive(Clone)]
pub struct Files {
    keep: Sender<Kept>,
    store: Store,
    /// Settings that may not have been written yet.
    settings: Arc<Mutex<Option<Settings>>>,
    identity: Arc<OnceLock<Option<u128>>>,
}

impl Files {
    /// Starts the thread; it first restores the session of this dump.
    ///
    /// # Errors
    /// If the system refuses to start a thread.
    pub fn start(
        engine: &Arc<dyn Machine>,
        store: Store,
        out: &Sender<Event>,
    ) -> io::Result<Files> {
        let (keep, wanted) = mpsc::channel::<Kept>();
        let identity = Arc::new(OnceLock::new());
        let files = Files {
            keep,
            store: store.clone(),
            settings: Arc::default(),
            identity: Arc::clone(&identity),
        };
        let (engine, out) = (Arc::clone(engine), out.clone());
        thread::Builder::new()
            .name("ui-files".into())
            .spawn(move || {
                if let Some(message) = told_settings(store.settings()) {
                    let _ = out.send(Event::Message(message));
                }
                let identity = *identity.get_or_init(|| engine.identity());
                drop(engine);
                if let Some(message) = identity.and_then(|id| told(store.load(id))) {
                    let _ = out.send(Event::Message(message));
                }
                while let Ok(first) = wanted.recv() {
                    // Only the latest of each kind is written.
                    let (mut session, mut settings) = (None, None);
                    for kept in std::iter::once(first).chain(wanted.try_iter()) {
                        match kept {
                            Kept::Session(kept) => session = Some(kept),
                            Kept::Settings(kept) => settings = Some(kept),
                        }
                    }
                    let kept = session.zip(identity);
                    let kept = kept.map(|(session, id)| store.keep(id, &session));
                    if let Some(Err(why)) = kept {
                        let text = format!("marks and position are not saved: {why}");
                        let _ = out.send(Event::Message(Message::NotKept(text)));
                    }
                    let kept = settings.map(|settings| store.keep_settings(&settings));
                    if let Some(Err(why)) = kept {
                        let text = format!("the settings are not saved: {why}");
                        let _ = out.send(Event::Message(Message::Notice(text)));
                    }
                }
            })?;
        Ok(files)
    }

    /// Saves a session in the background.
    pub fn keep(&self, kept: SessionState) {
        // If the thread has panicked, the panic was already reported.
        let _ = self.keep.send(Kept::Session(Box::new(kept)));
    }

    /// Saves the settings in the background.
    pub fn keep_settings(&self, settings: Settings) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings.clone());
        let _ = self.keep.send(Kept::Settings(settings));
    }

    /// Saves a session before returning. On exit an error cannot be shown.
    pub fn keep_now(&self, kept: &SessionState) {
        let settings = self.settings.lock();
        if let Some(settings) = settings.unwrap_or_else(PoisonError::into_inner).take() {
            let _ = self.store.keep_settings(&settings);
        }
        if let Some(Some(identity)) = self.identity.get() {
            let _ = self.store.keep(*identity, kept);
        }
    }
}

fn told_settings(loaded: io::Result<Option<Settings>>) -> Option<Message> {
    match loaded {
        Ok(settings) => Some(Message::Settings(Box::new(settings?))),
        Err(why) => Some(Message::Notice(format!(
            "the settings can't be read: {why}"
        ))),
    }
}

fn told(loaded: io::Result<Option<SessionState>>) -> Option<Message> {
    match loaded {
        Ok(None) => None,
        Ok(Some(kept)) => Some(Message::Session(Box::new(kept))),
        Err(why) => Some(Message::Notice(format!(
            "the saved session of this dump can't be read: {why}"
        ))),
    }
}
