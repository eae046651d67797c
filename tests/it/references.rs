//! Every form in which a driver's code can use a tag, read back from a whole dump.

use poolscope::analysis::references::{Confidence, Reference, References, Role, Standing};
use poolscope::engine::{Engine, Options};
use poolscope::pool::Tag;
use poolscope::synth::call_shapes::CallShape;
use poolscope::synth::callers::{self, FORMS, IN_DATA, PLAIN};
use poolscope::synth::{Container, Machine};

fn engine() -> (tempfile::TempDir, Engine, Machine) {
    let machine = Machine::build(&callers::spec()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapKernel).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    (folder, engine, machine)
}

fn tag(bytes: &[u8; 4]) -> Tag {
    Tag::new(u32::from_le_bytes(*bytes))
}

/// The only reference to a tag.
fn only(found: &References) -> &Reference {
    assert_eq!(found.found.len(), 1, "{:#?}", found.found);
    &found.found[0]
}

#[test]
fn every_form_of_reference_is_recognised() {
    use Confidence::{Certain, Coincidence, Likely};
    let (_folder, engine, _) = engine();
    for (form, bytes) in FORMS {
        let (api, role, confidence, register) = match form {
            CallShape::Direct => (
                "NdisAllocateMemoryWithTagPriority",
                Role::Allocation,
                Certain,
                "r8d",
            ),
            CallShape::Copied => ("ExAllocatePoolWithTag", Role::Allocation, Certain, "ebx"),
            CallShape::Wrapper => ("ExAllocatePoolWithTag", Role::Allocation, Likely, "ecx"),
            CallShape::Pool2 => ("ExAllocatePool2", Role::Allocation, Certain, "r8d"),
            CallShape::Framework | CallShape::FrameworkRetpoline => {
                ("WdfMemoryCreate", Role::Allocation, Certain, "r9d")
            }
            CallShape::DriverConfig => ("WdfDriverCreate", Role::Structure, Certain, "[rsp+4Ch]"),
            CallShape::NetBufferPool => (
                "NdisAllocateNetBufferListPool",
                Role::Structure,
                Certain,
                "[rsp+48h]",
            ),
            CallShape::Lookaside => (
                "ExInitializeNPagedLookasideList",
                Role::Lookaside,
                Certain,
                "[rsp+28h]",
            ),
            CallShape::StorPort => ("StorPortExtendedFunction", Role::Allocation, Certain, "r9d"),
            CallShape::Filter => (
                "FltAllocatePoolAlignedWithTag",
                Role::Allocation,
                Certain,
                "r9d",
            ),
            CallShape::Comparison => ("", Role::Comparison, Likely, "[rcx]"),
            CallShape::ObjectReference => (
                "ObfReferenceObjectWithTag",
                Role::ObjectReference,
                Coincidence,
                "edx",
            ),
            CallShape::Displacement | CallShape::Split => ("", Role::Unknown, Coincidence, ""),
            CallShape::OtherImport => ("", Role::Unknown, Likely, "edx"),
            _ => ("ExAllocatePoolWithTag", Role::Allocation, Certain, "r8d"),
        };
        let found = engine.references(tag(bytes));
        let at = only(&found);
        let verdict = &at.verdict;
        let got = (
            verdict.api.as_deref().unwrap_or(""),
            verdict.role,
            verdict.confidence,
            verdict.register.as_deref().unwrap_or(""),
        );
        assert_eq!(
            got,
            (api, role, Some(confidence), register),
            "{form:?}: {verdict:#?}"
        );
        assert_eq!(at.in_code, *form != CallShape::Variable);
        let named = |f: &str| f.starts_with("forms+0x") || f.starts_with("forms!");
        assert!(verdict.function.as_deref().is_some_and(named), "{form:?}");
        assert!(!verdict.reason.is_empty());
    }
}

#[test]
fn pool_type_and_size_of_the_call_are_recognised() {
    let (_folder, engine, _) = engine();
    let told = |bytes: &[u8; 4]| {
        let found = engine.references(tag(bytes));
        let verdict = only(&found).verdict.clone();
        (verdict.pool.unwrap_or_default(), verdict.size)
    };
    assert_eq!(told(b"FmOp"), ("PagedPool".into(), Some(0x40)));
    assert_eq!(told(b"FmCp"), ("NonPagedPool".into(), Some(0x80)));
    assert_eq!(told(b"FmWr"), ("NonPagedPoolNx".into(), Some(0x40)));
    assert_eq!(told(b"FmP2"), ("POOL_FLAG_NON_PAGED".into(), Some(0x200)));
    assert_eq!(told(b"FmFw"), ("PagedPool".into(), Some(0x200)));
    assert_eq!(told(b"FmLa"), (String::new(), Some(0x80)));
    assert_eq!(told(b"FmFl"), ("PagedPool".into(), Some(0x400)));
}

#[test]
fn imports_without_names_are_identified_by_their_target() {
    let (_folder, engine, _) = engine();
    for (bytes, api) in PLAIN.iter().zip([
        "ExAllocatePoolWithTag",
        "ExAllocatePoolWithTag",
        "ExAllocatePoolWithTag",
        "ExFreePoolWithTag",
    ]) {
        let found = engine.references(tag(bytes));
        let verdict = &only(&found).verdict;
        assert_eq!(verdict.api.as_deref(), Some(api), "{verdict:#?}");
        assert_eq!(verdict.confidence, Some(Confidence::Certain));
        assert_eq!(found.modules[0].module_name, "plain");
    }
    // The second piece of a function is named after the first.
    let found = engine.references(tag(b"PlCh"));
    let at = only(&found);
    let plain = engine.kernel().modules.iter().find(|m| m.name() == "plain");
    let start = at.va.0 - plain.unwrap().base.0 - 11;
    let function = at.verdict.function.as_deref();
    assert_eq!(function, Some(format!("plain+{start:#x}").as_str()));
}

#[test]
fn structures_in_data_are_recognised() {
    let (_folder, engine, _) = engine();
    let [context, first, second, text] = IN_DATA;
    let contexts = engine.references(tag(&context));
    assert_eq!(contexts.found.len(), 2);
    for (r, size) in contexts.found.iter().zip([Some(0x90), None]) {
        assert_eq!(r.verdict.role, Role::Structure, "{r:#?}");
        assert_eq!(r.verdict.api.as_deref(), Some("FltAllocateContext"));
        assert_eq!(r.verdict.size, size);
    }
    for (bytes, size) in [(first, 0x80), (second, 0x140)] {
        let found = engine.references(tag(&bytes));
        let verdict = &only(&found).verdict;
        assert_eq!(verdict.role, Role::Lookaside);
        assert_eq!(verdict.confidence, Some(Confidence::Certain));
        assert_eq!(verdict.size, Some(size));
        assert!(verdict.reason.contains("allocations"), "{}", verdict.reason);
        assert_eq!(found.modules[0].standing, Standing::HasLookaside);
    }
    let found = engine.references(tag(&text));
    let verdict = &only(&found).verdict;
    assert_eq!(verdict.confidence, Some(Confidence::Coincidence));
    assert!(verdict.reason.contains("Some Text in a message"));
}

#[test]
fn the_frameworks_default_tag_is_attributed_only_to_its_driver() {
    let (_folder, engine, _) = engine();
    let found = engine.references(tag(&callers::DEFAULT));
    // The drivers' debug records still contain the bytes: `amdacpbus2.pdb`.
    assert_eq!(found.found.len(), 2);
    for r in &found.found {
        assert_eq!(r.verdict.confidence, Some(Confidence::Coincidence));
        assert!(r.verdict.reason.contains(".pdb"), "{}", r.verdict.reason);
    }
    let names: Vec<_> = found.default_of.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["amdacpbus2"]);
    let sentence = found.default_of[0].sentence();
    assert_eq!(sentence, "likely: default tag of driver amdacpbus2 (KMDF)");
    assert!(engine.references(tag(b"FmOp")).default_of.is_empty());
}

#[test]
fn one_pass_for_all_tags_equals_single_searches() {
    let (_folder, engine, machine) = engine();
    let tags: Vec<Tag> = machine.truth.tags.keys().map(tag).collect();
    let one_by_one: Vec<References> = tags.iter().map(|t| engine.references(*t)).collect();
    assert!(engine.references_found().is_none());
    assert!(engine.all_references(&|| false).is_none(), "given up");
    let survey = engine.all_references(&|| true).unwrap();
    let of_trackers: Vec<Tag> = engine.trackers().rows.iter().map(|row| row.tag).collect();
    assert!(of_trackers.iter().all(|tag| survey.covers(*tag)));
    for (tag, before) in tags.iter().zip(&one_by_one) {
        let after = engine.references(*tag);
        assert_eq!(after.found, before.found, "{tag}");
        assert_eq!(after.modules, before.modules, "{tag}");
        assert_eq!(after.pages_searched, before.pages_searched);
        assert_eq!(after.pages_missing, before.pages_missing);
    }
    // The tag list names modules that use a tag, without those that contain its bytes by
    // coincidence.
    let machine: &dyn poolscope::engine::Machine = &engine;
    let workers = machine.workers().unwrap();
    let users = machine.referenced_in(&workers, &|| true).unwrap();
    for (tag, before) in tags.iter().zip(&one_by_one) {
        let ranked = before.modules.iter();
        let ranked = ranked.filter(|m| m.standing < Standing::Unknown);
        let names: Vec<String> = ranked.map(|m| m.module_name.clone()).collect();
        assert_eq!(users.get(tag).cloned().unwrap_or_default(), names, "{tag}");
    }
}

/// Random bytes in the drivers' code, tables and headers.
#[test]
fn damaged_images_are_analysed_without_a_panic() {
    use std::time::{Duration, Instant};
    let machine = Machine::build(&callers::spec()).unwrap();
    let forms = machine.truth.modules.iter().find(|m| m.file == "forms.sys");
    let base = forms.unwrap().base;
    let mut seed = 7u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for round in 0..12 {
        let mut machine = machine.clone();
        for _ in 0..400 {
            // Half of the rounds keep the headers, so that the tables are still read.
            let from = if round % 2 == 0 { 0x1000 } else { 0 };
            let at = base.add(from + random(0xf000 - from));
            if machine.memory.frame(at).is_some() {
                let value = [0, 0xff, 0xe9, 0x80, 0x4c][random(5) as usize] ^ random(4) as u8;
                machine.memory.write(at, &[value]);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("MEMORY.DMP");
        machine.write(&path, Container::BitmapKernel).unwrap();
        let engine = Engine::open(&path, &Options::default()).unwrap();
        let start = Instant::now();
        for bytes in FORMS.iter().map(|f| f.1).chain(IN_DATA) {
            for r in engine.references(tag(&bytes)).found {
                assert!(!r.verdict.reason.is_empty());
            }
        }
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn references_beyond_the_list_limit_are_counted() {
    let mut spec = callers::spec();
    let forms = spec.modules.iter_mut().find(|m| m.file == "forms.sys");
    let many: Vec<u8> = b"Leak".iter().copied().cycle().take(4 * 2000).collect();
    let data = poolscope::synth::image::Data::Bytes(".text", 0x4000, many);
    forms.unwrap().data.push(data);
    let machine = Machine::build(&spec).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapKernel).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let before = engine.references(tag(b"Leak"));
    engine.all_references(&|| true).unwrap();
    for found in [before, engine.references(tag(b"Leak"))] {
        let forms = found.modules.iter().find(|m| m.module_name == "forms");
        assert_eq!(forms.unwrap().sites, 2000);
        let listed = found.found.iter().filter(|r| r.module_name == "forms");
        assert_eq!(listed.count(), 1024);
        let note = &found.notes[0];
        assert!(note.contains("2000 times: the first 1024"), "{note}");
    }
}
