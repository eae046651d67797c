//! The target of a call.

use super::api::Api;
use super::flow::value::Atom;

/// A called function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Callee {
    /// A function with a name.
    Named(Box<str>),
    /// An unnamed function of the same image, by RVA.
    Own(u32),
    /// An unnamed function of another image: the module's index, and the RVA.
    Foreign(usize, u32),
    /// Unknown.
    Unknown,
}

/// A called function, and the jump thunk of the image that leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// The function.
    pub callee: Callee,
    /// RVA of the jump thunk, if there is one.
    pub jump: Option<u32>,
}

impl Called {
    /// A function that is called without a thunk.
    pub fn by(callee: Callee) -> Called {
        Called { callee, jump: None }
    }
}

/// The state at a call other than the operand.
#[derive(Clone, Copy, Debug)]
pub struct Registers<'a> {
    /// Possible values of r10.
    pub r10: &'a [Atom],
    /// Possible values of rax.
    pub rax: &'a [Atom],
    /// The names that were passed to MmGetSystemRoutineAddress.
    pub routines: &'a [String],
}

impl Registers<'_> {
    /// The same state without rax, so that a lookup through rax does not recurse.
    pub fn without_rax(&self) -> Self {
        Registers { rax: &[], ..*self }
    }
}

/// An argument of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Argument {
    /// Unknown.
    #[default]
    Unknown,
    /// A constant.
    Number(u64),
    /// The calling function's own argument with this number, from 1.
    Parameter(u8),
}

impl Argument {
    /// The argument for a set of possible values.
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

    /// The value if the argument is a constant.
    pub fn number(self) -> Option<u64> {
        match self {
            Argument::Number(n) => Some(n),
            _ => None,
        }
    }
}

/// Number of arguments that are analysed.
pub const ARGUMENTS: u8 = 8;

/// The origin of a tracked value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Four bytes of the code, by RVA.
    Constant(u32),
    /// A variable of the image, by RVA.
    Variable(u32),
    /// The function's argument with this number, from 1.
    Parameter(u8),
}

/// How a tracked value is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A function that takes tags gets it as the tag.
    Taken {
        /// The function.
        api: &'static Api,
        /// True if it is in the structure that an argument points to.
        in_structure: bool,
    },
    /// Another function gets it as an argument.
    Passed {
        /// The function.
        callee: Callee,
        /// All arguments of the call.
        arguments: [Argument; ARGUMENTS as usize],
    },
    /// It is in a structure on the stack whose address is passed to a call.
    InStructure {
        /// Offset in the structure, in bytes.
        offset: u32,
        /// The first four bytes of the structure, if known.
        first: Option<u32>,
        /// The function that gets the address.
        callee: Callee,
    },
    /// It is stored in memory outside the function's stack frame.
    Stored,
}

/// A use of a tracked value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The origin of the value.
    pub source: Source,
    /// The value, and a mask of its certain bits.
    pub value: Option<(u32, u32)>,
    /// RVA of the instruction.
    pub at: u32,
    /// The number of the argument, from 1; 0 if it is not an argument.
    pub argument: u8,
    /// The kind of use.
    pub what: What,
    /// The requested pool type.
    pub pool: Argument,
    /// The requested size, in bytes.
    pub size: Argument,
    /// RVA of the jump thunk on the way to the function, if there is one.
    pub jump: Option<u32>,
}
