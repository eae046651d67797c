use super::*;
use crate::symbols::{LoadOptions, PdbId, Source, SymbolPath, Symbols};

fn kernels() -> Kernels {
    serde_json::from_str(KERNELS).unwrap()
}

fn id(key: &str) -> PdbId {
    let byte = |i: usize| u8::from_str_radix(&key[i * 2..i * 2 + 2], 16).unwrap();
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    PdbId {
        name: "ntkrnlmp.pdb".into(),
        guid: order.map(byte),
        age: u32::from_str_radix(&key[32..], 16).unwrap(),
    }
}

fn load(key: Option<&str>, build: u32, revision: Option<u32>) -> Symbols {
    let options = LoadOptions { revision };
    let id = key.map(id);
    Symbols::load(id.as_ref(), build, &SymbolPath::default(), options).symbols
}

#[test]
fn the_tables_are_complete_and_in_order() {
    let all = kernels();
    assert_eq!(all.symbols.len(), 52);
    assert_eq!(all.kernels.len(), 213);
    for (key, listed) in &all.kernels {
        let Listed(version, rvas) = serde_json::from_str(listed.get()).unwrap();
        assert_eq!(rvas.len(), all.symbols.len(), "{key}");
        assert!(
            key.len() >= 33
                && key
                    .bytes()
                    .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_lowercase())
        );
        assert_eq!(&id(key).key(), key);
        let (build, _) = Kernel::find(key).unwrap().build_and_revision().unwrap();
        assert!(version.starts_with("10.0.") || build < 10_000, "{version}");
    }
    let order: Vec<_> = ASSETS.iter().map(|a| (a.build, a.revision)).collect();
    assert!(order.is_sorted());
    for asset in &ASSETS {
        let layouts = parse(asset.json).unwrap();
        assert!(!layouts.types.is_empty());
        assert!(asset.key.is_empty() || all.kernels.contains_key(asset.key));
    }
}

#[test]
fn a_known_kernel_has_addresses_without_a_pdb() {
    for (key, version, tracker, big) in [
        (
            "339E74133576439CBCDF7E0229DA37731",
            "6.1.7601.24540",
            0x210F88,
            0x210F60,
        ),
        (
            "BBED7C2955FBE4522AAA23F4B8677AD91",
            "10.0.19041.329",
            0xC16828,
            0xC16858,
        ),
        (
            "0CE4A95C0CD782A7596B034D8648E5851",
            "10.0.22000.2538",
            0xC157D8,
            0xC157B8,
        ),
    ] {
        let symbols = load(Some(key), 1, None);
        let source = Source::BuiltIn {
            version: version.into(),
        };
        assert_eq!(symbols.source(), &source, "{key}");
        assert_eq!(symbols.rva("PoolTrackTable"), Some(tracker), "{key}");
        assert_eq!(symbols.rva("PoolBigPageTable"), Some(big), "{key}");
        assert_eq!(symbols.nearest(tracker), Some(("PoolTrackTable".into(), 0)));
        assert_eq!(symbols.nearest(tracker + 1), None);
        assert_eq!(symbols.rva("NoSuchSymbol"), None);
        assert_eq!(symbols.field("_POOL_HEADER", "PoolTag").unwrap().offset, 4);
        assert_eq!(symbols.type_origin("_POOL_HEADER"), "built-in");
    }
}

#[test]
fn a_symbol_that_a_kernel_lacks_has_no_address() {
    let symbols = load(Some("339E74133576439CBCDF7E0229DA37731"), 7601, None);
    for name in ["MiState", "ExPoolState", "ExAllocatePool2"] {
        assert_eq!(symbols.rva(name), None, "{name}");
    }
}

#[test]
fn any_difference_in_the_identity_means_another_kernel() {
    let mut other = id("339E74133576439CBCDF7E0229DA37731");
    other.age = 2;
    let loaded = Symbols::load(
        Some(&other),
        7601,
        &SymbolPath::default(),
        LoadOptions::default(),
    );
    assert_eq!(loaded.symbols.source(), &Source::Layout { build: 7601 });
    assert_eq!(loaded.symbols.rva("PoolTrackTable"), None);
    assert_eq!(loaded.symbols.type_origin("_POOL_HEADER"), "nearest build");
    assert_eq!(loaded.symbols.type_origin("_NO_TYPE"), "unknown");
}

#[test]
fn a_revision_selects_the_layout_of_a_build() {
    let vs = |build, revision| {
        let tables = Tables::nearest(build, revision);
        tables.field("_MI_SYSTEM_INFORMATION", "Vs").unwrap().offset
    };
    assert_eq!(vs(19041, Some(329)), 0x25C0);
    assert_eq!(vs(19041, Some(507)), 0x25C0);
    assert_eq!(vs(19041, Some(508)), 0x2600);
    assert_eq!(vs(19041, None), 0x2600);
    // Later releases of the same kernel appeared after that update.
    assert_eq!(vs(19045, Some(1)), 0x2600);
    // The identity has priority over the version in the dump.
    let early = load(Some("BBED7C2955FBE4522AAA23F4B8677AD91"), 19045, None);
    assert_eq!(
        early.field("_MI_SYSTEM_INFORMATION", "Vs").unwrap().offset,
        0x25C0
    );
}

#[test]
fn an_unknown_build_uses_the_nearest_lower_build() {
    for (build, known) in [
        (2600, 3790),
        (3790, 3790),
        (5384, 3790),
        (6000, 7601),
        (6002, 7601),
        (7600, 7601),
        (7601, 7601),
        (9200, 7601),
        (17134, 14393),
        (18326, 18362),
        (18363, 18362),
        (19045, 19041),
        (22631, 22621),
        (26200, 26100),
        (u32::MAX, 26100),
    ] {
        assert_eq!(Tables::nearest(build, None).build, known, "{build}");
        assert_eq!(
            load(None, build, None).source(),
            &Source::Layout { build: known }
        );
    }
}

#[test]
fn every_build_has_the_types_that_pool_needs() {
    for asset in &ASSETS {
        let tables = Tables::nearest(asset.build, Some(asset.revision));
        for (ty, field) in [
            ("_POOL_HEADER", "PoolTag"),
            ("_POOL_HEADER", "BlockSize"),
            ("_POOL_TRACKER_TABLE", "Key"),
            ("_POOL_TRACKER_BIG_PAGES", "Va"),
            ("_LIST_ENTRY", "Flink"),
        ] {
            assert!(
                tables.field(ty, field).is_some(),
                "{} {ty}.{field}",
                asset.build
            );
        }
        assert_eq!(tables.size_of("_POOL_HEADER"), Some(16), "{}", asset.build);
        assert_eq!(tables.field("_POOL_HEADER", "."), None);
    }
}

#[test]
fn a_pdb_answers_for_its_own_types_and_the_tables_for_the_others() {
    use crate::symbols::fixture;
    let directory = tempfile::TempDir::new().unwrap();
    fixture::put(&directory.path().join("driver.pdb"), fixture::PDB);
    let path = fixture::path(directory.path().to_str().unwrap());
    let loaded = Symbols::load(Some(&fixture::id()), 7601, &path, LoadOptions::default());
    let symbols = loaded.symbols;
    assert!(matches!(symbols.source(), Source::Pdb { .. }));
    assert_eq!(symbols.type_origin("_PS_ENTRY"), "pdb");
    assert_eq!(symbols.size_of("_PS_FRAME"), Some(70088));
    assert_eq!(symbols.enumerator("_PS_POOL", "PagedPool"), Some(1));
    assert_eq!(symbols.nearest(0x1025), Some(("PsStart".into(), 5)));
    assert_eq!(symbols.type_origin("_POOL_HEADER"), "nearest build");
    assert_eq!(symbols.rva("PoolTrackTable"), None);
}
