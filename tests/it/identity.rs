//! Who made a driver and which version, read back from a whole dump.

use poolscope::engine::{Engine, Options};
use poolscope::kernel::identity::{Identity, LinkTime, VersionResource};
use poolscope::synth::image::Data;
use poolscope::synth::resource::Version;
use poolscope::synth::{Container, Machine, ModuleSpec, small};

/// A machine with a driver of which `data` is said.
fn identity(data: Vec<Data>) -> Identity {
    let mut spec = small::spec();
    let last = spec.modules.last().unwrap();
    let driver = ModuleSpec {
        file: "exbackup.sys".into(),
        base: last.base.add(0x100_0000),
        size: 0x1_8000,
        data,
        ..last.clone()
    };
    spec.modules.push(driver);
    let machine = Machine::build(&spec).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapKernel).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
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
fn the_stamp_of_a_reproducible_build_is_no_date() {
    let made = identity(vec![Data::Reproducible]);
    assert!(matches!(made.linked, Some(LinkTime::Hash(_))));
    assert_eq!(made.link_date(), None);
    assert_eq!(made.version, VersionResource::None);
}

#[test]
fn a_damaged_resource_tree_is_refused_with_the_reason() {
    let version = Version::new("A", "B", "C", [1, 0, 0, 0]);
    // The level of names leads back to the root; the data lies outside the image; the
    // tree has too many entries.
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
