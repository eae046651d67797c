use std::path::{Path, PathBuf};

use super::*;
use crate::symbols::fixture::path;

fn dir(text: &str) -> Store {
    Store::Dir(text.into())
}

fn url(text: &str) -> Store {
    Store::Url(text.into())
}

fn chain(stores: &[Store]) -> Element {
    Element::Chain(stores.to_vec())
}

/// Each server with the directories that keep a copy of its files.
fn servers(path: &SymbolPath) -> Vec<(String, Vec<PathBuf>)> {
    let places = path.places().into_iter();
    places
        .filter_map(|place| match place.at {
            At::Server(url) => Some((url.to_string(), place.keep_in)),
            At::Local(_) => None,
        })
        .collect()
}

#[test]
fn every_documented_form_of_an_element_is_parsed() {
    let public = || url(PUBLIC_SERVER);
    for (text, element) in [
        ("/pdbs", Element::Dir("/pdbs".into())),
        (" \"/my pdbs\" ", Element::Dir("/my pdbs".into())),
        ("srv*/a", chain(&[dir("/a")])),
        (
            "SRV*/a*/b*https://s/x/",
            chain(&[dir("/a"), dir("/b"), url("https://s/x")]),
        ),
        ("srv*https://s", chain(&[Store::Default, url("https://s")])),
        ("srv**https://s", chain(&[Store::Default, url("https://s")])),
        ("srv**/share", chain(&[Store::Default, dir("/share")])),
        ("srv*/a*HTTP://s", chain(&[dir("/a"), url("HTTP://s")])),
        ("srv*", chain(&[Store::Default, public()])),
        (
            "symsrv*symsrv.dll*/a*https://s",
            chain(&[dir("/a"), url("https://s")]),
        ),
        ("SymSrv*ImageHlp.dll*/a", chain(&[dir("/a")])),
        ("cache*/c", Element::Cache(dir("/c"))),
        ("Cache*", Element::Cache(Store::Default)),
        ("https://s/x", chain(&[Store::Default, url("https://s/x")])),
        // A directory may have such a name.
        ("srv", Element::Dir("srv".into())),
        ("cache", Element::Dir("cache".into())),
    ] {
        assert_eq!(path(text).elements, [element], "{text}");
    }
}

#[test]
fn elements_are_separated_by_semicolons_and_empty_ones_are_ignored() {
    assert_eq!(path("").elements, []);
    assert_eq!(path(" ; ;;").elements, []);
    assert_eq!(path("/a;;srv*/b;cache*/c").elements.len(), 3);
}

#[test]
fn variables_are_replaced_before_anything_else() {
    let variable = |name: &str| (name == "LIST").then(|| "/a;srv*/b".to_string());
    let parsed = SymbolPath::parse_with("%LIST%*/c;%NONE%;100%", variable);
    assert_eq!(
        parsed.elements,
        [
            Element::Dir("/a".into()),
            chain(&[dir("/b"), dir("/c")]),
            Element::Dir("%NONE%".into()),
            Element::Dir("100%".into()),
        ]
    );
}

#[test]
fn files_are_kept_in_the_caches_and_stores_to_the_left() {
    let parsed = path("/flat;cache*/c;/other;srv*/a*/b*https://s;srv*/z");
    let kept: Vec<(PathBuf, Vec<PathBuf>)> = parsed
        .places()
        .into_iter()
        .filter_map(|place| match place.at {
            At::Local(path) => Some((path, place.keep_in)),
            At::Server(_) => None,
        })
        .collect();
    let paths = |texts: &[&str]| texts.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(
        kept,
        [
            ("/flat".into(), paths(&[])),
            ("/c".into(), paths(&[])),
            ("/other".into(), paths(&["/c"])),
            ("/a".into(), paths(&["/c"])),
            ("/b".into(), paths(&["/c", "/a"])),
            ("/z".into(), paths(&["/c"])),
        ]
    );
    assert_eq!(
        servers(&parsed),
        [("https://s".into(), paths(&["/c", "/a", "/b"]))]
    );
    assert_eq!(parsed.servers(), ["https://s"]);
    assert_eq!(parsed.first_store(), Some("/c".into()));
}

#[test]
fn a_server_after_a_cache_needs_no_store_of_its_own() {
    let parsed = path("cache*/c;srv*https://s");
    assert_eq!(servers(&parsed), [("https://s".into(), vec!["/c".into()])]);
}

#[cfg(not(windows))]
#[test]
fn a_windows_directory_elsewhere_means_the_default_store() {
    let parsed = path("srv*c:\\symbols*https://s");
    assert_eq!(parsed.directories(), Vec::<PathBuf>::new());
    let default: Vec<PathBuf> = default_store().into_iter().collect();
    assert_eq!(servers(&parsed), [("https://s".into(), default)]);
    assert_eq!(
        path("\\\\server\\symbols;d:/x;e:").directories(),
        Vec::<PathBuf>::new()
    );
    // A relative path with backslashes belongs to this system.
    assert_eq!(local_path("a\\b"), Some("a/b".into()));
    assert_eq!(local_path("/"), Some("/".into()));
}

#[test]
fn without_caches_keeps_only_named_stores() {
    let parsed = path("cache*/c;srv*https://s;srv**/a*https://t;/flat").without_caches();
    assert_eq!(parsed.directories(), [Path::new("/a"), Path::new("/flat")]);
    assert_eq!(
        servers(&parsed),
        [
            ("https://s".into(), Vec::new()),
            ("https://t".into(), vec!["/a".into()])
        ]
    );
}

#[test]
fn the_path_finds_a_file_stored_by_hand() {
    for (text, place) in [
        ("/flat;srv*/a*https://s", Some("/a".into())),
        ("/flat;/other", Some("/flat".into())),
        ("cache*/c;/flat", Some("/c".into())),
        ("https://s", default_store()),
        ("", None),
    ] {
        assert_eq!(path(text).first_store(), place, "{text}");
    }
    assert_eq!(path("https://s").without_caches().first_store(), None);
}

#[test]
fn the_default_path_has_no_server() {
    assert_eq!(SymbolPath::local_cache().servers(), Vec::<&str>::new());
    assert_eq!(SymbolPath::default().directories(), Vec::<PathBuf>::new());
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_valid_path(text in "[a-z/\\\\*;%: \"]{0,60}") {
        let parsed = path(&text);
        let _ = (parsed.places(), parsed.first_store());
        let _ = parsed.without_caches().places();
    }
}

#[test]
fn file_addresses_are_directories() {
    for (text, path) in [
        ("file:///srv/sym", "/srv/sym"),
        ("FILE://localhost/srv/my%20sym", "/srv/my sym"),
        ("file:///c:/sym", "c:/sym"),
        ("file://server/share/sym", "\\\\server\\share\\sym"),
    ] {
        let parsed = SymbolPath::parse_with(text, |_| None);
        assert_eq!(parsed.elements, [Element::Dir(path.into())], "{text}");
        let chain = SymbolPath::parse_with(&format!("srv*{text}"), |_| None);
        assert!(
            matches!(&chain.elements[..], [Element::Chain(stores)] if stores[0] == Store::Dir(path.into())),
            "{chain:?}"
        );
    }
}

#[test]
fn unset_variables_are_listed() {
    assert_eq!(unset_variables("%SYMBOLS%/x"), ["SYMBOLS"]);
    assert_eq!(unset_variables("c:/%A%/%B_2%"), ["A", "B_2"]);
    assert!(unset_variables("100%/my%20sym").is_empty());
}
