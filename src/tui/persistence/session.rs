//! What comes back when the same dump is opened again: marks and notes, order, filter,
//! place, and what was typed. The file is named by the dump's identity, so a dump that
//! was moved or renamed finds it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::memory::Va;
use crate::pool::{Backend, Block, PoolKind, State, Tag};
use crate::report::text::clean;

use crate::tui::app::marks::{self, Mark};
use crate::tui::app::{App, Screen};
use crate::tui::input::prompt::Kind;
use crate::tui::jobs::save::write_whole;
use crate::tui::screens::bytes::{BytesFormat, BytesView};
use crate::tui::screens::data_table::TableKind;
use crate::tui::screens::tag::Pane;
use crate::tui::screens::tags::{Pool, SortBy};

/// The form of the file; another one is not read.
const VERSION: u32 = 1;
/// A file larger than this is not one of ours.
const LARGEST: u64 = 4 << 20;
/// Sessions that are kept; the oldest goes first.
const MOST_FILES: usize = 300;
/// Steps of the way that are kept.
const MOST_STEPS: usize = 16;

/// What is kept of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionState {
    version: u32,
    /// The file's name when it was kept, for people who look into the folder.
    pub file: String,
    marks: Vec<Mark>,
    pool: u8,
    sort: u8,
    reversed: bool,
    filter: String,
    unknown_only: bool,
    selected: Option<u32>,
    steps: Vec<Step>,
    commands: Vec<String>,
    filters: Vec<String>,
    searches: Vec<String>,
}

/// A step of the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    Summary,
    Modules {
        filter: String,
    },
    Drivers,
    TagsOf(Option<String>),
    Sizes(u32),
    Marks,
    Report,
    Tag {
        tag: u32,
        part: String,
        filter: String,
        pool: u8,
        by_size: bool,
        descending: bool,
        mentions: bool,
        /// The selected allocation.
        at: Option<marks::Marked>,
    },
    Bytes {
        title: String,
        about: String,
        first: u64,
        length: Option<u64>,
        at: u64,
        session: Option<u32>,
        shape: u8,
    },
}

const POOLS: [Pool; 3] = [Pool::Both, Pool::Nonpaged, Pool::Paged];
const SORTS: [SortBy; 6] = [
    SortBy::Bytes,
    SortBy::Allocs,
    SortBy::Frees,
    SortBy::Diff,
    SortBy::PerAlloc,
    SortBy::Tag,
];
const SHAPES: [BytesFormat; 3] = [BytesFormat::Bytes, BytesFormat::Pointers, BytesFormat::Text];

fn number<T: PartialEq>(of: &[T], what: &T) -> u8 {
    of.iter().position(|w| w == what).unwrap_or(0) as u8
}

fn numbered<T: Copy + Default>(of: &[T], number: u8) -> T {
    of.get(usize::from(number)).copied().unwrap_or_default()
}

/// Text of a file that anyone may have written.
fn safe(text: &str) -> String {
    clean(text).chars().take(marks::LONGEST).collect()
}

impl Step {
    fn of(screen: &Screen) -> Option<Step> {
        Some(match screen {
            Screen::Summary(_) => Step::Summary,
            Screen::Modules(view) => Step::Modules {
                filter: view.filter.clone(),
            },
            Screen::Report(_) => Step::Report,
            Screen::Table(sheet) => match &sheet.ask {
                TableKind::Drivers => Step::Drivers,
                TableKind::TagsOf(module) => Step::TagsOf(module.clone()),
                TableKind::Sizes(tag) => Step::Sizes(tag.value()),
                TableKind::Marks => Step::Marks,
                // Quick to ask again, and not worth coming back to.
                _ => return None,
            },
            Screen::Tag(view) => Step::Tag {
                tag: view.tag.value(),
                part: view.base_filter.clone(),
                filter: view.filter.clone(),
                pool: number(&POOLS, &view.pool),
                by_size: view.sort.by_size,
                descending: view.sort.descending,
                mentions: view.pane == Pane::References,
                at: view.current().map(|b| marks::Marked::of(&b)),
            },
            Screen::Bytes(view) => Step::Bytes {
                title: view.title.clone(),
                about: view.about.clone(),
                first: view.first.0,
                length: view.length,
                at: view.at.0,
                session: view.session,
                shape: number(&SHAPES, &view.shape),
            },
        })
    }
}

impl App {
    /// What is kept of the state as it is.
    pub fn to_keep(&self) -> SessionState {
        let tags = &self.tags;
        // A way that cannot be kept whole is kept up to there.
        let steps = self.stack.iter().map_while(Step::of).take(MOST_STEPS);
        SessionState {
            version: VERSION,
            file: self.model.file.clone(),
            marks: self.marks.clone(),
            pool: number(&POOLS, &tags.pool),
            sort: number(&SORTS, &tags.sort),
            reversed: tags.reversed,
            filter: tags.filter.clone(),
            unknown_only: tags.unknown_only,
            selected: tags.current(&self.model).map(|row| row.usage.tag.value()),
            steps: steps.collect(),
            commands: self.history.kept(Kind::Command),
            filters: self.history.kept(Kind::Filter),
            searches: self.history.kept(Kind::Search),
        }
    }

    /// Takes what was kept. Once a key was pressed, only the marks and what was typed.
    pub(in crate::tui) fn take_kept(&mut self, kept: SessionState) {
        let marks = kept.marks.iter().take(marks::MOST).map(|m| Mark {
            what: m.what,
            note: safe(&m.note),
        });
        for mark in marks {
            if self.mark_of(&mark.what).is_none() {
                self.marks.push(mark);
            }
        }
        for (kind, lines) in [
            (Kind::Command, &kept.commands),
            (Kind::Filter, &kept.filters),
            (Kind::Search, &kept.searches),
        ] {
            lines.iter().for_each(|line| self.history.add(kind, line));
        }
        if self.touched {
            return;
        }
        let tags = &mut self.tags;
        tags.pool = numbered(&POOLS, kept.pool);
        tags.sort = numbered(&SORTS, kept.sort);
        tags.reversed = kept.reversed;
        tags.unknown_only = kept.unknown_only;
        tags.filter = safe(&kept.filter);
        tags.rearrange(&self.model);
        if let Some(tag) = kept.selected {
            self.tags.select(&self.model, Tag::new(tag));
        }
        for step in kept.steps.into_iter().take(MOST_STEPS) {
            self.take_step(step);
        }
        let place = self.path().join(" > ");
        if !self.stack.is_empty() {
            self.message = Some(format!("back at {place}; T: the tag list"));
        }
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Summary => self.go(Screen::Summary(0)),
            Step::Modules { filter } => {
                self.show_modules();
                // A filter that means nothing any more filters nothing.
                let _ = self.set_filter(&safe(&filter));
            }
            Step::Drivers => self.show_drivers(),
            Step::TagsOf(module) => self.open_table(TableKind::TagsOf(module.map(|m| safe(&m)))),
            Step::Sizes(tag) => self.open_table(TableKind::Sizes(Tag::new(tag))),
            Step::Marks => self.open_table(TableKind::Marks),
            Step::Report => self.show_report(),
            Step::Tag {
                tag,
                part,
                filter,
                pool,
                by_size,
                descending,
                mentions,
                at,
            } => {
                self.open_part(Tag::new(tag), safe(&part));
                let Some(view) = self.tag_view() else {
                    return;
                };
                view.filter = safe(&filter);
                view.pool = numbered(&POOLS, pool);
                view.sort.by_size = by_size;
                view.sort.descending = descending;
                if mentions {
                    view.pane = Pane::References;
                }
                view.selected = at.and_then(block_of);
                view.cursor.moved = view.selected.is_some();
                self.ask_blocks();
            }
            Step::Bytes {
                title,
                about,
                first,
                length,
                at,
                session,
                shape,
            } => {
                let mut view = BytesView::new(safe(&title), safe(&about), Va(first), length);
                view.session = session;
                view.shape = numbered(&SHAPES, shape);
                view.at = Va(at);
                self.go(Screen::Bytes(Box::new(view)));
                self.settle();
            }
        }
    }
}

/// Enough of an allocation to find its row again.
fn block_of(marked: marks::Marked) -> Option<Block> {
    let marks::Marked::Block {
        va,
        bytes,
        tag,
        session,
    } = marked
    else {
        return None;
    };
    Some(Block {
        va: Va(va),
        bytes,
        tag: Tag::new(tag),
        protected: false,
        heuristic: false,
        kind: PoolKind::NonPaged,
        backend: Backend::Legacy,
        state: State::Allocated,
        session,
    })
}

/// Where sessions are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    directory: Option<PathBuf>,
}

impl Store {
    /// In a directory.
    pub fn at(directory: &Path) -> Store {
        Store {
            directory: Some(directory.to_owned()),
        }
    }

    /// In the user's directory for such things; nowhere when none is known.
    pub fn of_user() -> Store {
        Store {
            directory: state_directory().map(|d| d.join("sessions")),
        }
    }

    fn path(&self, identity: u128) -> Option<PathBuf> {
        Some(
            self.directory
                .as_ref()?
                .join(format!("{identity:032x}.json")),
        )
    }

    /// What was kept of a dump.
    ///
    /// # Errors
    /// Why what is there can't be read. Nothing there is no error.
    pub fn load(&self, identity: u128) -> io::Result<Option<SessionState>> {
        let Some(path) = self.path(identity) else {
            return Ok(None);
        };
        match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
            Ok(about) if about.len() > LARGEST || !about.is_file() => {
                return Err(io::Error::other("it is no session of poolscope"));
            }
            Ok(_) => {}
        }
        let kept: SessionState = serde_json::from_slice(&fs::read(&path)?)?;
        match kept.version {
            VERSION => Ok(Some(kept)),
            other => Err(io::Error::other(format!(
                "its form is {other}, another poolscope's"
            ))),
        }
    }

    /// Keeps it.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep(&self, identity: u128, kept: &SessionState) -> io::Result<()> {
        let (Some(directory), Some(path)) = (&self.directory, self.path(identity)) else {
            return Ok(());
        };
        private_directory(directory)?;
        write_whole(&path, true, |out| {
            serde_json::to_writer(out, kept).map_err(io::Error::from)
        })?;
        forget_oldest(directory);
        Ok(())
    }
}

fn private_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// A session that can't be removed now is tried again the next time.
fn forget_oldest(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let mut files: Vec<_> = entries
        .flatten()
        .filter(|e| e.path().extension().is_some_and(|e| e == "json"))
        .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
        .collect();
    files.sort();
    for (_, path) in files.iter().take(files.len().saturating_sub(MOST_FILES)) {
        let _ = fs::remove_file(path);
    }
}

/// The user's directory for what programs remember: `$XDG_STATE_HOME`, `~/.local/state`;
/// on macOS `~/Library/Application Support`, on Windows `%LOCALAPPDATA%`.
pub fn state_directory() -> Option<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let home = || variable("HOME");
    let state = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        home().map(|h| h.join("Library/Application Support"))
    } else {
        variable("XDG_STATE_HOME").or_else(|| Some(home()?.join(".local/state")))
    };
    Some(state?.join("poolscope"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    fn kept() -> SessionState {
        SessionState {
            version: VERSION,
            file: "MEMORY.DMP".into(),
            marks: vec![Mark {
                what: marks::Marked::Tag(7),
                note: "look".into(),
            }],
            filter: "np > 1m".into(),
            ..SessionState::default()
        }
    }

    #[test]
    fn what_is_kept_comes_back_and_only_for_the_same_dump() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(&folder.path().join("sessions"));
        assert_eq!(store.load(1).unwrap(), None);
        store.keep(1, &kept()).unwrap();
        assert_eq!(store.load(1).unwrap(), Some(kept()));
        assert_eq!(store.load(2).unwrap(), None);
        assert_eq!(Store::default().load(1).unwrap(), None);
        Store::default().keep(1, &kept()).unwrap();
    }

    #[test]
    fn what_is_no_session_is_refused_and_never_believed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path());
        let path = store.path(1).unwrap();
        for wrong in [&b"{"[..], b"[]", b"{\"version\":9}", b"\xff\xfe"] {
            fs::write(&path, wrong).unwrap();
            assert!(store.load(1).is_err());
        }
        fs::write(&path, vec![b' '; LARGEST as usize + 1]).unwrap();
        assert!(store.load(1).is_err());
        let mut wild = kept();
        wild.pool = 200;
        wild.sort = 99;
        wild.filter = "\x1b[2J(((".into();
        wild.steps = vec![
            Step::Bytes {
                title: "\u{202e}x".into(),
                about: String::new(),
                first: u64::MAX,
                length: Some(u64::MAX),
                at: 3,
                session: Some(9),
                shape: 77,
            };
            40
        ];
        let theme = crate::tui::terminal::theme::Theme {
            palette: crate::tui::terminal::theme::Palette::Plain,
            ascii: true,
        };
        let mut app = App::new(fixture::model(), theme, (80, 24));
        app.take_kept(wild);
        assert!(app.stack.len() <= MOST_STEPS);
        assert!(!app.tags.filter.contains('\x1b'));
    }

    #[test]
    fn only_the_latest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path());
        for identity in 0..MOST_FILES as u128 + 5 {
            store.keep(identity, &kept()).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), MOST_FILES);
    }
}
