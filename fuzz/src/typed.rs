//! Typed text: queries of `&`, lines after `:`, tag patterns, addresses, sizes, and the
//! command line. Presses keys in the complete UI and draws it after each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use clap::Parser;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use poolscope::cli::Args;
use poolscope::pool::index::Snapshot;
use poolscope::pool::{Block, Tag, TagPattern};
use poolscope::report::text::parse_address;
use poolscope::synth::{Container, small};
use poolscope::tui::app::App;
use poolscope::tui::app::view;
use poolscope::tui::data::block_filter::BlockFilter;
use poolscope::tui::data::columns;
use poolscope::tui::data::message::Message;
use poolscope::tui::data::model::Model;
use poolscope::tui::input::query::TextFilter;
use poolscope::tui::input::query::{Kind, Query, Row, Value};
use poolscope::tui::terminal::theme::{Palette, Theme};

use super::input::Input;
use super::locate::Whole;
use super::shown;

/// The data on screen, and blocks to filter.
struct Desk {
    model: Model,
    blocks: Vec<Block>,
}

fn desk() -> &'static Mutex<Desk> {
    static DESK: OnceLock<Mutex<Desk>> = OnceLock::new();
    DESK.get_or_init(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let machine = small().unwrap();
        machine.write(file.path(), Container::BitmapKernel).unwrap();
        let whole = Whole::open(file.path());
        let index: Snapshot = whole.engine.index(Arc::default()).unwrap();
        let any = TagPattern::any();
        Mutex::new(Desk {
            model: Model::of(&whole.engine),
            blocks: index.matching(&any).take(50).collect(),
        })
    })
}

/// A row with every kind of field.
struct Anything<'a>(&'a str);

impl Row for Anything<'_> {
    fn value(&self, field: usize) -> Value<'_> {
        match columns::TAG.get(field).map(|f| f.kind) {
            Some(Kind::Text) => Value::Text(self.0.into()),
            Some(Kind::Share) => Value::Share(0.25),
            Some(_) => Value::Number(self.0.len() as u64),
            None => Value::Unknown,
        }
    }

    fn has(&self, text: &TextFilter) -> bool {
        text.pattern().is_some()
    }
}

/// The first byte decides how to use the rest.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let Some(kind) = input.u8() else { return };
    let text = String::from_utf8_lossy(input.0);
    desk();
    match kind % 4 {
        0 => words(&text),
        1 => pressed(&text, ":"),
        2 => pressed(&text, "&"),
        _ => pressed(&text, ""),
    }
}

/// Parses the text as everything that it could be.
fn words(text: &str) {
    let lists: [(&[_], usize); 3] = [
        (&columns::TAG, columns::TAG_DEFAULT),
        (&columns::BLOCK, columns::BLOCK_DEFAULT),
        (&columns::MODULE, columns::MODULE_DEFAULT),
    ];
    for (fields, default) in lists {
        if let Ok(query) = Query::parse(text, fields, default) {
            std::hint::black_box(query.holds(&Anything(text)));
            std::hint::black_box(query.holds(&Anything("amdacpbus2.sys")));
        }
    }
    if let Ok(Some(filter)) = BlockFilter::parse(text) {
        let desk = desk().lock().unwrap();
        let kept = desk
            .blocks
            .iter()
            .filter(|block| filter.block(block))
            .count();
        assert!(kept <= desk.blocks.len());
    }
    if let Ok(pattern) = TagPattern::parse(text) {
        for tag in [*b"Leak", *b"    ", [0xff; 4], *b"\x1b[2J"] {
            std::hint::black_box(pattern.matches(Tag::new(u32::from_le_bytes(tag))));
        }
        // An exact pattern matches its own typed form.
        if let Some(tag) = pattern.exact() {
            assert!(pattern.matches(tag), "{text:?}");
            let again = TagPattern::parse(&tag.typed()).map(|p| p.matches(tag));
            assert_eq!(again, Ok(true), "{:?}", tag.typed());
        }
    }
    if let Some(tag) = Tag::of(text) {
        shown::check(&tag.to_string());
        shown::check(&tag.typed());
    }
    if let Some(va) = parse_address(text) {
        assert_eq!(parse_address(&va.to_string()), Some(va));
    }
    let line = std::iter::once("poolscope").chain(text.split(' '));
    if let Err(why) = Args::try_parse_from(line) {
        std::hint::black_box(why.to_string());
    }
}

/// Types the text into the UI, after a key that opens a line; control characters are keys.
fn pressed(text: &str, first: &str) {
    let model = desk().lock().unwrap().model.clone();
    let theme = Theme {
        palette: Palette::Indexed,
        ascii: false,
    };
    let mut app = App::new(model, theme, (80, 24));
    let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
    let keys = first.chars().chain(text.chars().take(200));
    let mut drawn = HashMap::new();
    for c in keys.chain(['\r']) {
        app.update(Message::Key(key(c)));
        // Most keys add a letter; drawing at control characters and at the first key is enough.
        if c.is_control() || drawn.is_empty() {
            buffer.reset();
            view::draw(&app, &mut buffer);
            let cells = buffer.content.iter();
            let text: String = cells.map(|cell| cell.symbol()).collect();
            drawn.insert(app.context().name(), text);
        }
    }
    drawn.values().for_each(|text| shown::check(text));
    std::hint::black_box((app.command(), app.position(), app.path()));
}

fn key(c: char) -> KeyEvent {
    let plain = |code| KeyEvent::new(code, KeyModifiers::NONE);
    match c {
        '\r' | '\n' => plain(KeyCode::Enter),
        '\t' => plain(KeyCode::Tab),
        '\x1b' => plain(KeyCode::Esc),
        '\x7f' => plain(KeyCode::Backspace),
        '\x1c' => plain(KeyCode::Up),
        '\x1d' => plain(KeyCode::Down),
        '\x1e' => plain(KeyCode::PageDown),
        '\x1f' => plain(KeyCode::End),
        '\x01'..='\x1a' => KeyEvent::new(
            KeyCode::Char((c as u8 + b'a' - 1).into()),
            KeyModifiers::CONTROL,
        ),
        c => plain(KeyCode::Char(c)),
    }
}

/// Input that people type.
pub fn seeds() -> Vec<Vec<u8>> {
    let words = [
        "np > 100MB and frees = 0 and owner ~ amd",
        "not (tag ~ 'Le*' or size >= 0x1000) and share > 10%",
        "Le?k",
        "fffff880`044b63aa",
        "poolused MEMORY.DMP /t5 2",
        "--memory 2g --format json vm x.dmp",
        "'Le k'",
        "\\x1b[2J",
    ];
    let lines = [
        "!poolused 2 Le*",
        "!poolfind Leak -nonpaged",
        "!pool fffffa80`01400000",
        "dps nt",
        "lm a fffff880`044b63aa",
        "!for_each_module s -a @#Base @#End \"Leak\"",
        "poolmon -b -p -iLeak",
        "note a\u{202e}b",
        "save! /nowhere/x.csv",
        "sort bytes\r:q\r",
    ];
    let keys = [
        "\rcfPv\x1bx&bytes > 1k\r/Le\rD\rR\x1b?",
        "\t\t\rgfffff\rjjk\x1e\x1fM\r",
    ];
    let kind = |kind: u8, text: &str| [&[kind], text.as_bytes()].concat();
    let deep = "(".repeat(300) + &"not ".repeat(300);
    let mut out: Vec<Vec<u8>> = words.iter().map(|text| kind(0, text)).collect();
    out.push(kind(0, &deep));
    out.push(kind(0, &format!("tag ~ {}a", "*a".repeat(100))));
    out.extend(lines.iter().map(|text| kind(1, text)));
    out.push(kind(2, words[0]));
    out.extend(keys.iter().map(|text| kind(3, text)));
    out
}
