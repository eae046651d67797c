//! The kernel objects of a tag.

mod csv;
mod markdown;
mod text;

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::objects::{Holder, Named, Objects};

use super::text::{clean, json_address};
use super::{Answer, tag_hex};

/// Maximum number of processes to list in text.
const HOLDERS: usize = 16;

/// The answer of `objects`.
#[derive(Debug, Serialize)]
pub struct ObjectsReport {
    tag: String,
    tag_hex: String,
    kind: Option<String>,
    blocks: u64,
    looked: u64,
    objects: u64,
    with_handles: u64,
    referenced_only: u64,
    unreferenced: u64,
    handles: u64,
    ended: u64,
    ended_by_image: Vec<Name>,
    names: Vec<Name>,
    more_names: u64,
    holders: Vec<Process>,
    verdict: Option<String>,
    sentences: Vec<String>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Name {
    name: String,
    count: u64,
    exemplar: String,
    #[serde(skip)]
    at: crate::memory::Va,
}

#[derive(Debug, Serialize)]
struct Process {
    image: String,
    id: u64,
    ended: bool,
    handles: u64,
    all_handles: u64,
}

impl Name {
    fn of(named: &Named) -> Name {
        Name {
            name: clean(&named.name).into(),
            count: named.count,
            exemplar: json_address(named.exemplar),
            at: named.exemplar,
        }
    }
}

impl Process {
    fn of(holder: &Holder) -> Process {
        Process {
            image: clean(&holder.process.image).into(),
            id: holder.process.id,
            ended: holder.process.has_ended,
            handles: holder.handles,
            all_handles: holder.all,
        }
    }
}

impl ObjectsReport {
    /// A report of the objects.
    pub fn of(found: &Objects) -> ObjectsReport {
        let safe = |texts: &[String]| texts.iter().map(|t| clean(t).into()).collect();
        ObjectsReport {
            tag: found.tag.to_string(),
            tag_hex: tag_hex(found.tag),
            kind: found.kind.as_ref().map(|k| clean(&k.name).into()),
            blocks: found.blocks,
            looked: found.looked,
            objects: found.objects,
            with_handles: found.with_handles,
            referenced_only: found.referenced_only,
            unreferenced: found.unreferenced,
            handles: found.handles(),
            ended: found.ended,
            ended_by_image: found.ended_by_image.iter().map(Name::of).collect(),
            names: found.names.iter().map(Name::of).collect(),
            more_names: found.more_names,
            holders: found.holders.iter().map(Process::of).collect(),
            verdict: found.verdict().map(|v| clean(&v).into()),
            sentences: safe(&found.sentences()),
            notes: safe(&found.notes),
        }
    }
}

impl Answer for ObjectsReport {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        text::write(self, out)
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        csv::write(self, out)
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        markdown::write(self, out)
    }
}
