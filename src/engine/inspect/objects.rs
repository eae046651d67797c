//! Objects, processes, and handles by process.

use crate::analysis::objects::handles;
use crate::analysis::objects::header::Reader;
use crate::analysis::objects::processes::{self, Process};
use crate::characters::grouped;
use crate::command::Refusal;
use crate::command::request::{Handles, Processes, address_of, wildcard};
use crate::memory::Va;
use crate::pool::Tag;
use crate::pool::block::State;

use crate::engine::Engine;

use super::listing::{Listing, Value};

/// Maximum number of handles to count, over all processes.
const MOST_HANDLES: u64 = 1 << 24;
/// Larger numbers are kernel addresses; others are process ids.
const LARGEST_ID: u64 = 0xffff_ffff;

impl Engine {
    /// `!object ADDRESS`.
    pub(super) fn object_at(&self, at: Va) -> Result<Listing, Refusal> {
        let types = self.object_types();
        let Some(reader) = Reader::new(self.kernel(), types) else {
            return Err(Refusal(
                "the layout of object headers is not known for this kernel".into(),
            ));
        };
        let body = self.kernel().offset("_OBJECT_HEADER", "Body").unwrap_or(0);
        let space = self.space_of(at);
        let header = Va(at.0.wrapping_sub(body));
        // The user may give the address of the object or of its header.
        // Any bytes can look like a header: in pool, the block has to hold this object.
        let block = self.pool_page(at).ok().and_then(|page| {
            let mut blocks = page.blocks.into_iter();
            blocks.find(|b| b.holds_address && b.block.state != State::Free)
        });
        let in_block = block.map(|b| reader.in_block(space, &b.block).map(|o| o.header));
        let found = [header, at].into_iter().find_map(|header| {
            let object = reader.at_header(space, header)?;
            in_block
                .is_none_or(|of_block| of_block == Some(object.header))
                .then_some(object)
        });
        let Some(object) = found else {
            let why = space.u64(header).err();
            return Err(Refusal(match why {
                Some(fault) => format!("{at} can't be read: {fault}"),
                None => {
                    format!("{at} is not an object; `!pool {at}` shows the allocation it is in")
                }
            }));
        };
        let name = match object.kind.name.as_str() {
            "Process" => Process::read(self.kernel(), object.body)
                .map(|p| format!("{} (process {:#x})", p.image, p.id)),
            _ => object.name(self.kernel(), space),
        };
        let mut out = Listing::new(
            format!("object {}", object.body),
            &["object", "type", "header", "handles", "pointers", "name"],
        );
        out.lines = Some(vec![
            format!("Object: {}  Type: {}", object.body, object.kind.name),
            format!("    ObjectHeader: {}", object.header),
            format!(
                "    HandleCount: {}  PointerCount: {}",
                object.handles, object.pointers
            ),
            match &name {
                Some(name) => format!("    Name: {name}"),
                None => "    Name: none".to_owned(),
            },
        ]);
        let count = |n: i64| u64::try_from(n).ok();
        out.push(vec![
            object.body.into(),
            object.kind.name.clone().into(),
            object.header.into(),
            count(object.handles).into(),
            count(object.pointers).into(),
            name.into(),
        ]);
        if object.is_referenced_only() {
            out.notes
                .push("no open handles, references only: the kernel holds the object".into());
        }
        Ok(out)
    }

    /// `!process`.
    pub(super) fn processes_like(&self, wanted: &Processes) -> Result<Listing, Refusal> {
        let (all, broken) = processes::running(self.kernel());
        if all.is_empty() {
            let why = broken.unwrap_or_else(|| "the list of processes is empty".into());
            return Err(Refusal(why));
        }
        let which = wanted.process.as_ref().map(address_of).transpose()?;
        let image = wanted.image.as_ref().map(|i| i.to_ascii_lowercase());
        let mut out = Listing::new("processes", &["process", "id", "ended", "handles", "image"]);
        let mut lines = Vec::new();
        let mut budget = MOST_HANDLES;
        for process in &all {
            let is_it = which.is_none_or(|va| va == process.at || va.0 == process.id);
            let fits = image.as_ref().is_none_or(|image| {
                // The kernel truncates image names to 15 characters.
                let short: String = image.chars().take(15).collect();
                let name = process.image.to_ascii_lowercase();
                wildcard(short.as_bytes(), name.as_bytes())
            });
            if !(is_it && fits) {
                continue;
            }
            let table = process
                .handles
                .and_then(|at| handles::read(self.kernel(), at, &mut budget));
            let count = table.map(|t| t.handles);
            lines.push(format!("PROCESS {}", process.at));
            lines.push(format!(
                "    Cid: {:04x}  ObjectTable: {}  HandleCount: {}",
                process.id,
                process.handles.unwrap_or(Va(0)),
                count.map_or_else(|| "?".into(), |n| n.to_string())
            ));
            lines.push(format!(
                "    Image: {}{}",
                process.image,
                if process.has_ended { "  (ended)" } else { "" }
            ));
            out.push(vec![
                process.at.into(),
                process.id.into(),
                process.has_ended.into(),
                count.into(),
                process.image.clone().into(),
            ]);
        }
        if out.rows.is_empty() {
            return Err(Refusal(match (which, &wanted.image) {
                (Some(va), _) if va.0 > LARGEST_ID => {
                    format!("{va} is not in the list of processes; `!object {va}` shows an object")
                }
                (Some(id), _) => format!("no process has the identifier {:#x}", id.0),
                (None, Some(image)) => format!(
                    "none of {} processes runs {image}; `objects Process` counts those that have ended",
                    all.len()
                ),
                (None, None) => "no processes were found".into(),
            }));
        }
        out.notes.extend(broken);
        if which.is_none() && image.is_none() {
            out.notes.push(format!(
                "{} processes in the list; processes that have ended and are still referenced are not in it: `objects Process` counts them",
                all.len()
            ));
        }
        out.lines = Some(lines);
        Ok(out)
    }

    /// `!handle 0 FLAGS PROCESS TYPE`: handles by process.
    pub(super) fn handles_of(&self, wanted: &Handles) -> Result<Listing, Refusal> {
        let (all, broken) = processes::running(self.kernel());
        let which = wanted.process.as_ref().map(address_of).transpose()?;
        let types = self.object_types();
        let kind = match &wanted.kind {
            None => None,
            Some(name) => {
                let exact = types.named(name);
                let found = exact.or_else(|| types.of_tag(Tag::of(name)?)).ok_or_else(|| {
                    Refusal(format!("{name}: no such object type; types are Token, File, Event, Key, Process and others"))
                })?;
                Some(found.clone())
            }
        };
        let reader = Reader::new(self.kernel(), types);
        let title = match &kind {
            Some(kind) => format!("handles to {} objects, by process", kind.name),
            None => "handles by process".to_owned(),
        };
        let mut out = Listing::new(title, &["process", "id", "handles", "all handles", "image"]);
        let mut budget = MOST_HANDLES;
        let (mut unreadable, mut gone) = (0, 0);
        for process in &all {
            if which.is_some_and(|va| va != process.at && va.0 != process.id) {
                continue;
            }
            let Some(at) = process.handles else {
                gone += 1;
                continue;
            };
            let Some(table) = handles::read(self.kernel(), at, &mut budget) else {
                unreadable += 1;
                continue;
            };
            let of_kind = match (&kind, &reader) {
                (None, _) => Some(table.handles),
                (Some(_), None) => None,
                (Some(kind), Some(reader)) => {
                    let mut count = 0;
                    for (header, handles) in &table.objects {
                        let object = reader.at_header(self.space_of(*header), *header);
                        if object.is_some_and(|o| o.kind.name == kind.name) {
                            count += u64::from(*handles);
                        }
                    }
                    Some(count)
                }
            };
            if of_kind == Some(0) && which.is_none() {
                continue;
            }
            out.push(vec![
                process.at.into(),
                process.id.into(),
                of_kind.into(),
                table.handles.into(),
                process.image.clone().into(),
            ]);
        }
        out.rows.sort_by_key(|row| match row.get(2) {
            Some(Value::Number(n)) => std::cmp::Reverse(*n),
            _ => std::cmp::Reverse(0),
        });
        out.notes.extend(broken);
        if unreadable > 0 {
            out.notes.push(format!(
                "handle tables of {} processes can't be read",
                grouped(unreadable)
            ));
        }
        if gone > 0 {
            out.notes.push(format!(
                "{} processes have no handle table in this dump: they have ended, or it was not written",
                grouped(gone)
            ));
        }
        if budget == 0 {
            out.notes.push(format!(
                "counting stopped after {} handles",
                grouped(MOST_HANDLES)
            ));
        }
        if out.rows.is_empty() {
            let what = kind.map_or_else(String::new, |k| format!(" to {} objects", k.name));
            let read = (all.len() as u64).saturating_sub(unreadable + gone);
            out.notes.insert(
                0,
                match read {
                    0 => format!(
                        "which processes have handles{what} is unknown: no handle table is readable"
                    ),
                    _ => format!(
                        "none of the {read} readable handle tables has handles{what}; \
                         objects without handles: `objects TYPE`"
                    ),
                },
            );
        }
        Ok(out)
    }
}
