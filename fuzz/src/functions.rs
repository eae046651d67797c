//! The analysis of functions: damages code, chained unwind data, jump tables, and the
//! import slots that calls go through.

use std::path::Path;
use std::sync::{Mutex, OnceLock};

use poolscope::analysis::TagSearch;
use poolscope::analysis::references::{self, Confidence, Survey, Targets};
use poolscope::kernel::sessions;
use poolscope::pool::Tag;
use poolscope::synth::callers;

use super::bed::{Bed, Place};
use super::locate::{self, Whole};
use super::machines;

fn beds() -> &'static [Mutex<Bed>] {
    static BEDS: OnceLock<Vec<Mutex<Bed>>> = OnceLock::new();
    BEDS.get_or_init(|| vec![machines::bed(&callers::spec(), groups)])
}

fn groups(whole: &Whole) -> Vec<Vec<Place>> {
    let modules = &whole.engine.kernel().modules;
    let mut out = Vec::new();
    for name in ["forms", "plain"] {
        let module = modules.iter().find(|m| m.name() == name).unwrap();
        let image = module.image.as_ref().unwrap();
        let memory = |rva: u32, size: u32| {
            whole.memory(module.base.add(rva.into()), u64::from(size).min(0x8000))
        };
        for section in &image.sections {
            out.push(memory(section.rva, section.size));
        }
        for (rva, size) in [image.exception_directory, image.import_slots]
            .into_iter()
            .flatten()
        {
            out.push(memory(rva, size));
        }
    }
    out.retain(|group| !group.is_empty());
    assert!(out.len() >= 8);
    out
}

/// Damages the drivers whose code uses tags.
pub fn run(data: &[u8]) {
    machines::run_on(beds(), data, ask);
}

/// The undamaged machine.
pub fn seeds() -> Vec<Vec<u8>> {
    machines::untouched(beds().len())
}

fn ask(path: &Path) {
    let Some(kernel) = locate::kernel(path) else {
        return;
    };
    let sessions = sessions::find(&kernel);
    let targets = Targets::of(&kernel, &sessions);
    let tag = |bytes: &[u8; 4]| Tag::new(u32::from_le_bytes(*bytes));
    let forms = callers::FORMS.iter().map(|form| tag(&form.1));
    let all = callers::PLAIN.iter().chain(&callers::IN_DATA).map(tag);
    let tags: Vec<Tag> = forms.chain(all).collect();
    let wanted = || true;
    let search = TagSearch::run(&kernel, &sessions, tags.iter().copied(), &wanted).unwrap();
    let survey = Survey::of(&kernel, &sessions, &targets, &search, &tags, &wanted).unwrap();
    for tag in tags {
        let found = survey.references(&kernel, &sessions, tag).unwrap();
        assert_eq!(found.ranked().len(), found.found.len());
        for place in &found.found {
            let verdict = &place.verdict;
            assert!(!verdict.reason.is_empty());
            // A reference is certain only if a function takes the tag.
            let certain = verdict.confidence == Some(Confidence::Certain);
            assert!(!certain || verdict.api.is_some() || !place.in_code);
            let lines = references::listing(&kernel, &sessions, &targets, place);
            assert!(lines.len() <= 80 && lines.iter().all(|line| !line.bytes.is_empty()));
        }
    }
}
