//! The published crate and packages: the crate has every file that its README refers to,
//! the packages have the outputs of the build, and the stated compiler version suits the
//! dependencies.

use std::fs;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manifest() -> toml::Table {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    text.parse().unwrap()
}

fn strings(value: &toml::Value) -> Vec<&str> {
    let list = value.as_array().unwrap();
    list.iter().map(|v| v.as_str().unwrap()).collect()
}

#[test]
fn files_linked_in_the_readme_are_in_the_crate() {
    let manifest = manifest();
    let included = strings(&manifest["package"]["include"]);
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut links = 0;
    for link in readme.split("](").skip(1) {
        let link = link.split([')', '#']).next().unwrap();
        if link.starts_with("https://") {
            continue;
        }
        links += 1;
        assert!(root().join(link).is_file(), "{link} is not there");
        let is_in = |place: &&str| {
            let place = place.trim_start_matches('/');
            link == place || place.ends_with('/') && link.starts_with(place)
        };
        assert!(included.iter().any(is_in), "{link} is not published");
    }
    assert!(links > 5);
    // The install instructions name the files of this version.
    let version = manifest["package"]["version"].as_str().unwrap();
    for file in [
        format!("poolscope_{version}-1_amd64.deb"),
        format!("poolscope-{version}-1.x86_64.rpm"),
    ] {
        assert!(readme.contains(&file), "{file}");
    }
}

#[test]
fn no_dependency_needs_a_newer_compiler() {
    if cfg!(windows) && env!("CARGO").starts_with('/') {
        // Built on another system, whose cargo does not run here.
        return;
    }
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["metadata", "--locked", "--offline", "--format-version=1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let version = |text: &str| -> Vec<u32> {
        let numbers = text.split('.').map(|n| n.parse().unwrap());
        numbers.collect()
    };
    let own = manifest();
    let own = version(own["package"]["rust-version"].as_str().unwrap());
    let mut asked = 0;
    for package in metadata["packages"].as_array().unwrap() {
        if let Some(theirs) = package["rust_version"].as_str() {
            asked += 1;
            let theirs = version(theirs);
            let two = &theirs[..theirs.len().min(2)];
            assert!(
                two <= own.as_slice(),
                "{} asks for {theirs:?}",
                package["name"]
            );
        }
    }
    assert!(asked > 50);
}

/// The templates of the package manifests use only placeholders that the release script
/// fills in, and only files that it builds.
#[test]
fn the_release_fills_in_all_placeholders_of_the_manifests() {
    let folder = root().join("assets/packaging");
    let script = fs::read_to_string(folder.join("release.py")).unwrap();
    let mut templates = 0;
    for manager in fs::read_dir(folder.join("manifests")).unwrap().flatten() {
        for file in fs::read_dir(manager.path()).unwrap().flatten() {
            templates += 1;
            let text = fs::read_to_string(file.path()).unwrap();
            for word in text.split("{{").skip(1) {
                let word = word.split("}}").next().unwrap();
                let known = match word.strip_prefix("SHA256 ") {
                    Some(target) => script.contains(&format!("    \"{target}\",\n")),
                    None => script.contains(&format!("\"{word}\": ")),
                };
                assert!(known, "{:?}: {word}", file.path());
            }
        }
    }
    assert_eq!(templates, 5);
}
