//! The code of the loaded images: functions, imports, call targets, and the uses of constants.
//! Each image and each function is analysed once and then shared.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Formatter, Instruction, MasmFormatter, Mnemonic, OpKind,
    Register,
};
use rustc_hash::FxHashMap;

use crate::kernel::Kernel;
use crate::kernel::functions::{Families, Function, Functions};
use crate::kernel::image::{Image, Section};
use crate::kernel::imports::Imports;
use crate::kernel::modules::Module;
use crate::kernel::sessions::Sessions;
use crate::memory::{AddressSpace, Va};

use super::api;
use super::callee::{Called, Callee, Registers};
use super::flow::region::{Known, Region};
use super::flow::value::Atom;
use super::flow::{self, Facts};
use super::framework::{self, BindInfo};
use super::pages::Pages;
use super::targets::Targets;

/// Maximum length of an instruction, in bytes.
pub const LONGEST: u64 = 15;
/// The module that contains the driver framework's functions.
const FRAMEWORK: &str = "wdf01000";
/// Maximum number of consecutive jumps to follow to a function.
const MAX_JUMPS: usize = 4;
/// Number of bytes to analyse from an instruction whose function is unknown.
const LOCAL: u32 = 0x400;

/// All loaded images.
pub struct Images<'a> {
    /// The kernel of the dump.
    pub kernel: &'a Kernel,
    sessions: &'a Sessions,
    targets: &'a Targets,
    codes: Vec<OnceLock<Code<'a>>>,
}

impl<'a> Images<'a> {
    /// The images of a dump. Data is read on demand.
    pub fn new(kernel: &'a Kernel, sessions: &'a Sessions, targets: &'a Targets) -> Images<'a> {
        let codes = kernel.modules.iter().map(|_| OnceLock::new());
        Images {
            kernel,
            sessions,
            targets,
            codes: codes.collect(),
        }
    }

    /// The code of a module, by module index.
    pub fn code(&self, index: usize) -> Option<&Code<'a>> {
        let module = self.kernel.modules.get(index)?;
        let code = self.codes.get(index)?.get_or_init(|| {
            let space = self.sessions.space_of(self.kernel, module);
            Code::of(self.kernel, space, index, module, self.targets)
        });
        Some(code)
    }
}

/// The code of an image.
pub struct Code<'a> {
    /// The kernel of the dump.
    pub kernel: &'a Kernel,
    /// The address space that maps the image.
    pub space: &'a AddressSpace,
    /// The module.
    pub module: &'a Module,
    /// The module's index in the kernel's list.
    pub index: usize,
    /// The image's pages.
    pub pages: Pages<'a>,
    targets: &'a Targets,
    functions: OnceLock<Functions>,
    families: OnceLock<Families>,
    imports: OnceLock<Imports>,
    framework: OnceLock<Option<BindInfo>>,
    asks_by_name: OnceLock<bool>,
    facts: Mutex<FxHashMap<u32, Arc<Facts>>>,
}

impl<'a> Code<'a> {
    fn of(
        kernel: &'a Kernel,
        space: &'a AddressSpace,
        index: usize,
        module: &'a Module,
        targets: &'a Targets,
    ) -> Code<'a> {
        Code {
            kernel,
            space,
            module,
            index,
            pages: Pages::of(space, module),
            targets,
            functions: OnceLock::new(),
            families: OnceLock::new(),
            imports: OnceLock::new(),
            framework: OnceLock::new(),
            asks_by_name: OnceLock::new(),
            facts: Mutex::default(),
        }
    }

    /// The image's headers, if they are in the dump.
    pub fn image(&self) -> Option<&'a Image> {
        self.module.image.as_ref()
    }

    /// The section that contains an RVA.
    pub fn section(&self, rva: u32) -> Option<&'a Section> {
        self.image()?.section(rva)
    }

    /// The RVA of an address.
    pub fn rva(&self, va: Va) -> u32 {
        va.0.wrapping_sub(self.module.base.0) as u32
    }

    /// The RVA of an address if it lies in the image.
    pub fn inside(&self, va: u64) -> Option<u32> {
        self.module.contains(Va(va)).then(|| self.rva(Va(va)))
    }

    /// The address of an RVA.
    pub fn va(&self, rva: u32) -> Va {
        self.module.base.add(rva.into())
    }

    /// The unwind table.
    pub fn functions(&self) -> &Functions {
        self.functions.get_or_init(|| {
            let image = self.image();
            image.map_or_else(Functions::default, |i| Functions::read(self.space, i))
        })
    }

    fn families(&self) -> &Families {
        self.families.get_or_init(|| {
            self.functions().families(
                &|rva, out: &mut [u8]| match self.pages.bytes(rva, out.len()) {
                    bytes if bytes.len() == out.len() => {
                        out.copy_from_slice(&bytes);
                        true
                    }
                    _ => false,
                },
            )
        })
    }

    /// The image's imports.
    pub fn imports(&self) -> &Imports {
        self.imports.get_or_init(|| {
            let image = self.image();
            image.map_or_else(Imports::default, |i| Imports::read(self.space, i))
        })
    }

    /// The image's binding to the driver framework, if it has one.
    pub fn framework(&self) -> Option<&BindInfo> {
        self.framework
            .get_or_init(|| framework::bind_info(self.module, &self.pages))
            .as_ref()
    }

    /// True if the image may look up kernel functions by name (MmGetSystemRoutineAddress).
    pub fn asks_by_name(&self) -> bool {
        const ASKS: &str = "MmGetSystemRoutineAddress";
        *self.asks_by_name.get_or_init(|| {
            if self.imports().names.values().any(|name| name == ASKS) {
                return true;
            }
            let Some((rva, size)) = self.image().and_then(|i| i.import_slots) else {
                return false;
            };
            let slots = self.pages.bytes(rva, size.min(0x8000) as usize);
            slots.chunks_exact(8).any(|slot| {
                let va = slot.try_into().map(u64::from_le_bytes);
                va.is_ok_and(|va| self.targets.name(Va(va)) == Some(ASKS))
            })
        })
    }

    /// The function that contains an RVA; `None` if neither the unwind table nor the gaps in it
    /// show one.
    pub fn region(&self, rva: u32) -> Option<Region> {
        match self.functions().at(rva) {
            Some(entry) => Some(self.family(entry)),
            None => self.leaf(rva),
        }
    }

    /// All parts of the function that an entry of the unwind table belongs to.
    fn family(&self, entry: Function) -> Region {
        let start = self.families().root(entry);
        let own = self.functions().at(start).filter(|f| f.start == start);
        let Some(own) = own else {
            return Region {
                start: entry.start,
                pieces: vec![(entry.start, entry.end)],
                known: Known::Unwind,
            };
        };
        let mut pieces = vec![(own.start, own.end)];
        pieces.extend_from_slice(self.families().pieces(start));
        Region {
            start,
            pieces,
            known: Known::Unwind,
        }
    }

    /// A leaf function has no unwind entry. It lies between two entries: from the first byte that
    /// is not padding to the last instruction that transfers control.
    fn leaf(&self, rva: u32) -> Option<Region> {
        let section = self.section(rva).filter(|s| s.executable)?;
        let (from, to) = self.functions().gap(rva)?;
        let (from, to) = (
            from.max(section.rva),
            to.min(section.rva.saturating_add(section.size)),
        );
        let size = to.checked_sub(from)?.min(flow::region::MAX_FUNCTION);
        let bytes = self.pages.bytes(from, size as usize);
        let mut at = 0usize;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let filler = flow::graph::filler(rest);
            if filler > 0 {
                at += filler as usize;
                continue;
            }
            let length = flow::leaf_length(rest, self.va(from + at as u32).0)?;
            let (start, end) = (from + at as u32, from + at as u32 + length);
            if (start..end).contains(&rva) {
                return Some(Region {
                    start,
                    pieces: vec![(start, end)],
                    known: Known::Gap,
                });
            }
            at += length as usize;
        }
        None
    }

    /// A limited range of code from an RVA.
    pub fn local(&self, rva: u32) -> Region {
        let end = match self.functions().gap(rva) {
            Some((_, next)) => next.min(rva.saturating_add(LOCAL)),
            None => rva.saturating_add(LOCAL),
        };
        Region {
            start: rva,
            pieces: vec![(rva, end)],
            known: Known::Local,
        }
    }

    /// The analysis of the function that contains an RVA.
    pub fn facts_at(&self, rva: u32) -> Option<Arc<Facts>> {
        let region = self.region(rva)?;
        Some(self.facts(region))
    }

    /// The analysis of the function that starts at an RVA.
    pub fn facts_of(&self, start: u32) -> Arc<Facts> {
        let region = match self.region(start) {
            Some(region) if region.start == start => region,
            Some(region) if region.known == Known::Unwind => Region { start, ..region },
            _ => self.local(start),
        };
        self.facts(region)
    }

    fn facts(&self, region: Region) -> Arc<Facts> {
        let known = || self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(facts) = known().get(&region.start) {
            return Arc::clone(facts);
        }
        // Analyse without the lock: two threads may do the same work, with the same result.
        let facts = Arc::new(flow::analyse(self, &region));
        known().insert(region.start, Arc::clone(&facts));
        facts
    }

    /// Reads a qword from the dump.
    pub fn read(&self, va: u64) -> Option<u64> {
        if let Some(rva) = self.inside(va) {
            return self.pages.array(rva).map(u64::from_le_bytes);
        }
        Some(Va(va))
            .filter(|va| va.is_kernel())
            .and_then(|va| self.space.u64(va).ok())
    }

    /// The readable bytes from an address, at most `limit`; ends at the first unreadable page.
    pub fn bytes(&self, va: Va, limit: u64) -> Vec<u8> {
        match self.inside(va.0) {
            Some(rva) => self.pages.bytes(rva, limit as usize),
            None => Vec::new(),
        }
    }

    /// The instruction at an RVA.
    pub fn instruction(&self, rva: u32) -> Option<Instruction> {
        let bytes = self.pages.bytes(rva, LONGEST as usize);
        let mut decoder = Decoder::with_ip(64, &bytes, self.va(rva).0, DecoderOptions::NONE);
        let instruction = decoder.decode();
        (!instruction.is_invalid()).then_some(instruction)
    }

    fn called(&self, i: &Instruction, target: &[Atom], known: &Registers) -> Vec<Called> {
        let mut out: Vec<Called> = match i.op0_kind() {
            OpKind::NearBranch64 => self.near(Va(i.near_branch64()), known),
            _ => target
                .iter()
                .flat_map(|atom| self.of_atom(*atom, known))
                .collect(),
        };
        let mut seen: Vec<Called> = Vec::new();
        out.retain(|called| {
            let new = !seen.contains(called);
            seen.push(called.clone());
            new
        });
        if out.iter().any(|c| c.callee != Callee::Unknown) {
            out.retain(|c| c.callee != Callee::Unknown);
        } else {
            out.truncate(1);
        }
        match out.is_empty() {
            true => vec![Called::by(Callee::Unknown)],
            false => out,
        }
    }

    fn of_atom(&self, atom: Atom, known: &Registers) -> Vec<Called> {
        match atom {
            Atom::Loaded { base, offset } => self.loaded(base, offset, known),
            Atom::Number { value, .. } => self.at(Va(value), known, 0),
            Atom::Routine(n) => {
                let name = known.routines.get(n as usize);
                name.map(|name| Called::by(Callee::Named(name.as_str().into())))
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// The targets of a direct call. With retpoline the kernel redirects indirect calls: the code
    /// loads the import's address into r10 or the pointer into rax and then calls a stub behind
    /// the image. With import optimization the kernel patches calls through the import table to
    /// call the function directly.
    fn near(&self, target: Va, known: &Registers) -> Vec<Called> {
        let inside = self.module.contains(target);
        if inside || self.targets.name(target).is_some() || self.kernel.module_at(target).is_some()
        {
            return self.at(target, known, 0);
        }
        for register in [known.r10, known.rax] {
            let found: Vec<Called> = register
                .iter()
                .filter(|atom| matches!(atom, Atom::Loaded { .. } | Atom::Routine(_)))
                .flat_map(|atom| self.of_atom(*atom, &known.without_rax()))
                .collect();
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    /// The function whose pointer is in memory at `base + offset`.
    fn loaded(&self, base: u64, offset: u64, known: &Registers) -> Vec<Called> {
        let place = base.wrapping_add(offset);
        let value = self.read(place);
        if let Some(name) = self.of_framework(value, base, offset) {
            return vec![Called::by(Callee::Named(name.into()))];
        }
        let rva = self.inside(place);
        if let Some((library, name)) = rva.and_then(|rva| self.imports().at(rva)) {
            let name = self.targets.forwarded(library, name).unwrap_or(name);
            return vec![Called::by(Callee::Named(name.into()))];
        }
        // With control flow guard, the slot points to the check and the target is in rax.
        let guard = self.imports().guard_dispatch;
        let in_rax = || -> Vec<Called> {
            let pointers = known.rax.iter();
            let pointers = pointers
                .filter(|atom| matches!(atom, Atom::Loaded { .. } | Atom::Routine(_)))
                .flat_map(|atom| self.of_atom(*atom, &known.without_rax()));
            pointers.collect()
        };
        if guard.is_some() && guard == rva {
            let found = in_rax();
            return match found.is_empty() {
                true => vec![Called::by(Callee::Unknown)],
                false => found,
            };
        }
        let by_content = match value {
            Some(va) => self.at(Va(va), known, 0),
            None => Vec::new(),
        };
        let named = by_content
            .iter()
            .any(|c| matches!(c.callee, Callee::Named(_)));
        if guard.is_none() && !named && rva.is_some() {
            let found = in_rax();
            if !found.is_empty() {
                return found;
            }
        }
        by_content
    }

    /// A function of the driver framework that is called through its function table.
    fn of_framework(&self, value: Option<u64>, base: u64, offset: u64) -> Option<&'static str> {
        let in_framework = |va: u64| {
            let module = self.kernel.module_at(Va(va));
            module.is_some_and(|m| m.name().eq_ignore_ascii_case(FRAMEWORK))
        };
        if offset != 0
            && offset.is_multiple_of(8)
            && let Some(name) = api::framework(offset / 8)
            && (in_framework(base) || value.is_some_and(in_framework))
        {
            return Some(name);
        }
        let rva = self.inside(base.wrapping_add(offset))?;
        let name = self.framework()?.index(rva).and_then(api::framework)?;
        let bound = match value {
            Some(va) => in_framework(va),
            None => self.framework()?.is_copied(),
        };
        bound.then_some(name)
    }

    /// The function at an address.
    fn at(&self, va: Va, known: &Registers, jumps: usize) -> Vec<Called> {
        if let Some(name) = self.targets.name(va) {
            return vec![Called::by(Callee::Named(name.into()))];
        }
        if let Some(rva) = self.inside(va.0) {
            return self.own(rva, known, jumps);
        }
        let foreign = self
            .kernel
            .modules
            .iter()
            .position(|m| !m.unloaded && m.contains(va));
        match foreign {
            Some(index) => {
                let base = self.kernel.modules.get(index).map_or(0, |m| m.base.0);
                vec![Called::by(Callee::Foreign(index, (va.0 - base) as u32))]
            }
            None => vec![Called::by(Callee::Unknown)],
        }
    }

    /// A function of the image; for a jump thunk, the target of the jump.
    fn own(&self, rva: u32, known: &Registers, jumps: usize) -> Vec<Called> {
        let own = || vec![Called::by(Callee::Own(rva))];
        let Some(first) = self.instruction(rva).filter(|_| jumps < MAX_JUMPS) else {
            return own();
        };
        let through = |called: Vec<Called>| -> Vec<Called> {
            let jump = |called: Called| Called {
                jump: Some(rva),
                ..called
            };
            called.into_iter().map(jump).collect()
        };
        let rip_relative = |i: &Instruction| i.is_ip_rel_memory_operand();
        match first.flow_control() {
            FlowControl::IndirectBranch if rip_relative(&first) => {
                let found = self.loaded(first.ip_rel_memory_address(), 0, known);
                through(found)
            }
            // The dispatch function of control flow guard without a check: `jmp rax`.
            FlowControl::IndirectBranch if first.op0_register() == Register::RAX => {
                let pointers = known.rax.iter();
                let found: Vec<Called> = pointers
                    .flat_map(|atom| self.of_atom(*atom, &known.without_rax()))
                    .collect();
                match found.is_empty() {
                    true => vec![Called::by(Callee::Unknown)],
                    false => found,
                }
            }
            FlowControl::UnconditionalBranch if first.op0_kind() == OpKind::NearBranch64 => {
                through(self.at(Va(first.near_branch64()), known, jumps + 1))
            }
            _ if first.mnemonic() == Mnemonic::Mov
                && first.op0_register() == Register::R10
                && rip_relative(&first) =>
            {
                let second = self.instruction(rva.wrapping_add(first.len() as u32));
                let jumps_on =
                    second.is_some_and(|i| i.flow_control() == FlowControl::UnconditionalBranch);
                match jumps_on {
                    true => through(self.loaded(first.ip_rel_memory_address(), 0, known)),
                    false => own(),
                }
            }
            _ => own(),
        }
    }

    /// The name of a function by its first address: `module!name`, or `module+0x1234` if it has
    /// none.
    pub fn name_of(&self, rva: u32) -> String {
        let module = self.module.name();
        let symbol = match self.module.is_kernel {
            true => self.kernel.symbols.nearest(rva),
            false => None,
        };
        match (self.targets.name(self.va(rva)), symbol) {
            (_, Some((name, 0))) => format!("{module}!{name}"),
            (Some(name), _) => format!("{module}!{name}"),
            _ => format!("{module}+{rva:#x}"),
        }
    }
}

impl flow::Surroundings for Code<'_> {
    fn base(&self) -> u64 {
        self.module.base.0
    }

    fn pages(&self) -> &Pages<'_> {
        &self.pages
    }

    fn inside(&self, va: u64) -> Option<u32> {
        Code::inside(self, va)
    }

    fn read(&self, va: u64) -> Option<u64> {
        Code::read(self, va)
    }

    fn asks_by_name(&self) -> bool {
        Code::asks_by_name(self)
    }

    fn callees(&self, i: &Instruction, target: &[Atom], known: &Registers) -> Vec<Called> {
        self.called(i, target, known)
    }
}

/// Formats an instruction in the syntax of the Microsoft assembler.
pub fn in_words(i: &Instruction) -> String {
    let mut formatter = MasmFormatter::new();
    let options = formatter.options_mut();
    options.set_space_after_operand_separator(true);
    options.set_rip_relative_addresses(false);
    let mut out = String::new();
    formatter.format(i, &mut out);
    out
}
