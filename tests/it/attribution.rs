//! The owner of a tag is the same in every list, report, command and file.

use std::sync::Arc;

use poolscope::analysis::attribution::Attribution;
use poolscope::engine::{Engine, IndexCache, Machine as Opened, Options, Selection, Sort};
use poolscope::evidence::{self, Choices, Evidence};
use poolscope::memory::Va;
use poolscope::pool::index::Snapshot;
use poolscope::pool::{Tag, TagPattern};
use poolscope::report::{self, DriversReport, PoolUsed, Refs};
use poolscope::synth::era::{Era, WIN7, WIN10_2004};
use poolscope::synth::legacy::{Allocation, Holds};
use poolscope::synth::truth::Pool;
use poolscope::synth::{Container, Machine, ModuleSpec, Spec, small};
use poolscope::tui::data::model::Model;
use serde_json::Value;

use crate::contents;

const DRIVER: u64 = 0xffff_f880_0180_0000;

fn driver(file: &str, nth: u64) -> ModuleSpec {
    ModuleSpec {
        file: file.into(),
        folder: "\\SystemRoot\\system32\\drivers\\",
        base: Va(DRIVER + nth * 0x10_0000),
        size: 0x8000,
        exports: Vec::new(),
        sites: Vec::new(),
        imports: Vec::new(),
        data: Vec::new(),
        names_in_init: false,
    }
}

/// A machine with four cases: a leak by a driver whose code contains its tag, a leak that
/// only block contents attribute, a tag of the kernel that contents attribute to a filter,
/// and a tag that the tag list assigns to a driver that is not loaded.
fn leaking(era: &'static Era) -> Spec {
    let mut spec = small::of_era(era);
    let pages = 0x1_0000;
    spec.runs = vec![(1, 0x9e), (0x100, pages)];
    spec.vm.physical_memory = 0x9e + pages;
    spec.options.gigabyte_page = false;
    spec.modules.push(driver("amdacpbus2.sys", 0));
    spec.modules.push(driver("scanflt.sys", 1));
    spec.allocations = small::allocations(&spec);
    for (tag, count, bytes) in [
        (b"Leak", 9_000, 0x300),
        (b"Qx7z", 12_000, 0x160),
        (b"Se  ", 12_000, 0x160),
        (b"AfdB", 9_000, 0x200),
    ] {
        for _ in 0..count {
            spec.allocations
                .push(Allocation::new(*tag, Pool::NonPaged, bytes));
        }
    }
    let points = |tag, offset, at| Holds {
        tag,
        bytes: 0,
        words: vec![(offset, at)],
    };
    spec.options.holds = vec![
        points(*b"Qx7z", 0xb0, DRIVER + 0x2468),
        points(*b"Se  ", 0x40, DRIVER + 0x10_0000 + 0x1230),
    ];
    spec.options.unfreed = vec![*b"Leak", *b"Qx7z", *b"Se  ", *b"AfdB"];
    spec
}

fn json(machine: &Engine, answer: &impl report::Answer) -> Value {
    let mut out = Vec::new();
    report::write(machine, answer, report::Format::Json, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

struct Made {
    engine: Engine,
    index: Snapshot,
    all: Vec<(Tag, Arc<Attribution>)>,
}

impl Made {
    fn of(&self, tag: &Value) -> &Attribution {
        let wanted = tag.as_str().unwrap();
        let hex = |tag: &Tag| format!("0x{:08x}", tag.value());
        let found = self.all.iter().find(|(tag, _)| hex(tag) == wanted);
        &found.unwrap_or_else(|| panic!("{wanted}")).1
    }

    fn report(&self) {
        let found = self.engine.diagnose(&self.index);
        for finding in &found.findings {
            let own = self.engine.attribution_made(finding.tag()).unwrap();
            assert_eq!(finding.attribution, own, "{}", finding.tag());
        }
        let answer = json(&self.engine, &report::Diagnose::of(&self.engine, &found));
        for finding in answer["findings"].as_array().unwrap() {
            let own = self.of(&finding["tag_hex"]);
            assert_eq!(text(&finding["allocator"]), own.allocator());
            let ranked = finding["owners"].as_array().unwrap();
            let first = own.owners.ranked.first();
            assert_eq!(
                ranked.first().and_then(|o| o["module"].as_str()),
                first.map(|o| o.module.as_str())
            );
            assert_eq!(
                ranked.first().and_then(|o| o["confidence"].as_str()),
                first.map(|o| o.certainty.word())
            );
        }
        for top in answer["top"].as_object().unwrap().values() {
            for row in top.as_array().unwrap() {
                let own = self.of(&row["tag_hex"]);
                assert_eq!(text(&row["owner"]), own.owner_words().as_deref());
                assert_eq!(text(&row["allocator"]), own.allocator());
            }
        }
    }

    fn drivers(&self) {
        let drivers = self.engine.drivers(Some(&self.index)).unwrap();
        let answer = json(&self.engine, &DriversReport::of(&drivers));
        let mut seen = 0;
        let rows = answer["drivers"].as_array().unwrap().iter();
        for row in rows.chain([&answer["unowned"]]) {
            for tag in row["tags"].as_array().unwrap() {
                let best = self.of(&tag["tag_hex"]).owners.best();
                assert_eq!(text(&row["module"]), best.map(|o| o.module.as_str()));
                assert_eq!(text(&tag["confidence"]), best.map(|o| o.certainty.word()));
                seen += 1;
            }
        }
        assert!(seen > 10, "{seen}");
    }

    fn commands(&self) {
        let asked = |pattern| Selection {
            sort: Sort::Tag,
            verbose: false,
            session: false,
            top: None,
            pattern,
        };
        let used = self.engine.pool_used(&asked(TagPattern::any())).unwrap();
        let answer = json(&self.engine, &PoolUsed::of(&used));
        for (tag, own) in &self.all {
            let hex = format!("0x{:08x}", tag.value());
            let one = self.engine.pool_used(&asked(TagPattern::of(*tag))).unwrap();
            let one = json(&self.engine, &PoolUsed::of(&one));
            let rows = answer["tags"].as_array().unwrap().iter();
            for row in rows.chain(one["tags"].as_array().unwrap()) {
                if row["tag_hex"].as_str() != Some(&hex) {
                    continue;
                }
                assert_eq!(text(&row["owner"]), own.owner_words().as_deref(), "{tag}");
                assert_eq!(text(&row["allocator"]), own.allocator(), "{tag}");
                let listed = self.engine.descriptions().get(*tag);
                let listed = listed.and_then(|d| d.binary.clone());
                assert_eq!(text(&row["binary"]), listed.as_deref(), "{tag}");
            }
            let machine: &dyn Opened = &self.engine;
            let references = machine.tag_references(*tag);
            let answer = json(&self.engine, &Refs::of(&references));
            assert_eq!(text(&answer["owner"]), own.owner_words().as_deref());
            assert_eq!(text(&answer["allocator"]), own.allocator());
        }
    }

    fn screens(&self) {
        let workers = self.engine.background_workers().unwrap();
        let index = Some(&self.index);
        let machine: &dyn Opened = &self.engine;
        let owners = machine.attributions(&workers, index, &|| true).unwrap();
        let mut model = Model::of(machine);
        for row in &model.tags {
            // Until owners are known, the list shows the tag list's owner if that module is
            // loaded.
            if let Some(binary) = &row.binary {
                let binary = binary.trim_end_matches('?');
                let name = poolscope::analysis::attribution::suspects::listed_module(binary);
                let loaded = |m: &poolscope::tui::data::model::ModuleRow| {
                    !m.unloaded && m.name.eq_ignore_ascii_case(name)
                };
                assert!(model.modules.iter().any(loaded), "{binary} is not loaded");
            }
        }
        model.take_owners(&owners.iter().map(|(t, a)| (*t, a.column())).collect());
        for (tag, own) in &self.all {
            assert_eq!(&owners[tag], own);
            let row = model.tag(*tag).unwrap();
            match own.column() {
                none if none.is_empty() => assert_eq!(row.owner(), row.referenced_in.as_deref()),
                owner => assert_eq!(row.owner(), Some(owner.as_str())),
            }
        }
    }

    fn evidence(&self) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.evidence");
        evidence::write(&self.engine, &self.index, &path, &Choices::default()).unwrap();
        let kept = Evidence::open(&path, &Options::default()).unwrap();
        for (tag, own) in &self.all {
            assert_eq!(kept.attribution_made(*tag).as_ref(), Some(own), "{tag}");
        }
        let drivers = self.engine.drivers(Some(&self.index)).unwrap();
        assert_eq!(kept.by_driver(None).unwrap().rows.len(), drivers.rows.len());
        // An evidence file made from an evidence file has the same owners.
        let again = folder.path().join("again.evidence");
        let workers = kept.workers().unwrap();
        let owners = kept.attributions(&workers, None, &|| true).unwrap();
        assert_eq!(owners.len(), self.all.len());
        evidence::write(&kept, &self.index, &again, &Choices::default()).unwrap();
        let kept = Evidence::open(&again, &Options::default()).unwrap();
        for (tag, own) in &self.all {
            assert_eq!(kept.attribution_made(*tag).as_ref(), Some(own), "{tag}");
        }
    }
}

#[test]
fn every_answer_has_the_same_owner_for_every_tag() {
    for spec in [small::spec(), small::of_era(&WIN10_2004), leaking(&WIN7)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("MEMORY.DMP");
        let machine = Machine::build(&spec).unwrap();
        machine.write(&path, Container::BitmapFull).unwrap();
        let engine = Engine::open(&path, &Options::default()).unwrap();
        let index = engine.index(Arc::default()).unwrap();
        engine.drivers(Some(&index)).unwrap();
        let held = engine.trackers().rows.iter();
        let held = held.filter(|row| !(row.nonpaged.is_empty() && row.paged.is_empty()));
        let all = held.map(|row| (row.tag, engine.attribution(row.tag, Some(&index))));
        let made = Made {
            all: all.collect(),
            engine,
            index,
        };
        made.report();
        made.drivers();
        made.commands();
        made.screens();
        made.evidence();
    }
}

#[test]
fn all_answers_name_the_leaking_driver() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    let machine = Machine::build(&leaking(&WIN7)).unwrap();
    machine.write(&path, Container::BitmapFull).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::default()).unwrap();
    engine.diagnose(&index);
    let owner = |tag: &str| {
        let made = engine.attribution(Tag::of(tag).unwrap(), Some(&index));
        made.owners.best().map(|o| o.module.clone())
    };
    assert_eq!(owner("Leak").as_deref(), Some("leaker"));
    assert_eq!(owner("Qx7z").as_deref(), Some("amdacpbus2"));
    assert_eq!(owner("Se  ").as_deref(), Some("scanflt"));
    // The tag list names afd.sys, which this machine does not have.
    assert_eq!(owner("AfdB"), None);
}

/// The answers of a later command: a new process that has only the cache.
fn later(path: &std::path::Path, cache: &std::path::Path, tag: Tag) -> [Value; 2] {
    let options = Options {
        cache: IndexCache::In(cache.into()),
        ..Options::default()
    };
    let engine = Engine::open(path, &options).unwrap();
    let machine: &dyn Opened = &engine;
    let selection = Selection {
        pattern: TagPattern::of(tag),
        ..Selection::default()
    };
    let used = json(
        &engine,
        &PoolUsed::of(&machine.pool_used(&selection).unwrap()),
    );
    let references = machine.tag_references(tag);
    [
        json(&engine, &Refs::of(&references)),
        used["tags"][0].clone(),
    ]
}

/// If block contents decide the owner, a command that does not walk the pool takes them
/// from the cached index of an earlier command, or says that contents were not read.
#[test]
fn no_command_names_another_owner_than_the_report() {
    let decided = Machine::build(&leaking(&WIN10_2004)).unwrap();
    for (machine, tags) in [
        (decided, ["Qx7z", "Se  ", "Leak"]),
        (contents::pinned(&WIN7), ["Zqsc", "Toke", "File"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("MEMORY.DMP");
        let cache = folder.path().join("cache");
        machine.write(&path, Container::BitmapFull).unwrap();
        let mut unread = Vec::new();
        for name in tags {
            for answer in later(&path, &cache, Tag::of(name).unwrap()) {
                assert_eq!(answer["contents_read"], Value::Bool(false), "{answer}");
                unread.push(answer["owner"].clone());
            }
        }
        let options = Options {
            cache: IndexCache::In(cache.clone()),
            ..Options::default()
        };
        let engine = Engine::open(&path, &options).unwrap();
        let index = engine.index(Arc::default()).unwrap();
        // Asked before the findings are made, as the preview of a tag does.
        let before: Vec<_> = tags
            .map(|name| engine.attribution(Tag::of(name).unwrap(), Some(&index)))
            .into();
        engine.diagnose(&index);
        assert_eq!(engine.keep_index(&index), None);
        let mut read = Vec::new();
        for (name, before) in tags.iter().zip(before) {
            let tag = Tag::of(name).unwrap();
            let own = engine.attribution_made(tag).unwrap();
            assert_eq!(before, own, "{name}");
            for answer in later(&path, &cache, tag) {
                assert_eq!(text(&answer["owner"]), own.owner_words().as_deref());
                assert_eq!(text(&answer["allocator"]), own.allocator());
                assert_eq!(answer["contents_read"], Value::Bool(true), "{answer}");
                read.push(answer["owner"].clone());
            }
        }
        assert_ne!(read, unread, "the owner depends on block contents");
    }
}
