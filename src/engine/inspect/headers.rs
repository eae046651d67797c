//! `!lmi`: image headers. `!pte`: address translation.

use crate::command::Refusal;
use crate::engine::Engine;
use crate::kernel::identity::Identity;
use crate::kernel::modules::Module;
use crate::memory::{Entry, Va};

use super::listing::{Listing, Value};

impl Engine {
    /// The headers of a loaded image, selected by its name (ignoring case) or by an address in
    /// it.
    ///
    /// # Errors
    /// If no loaded module matches, or its headers are not in the dump.
    pub(super) fn headers_of(&self, wanted: &str) -> Result<Listing, Refusal> {
        let module = self.image_named(wanted).ok_or_else(|| {
            Refusal(format!(
                "{wanted}: no such loaded module; `lm` lists the modules"
            ))
        })?;
        let mut out = Listing::new(format!("headers of {}", module.name()), &["field", "value"]);
        let mut lines = vec![format!("Loaded Module Info: [{}]", module.name())];
        let mut add = |name: &str, text: String, value: Value| {
            lines.push(format!("{name:>19}: {text}"));
            out.push(vec![name.into(), value]);
        };
        let missing = || "not in the dump".to_owned();
        let file = module.path.clone().or_else(|| module.file.clone());
        add("Module", module.name(), module.name().into());
        add("Base Address", module.base.to_string(), module.base.into());
        add(
            "Image Name",
            file.clone().unwrap_or_else(missing),
            file.into(),
        );
        add(
            "Image Size",
            format!("{:x}", module.size),
            Value::Hex(module.size.into()),
        );
        let image = module.image.as_ref();
        let stamp = image.map(|image| u64::from(image.timestamp));
        add(
            "Time Stamp",
            stamp.map_or_else(missing, |stamp| format!("{stamp:08x}")),
            stamp.map_or(Value::Unknown, Value::Hex),
        );
        let pdb = module.pdb().map(|id| format!("{} {}", id.name, id.key()));
        add("PDB", pdb.clone().unwrap_or_else(missing), pdb.into());
        if let Some(image) = image {
            for (name, directory) in [
                ("Import Directory", image.import_directory),
                ("Resource Directory", image.resource_directory),
                ("Exception Directory", image.exception_directory),
                ("Debug Directory", image.debug_directory),
                ("Load Config", image.load_config),
            ] {
                if let Some((rva, size)) = directory {
                    let text = format!("{rva:x}, {size:x} bytes");
                    add(name, text.clone(), text.into());
                }
            }
            for section in &image.sections {
                let mut kind = vec![if section.executable { "code" } else { "data" }];
                kind.extend(section.writable.then_some("writable"));
                kind.extend(section.discardable.then_some("discardable"));
                let text = format!(
                    "{} at {:x}, {:x} bytes, {}",
                    section.name,
                    section.rva,
                    section.size,
                    kind.join(", ")
                );
                add("Section", text.clone(), text.into());
            }
        }
        let identity = Identity::read(&self.kernel().space, module, None);
        let note = identity.version_note();
        if image.is_none() {
            out.notes
                .push("the image's headers are not in the dump".into());
        }
        out.notes.extend(note);
        out.lines = Some(lines);
        Ok(out)
    }

    fn image_named(&self, wanted: &str) -> Option<&Module> {
        let bare = |text: &str| {
            let lower = text.to_ascii_lowercase();
            lower.strip_suffix(".sys").unwrap_or(&lower).to_owned()
        };
        let name = bare(wanted);
        let mut loaded = self.kernel().modules.iter().filter(|m| !m.unloaded);
        let by_name = loaded.find(|m| {
            bare(&m.name()) == name
                || (m.is_kernel && matches!(name.as_str(), "nt" | "ntoskrnl" | "ntkrnlmp"))
        });
        by_name.or_else(|| {
            let at = crate::command::Expression::parse(wanted).ok()?;
            let at = at.resolve(self).ok()?;
            self.kernel().module_at(at)
        })
    }

    /// The page table entries of an address, from the top level down.
    ///
    /// # Errors
    /// If the address is not canonical.
    pub(super) fn page_tables_of(&self, at: Va) -> Result<Listing, Refusal> {
        if !at.is_canonical() {
            return Err(Refusal(format!("{at} is not a canonical address")));
        }
        let space = self.space_of(at);
        let mut out = Listing::new(
            format!("page table entries of {at}"),
            &["level", "entry at", "value", "meaning"],
        );
        let mut lines = vec![format!("VA {at}")];
        for step in space.steps(at) {
            let name = match step.level {
                4 => "PML5E",
                3 => "PXE",
                2 => "PPE",
                1 => "PDE",
                _ => "PTE",
            };
            let meaning = match step.raw {
                Ok(raw) => meaning(space.rules().decode(raw), step.level),
                Err(fault) => format!("the table can't be read: {fault}"),
            };
            let value = step.raw.ok().map_or_else(
                || "????????????????".to_owned(),
                |raw| format!("{raw:016X}"),
            );
            lines.push(format!(
                "{name:>5} at physical {:012x}   contains {value}   {meaning}",
                step.at.0
            ));
            out.push(vec![
                name.into(),
                Value::Hex(step.at.0),
                step.raw.map_or(Value::Unknown, Value::Hex),
                meaning.into(),
            ]);
        }
        let result = match space.translate(at) {
            Ok(target) => format!("{at} translates to {}", target_words(target, at)),
            Err(fault) => format!("{at} can't be read: {fault}"),
        };
        lines.push(result.clone());
        out.notes.push(
            "entries are given by their physical address; WinDbg prints the address in the self-map"
                .into(),
        );
        out.lines = Some(lines);
        Ok(out)
    }
}

fn target_words(target: crate::memory::Target, at: Va) -> String {
    use crate::memory::{Target, Via};
    match target {
        Target::Frame { pfn, via } => {
            let via = match via {
                Via::Valid => "",
                Via::Transition => " (in transition)",
                Via::Prototype => " (through a prototype entry)",
            };
            format!(
                "physical {:x}, pfn {:x}{via}",
                pfn.0 << 12 | at.offset() as u64,
                pfn.0
            )
        }
        Target::Zero => "a page of zeros that was never written".into(),
    }
}

fn meaning(entry: Entry, level: u8) -> String {
    match entry {
        Entry::Valid { pfn, large } if large && level > 0 => {
            format!("pfn {:x}, large page, valid", pfn.0)
        }
        Entry::Valid { pfn, .. } => format!("pfn {:x}, valid", pfn.0),
        Entry::Transition(pfn) => format!("pfn {:x}, in transition", pfn.0),
        Entry::Prototype(at) => format!("prototype entry at {at}"),
        Entry::PagedOut => "in a page file".into(),
        Entry::DemandZero => "demand zero".into(),
        Entry::Empty => "not mapped".into(),
    }
}
