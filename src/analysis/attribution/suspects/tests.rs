use super::*;
use crate::analysis::attribution::kmdf::Candidate as Framework;
use crate::analysis::references::Role;

fn module(name: &str, standing: Standing) -> ModuleRank {
    ModuleRank {
        module: 0,
        module_name: name.into(),
        standing,
        role: Role::Allocation,
        confidence: Some(Confidence::Certain),
        sites: 2,
        best_sites: 2,
        pages_readable: 1,
        pages: 1,
        note: None,
        library: None,
    }
}

fn references(modules: Vec<ModuleRank>) -> References {
    let mut out = References::default();
    out.modules = modules;
    out
}

fn listed(binary: &str) -> Description {
    Description {
        text: "something".into(),
        binary: Some(binary.into()),
        pattern: None,
    }
}

fn owners(tag: &str, found: &References, list: Option<&Description>, loaded: bool) -> Owners {
    fuse(&Signs {
        tag: Tag::of(tag).unwrap(),
        references: found,
        description: list,
        loaded: &|_| loaded.then_some(0),
        services: &[],
        census: None,
        callers: &[],
    })
}

fn best(owners: &Owners) -> Option<(&str, Certainty)> {
    owners.best().map(|o| (o.module.as_str(), o.certainty))
}

#[test]
fn code_that_allocates_is_the_owner_and_a_coincidence_is_not() {
    let found = references(vec![
        module("myfault", Standing::Allocates),
        module("ndis", Standing::Coincidence),
        module("other", Standing::Compares),
    ]);
    let owners = owners("Leak", &found, None, true);
    assert_eq!(best(&owners), Some(("myfault", Certainty::Certain)));
    assert_eq!(owners.allocator.as_deref(), Some("myfault"));
    assert_eq!(
        owners.ranked[0].reasons,
        ["its code allocates with the tag (2 call sites)"]
    );
    assert_eq!(owners.ranked.len(), 1);
    assert_eq!(owners.rejected.len(), 2);
    assert!(owners.rejected[0].1.contains("coincidental"));
    assert!(owners.rejected[1].1.contains("no call takes it"));
}

#[test]
fn a_tag_in_no_image_probably_belongs_to_the_framework_driver_with_that_name() {
    let mut found = references(Vec::new());
    found.default_of = vec![Framework {
        module: 3,
        name: "amdacpbus2".into(),
        is_framework_driver: true,
    }];
    let owners = owners("amda", &found, None, true);
    assert_eq!(best(&owners), Some(("amdacpbus2", Certainty::Likely)));
    assert_eq!(owners.allocator.as_deref(), Some("Wdf01000"));
}

#[test]
fn the_list_counts_only_for_loaded_modules() {
    let nothing = references(Vec::new());
    let list = listed("netvsc.sys");
    let here = owners("netv", &nothing, Some(&list), true);
    assert_eq!(here.best().unwrap().module, "netvsc");
    let gone = owners("netv", &nothing, Some(&list), false);
    assert_eq!(gone.best(), None);
    assert_eq!(gone.allocator, None);
    assert!(gone.rejected[0].1.contains("not loaded"));
    let kernel = owners("Thre", &nothing, Some(&listed("nt!ps")), true);
    assert_eq!(kernel.best().unwrap().module, "nt");
}

#[test]
fn a_static_librarys_copy_does_not_outrank_the_listed_owner() {
    let found = references(vec![
        module("thirdp", Standing::Allocates),
        module("nt", Standing::MayAllocate),
    ]);
    let list = listed("nt!se");
    let owners = owners("SeSd", &found, Some(&list), true);
    assert_eq!(owners.ranked[0].module, "nt");
    assert_eq!(owners.allocator.as_deref(), Some("nt"));
    let copy = owners.ranked.iter().find(|o| o.module == "thirdp").unwrap();
    assert_eq!(copy.certainty, Certainty::Possible);
    assert!(copy.reasons[1].contains("static library"));
    assert!(
        owners
            .ranked
            .iter()
            .all(|o| o.certainty > Certainty::Certain)
    );
}

#[test]
fn a_listed_owner_without_references_outranks_a_copy() {
    let found = references(vec![module("thirdp", Standing::Allocates)]);
    let list = listed("rdbss.sys");
    let owners = owners("RxIr", &found, Some(&list), true);
    assert_eq!(owners.ranked[0].module, "rdbss");
    assert_eq!(owners.ranked[1].certainty, Certainty::Possible);
}

#[test]
fn a_shared_tag_identifies_no_owner() {
    let found = references(vec![module("one", Standing::Allocates)]);
    let default = owners("Ddk ", &found, None, true);
    assert_eq!(default.best(), None);
    assert_eq!(default.ranked[0].certainty, Certainty::Possible);
    assert!(default.notes[0].contains("identifies no driver"));
    let two = references(["a", "b"].map(|n| module(n, Standing::Allocates)).to_vec());
    let shared = owners("Many", &two, None, true);
    assert_eq!(shared.best(), None);
    assert_eq!(shared.shared_by, ["a", "b"]);
    assert_eq!(shared.allocator, None);
    assert!(shared.notes[0].contains("shared by a, b"));
}

#[test]
fn the_driver_that_pins_blocks_outranks_their_allocator() {
    let found = references(vec![module("nt", Standing::Allocates)]);
    let mut owners = owners("File", &found, Some(&listed("nt!io")), true);
    owners.take_pinner("filter", "its blocks point at them".into());
    assert_eq!(best(&owners), Some(("filter", Certainty::Likely)));
    assert_eq!(owners.ranked[1].certainty, Certainty::Likely);
    assert_eq!(owners.allocator.as_deref(), Some("nt"));
}

#[test]
fn a_listed_binary_gives_the_module_name() {
    for (binary, module) in [
        ("nt!ps", "nt"),
        ("netvsc.sys", "netvsc"),
        ("WIN32K.SYS", "WIN32K"),
        ("hal.dll", "hal"),
        ("a.sys, b.sys", "a"),
    ] {
        assert_eq!(listed_module(binary), module);
    }
}
