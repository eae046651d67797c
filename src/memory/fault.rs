//! The reasons why an address could not be read. A missing page is a value here, not an error:
//! most of a machine's memory is not in its kernel dump.

use std::fmt;

use crate::addr::Pfn;

/// The reason why there are no bytes at an address. Never turned into zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The upper bits are not a sign extension: not a valid x64 address.
    NotCanonical,
    /// The page tables map nothing at this address.
    Unmapped,
    /// The contents are in a page file (or in the memory-compression store).
    PagedOut,
    /// A page of a mapped file that was not in memory.
    InFile,
    /// The frame exists, but is not in the dump (omitted, or after a truncation).
    NotInDump(Pfn),
    /// The page became unreadable while it was being read.
    FileFailed,
}

impl Fault {
    /// True when the machine had data here that the dump can't show: the address is unreadable,
    /// not empty.
    pub fn is_missing_data(self) -> bool {
        !matches!(self, Fault::NotCanonical | Fault::Unmapped)
    }

    /// The reason in a few words, without the frame number.
    pub fn reason(self) -> &'static str {
        match self {
            Fault::NotCanonical => "not an address",
            Fault::Unmapped => "not mapped",
            Fault::PagedOut => "paged out",
            Fault::InFile => "in a mapped file",
            Fault::NotInDump(_) => "not in the dump",
            Fault::FileFailed => "the dump file could not be read",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())?;
        match self {
            Fault::NotInDump(pfn) => write!(f, " (frame {:#x})", pfn.0),
            _ => Ok(()),
        }
    }
}
