//! Complete small dumps, damaged anywhere, and every question: answers must not contain
//! control characters of a terminal.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use poolscope::analysis::census::{Progress, Question};
use poolscope::engine::{Engine, PoolUsed as Used, Selection, Sort};
use poolscope::memory::Va;
use poolscope::pool::index::Snapshot;
use poolscope::pool::{Tag, TagPattern};
use poolscope::report::{
    self, Allocs, Answer, Contents, Diagnose, DriversReport, Format, Info, Modules, ObjectsReport,
    Page, PoolUsed, Refs, Symbols, Vm,
};
use poolscope::synth::{Spec, era, small};

use super::bed::{Bed, Place};
use super::locate::{Whole, options};
use super::machines;
use super::shown;

fn beds() -> &'static [Mutex<Bed>] {
    static BEDS: OnceLock<Vec<Mutex<Bed>>> = OnceLock::new();
    BEDS.get_or_init(|| {
        let mut unknown = small::of_era(&era::WIN81);
        unknown.options.unknown_kernel = true;
        let mut heaps: Spec = small::of_era(&era::WIN10_2004);
        heaps.allocations.retain(|demand| demand.bytes < 0x10_0000);
        let specs = [
            small::spec(),
            heaps,
            small::of_era(&era::SERVER_2003),
            unknown,
        ];
        specs
            .iter()
            .map(|spec| machines::bed(spec, groups))
            .collect()
    })
}

/// The whole file is one group; the structures that everything depends on are further groups.
fn groups(whole: &Whole) -> Vec<Vec<Place>> {
    let engine = &whole.engine;
    let kernel = engine.kernel();
    let header = &engine.kernel().machine;
    let place = |at, length| Place { at, length, va: 0 };
    let pages = kernel.modules.iter().filter(|m| !m.unloaded);
    let images = pages.flat_map(|m| whole.memory(m.base, m.size.min(0x8000).into()));
    let index: Snapshot = engine.index(Arc::default()).unwrap();
    let any = TagPattern::any();
    let blocks = index.matching(&any).take(3000);
    let heads = blocks.flat_map(|b| whole.memory(b.va, 0x20));
    let tables = |level: u32| {
        // The self-map shows the page tables as memory.
        let top = kernel.space.root();
        let offset = engine.dump().file_offset(top).unwrap() as usize;
        place(offset + level as usize * 0x800, 0x800)
    };
    vec![
        vec![place(0, engine.dump().file_length() as usize)],
        vec![place(8, 0x80), place(0xf98, 0x18), place(0x2000, 0x40)],
        whole.memory(header.debugger_data, 0x340),
        whole.loader_list(),
        images.collect(),
        heads.collect(),
        vec![tables(0), tables(1)],
    ]
}

/// The first byte chooses the machine; the rest damages it.
pub fn run(data: &[u8]) {
    machines::run_on(beds(), data, ask);
}

/// The undamaged machines.
pub fn seeds() -> Vec<Vec<u8>> {
    machines::untouched(beds().len())
}

fn ask(path: &Path) {
    let engine = match Engine::open(path, &options()) {
        Ok(engine) => engine,
        Err(why) => return shown::check(&why.to_string()),
    };
    let index = engine.index(Arc::default()).unwrap();
    // A walk that panics normally costs only a window and leaves a note; here it is a failure.
    let lost = |note: &&String| note.contains("could not be walked");
    assert_eq!(index.notes.iter().find(lost), None);
    accounts(&engine);
    let mut tags: Vec<Tag> = engine.trackers().rows.iter().map(|row| row.tag).collect();
    tags.sort_by_key(|tag| std::cmp::Reverse(index.blocks(*tag).len()));
    tags.truncate(2);
    tags.extend(Tag::of("Leak"));
    for tag in tags {
        of_tag(&engine, &index, tag);
    }
    let diagnosis = engine.diagnose(&index);
    say(&engine, &Diagnose::of(&engine, &diagnosis));
    if let Ok(drivers) = engine.drivers(None) {
        say(&engine, &DriversReport::of(&drivers));
    }
    std::hint::black_box(engine.services(&index));
}

fn accounts(engine: &Engine) {
    say(engine, &Info::of(&engine.info()));
    say(engine, &Vm::of(engine.vm()).with_sources(true));
    say(engine, &Modules::of(&engine.modules(None)));
    say(
        engine,
        &Symbols::of(&engine.facts().symbols, &engine.pdbs(true)),
    );
    let selection = Selection {
        sort: Sort::Nonpaged,
        verbose: true,
        session: false,
        top: None,
        pattern: TagPattern::any(),
    };
    for trackers in [engine.trackers(), engine.session_trackers()] {
        if let Ok(used) = Used::of(trackers, engine.descriptions(), &selection) {
            say(engine, &PoolUsed::of(&used));
        }
    }
}

fn of_tag(engine: &Engine, index: &Snapshot, tag: Tag) {
    let pattern = TagPattern::of(tag);
    say(engine, &Allocs::of(&engine.allocs(index, &pattern, true)));
    say(engine, &Refs::of(&engine.tag_references(tag)));
    let question = Question {
        tag,
        pool: None,
        size: None,
        sample: 200,
    };
    let census = engine.contents(index, question, &|| true, &Progress::default());
    if let Ok(Some(census)) = census {
        say(engine, &Contents::of(&census));
    }
    if let Some(objects) = engine.objects(index, tag, 200, &|| true) {
        say(engine, &ObjectsReport::of(&objects));
    }
    let blocks = index.blocks(tag);
    for at in [0, blocks.len() / 2] {
        let Some(block) = blocks.get(at) else {
            continue;
        };
        if let Ok(page) = engine.pool_page(Va(block.va.0)) {
            say(engine, &Page::of(&page, engine.descriptions()));
        }
    }
}

/// Writes an answer in each form.
fn say(engine: &Engine, answer: &impl Answer) {
    let mut out = Vec::new();
    for format in [Format::Text, Format::Markdown, Format::Csv, Format::Json] {
        out.clear();
        report::write(engine, answer, format, &mut out).unwrap();
        shown::check_lines(&out);
        if format == Format::Json {
            serde_json::from_slice::<serde_json::Value>(&out).expect("an answer is JSON");
        }
    }
}
