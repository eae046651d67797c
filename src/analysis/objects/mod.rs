//! Kernel objects of a tag: type, processes with handles, objects without handles, names.
//!
//! A leak of objects is a handle leak if a process keeps opening them, or a reference leak if a
//! driver references them and does not dereference them. The counts in the headers and the handle
//! tables of all processes distinguish the two.

pub mod handles;
pub mod header;
pub mod processes;
pub mod services;
pub mod types;

use rustc_hash::FxHashMap;

use crate::kernel::Kernel;
use crate::memory::{AddressSpace, Va};
use crate::pool::Tag;
use crate::pool::block::{Block, State};

use header::{Object, Reader};
use processes::Process;
use types::{ObjectType, Types};

/// Maximum number of distinct names and paths.
const MOST_NAMES: usize = 1 << 14;
/// Number of names to list.
const NAMES: usize = 16;
/// Maximum number of handles to read, over all processes.
const MOST_HANDLES: u64 = 1 << 24;
/// Maximum length of a path, in characters.
const LONGEST_PATH: usize = 520;

/// A process with handles to objects of a type.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Holder {
    /// The process.
    pub process: Process,
    /// Number of its handles to objects of the type.
    pub handles: u64,
    /// Number of all its handles.
    pub all: u64,
}

/// A name with the number of objects that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Named {
    /// The object's name, the file's path, or the process's image.
    pub name: String,
    /// Number of objects.
    pub count: u64,
    /// The body address of one of them.
    pub exemplar: Va,
}

/// The kernel objects of a tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Objects {
    /// The tag.
    pub tag: Tag,
    /// The object type with this tag, if there is one.
    pub kind: Option<ObjectType>,
    /// Number of allocated blocks of the tag.
    pub blocks: u64,
    /// Number of blocks that were read.
    pub looked: u64,
    /// Number of objects among these.
    pub objects: u64,
    /// Number of objects with handles.
    pub with_handles: u64,
    /// Number of objects that have no handles but are referenced.
    pub referenced_only: u64,
    /// Number of objects without any reference: freed or damaged.
    pub unreferenced: u64,
    /// The highest number of handles to one object, and its body address.
    pub most_handles: Option<(i64, Va)>,
    /// Names, paths or images, the most frequent first.
    pub names: Vec<Named>,
    /// Number of names that are not listed.
    pub more_names: u64,
    /// For processes and threads: number of objects that have ended.
    pub ended: u64,
    /// The ended processes or threads by image.
    pub ended_by_image: Vec<Named>,
    /// Processes with handles to the objects, by number of handles, descending.
    pub holders: Vec<Holder>,
    /// Limitations, as sentences.
    pub notes: Vec<String>,
}

/// The inputs.
pub struct Setting<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The object types of the kernel.
    pub types: &'a Types,
    /// The address space of a session, or of the system.
    pub space: &'a (dyn Fn(Option<u32>) -> &'a AddressSpace + Sync),
}

impl Setting<'_> {
    /// Examines the objects in the allocated blocks of a tag. `blocks` are all of them or a
    /// sample; `all` is their total number. `None` if cancelled.
    pub fn look(
        &self,
        tag: Tag,
        blocks: impl Iterator<Item = Block>,
        all: u64,
        wanted: &dyn Fn() -> bool,
    ) -> Option<Objects> {
        let mut out = Objects {
            tag,
            kind: self.types.of_tag(tag).cloned(),
            blocks: all,
            ..Objects::default()
        };
        let Some(reader) = Reader::new(self.kernel, self.types) else {
            out.notes
                .push("the layout of object headers is not known".into());
            return Some(out);
        };
        let mut names = Names::default();
        let mut ended = Names::default();
        let excluded = reader.excludes(tag);
        for (i, block) in blocks.filter(|b| b.state == State::Allocated).enumerate() {
            if i % 1024 == 0 && !wanted() {
                return None;
            }
            out.looked += 1;
            if excluded {
                continue;
            }
            let space = (self.space)(block.session);
            let Some(object) = reader.in_block(space, &block) else {
                continue;
            };
            self.count(&mut out, &object, space, &mut names, &mut ended);
        }
        if out.objects > 0 {
            self.count_handles(&mut out, &reader, wanted)?;
        } else if self.types.is_empty() {
            out.notes.push(
                "the table of object types was not found: the PDB of nt is needed to identify \
                    objects"
                    .into(),
            );
        }
        (out.names, out.more_names) = names.most(NAMES);
        (out.ended_by_image, _) = ended.most(NAMES);
        Some(out)
    }

    fn count(
        &self,
        out: &mut Objects,
        object: &Object,
        space: &AddressSpace,
        names: &mut Names,
        ended: &mut Names,
    ) {
        out.objects += 1;
        if out.kind.is_none() {
            out.kind = Some(object.kind.clone());
        }
        match (object.handles > 0, object.is_referenced_only()) {
            (true, _) => out.with_handles += 1,
            (false, true) => out.referenced_only += 1,
            (false, false) => out.unreferenced += 1,
        }
        if out
            .most_handles
            .is_none_or(|(most, _)| most < object.handles)
        {
            out.most_handles = Some((object.handles, object.body));
        }
        let name = match object.kind.name.as_str() {
            "File" => self.path(space, object.body),
            "Process" => self.process(out, ended, object.body),
            "Thread" => self.thread(out, ended, object.body),
            _ => object.name(self.kernel, space),
        };
        if let Some(name) = name.filter(|n| !n.is_empty()) {
            names.add(name, object.body);
        }
    }

    /// `FILE_OBJECT.FileName`, prefixed with the name of the device's driver.
    fn path(&self, space: &AddressSpace, file: Va) -> Option<String> {
        let at = file.add(self.kernel.offset("_FILE_OBJECT", "FileName")?);
        if let Some(path) = space.name(at, LONGEST_PATH) {
            return Some(path);
        }
        let device = file.add(self.kernel.offset("_FILE_OBJECT", "DeviceObject")?);
        let device = space.pointer(device).ok().filter(|va| va.is_kernel())?;
        let driver = device.add(self.kernel.offset("_DEVICE_OBJECT", "DriverObject")?);
        let driver = space.pointer(driver).ok().filter(|va| va.is_kernel())?;
        let name = driver.add(self.kernel.offset("_DRIVER_OBJECT", "DriverName")?);
        let name = space.name(name, LONGEST_PATH)?;
        Some(format!("(no path; device of {name})"))
    }

    fn process(&self, out: &mut Objects, ended: &mut Names, at: Va) -> Option<String> {
        let process = Process::read(self.kernel, at)?;
        if process.has_ended {
            out.ended += 1;
            ended.add(process.image.clone(), at);
        }
        Some(process.image)
    }

    /// A thread has ended if its dispatcher header is signalled; ExitTime shares its location
    /// with a list on some builds.
    fn thread(&self, out: &mut Objects, ended: &mut Names, at: Va) -> Option<String> {
        let kernel = self.kernel;
        let process = kernel.field(at, "_KTHREAD", "Process").ok().map(Va)?;
        let image = Process::read(kernel, process)?.image;
        let signal = kernel
            .offset("_DISPATCHER_HEADER", "SignalState")
            .unwrap_or(4);
        if kernel
            .space
            .u32(at.add(signal))
            .is_ok_and(|state| state != 0)
        {
            out.ended += 1;
            ended.add(image.clone(), at);
        }
        Some(image)
    }

    /// Reads the handle tables of all processes.
    fn count_handles(
        &self,
        out: &mut Objects,
        reader: &Reader<'_>,
        wanted: &dyn Fn() -> bool,
    ) -> Option<()> {
        let Some(kind) = out.kind.as_ref().map(|k| k.name.clone()) else {
            return Some(());
        };
        let (processes, broken) = processes::running(self.kernel);
        out.notes.extend(broken);
        let mut budget = MOST_HANDLES;
        let mut kinds: FxHashMap<Va, bool> = FxHashMap::default();
        let (mut without, mut unreadable) = (0u64, 0u64);
        for process in processes {
            if !wanted() {
                return None;
            }
            let table = process
                .handles
                .and_then(|at| handles::read(self.kernel, at, &mut budget));
            let Some(table) = table else {
                without += u64::from(!process.has_ended);
                continue;
            };
            unreadable += table.unreadable;
            let mut own = 0;
            for (header, count) in &table.objects {
                let of_kind = *kinds.entry(*header).or_insert_with(|| {
                    let object = reader.at_header(&self.kernel.space, *header);
                    object.is_some_and(|o| o.kind.name == kind)
                });
                own += if of_kind { u64::from(*count) } else { 0 };
            }
            if own > 0 {
                out.holders.push(Holder {
                    process,
                    handles: own,
                    all: table.handles,
                });
            }
        }
        out.holders.sort_by_key(|h| std::cmp::Reverse(h.handles));
        if without > 0 {
            out.notes.push(format!(
                "the handle tables of {without} processes could not be read"
            ));
        }
        if unreadable > 0 {
            out.notes.push(format!(
                "{unreadable} pages of handle tables are not in the dump: their handles are not counted"
            ));
        }
        if budget == 0 {
            out.notes.push(format!(
                "only the first {MOST_HANDLES} handles were examined"
            ));
        }
        Some(())
    }
}

/// Names with their counts.
#[derive(Default)]
struct Names {
    counts: FxHashMap<String, (u64, Va)>,
    others: u64,
}

impl Names {
    fn add(&mut self, name: String, at: Va) {
        let room = self.counts.len() < MOST_NAMES;
        match self.counts.get_mut(&name) {
            Some(count) => count.0 += 1,
            None if room => {
                self.counts.insert(name, (1, at));
            }
            None => self.others += 1,
        }
    }

    /// The most frequent names, and the number of objects with other names.
    fn most(self, count: usize) -> (Vec<Named>, u64) {
        let mut all: Vec<Named> = self
            .counts
            .into_iter()
            .map(|(name, (count, exemplar))| Named {
                name,
                count,
                exemplar,
            })
            .collect();
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        let rest = all.split_off(count.min(all.len()));
        let more = rest.iter().fold(self.others, |sum, n| sum + n.count);
        (all, more)
    }
}

impl Objects {
    /// Number of handles of all processes to objects of the type.
    pub fn handles(&self) -> u64 {
        self.holders.iter().map(|h| h.handles).sum()
    }

    /// The result as sentences: handle leak or reference leak, and the owner.
    pub fn sentences(&self) -> Vec<String> {
        let mut out = Vec::new();
        let Some(kind) = self.kind.as_ref().filter(|_| self.objects > 0) else {
            return out;
        };
        let looked = match self.looked == self.blocks {
            true => format!("all {} blocks", self.blocks),
            false => format!("{} of {} blocks", self.looked, self.blocks),
        };
        out.push(format!(
            "{} objects in {looked}: {} with handles, {} with references only, no open handles",
            kind.name, self.with_handles, self.referenced_only
        ));
        if let Some(first) = self.holders.first() {
            out.push(format!(
                "{} handles refer to {} objects; most belong to {} (process {}): {} of its {} \
                    handles",
                self.handles(),
                kind.name,
                first.process.image,
                first.process.id,
                first.handles,
                first.all
            ));
        }
        if self.ended > 0 {
            let images: Vec<String> = self
                .ended_by_image
                .iter()
                .take(4)
                .map(|n| format!("{} of {}", n.count, n.name))
                .collect();
            out.push(format!(
                "{} have ended but still exist: {}",
                self.ended,
                images.join(", ")
            ));
        }
        if let Some(verdict) = self.verdict() {
            out.push(verdict);
        }
        out
    }

    /// The kind of leak, if the tag leaks.
    pub fn verdict(&self) -> Option<String> {
        let kind = self.kind.as_ref()?;
        if self.objects == 0 {
            return None;
        }
        let share = |part: u64| part as f64 / self.objects as f64;
        // Extrapolates from the blocks that were read to all blocks.
        let scale = self.blocks as f64 / self.looked.max(1) as f64;
        let objects = self.objects as f64 * scale;
        let first = self.holders.first();
        if let Some(first) = first.filter(|h| h.handles as f64 > objects * 0.5) {
            return Some(format!(
                "if this is a leak, it is a handle leak: {} (process {}) holds most of the open \
                    handles",
                first.process.image, first.process.id
            ));
        }
        // The cache and mappings reference files and sections without handles.
        let usual = matches!(kind.name.as_str(), "File" | "Section" | "Device" | "Driver");
        (share(self.referenced_only) > 0.9 && !usual && self.objects > 100).then(|| {
            format!(
                "probable reference leak: a driver, or the kernel on its behalf, references {} objects and does not dereference them",
                kind.name
            )
        })
    }
}
