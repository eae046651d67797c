//! The facts about a memory image in `info`.

use serde::Serialize;

use crate::engine::ImageFacts;

use super::super::text::clean;

/// The `image` object of `info`; null for a crash dump.
#[derive(Debug, Serialize)]
pub(super) struct ImageRecord {
    kind: String,
    stopped: Option<bool>,
    cpus: Vec<CpuRecord>,
    root_source: String,
    kernel_source: String,
    debugger_data_source: String,
    consistency: ConsistencyRecord,
}

#[derive(Debug, Serialize)]
struct CpuRecord {
    cr3: Option<String>,
    rip: Option<String>,
    mode: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct ConsistencyRecord {
    links: u64,
    broken: u64,
    unreadable: u64,
}

impl ImageRecord {
    pub fn of(facts: &ImageFacts) -> ImageRecord {
        let hex = |value: Option<u64>| value.map(|v| format!("{v:#x}"));
        let cpus = facts.processors.iter().map(|cpu| CpuRecord {
            cr3: hex(cpu.cr3),
            rip: hex(cpu.rip),
            mode: cpu.in_kernel.map(|kernel| match kernel {
                true => "kernel",
                false => "user",
            }),
        });
        ImageRecord {
            kind: clean(&facts.kind).into(),
            stopped: facts.stopped,
            cpus: cpus.collect(),
            root_source: clean(&facts.root_source).into(),
            kernel_source: clean(&facts.kernel_source).into(),
            debugger_data_source: clean(&facts.debugger_data_source).into(),
            consistency: ConsistencyRecord {
                links: facts.consistency.links,
                broken: facts.consistency.broken,
                unreadable: facts.consistency.unreadable,
            },
        }
    }

    /// The rows as pairs of label and value.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("CPU state", self.processors()),
            (
                "Found by",
                format!(
                    "page tables: {}; kernel: {}; debugger data: {}",
                    self.root_source, self.kernel_source, self.debugger_data_source
                ),
            ),
            ("Consistency", self.consistency()),
        ]
    }

    fn processors(&self) -> String {
        if self.cpus.is_empty() {
            return "not in the image".into();
        }
        let with = self.cpus.iter().filter(|cpu| cpu.cr3.is_some()).count();
        let kernel = self.cpus.iter().filter(|cpu| cpu.mode == Some("kernel"));
        format!(
            "{} processors, {with} with CR3, {} in kernel mode",
            self.cpus.len(),
            kernel.count()
        )
    }

    fn consistency(&self) -> String {
        let ConsistencyRecord {
            links,
            broken,
            unreadable,
        } = self.consistency;
        let capture = match self.stopped {
            Some(true) => "captured with the machine stopped",
            Some(false) => "captured while the machine was running: the image may be inconsistent",
            None => {
                "the format does not say whether the machine was stopped: the image may be \
                    inconsistent"
            }
        };
        let mut out = format!(
            "{capture}; {} of {links} list links agree",
            links - broken.min(links)
        );
        if unreadable > 0 {
            out += &format!(", {unreadable} could not be read");
        }
        out
    }
}
