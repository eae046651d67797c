//! Tags that no image contains: the driver framework (KMDF) derives them from a driver's name.
//!
//! If a driver leaves `WDF_DRIVER_CONFIG.DriverPoolTag` zero, its tag is the first four
//! characters of its service name; if the name begins with "WDF" in any case, the next four
//! (documentation of WDF_DRIVER_CONFIG). Observation of real drivers: three characters give a tag
//! of three characters and a zero byte; fewer give `FxDr`. The service usually has the name of
//! the driver's file, possibly in another case. A dump has the file name of every driver.

use crate::analysis::references::framework;
use crate::kernel::Kernel;
use crate::kernel::modules::Module;
use crate::kernel::sessions::Sessions;
use crate::pool::Tag;

/// The framework's tag for names with fewer than three characters.
const NAMELESS: &str = "FxDr";

/// A driver whose default tag this is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Candidate {
    /// Index in the kernel's module list.
    pub module: usize,
    /// The module name, used as the service name.
    pub name: String,
    /// True if it imports from the framework's loader; false if its imports are not in the dump.
    pub is_framework_driver: bool,
}

impl Candidate {
    /// The finding as a sentence.
    pub fn sentence(&self) -> String {
        match self.is_framework_driver {
            true => format!("likely: default tag of driver {} (KMDF)", self.name),
            false => format!(
                "possible: default tag of driver {} if it is a KMDF driver (its imports are not \
                    in the dump)",
                self.name
            ),
        }
    }
}

/// The default tag for a service name.
pub fn default_tag(service: &str) -> Option<Tag> {
    let has_prefix = service
        .get(..3)
        .is_some_and(|p| p.eq_ignore_ascii_case("wdf"));
    let name = if has_prefix {
        service.get(3..)?
    } else {
        service
    };
    if !name.is_ascii() {
        return None;
    }
    match name.as_bytes() {
        [a, b, c, d, ..] => Some(Tag::new(u32::from_le_bytes([*a, *b, *c, *d]))),
        [a, b, c] => Some(Tag::new(u32::from_le_bytes([*a, *b, *c, 0]))),
        _ => Tag::of(NAMELESS),
    }
}

/// Compares two tags without case, because a driver's file and its service may differ in case.
fn same_letters(a: Tag, b: Tag) -> bool {
    a.bytes().eq_ignore_ascii_case(&b.bytes())
}

/// The loaded drivers with this default tag: those that use the framework; if there are none,
/// those for which this is unknown.
pub fn candidates(kernel: &Kernel, sessions: &Sessions, tag: Tag) -> Vec<Candidate> {
    if Tag::of(NAMELESS) == Some(tag) {
        return Vec::new();
    }
    let loaded = kernel.modules.iter().enumerate();
    let named = loaded.filter(|(_, m)| !m.unloaded && !m.is_kernel && m.file.is_some());
    let mut out: Vec<Candidate> = named
        .filter(|(_, m)| default_tag(&m.name()).is_some_and(|of| same_letters(of, tag)))
        .filter_map(|(module, m)| {
            Some(Candidate {
                module,
                name: m.name(),
                is_framework_driver: match of_framework(kernel, sessions, m) {
                    Some(true) => true,
                    Some(false) => return None,
                    None => false,
                },
            })
        })
        .collect();
    if out.iter().any(|c| c.is_framework_driver) {
        out.retain(|c| c.is_framework_driver);
    }
    let exact = |c: &Candidate| default_tag(&c.name) == Some(tag);
    if out.iter().any(exact) {
        out.retain(exact);
    }
    out
}

/// True if a driver uses the framework; `None` if the dump does not show it.
fn of_framework(kernel: &Kernel, sessions: &Sessions, module: &Module) -> Option<bool> {
    framework::is_driver(kernel, sessions.space_of(kernel, module), module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_tags_follow_the_documented_rule() {
        let is = |service, tag| assert_eq!(default_tag(service), Tag::of(tag), "{service}");
        is("amdacpbus2", "amda");
        is("WdfSampleDriver", "Samp");
        is("ab", "FxDr");
        is("wdfab", "FxDr");
        is("wdf", "FxDr");
        let three = Some(Tag::new(u32::from_le_bytes(*b"abc\0")));
        assert_eq!(default_tag("abc"), three);
        assert_eq!(default_tag("wDfabc"), three);
        assert_ne!(
            default_tag("abc"),
            Tag::of("abc"),
            "not padded with a blank"
        );
        let upper = Tag::of("AMDA").unwrap();
        assert!(same_letters(upper, default_tag("amdacpbus2").unwrap()));
        assert!(!same_letters(upper, default_tag("amdkmdag").unwrap()));
        assert_eq!(default_tag("w\u{e4}rme"), None);
    }
}
