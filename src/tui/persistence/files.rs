//! Files that are written for the user: lists, the report, and what is kept of a dump.

use std::io::{self, Write};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;

use crate::engine::Machine;
use crate::pool::index::Snapshot;
use crate::report::text::dump_line;
use crate::report::{self, Diagnose, Format};

use crate::tui::data::event::Event;
use crate::tui::data::message::Message;
use crate::tui::jobs::save::{
    Content, Job, Style, block_columns, block_rows, grid, lines, write_whole,
};
use crate::tui::persistence::session::{SessionState, Store};

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
                        let _ = out.send(Event::Message(Message::Notice(text)));
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

/// The report as text.
///
/// # Errors
/// Why there is none.
pub fn report_text(
    engine: &dyn Machine,
    index: &Snapshot,
    marks: Vec<(String, String)>,
) -> Result<String, String> {
    let mut out = Vec::new();
    write_report(engine, index, marks, Format::Text, &mut out).map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn write_report(
    engine: &dyn Machine,
    index: &Snapshot,
    marks: Vec<(String, String)>,
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    if let Some(kept) = engine.kept_answer("diagnose", format.word()) {
        return report::write_kept(kept, &marks, format, out);
    }
    let Some(dump) = engine.engine() else {
        return Err(io::Error::other("the evidence file has no report"));
    };
    let found = dump.diagnose(index);
    let answer = Diagnose::of(dump, &found).with_marks(marks);
    report::write(engine, &answer, format, out)
}

/// Writes a file. Returns its bytes.
///
/// # Errors
/// Why not, as a sentence.
pub fn save(engine: &dyn Machine, index: &Snapshot, job: &Job) -> Result<u64, String> {
    let style = Style::of(&job.path);
    let written = write_whole(&job.path, job.replace, |out| match &job.content {
        Content::Grid { columns, rows } => grid(out, style, columns, rows.iter().cloned()),
        Content::Blocks(view) => grid(out, style, &block_columns(), block_rows(view)),
        Content::Text(text) => {
            let tildes = text.split(|c| c != '~').map(str::len).max();
            let all = text.lines().map(String::from);
            lines(out, style, tildes.unwrap_or(0), all)
        }
        Content::Report(marks) => {
            let format = match style {
                Style::Text => Format::Text,
                Style::Csv => Format::Csv,
                Style::Json => Format::Json,
                Style::Markdown => Format::Markdown,
            };
            write_report(engine, index, marks.clone(), format, out)
        }
        Content::Memory {
            start,
            length,
            session,
        } => {
            // A line has sixteen bytes as text.
            lines(
                out,
                style,
                16,
                memory_lines(engine, *start, *length, *session),
            )
        }
    });
    written.map_err(|why| {
        let name = report::text::clean(&job.path.to_string_lossy()).into_owned();
        match why.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{name} is there already; write ! behind the name to replace it")
            }
            _ => format!("{name} is not written: {why}"),
        }
    })
}

/// Bytes that are read at once.
const STRETCH: u64 = 1 << 20;
/// Bytes of memory that one file may hold: more than any allocation.
const LARGEST: u64 = 1 << 30;

/// Memory as the debugger dumps it, read a stretch at a time.
fn memory_lines(
    engine: &dyn Machine,
    start: crate::memory::Va,
    length: u64,
    session: Option<u32>,
) -> impl Iterator<Item = String> {
    let length = length.min(LARGEST);
    let stretches = (0..length)
        .step_by(STRETCH as usize)
        .map_while(move |done| {
            let at = start.0.checked_add(done).map(crate::memory::Va)?;
            let here = STRETCH.min(length - done);
            let memory = crate::tui::jobs::worker::read(engine, at, here, session);
            let lines = memory.bytes.chunks(16).enumerate();
            Some(
                lines
                    .map(|(i, line)| dump_line(at.add(i as u64 * 16), line))
                    .collect::<Vec<_>>(),
            )
        });
    stretches.flatten()
}
