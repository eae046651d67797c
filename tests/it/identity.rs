//! The vendor and version of a driver, read back from a whole dump.

use poolscope::analysis::attribution::Certainty;
use poolscope::engine::{Engine, Options};
use poolscope::kernel::identity::{Identity, LinkTime, VersionResource};
use poolscope::memory::Va;
use poolscope::pool::Tag;
use poolscope::synth::era::WIN7;
use poolscope::synth::image::Data;
use poolscope::synth::legacy::{Allocation, Holds};
use poolscope::synth::resource::Version;
use poolscope::synth::{Container, Machine, small, truth};

/// The engine for a machine with a driver `exbackup.sys` that contains `data`.
fn engine(data: Vec<Data>) -> Engine {
    let mut spec = small::spec();
    let driver = spec.modules.last_mut().unwrap();
    driver.file = "exbackup.sys".into();
    driver.data.extend(data);
    let machine = Machine::build(&spec).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapKernel).unwrap();
    Engine::open(&path, &Options::default()).unwrap()
}

fn identity(data: Vec<Data>) -> Identity {
    let engine = engine(data);
    let kernel = engine.kernel();
    let module = kernel.modules.iter().find(|m| m.name() == "exbackup");
    Identity::read(&kernel.space, module.unwrap(), Some(1_900_000_000))
}

#[test]
fn a_version_resource_and_a_link_date_are_read() {
    let made = identity(vec![Data::Version(Version::new(
        "Example Software",
        "Example Backup",
        "Backup filter",
        [3, 2, 4120, 7],
    ))]);
    let VersionResource::Read(info) = &made.version else {
        panic!("{made:?}");
    };
    assert_eq!(info.company.as_deref(), Some("Example Software"));
    assert_eq!(info.product.as_deref(), Some("Example Backup"));
    assert_eq!(info.file_description.as_deref(), Some("Backup filter"));
    assert_eq!(info.file_version().as_deref(), Some("3.2.4120.7"));
    assert!(matches!(made.linked, Some(LinkTime::Date(_))));
}

#[test]
fn the_stamp_of_a_reproducible_build_is_not_a_date() {
    let made = identity(vec![Data::Reproducible]);
    assert!(matches!(made.linked, Some(LinkTime::Hash(_))));
    assert_eq!(made.link_date(), None);
    assert_eq!(made.version, VersionResource::None);
}

#[test]
fn a_damaged_resource_tree_is_refused_with_the_reason() {
    let version = Version::new("A", "B", "C", [1, 0, 0, 0]);
    // The name level points back to the root; the data is outside the image; the tree has
    // too many entries.
    let damage: [(u32, u32, &str); 3] = [
        (0x2c, 0x8000_0000, "more than three levels"),
        (0x48, 0x0fff_ff00, "outside the image"),
        (0x0c, 0xffff_ffff, "too large"),
    ];
    for (at, word, why) in damage {
        let broken = identity(vec![
            Data::Version(version.clone()),
            Data::Bytes(".rsrc", at, word.to_le_bytes().to_vec()),
        ]);
        match &broken.version {
            VersionResource::Malformed(text) => assert!(text.contains(why), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn modules_shows_the_vendor_in_json_and_text() {
    let engine = engine(vec![Data::Version(Version::new(
        "Example\u{202e} Software",
        "Example Backup",
        "Backup filter",
        [3, 2, 4120, 7],
    ))]);
    let base = engine
        .kernel()
        .modules
        .iter()
        .find(|m| m.name() == "exbackup");
    let answer = engine.modules(Some(base.unwrap().base));
    let report = poolscope::report::Modules::of(&answer);
    let json = serde_json::to_value(&report).unwrap();
    let row = &json["modules"][0];
    // A character that reverses the text direction never reaches a terminal.
    assert_eq!(row["company"], "Example. Software");
    assert_eq!(row["product"], "Example Backup");
    assert_eq!(row["file_version"], "3.2.4120.7");
    assert_eq!(row["file_description"], "Backup filter");
    assert!(
        row["linked"].as_str().unwrap().starts_with("2010-11-"),
        "{row}"
    );
    assert!(
        row["path"].as_str().unwrap().ends_with("exbackup.sys"),
        "{row}"
    );
    let mut text = Vec::new();
    poolscope::report::Answer::text(&report, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("FileVersion:      3.2.4120.7"), "{text}");
}

/// The former address of `abc3flt.sys`; nothing was loaded there later.
const GONE: u64 = 0xffff_f880_0a41_0000;

#[test]
fn an_unloaded_driver_is_a_suspect_if_blocks_point_to_it() {
    let mut spec = small::of_era(&WIN7);
    let pages = 0x1_0000;
    spec.runs = vec![(1, 0x9e), (0x100, pages)];
    spec.vm.physical_memory = 0x9e + pages;
    spec.vm.committed = pages;
    spec.vm.commit_limit = 2 * pages;
    spec.vm.nonpaged_max = pages;
    spec.options.gigabyte_page = false;
    spec.uptime = 50 * 3600 * 10_000_000;
    spec.unloaded
        .push(("abc3flt.sys".into(), Va(GONE), 0x1_b000));
    // The name of an unloaded driver is a block of pool too.
    spec.allocations = small::allocations(&spec);
    spec.allocations
        .extend((0..40_000).map(|_| Allocation::new(*b"Ab3x", truth::Pool::NonPaged, 0x400)));
    spec.options.holds.push(Holds {
        tag: *b"Ab3x",
        bytes: 0,
        words: vec![(0x18, GONE + 0x4410)],
    });
    let machine = Machine::build(&spec).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapFull).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Default::default()).unwrap();
    let tag = Tag::of("Ab3x").unwrap();
    let attribution = engine.attribution(tag, Some(&index));
    let owner = attribution.owners.best().unwrap();
    assert_eq!(owner.module, "abc3flt", "{:#?}", attribution.owners);
    assert_eq!(owner.certainty, Certainty::Likely);
    let identity = attribution.identity("abc3flt").unwrap();
    assert!(
        identity.phrase().starts_with("abc3flt.sys (unloaded 20"),
        "{}",
        identity.phrase()
    );
    // The list of drivers and the report agree.
    let drivers = engine.drivers(Some(&index)).unwrap();
    let row = drivers.rows.iter().find(|d| d.module == "abc3flt").unwrap();
    assert_eq!(row.identity.as_ref(), Some(identity));
    let report = poolscope::report::Diagnose::of(&engine, &engine.diagnose(&index));
    let mut text = Vec::new();
    poolscope::report::Answer::text(&report, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("Suspect: abc3flt (likely): abc3flt.sys (unloaded 20"),
        "{text}"
    );
    assert!(text.contains("a driver that has been unloaded"), "{text}");
}
