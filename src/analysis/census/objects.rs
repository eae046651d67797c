//! The type of the kernel object that a pointer points to.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use crate::memory::Va;
use crate::pool::Tag;
use crate::pool::block::Block;

/// Determines the type of the object in a block.
pub trait ObjectTypes: Sync {
    /// The type's name if the block that contains `va` has an object.
    fn type_of(&self, block: &Block, va: Va) -> Option<Cow<'static, str>>;
}

/// Determines the type by the block's tag: each object type has its own (`OBJECT_TYPE.Key`). The
/// tags are from pooltag.txt, the names from the object manager's directory `\ObjectTypes`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByTag;

/// Tag and name of each type.
const TYPES: [(&[u8; 4], &str); 16] = [
    (b"ALPC", "ALPC Port"),
    (b"Devi", "Device"),
    (b"Dire", "Directory"),
    (b"Driv", "Driver"),
    (b"Even", "Event"),
    (b"File", "File"),
    (b"IoCo", "IoCompletion"),
    (b"Job ", "Job"),
    (b"Key ", "Key"),
    (b"Muta", "Mutant"),
    (b"Proc", "Process"),
    (b"Sect", "Section"),
    (b"Sema", "Semaphore"),
    (b"SymL", "SymbolicLink"),
    (b"Thre", "Thread"),
    (b"Toke", "Token"),
];

impl ObjectTypes for ByTag {
    fn type_of(&self, block: &Block, _: Va) -> Option<Cow<'static, str>> {
        let of = |tag: &[u8; 4]| Tag::new(u32::from_le_bytes(*tag)) == block.tag;
        let (_, name) = TYPES.iter().find(|(tag, _)| of(tag))?;
        Some(Cow::Borrowed(name))
    }
}

/// Maximum number of types; Windows has about seventy.
const MOST: usize = 512;

/// Type names, numbered in order of occurrence.
#[derive(Clone, Debug, Default)]
pub struct Types {
    names: Vec<String>,
    numbers: FxHashMap<String, u16>,
}

impl Types {
    /// The number of a type; `None` if there are too many types.
    pub fn number(&mut self, name: Cow<'static, str>) -> Option<u16> {
        if let Some(number) = self.numbers.get(name.as_ref()) {
            return Some(*number);
        }
        let number = u16::try_from(self.names.len()).ok()?;
        if self.names.len() >= MOST {
            return None;
        }
        self.names.push(name.clone().into_owned());
        self.numbers.insert(name.into_owned(), number);
        Some(number)
    }

    /// The name of a type, by number.
    pub fn name(&self, number: u16) -> Option<&str> {
        self.names.get(usize::from(number)).map(String::as_str)
    }
}
