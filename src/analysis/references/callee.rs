//! What a call leads to.

use super::api::Api;
use super::flow::value::Atom;

/// A function that is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Callee {
    /// By name.
    Named(Box<str>),
    /// A function of the same image without a name, by its RVA.
    Own(u32),
    /// A function of another image without a name: the module's index, and the RVA.
    Foreign(usize, u32),
    /// Nobody knows.
    Unknown,
}

/// A function that is called, and the image's own jump on the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// The function.
    pub callee: Callee,
    /// RVA of the jump.
    pub jump: Option<u32>,
}

impl Called {
    /// Without a jump.
    pub fn by(callee: Callee) -> Called {
        Called { callee, jump: None }
    }
}

/// What is known at a call beside its target.
#[derive(Clone, Copy, Debug)]
pub struct Registers<'a> {
    /// What r10 may hold.
    pub r10: &'a [Atom],
    /// What rax may hold.
    pub rax: &'a [Atom],
    /// The names that functions were asked for by.
    pub routines: &'a [String],
}

impl Registers<'_> {
    /// The same where rax is not asked for again.
    pub fn without_rax(&self) -> Self {
        Registers { rax: &[], ..*self }
    }
}

/// An argument, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Argument {
    /// It is not.
    #[default]
    Unknown,
    /// A number.
    Number(u64),
    /// The calling function's own argument of that number, from 1.
    Parameter(u8),
}

impl Argument {
    /// From what a register may hold.
    pub fn of(atoms: &[Atom]) -> Argument {
        match atoms {
            [Atom::Number { value, .. }] => Argument::Number(*value),
            [Atom::Pointer { base, offset: 0 }] => match base.parameter() {
                Some(n) => Argument::Parameter(n),
                None => Argument::Unknown,
            },
            _ => Argument::Unknown,
        }
    }

    /// The number, where it is one.
    pub fn number(self) -> Option<u64> {
        match self {
            Argument::Number(n) => Some(n),
            _ => None,
        }
    }
}

/// Arguments that are looked at.
pub const ARGUMENTS: u8 = 8;

/// Where something that is followed came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The four bytes of the code at an RVA.
    Constant(u32),
    /// A variable of the image, by its RVA.
    Variable(u32),
    /// The function's argument of that number, from 1.
    Parameter(u8),
}

/// The use of a followed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A function that takes tags has it as its tag.
    Taken {
        /// The function.
        api: &'static Api,
        /// In the structure that an argument points at.
        in_structure: bool,
    },
    /// Another function has it as an argument.
    Passed {
        /// The function.
        callee: Callee,
        /// All arguments.
        arguments: [Argument; ARGUMENTS as usize],
    },
    /// It is in a structure on the stack whose address a call has.
    InStructure {
        /// Bytes from the address to it.
        offset: u32,
        /// What the first four bytes of the structure are.
        first: Option<u32>,
        /// The function that has the address.
        callee: Callee,
    },
    /// It is stored where more than this function sees it.
    Stored,
}

/// Something that happens to what is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where it came from.
    pub source: Source,
    /// Its value, and the bits of it that are certain.
    pub value: Option<(u32, u32)>,
    /// RVA of the instruction.
    pub at: u32,
    /// The argument that has it, from 1; 0 for none.
    pub argument: u8,
    /// What happens.
    pub what: What,
    /// The pool that is asked for.
    pub pool: Argument,
    /// The bytes that are asked for.
    pub size: Argument,
    /// The function's own jump on the way, by its RVA.
    pub jump: Option<u32>,
}
