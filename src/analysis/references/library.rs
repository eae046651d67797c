//! Code that is not a driver's own: libraries that Microsoft gives to driver writers as
//! objects to link. Their tags are the system's, and each driver that links them allocates
//! with them.
//!
//! wdmsec.lib (IoCreateDeviceSecure and its helpers) and rdbsslib.lib (the redirected
//! drive buffering system) come with the Windows Driver Kit; the tags are those that
//! pooltag.txt lists for the components which the same sources are part of.

use crate::pool::Tag;

/// A library: its name, its tags (`?` for any character), and the modules that are built
/// from the same sources, whose own the tags are.
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

/// The library that a module's code with this tag is likely a copy of.
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
    fn a_librarys_tags_are_its_owners_own_and_a_copy_in_others() {
        let tag = |text| Tag::of(text).unwrap();
        assert_eq!(copy_of(tag("SeSd"), "vendor"), Some("wdmsec.lib"));
        assert_eq!(copy_of(tag("SeSd"), "nt"), None);
        assert_eq!(copy_of(tag("RxNc"), "vendor"), Some("rdbsslib.lib"));
        assert_eq!(copy_of(tag("RxNc"), "RDBSS"), None);
        assert_eq!(copy_of(tag("Leak"), "vendor"), None);
    }
}
