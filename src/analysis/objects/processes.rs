//! Processes: running ones, and ended ones that still exist as objects.

use crate::kernel::{Kernel, processes};
use crate::memory::Va;

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Process {
    /// The address of the `EPROCESS`.
    pub at: Va,
    /// The file name of its image, at most 15 characters.
    pub image: String,
    /// The process id.
    pub id: u64,
    /// True if it has ended.
    pub has_ended: bool,
    /// The address of its handle table; `None` once it has ended.
    pub handles: Option<Va>,
}

const TYPE: &str = "_EPROCESS";

impl Process {
    /// Reads a process. `None` if the address can't be a process.
    pub fn read(kernel: &Kernel, at: Va) -> Option<Process> {
        let get = |name| kernel.field(at, TYPE, name).ok();
        let mut image = vec![0; 15];
        let name = at.add(kernel.offset(TYPE, "ImageFileName")?);
        kernel.space.read(name, &mut image).ok()?;
        let length = image.iter().position(|b| *b == 0).unwrap_or(image.len());
        image.truncate(length);
        if !image.iter().all(|b| (0x20..0x7f).contains(b)) {
            return None;
        }
        let table = get("ObjectTable").map(Va).filter(|va| va.is_kernel());
        Some(Process {
            at,
            image: String::from_utf8(image).ok()?,
            id: get("UniqueProcessId")?,
            has_ended: get("ExitTime").is_some_and(|time| time != 0),
            handles: table,
        })
    }
}

/// The processes in the kernel's list, and an error if the list is damaged.
pub fn running(kernel: &Kernel) -> (Vec<Process>, Option<String>) {
    match processes::list(kernel) {
        Ok(list) => {
            let read = |at: &Va| Process::read(kernel, *at);
            (list.all.iter().filter_map(read).collect(), list.broken)
        }
        Err(why) => (Vec::new(), Some(why.into())),
    }
}
