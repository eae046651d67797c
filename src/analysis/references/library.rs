//! Microsoft libraries that drivers link statically. Their tags belong to Windows, but each
//! driver that links a library allocates with them.
//!
//! wdmsec.lib (IoCreateDeviceSecure and its helpers) and rdbsslib.lib (the redirected drive
//! buffering subsystem) are part of the Windows Driver Kit. The tags are those that pooltag.txt
//! lists for the components built from the same sources.

use crate::pool::Tag;

/// A library: its name, its tags (`?` for any character), and the modules that are built from the
/// same sources and own the tags.
struct Library {
    name: &'static str,
    tags: &'static [&'static str],
    owners: &'static [&'static str],
}

const LIBRARIES: [Library; 2] = [
    Library {
        name: "wdmsec.lib",
        tags: &["SeSd", "SeAl", "SeTs", "PpUc", "PpRb"],
        owners: &["nt"],
    },
    Library {
        name: "rdbsslib.lib",
        tags: &["Rx??"],
        owners: &["rdbss"],
    },
];

fn matches(pattern: &str, tag: Tag) -> bool {
    let bytes = tag.bytes();
    pattern.len() == bytes.len()
        && pattern
            .bytes()
            .zip(bytes)
            .all(|(wanted, byte)| wanted == b'?' || wanted == byte)
}

/// The library that a module's code with this tag probably comes from.
pub fn copy_of(tag: Tag, module: &str) -> Option<&'static str> {
    let library = LIBRARIES.iter().find(|library| {
        let owner = |name: &&str| name.eq_ignore_ascii_case(module);
        library.tags.iter().any(|pattern| matches(pattern, tag))
            && !library.owners.iter().any(owner)
    })?;
    Some(library.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_librarys_tag_is_a_copy_except_in_its_owner() {
        let tag = |text| Tag::of(text).unwrap();
        assert_eq!(copy_of(tag("SeSd"), "vendor"), Some("wdmsec.lib"));
        assert_eq!(copy_of(tag("SeSd"), "nt"), None);
        assert_eq!(copy_of(tag("RxNc"), "vendor"), Some("rdbsslib.lib"));
        assert_eq!(copy_of(tag("RxNc"), "RDBSS"), None);
        assert_eq!(copy_of(tag("Leak"), "vendor"), None);
    }
}
