//! Tags that no image contains: those that the driver framework (KMDF) makes from a
//! driver's name.
//!
//! A driver that leaves `WDF_DRIVER_CONFIG.DriverPoolTag` zero gets the first four
//! characters of its service's name; a name that begins with "WDF", in whatever case,
//! gives the next four; one that gives fewer than four makes it `FxDr` (documentation of
//! WDF_DRIVER_CONFIG). The service is usually named as the driver's file is; the file's
//! name is what a dump has of every driver.

use crate::kernel::Kernel;
use crate::kernel::imports::Imports;
use crate::kernel::modules::Module;
use crate::kernel::sessions::Sessions;
use crate::pool::Tag;

/// What every driver of the framework imports from.
const LOADER: &str = "wdfldr.sys";
/// What the framework uses for a name that gives fewer than four characters.
const NAMELESS: &str = "FxDr";

/// A driver whose default tag this is.
#[derive(Clone, Debug, PartialEq, Eq)]
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
                "maybe: would be the default tag of driver {} if it is one of KMDF, which its imports would tell and the dump does not have",
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
    Tag::of(name.get(..4).unwrap_or(NAMELESS))
}

/// The loaded drivers whose default tag this is: those known to be of the framework, or,
/// where there is none, those of which that can't be told.
pub fn candidates(kernel: &Kernel, sessions: &Sessions, tag: Tag) -> Vec<Candidate> {
    if Tag::of(NAMELESS) == Some(tag) {
        return Vec::new();
    }
    let loaded = kernel.modules.iter().enumerate();
    let named = loaded.filter(|(_, m)| !m.unloaded && !m.is_kernel && m.file.is_some());
    let mut out: Vec<Candidate> = named
        .filter(|(_, m)| default_tag(&m.name()) == Some(tag))
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
    out
}

/// Whether a driver is bound to the framework: by the files it imports from, or where
/// their names were given back with INIT, `None`.
fn of_framework(kernel: &Kernel, sessions: &Sessions, module: &Module) -> Option<bool> {
    let image = module.image.as_ref()?;
    let space = sessions.space_of(kernel, module);
    let imports = Imports::read(space, image);
    match imports.libraries.is_empty() {
        true => None,
        false => Some(
            imports
                .libraries
                .iter()
                .any(|file| file.eq_ignore_ascii_case(LOADER)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_the_documentation() {
        let is = |service, tag| assert_eq!(default_tag(service), Tag::of(tag), "{service}");
        is("amdacpbus2", "amda");
        is("WdfSampleDriver", "Samp");
        is("wDfAbc", "FxDr");
        is("abc", "FxDr");
        is("wdf", "FxDr");
        assert_eq!(default_tag("w\u{e4}rme"), None);
    }
}
