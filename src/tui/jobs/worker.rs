//! The threads that read the dump, so that the drawing thread never waits for it.
//!
//! Each group of questions has a thread: memory, lists of allocations, the search of images,
//! tables and files, previews, baselines. One more thread builds the index and reports
//! progress. A newer question of the same kind replaces an older one: the older one is not
//! answered, and most kinds stop if they are already running.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::{Machine, Options, inspect};
use crate::pool::TagPattern;
use crate::pool::index::{Progress, Snapshot};
use crate::report::text::{clean, moment};
use crate::report::{self, Format, ListingReport};

use crate::tui::data::blocks::{BlockView, Blocks, Keep};
use crate::tui::data::event::Event;
use crate::tui::data::message::{Answer, Body, IndexNews, Message, Question, Request, Stage};
use crate::tui::data::model::{
    Covered, ReferenceRow, References, VerdictLine, in_images, pools_in_use,
};
use crate::tui::data::session::SessionState;
use crate::tui::data::settings::Settings;
use crate::tui::jobs::tables;
use crate::tui::jobs::{baseline, memory, preview, save};
use crate::tui::persistence::files::Files;
use crate::tui::widgets::charts::{PARTS, TagCharts};
use crate::tui::widgets::draw::group_numbers;
use crate::tui::widgets::list::around;

/// Rows between two cancellation checks in a search of allocations.
const LOOK_EVERY: usize = 1 << 14;
/// Time between two progress reports of the walk.
const NEWS_EVERY: Duration = Duration::from_millis(250);

/// The threads, and how to send them requests.
pub struct Workers {
    memory: Sender<Request>,
    lists: Sender<Request>,
    images: Sender<Request>,
    tables: Sender<Request>,
    previews: Sender<Request>,
    baselines: Sender<Request>,
    progress: Arc<Progress>,
    /// The number of this walk.
    pub walk: u64,
    /// Saves sessions and settings.
    pub files: Files,
    wanted: Arc<Numbers>,
}

/// The numbers of the current questions, by kind; a question with an older number stops.
#[derive(Debug, Default)]
struct Numbers {
    images: AtomicU64,
    blocks: AtomicU64,
    found: AtomicU64,
    tables: AtomicU64,
    reports: AtomicU64,
    previews: AtomicU64,
}

/// The data that all threads share.
#[derive(Clone)]
struct Shared {
    engine: Arc<dyn Machine>,
    latest: Arc<Mutex<Snapshot>>,
    walk: u64,
    wanted: Arc<Numbers>,
    /// The last reported failure of the file.
    told: Arc<Mutex<Option<String>>>,
    out: Sender<Event>,
}

impl Shared {
    /// Reports if the dump file has changed or cannot be read any more.
    fn watch_file(&self) {
        let Some(why) = self.engine.failure() else {
            return;
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() != Some(&why) {
            *told = Some(why.clone());
            let _ = self.out.send(Event::Message(Message::FileFailed(why)));
        }
    }
}

impl Workers {
    /// Starts the threads and the walk with a number. They end when this is dropped.
    ///
    /// # Errors
    /// If the system refuses to start a thread.
    pub fn start(
        engine: Arc<dyn Machine>,
        walk: u64,
        out: Sender<Event>,
        files: Files,
    ) -> std::io::Result<Workers> {
        let wanted = Arc::<Numbers>::default();
        let shared = Shared {
            engine,
            latest: Arc::default(),
            walk,
            wanted: Arc::clone(&wanted),
            told: Arc::default(),
            out,
        };
        let progress = Arc::new(Progress::default());
        let workers = Workers {
            memory: serve("ui-memory", &shared)?,
            lists: serve("ui-lists", &shared)?,
            images: serve("ui-images", &shared)?,
            tables: serve("ui-tables", &shared)?,
            previews: serve_at_rest("ui-preview", &shared)?,
            baselines: serve("ui-baseline", &shared)?,
            progress: Arc::clone(&progress),
            walk,
            files,
            wanted,
        };
        thread::Builder::new()
            .name("ui-index".into())
            .spawn(move || index(&shared, &progress))?;
        Ok(workers)
    }

    /// Sends a request. The answer arrives as an event.
    pub fn ask(&self, request: Request) {
        let to = match request.question {
            Question::Bytes { .. } => &self.memory,
            Question::Blocks { .. } => {
                self.wanted.blocks.store(request.number, Ordering::Relaxed);
                &self.lists
            }
            Question::Find { .. } => {
                self.wanted.found.store(request.number, Ordering::Relaxed);
                &self.lists
            }
            Question::References { .. } => {
                self.wanted.images.store(request.number, Ordering::Relaxed);
                &self.images
            }
            Question::Preview { .. } => {
                self.wanted
                    .previews
                    .store(request.number, Ordering::Relaxed);
                &self.previews
            }
            Question::Table(_) => {
                self.wanted.tables.store(request.number, Ordering::Relaxed);
                &self.tables
            }
            Question::Report { .. } => {
                self.wanted.reports.store(request.number, Ordering::Relaxed);
                &self.tables
            }
            Question::Baseline { .. } => &self.baselines,
            Question::Save(_) | Question::Resolve(_) | Question::Typed(_) => &self.tables,
        };
        // If the thread has panicked, the panic was already reported.
        let _ = to.send(request);
    }

    /// Saves the session in the background.
    pub fn keep(&self, kept: SessionState) {
        self.files.keep(kept);
    }

    /// Saves the settings in the background.
    pub fn keep_settings(&self, settings: Settings) {
        self.files.keep_settings(settings);
    }

    /// Saves the session before returning.
    pub fn keep_now(&self, kept: &SessionState) {
        self.files.keep_now(kept);
    }

    /// Stops the walk; blocks found so far are kept.
    pub fn cancel_index(&self) {
        self.progress.cancel();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.progress.cancel();
        let Numbers {
            images,
            blocks,
            found,
            tables,
            reports,
            previews,
        } = &*self.wanted;
        for number in [images, blocks, found, tables, reports, previews] {
            number.store(u64::MAX, Ordering::Relaxed);
        }
    }
}

fn serve(name: &str, shared: &Shared) -> std::io::Result<Sender<Request>> {
    let (sender, receiver) = mpsc::channel();
    let shared = shared.clone();
    thread::Builder::new()
        .name(name.into())
        .spawn(move || answer_all(&shared, &receiver))?;
    Ok(sender)
}

/// The same for questions about the selected row. A question is answered only if no newer
/// one follows shortly, so that a key held down costs nothing.
fn serve_at_rest(name: &str, shared: &Shared) -> std::io::Result<Sender<Request>> {
    const MOMENT: Duration = Duration::from_millis(120);
    let (sender, receiver) = mpsc::channel::<Request>();
    let (rested, requests) = mpsc::channel();
    let shared = shared.clone();
    thread::Builder::new()
        .name(name.into())
        .spawn(move || answer_all(&shared, &requests))?;
    thread::Builder::new()
        .name(format!("{name}-rest"))
        .spawn(move || {
            while let Ok(mut request) = receiver.recv() {
                while let Ok(newer) = receiver.recv_timeout(MOMENT) {
                    request = newer;
                }
                if rested.send(request).is_err() {
                    return;
                }
            }
        })?;
    Ok(sender)
}

fn answer_all(shared: &Shared, requests: &Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let mut waiting = vec![first];
        waiting.extend(requests.try_iter());
        let kinds: Vec<_> = waiting
            .iter()
            .map(|r| std::mem::discriminant(&r.question))
            .collect();
        for (i, request) in waiting.into_iter().enumerate() {
            let kind = kinds.get(i);
            // A file is always saved, even if more requests follow.
            if !matches!(request.question, Question::Save(_))
                && kinds.iter().skip(i + 1).any(|k| Some(k) == kind)
            {
                continue;
            }
            let number = request.number;
            // A panic that a dump provokes costs one answer, not the program.
            let body = catch_unwind(AssertUnwindSafe(|| answer(shared, request)));
            let body = body.unwrap_or_else(|_| {
                Some(Body::Failed(
                    "internal error: this question has no answer (details are printed on exit)"
                        .into(),
                ))
            });
            shared.watch_file();
            let Some(body) = body else {
                continue;
            };
            let message = Message::Answer(Answer { number, body });
            if shared.out.send(Event::Message(message)).is_err() {
                return;
            }
        }
    }
}

/// The text output of a command, as the command line prints it.
fn typed(engine: &dyn Machine, request: &crate::command::Request) -> Result<String, String> {
    use crate::command::Request;
    let mut out = Vec::new();
    let written = match request {
        Request::PoolUsed(wanted) => {
            let used = engine
                .pool_used(&wanted.into())
                .map_err(|e| e.to_string())?;
            report::write(engine, &report::PoolUsed::of(&used), Format::Text, &mut out)
        }
        Request::PoolMon(wanted) => {
            let listing = inspect::pool_mon(engine, wanted).map_err(|e| e.to_string())?;
            report::write(engine, &ListingReport::of(&listing), Format::Text, &mut out)
        }
        Request::Stacks(Some(target)) => {
            let at = target.address.as_ref().ok_or("name a tag or an address")?;
            let va = crate::command::request::address_of(at).map_err(|why| why.0)?;
            let found = engine.stacks_of(None, &crate::engine::StacksOf::Address(va), &|| true)?;
            let found = found.unwrap_or_default();
            report::write(
                engine,
                &report::StacksReport::of(&found),
                Format::Text,
                &mut out,
            )
        }
        Request::Info => {
            let info = engine.info();
            report::write(engine, &report::Info::of(&info), Format::Text, &mut out)
        }
        other => {
            let dump = engine
                .engine()
                .ok_or("this is not in an evidence file: run the command on the dump")?;
            let listing = dump
                .inspect(other)
                .ok_or("this command is not available here")?
                .map_err(|why| why.0)?;
            report::write(engine, &ListingReport::of(&listing), Format::Text, &mut out)
        }
    };
    written.map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn latest(shared: &Shared) -> Snapshot {
    let latest = shared.latest.lock();
    latest.unwrap_or_else(PoisonError::into_inner).clone()
}

fn answer(shared: &Shared, request: Request) -> Option<Body> {
    let engine = &*shared.engine;
    Some(match request.question {
        Question::Table(ask) => {
            let wanted = || shared.wanted.tables.load(Ordering::Relaxed) == request.number;
            match tables::make(engine, &latest(shared), &ask, &wanted) {
                Ok(data) => Body::Table(data?),
                Err(why) => Body::Failed(clean(&why).into_owned()),
            }
        }
        Question::Resolve(requests) => {
            let Some(dump) = engine.engine() else {
                return Some(Body::Failed(
                    "symbols and pointers need the dump; write an address".into(),
                ));
            };
            let resolved = requests.into_iter().map(|request| request.resolve(dump));
            match resolved.collect::<Result<Vec<_>, _>>() {
                Ok(requests) => Body::Resolved(requests),
                Err(why) => Body::Failed(clean(&why.0).into_owned()),
            }
        }
        Question::Typed(request) => match typed(engine, &request) {
            Ok(text) => Body::Report { text, whole: true },
            Err(why) => Body::Failed(clean(&why).into_owned()),
        },
        Question::Report { marks } => {
            let index = latest(shared);
            let text = save::report_text(engine, &index, marks);
            match text {
                Ok(text) => Body::Report {
                    text,
                    whole: index.is_complete(),
                },
                Err(why) => Body::Failed(why),
            }
        }
        Question::Save(job) => match save::save(engine, &latest(shared), &job) {
            Ok(bytes) => Body::Saved {
                path: clean(&job.path.to_string_lossy()).into_owned(),
                bytes,
            },
            Err(why) => Body::Failed(why),
        },
        Question::Blocks { tag, sort, filter } => {
            let snapshot = latest(shared);
            let blocks: Arc<dyn Blocks> = Arc::new(snapshot.blocks(tag));
            let listed = (blocks.len(), snapshot.totals.tag(tag).listed());
            let keep = filter.map(|f| move |b: &crate::pool::Block| f.block(b));
            let keep = keep.as_ref().map(|k| k as Keep<'_>);
            let wanted = || shared.wanted.blocks.load(Ordering::Relaxed) == request.number;
            let shape = TagCharts {
                sizes: Arc::new(snapshot.sizes(&TagPattern::of(tag))),
                spread: snapshot.address_histogram(tag, PARTS),
            };
            Body::Blocks {
                shape,
                view: BlockView::arrange(blocks, sort, keep, &wanted)?,
                covered: Covered::new(&engine.coverage(tag, &snapshot)).listing(listed.0, listed.1),
            }
        }
        Question::Find {
            view,
            from,
            forward,
            filter,
        } => {
            let wanted = || shared.wanted.found.load(Ordering::Relaxed) == request.number;
            let matches = |row| view.get(row).is_some_and(|block| filter.block(&block));
            let mut found = None;
            for (i, row) in around(view.len(), from, forward).enumerate() {
                if i % LOOK_EVERY == 0 && !wanted() {
                    return None;
                }
                if matches(row) {
                    found = Some(row);
                    break;
                }
            }
            Body::Found(found)
        }
        Question::Baseline { paths, options } => return compared(shared, &paths, &options),
        Question::Preview { tag } => {
            let wanted = || shared.wanted.previews.load(Ordering::Relaxed) == request.number;
            let preview = preview::make(engine, &latest(shared), tag, &wanted)?;
            Body::Preview(Box::new(preview))
        }
        Question::References { tag } => {
            let wanted = || shared.wanted.images.load(Ordering::Relaxed) == request.number;
            Body::References(references(engine, tag, &wanted)?)
        }
        Question::Bytes {
            start,
            length,
            session,
        } => Body::Bytes(memory::read(engine, start, length, session)),
    })
}

fn references(
    engine: &dyn Machine,
    tag: crate::pool::Tag,
    wanted: &(dyn Fn() -> bool + Sync),
) -> Option<References> {
    let found = engine.references_while(tag, wanted)?;
    let modules = engine.module_list();
    let notes = found.default_of.iter().map(|c| c.sentence());
    Some(References {
        rows: found
            .ranked()
            .into_iter()
            .map(|r| ReferenceRow::new(r, modules.get(r.module)))
            .collect(),
        notes: notes
            .chain(found.notes.iter().cloned())
            .map(|n| clean(&n).into_owned())
            .collect(),
        pages_missing: found.pages_missing,
        pages_searched: found.pages_searched,
        modules_missing: found
            .modules_missing
            .iter()
            .map(|m| clean(m).into_owned())
            .collect(),
        failed: None,
    })
}

/// Builds the index and reports its progress.
fn index(shared: &Shared, progress: &Arc<Progress>) {
    let started = Instant::now();
    let told = catch_unwind(AssertUnwindSafe(|| walk(shared, progress, started)));
    let failed = match told {
        Ok(Ok(())) => return,
        Ok(Err(why)) => why,
        Err(_) => "internal error (details are printed on exit)".into(),
    };
    let news = IndexNews {
        walk: shared.walk,
        stage: Stage::Failed(failed),
        elapsed: started.elapsed(),
        ..IndexNews::default()
    };
    let _ = shared.out.send(Event::Message(Message::Index(news)));
}

fn walk(shared: &Shared, progress: &Arc<Progress>, started: Instant) -> Result<(), String> {
    let answered = shared.engine.kept_index(&|| !progress.is_cancelled());
    if let Some(index) = answered.index {
        let mut news = news(shared, Stage::Done, progress, started);
        news.kept = index.kept.map(moment);
        publish(shared, news, index.clone());
        let pool = shared
            .engine
            .background_workers()
            .map_err(|e| e.to_string())?;
        referenced_in(shared, &pool, progress);
        judge(shared, &index);
        owners(shared, &pool, Some(&index), progress);
        return Ok(());
    }
    let pool = shared
        .engine
        .background_workers()
        .map_err(|e| e.to_string())?;
    let Some(builder) = shared.engine.walk(Arc::clone(progress)) else {
        return Err(answered
            .note
            .unwrap_or_else(|| "there is no pool to walk".into()));
    };
    let (done, finished) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let walk = || {
            let _done = done;
            builder.run(&pool);
        };
        let walker = thread::Builder::new().spawn_scoped(scope, walk);
        let walker = walker.map_err(|error| error.to_string())?;
        let mut windows = usize::MAX;
        // The channel closes when the walker ends, even after a panic.
        while finished.recv_timeout(NEWS_EVERY) == Err(RecvTimeoutError::Timeout) {
            let news = news(shared, Stage::Walking, progress, started);
            if progress.windows().0 == windows {
                let _ = shared.out.send(Event::Message(Message::Index(news)));
                continue;
            }
            let index = builder.snapshot();
            windows = index.windows_done;
            publish(shared, news, index);
        }
        walker
            .join()
            .map_err(|_| "internal error (details are printed on exit)".to_owned())
    })?;
    let stage = match progress.is_cancelled() {
        true => Stage::Cancelled,
        false => Stage::Done,
    };
    let stage_done = stage == Stage::Done;
    let index = builder.snapshot();
    let news = news(shared, stage, progress, started);
    publish(shared, news.clone(), index.clone());
    let notes = answered
        .note
        .into_iter()
        .chain(shared.engine.keep_index(&index));
    let notes: Arc<[String]> = notes.map(|n| clean(&n).into_owned()).collect();
    if !notes.is_empty() {
        let news = IndexNews { notes, ..news };
        let _ = shared.out.send(Event::Message(Message::Index(news)));
    }
    referenced_in(shared, &pool, progress);
    if stage_done {
        judge(shared, &index);
    }
    owners(shared, &pool, Some(&index).filter(|_| stage_done), progress);
    Ok(())
}

/// Compares with earlier points, and makes the verdict again with their trends. `None` if
/// the comparison was ended.
fn compared(shared: &Shared, paths: &[PathBuf], options: &Options) -> Option<Body> {
    let engine = &*shared.engine;
    let judge_again = || {
        let index = latest(shared);
        if index.is_complete() {
            judge(shared, &index);
        }
    };
    if paths.is_empty() {
        if let Some(dump) = engine.engine() {
            dump.compare_with(None);
            judge_again();
        }
        return None;
    }
    match baseline::compare(engine, paths, options) {
        Ok((baseline, comparison)) => {
            if let Some(dump) = engine.engine() {
                dump.compare_with(Some(&comparison));
                judge_again();
            }
            Some(Body::Baseline(Box::new(baseline)))
        }
        Err(why) => Some(Body::Failed(clean(&why).into_owned())),
    }
}

/// Makes the overall verdict from the index, for the line on the first screen.
fn judge(shared: &Shared, index: &Snapshot) {
    let verdict = match shared.engine.engine() {
        Some(dump) => {
            let found = dump.diagnose(index);
            let word = found.verdict.word().to_uppercase();
            VerdictLine {
                text: clean(&format!("Verdict: {word}. {}", found.summary)).into_owned(),
                alarm: !found.findings.is_empty(),
            }
        }
        None => kept_verdict(shared),
    };
    let _ = shared
        .out
        .send(Event::Message(Message::Judged(shared.walk, verdict)));
}

/// The verdict of the report in an evidence file.
fn kept_verdict(shared: &Shared) -> VerdictLine {
    let report = shared.engine.kept_answer("diagnose", "json");
    let report: Option<serde_json::Value> = report.and_then(|r| serde_json::from_str(r).ok());
    let field = |name: &str| report.as_ref()?.get(name)?.as_str().map(str::to_owned);
    let findings = report.as_ref().and_then(|r| r.get("findings")?.as_array());
    match (field("verdict"), field("summary")) {
        (Some(word), Some(summary)) => VerdictLine {
            text: clean(&format!("Verdict: {}. {summary}", word.to_uppercase())).into_owned(),
            alarm: findings.is_some_and(|f| !f.is_empty()),
        },
        _ => VerdictLine {
            text: "Verdict: unknown. The evidence file has no report".into(),
            alarm: false,
        },
    }
}

/// Finds the references of all tags, so that the list can show the images; the verdict uses
/// them too.
fn referenced_in(shared: &Shared, workers: &rayon::ThreadPool, progress: &Progress) {
    let engine = &shared.engine;
    let Some(found) = engine.referenced_in(workers, &|| !progress.is_cancelled()) else {
        return;
    };
    let tags = found.into_iter().filter_map(|(tag, names)| {
        let names: Vec<String> = names.iter().map(|n| clean(n).into_owned()).collect();
        Some((tag, in_images(&names)?))
    });
    let message = Message::ReferencedIn(shared.walk, Arc::new(tags.collect()));
    let _ = shared.out.send(Event::Message(message));
}

/// Finds the owner of each tag, the same as in the report.
fn owners(
    shared: &Shared,
    workers: &rayon::ThreadPool,
    index: Option<&Snapshot>,
    progress: &Progress,
) {
    let wanted = || !progress.is_cancelled();
    let Some(found) = shared.engine.attributions(workers, index, &wanted) else {
        return;
    };
    let owners = found.into_iter().map(|(tag, made)| {
        let owner = clean(&made.column()).into_owned();
        (tag, owner)
    });
    let message = Message::Owners(shared.walk, Arc::new(owners.collect()));
    let _ = shared.out.send(Event::Message(message));
}

fn news(shared: &Shared, stage: Stage, progress: &Progress, started: Instant) -> IndexNews {
    let (pages_done, pages_all) = progress.pages();
    IndexNews {
        walk: shared.walk,
        stage,
        pages_done,
        pages_all,
        elapsed: started.elapsed(),
        ..IndexNews::default()
    }
}

/// Makes this index the one that answers use from now on, and announces it.
fn publish(shared: &Shared, mut news: IndexNews, index: Snapshot) {
    news.totals = Some(Arc::clone(&index.totals));
    if !news.stage.is_running() {
        news.used = Some(pools_in_use(&*shared.engine, Some(&index)));
        let notes = index.notes.iter();
        news.notes = notes.map(|n| group_numbers(&clean(n))).collect();
    }
    shared.watch_file();
    *shared.latest.lock().unwrap_or_else(PoisonError::into_inner) = index;
    let _ = shared.out.send(Event::Message(Message::Index(news)));
}
