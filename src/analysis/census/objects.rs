//! What kind of kernel object a pointer leads to.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use crate::memory::Va;
use crate::pool::Tag;
use crate::pool::block::Block;

/// Tells the type of the object that a block holds.
pub trait ObjectTypes: Sync {
    /// The type's name, when the block that holds `va` is an object's.
    fn type_of(&self, block: &Block, va: Va) -> Option<Cow<'static, str>>;
}

/// By the block's tag: each type of object has one of its own (`OBJECT_TYPE.Key`). The tags
/// are those of pooltag.txt, the names those of the object manager's directory
/// `\ObjectTypes`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByTag;

/// A type's tag and its name.
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

/// More types than any Windows has (some seventy).
const MOST: usize = 512;

/// Names of types, numbered as they are met.
#[derive(Clone, Debug, Default)]
pub struct Types {
    names: Vec<String>,
    numbers: FxHashMap<String, u16>,
}

impl Types {
    /// The number of a type; `None` for one type too many.
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

    /// The name of a number.
    pub fn name(&self, number: u16) -> Option<&str> {
        self.names.get(usize::from(number)).map(String::as_str)
    }
}
