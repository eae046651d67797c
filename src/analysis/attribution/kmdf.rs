//! Tags that no image contains: those that the driver framework (KMDF) makes from a
//! driver's name.
//!
//! A driver that leaves `WDF_DRIVER_CONFIG.DriverPoolTag` zero gets the first four
//! characters of its service's name; a name that begins with "WDF", in whatever case,
//! gives the next four (documentation of WDF_DRIVER_CONFIG). Real drivers show that three
//! characters give a tag of three and a zero byte, and that fewer make it `FxDr`. The
//! service is usually named as the driver's file is, though not always in the same case;
//! the file's name is what a dump has of every driver.

use crate::analysis::references::framework;
use crate::kernel::Kernel;
use crate::kernel::modules::Module;
use crate::kernel::sessions::Sessions;
use crate::pool::Tag;

/// What the framework uses for a name that gives fewer than three characters.
const NAMELESS: &str = "FxDr";

/// A driver whose default tag this is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Candidate {
    /// Index into the kernel's modules.
    pub module: usize,
    /// The module's name, which is taken for its service's.
    pub name: String,
    /// True when it imports from the framework's loader; false when its imports are not
    /// in the dump.
    pub is_framework_driver: bool,
}

impl Candidate {
    /// As a sentence.
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

/// The default tag of a driver whose service has this name.
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

/// Tells two tags apart without the case of their letters: a driver's file and its service
/// may be written differently.
fn same_letters(a: Tag, b: Tag) -> bool {
    a.bytes().eq_ignore_ascii_case(&b.bytes())
}

/// The loaded drivers whose default tag this is: those known to use the framework or, without
/// any, those for which this is unknown.
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

/// Whether a driver is bound to the framework; `None` where the dump does not tell.
fn of_framework(kernel: &Kernel, sessions: &Sessions, module: &Module) -> Option<bool> {
    framework::is_driver(kernel, sessions.space_of(kernel, module), module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_the_documentation() {
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
