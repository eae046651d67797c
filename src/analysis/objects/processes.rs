//! Processes: those that run, and those that have ended and are still there.

use crate::kernel::{Kernel, processes};
use crate::memory::Va;

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Process {
    /// `EPROCESS`.
    pub at: Va,
    /// Its image's file name, 15 letters at most.
    pub image: String,
    /// Its number.
    pub id: u64,
    /// It has ended.
    pub has_ended: bool,
    /// Its handle table; none once it has ended.
    pub handles: Option<Va>,
}

const TYPE: &str = "_EPROCESS";

impl Process {
    /// Reads one. `None` for what can't be one.
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

/// The processes of the list, as far as it goes, and what is wrong with it.
pub fn running(kernel: &Kernel) -> (Vec<Process>, Option<String>) {
    match processes::list(kernel) {
        Ok(list) => {
            let read = |at: &Va| Process::read(kernel, *at);
            (list.all.iter().filter_map(read).collect(), list.broken)
        }
        Err(why) => (Vec::new(), Some(why.into())),
    }
}
