//! The code of one image: its instructions, functions, imports, and what it calls.

use std::cell::Cell;
use std::sync::OnceLock;

use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, MasmFormatter, OpKind};

use crate::kernel::Kernel;
use crate::kernel::functions::{Function, Functions};
use crate::kernel::image::Image;
use crate::kernel::imports::Imports;
use crate::kernel::modules::Module;
use crate::memory::{AddressSpace, Va};

use super::api;
use super::machine::Value;
use super::targets::Targets;

/// Bytes of an instruction at most.
const LONGEST: u64 = 15;
/// Searches for the readers of a variable in one image.
const MAX_VARIABLES: u32 = 16;
/// The module that the driver framework's functions are in.
const FRAMEWORK: &str = "wdf01000";

/// An image whose code is looked at.
pub struct Code<'a> {
    /// The kernel it is loaded in.
    pub kernel: &'a Kernel,
    /// The address space it is mapped in.
    pub space: &'a AddressSpace,
    /// The module.
    pub module: &'a Module,
    targets: &'a Targets,
    functions: OnceLock<Functions>,
    imports: OnceLock<Imports>,
    /// Variables whose readers may still be looked for.
    variables: Cell<u32>,
}

/// A function that is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callee {
    /// By name.
    Named(String),
    /// A function of the same image without a name.
    Own(Va),
    /// Nobody knows.
    Unknown,
}

impl<'a> Code<'a> {
    /// Of a module.
    pub fn of(
        kernel: &'a Kernel,
        space: &'a AddressSpace,
        module: &'a Module,
        targets: &'a Targets,
    ) -> Code<'a> {
        Code {
            kernel,
            space,
            module,
            targets,
            functions: OnceLock::new(),
            imports: OnceLock::new(),
            variables: Cell::new(MAX_VARIABLES),
        }
    }

    /// Takes one of the searches for the readers of a variable, each of which goes through
    /// all code of the image; false when there were enough.
    pub fn may_look_for_readers(&self) -> bool {
        let left = self.variables.get();
        self.variables.set(left.saturating_sub(1));
        left > 0
    }

    /// The image's headers, where they are in the dump.
    pub fn image(&self) -> Option<&'a Image> {
        self.module.image.as_ref()
    }

    /// Offset from the image's base.
    pub fn rva(&self, va: Va) -> u32 {
        va.0.wrapping_sub(self.module.base.0) as u32
    }

    /// The unwind table's entry that holds an address.
    pub fn function_at(&self, va: Va) -> Option<Function> {
        self.functions().at(self.rva(va))
    }

    /// Where the function begins that an entry is a part of.
    pub fn start_of(&self, entry: Function) -> Option<u32> {
        Some(self.functions().start_of(self.space, self.image()?, entry))
    }

    /// The unwind table.
    pub fn functions(&self) -> &Functions {
        self.functions.get_or_init(|| {
            let image = self.image();
            image.map_or_else(Functions::default, |i| Functions::read(self.space, i))
        })
    }

    fn imports(&self) -> &Imports {
        self.imports.get_or_init(|| {
            let image = self.image();
            image.map_or_else(Imports::default, |i| Imports::read(self.space, i))
        })
    }

    /// A qword of the dump.
    pub fn read(&self, va: u64) -> Option<u64> {
        Some(Va(va))
            .filter(|va| va.is_kernel())
            .and_then(|va| self.space.u64(va).ok())
    }

    /// Bytes from an address up to the first that can't be read, `limit` at most.
    pub fn bytes(&self, va: Va, limit: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for (_, piece) in self.space.pieces(va, limit) {
            match piece {
                Ok(piece) => out.extend_from_slice(piece),
                Err(_) => break,
            }
        }
        out
    }

    /// The instruction at an address.
    pub fn instruction(&self, va: Va) -> Option<Instruction> {
        let bytes = self.bytes(va, LONGEST);
        let mut decoder = Decoder::with_ip(64, &bytes, va.0, DecoderOptions::NONE);
        let instruction = decoder.decode();
        (!instruction.is_invalid()).then_some(instruction)
    }

    /// What an instruction that calls, or jumps in place of a call, leads to. `r10` and
    /// `rax` are what those registers hold.
    pub fn callee(&self, i: &Instruction, target: Value, r10: Value, rax: Value) -> Callee {
        if i.op0_kind() == OpKind::NearBranch64 {
            return self.near(Va(i.near_branch64()), r10, rax);
        }
        match target {
            Value::Loaded {
                value,
                base,
                offset,
            } => self.loaded(value, base, offset, rax),
            Value::Number(va) => self.at(Va(va)),
            _ => Callee::Unknown,
        }
    }

    /// A direct call. Where the kernel has redirected calls for the sake of speculation
    /// ("retpoline"), the import's slot was loaded into r10 or the pointer into rax, and
    /// the call leads to a stub behind the image. Where it has made a call through the
    /// import table direct, it leads to the function itself.
    fn near(&self, target: Va, r10: Value, rax: Value) -> Callee {
        let inside = self.module.contains(target);
        let named = self.at(target);
        if inside || matches!(named, Callee::Named(_)) {
            return named;
        }
        for register in [r10, rax] {
            if let Value::Loaded {
                value,
                base,
                offset,
            } = register
            {
                return self.loaded(value, base, offset, Value::Unknown);
            }
        }
        Callee::Unknown
    }

    /// The function whose pointer was read from `base + offset`.
    fn loaded(&self, value: Option<u64>, base: u64, offset: u64, rax: Value) -> Callee {
        let place = base.wrapping_add(offset);
        if let Some(name) = self.framework(value, base, offset) {
            return Callee::Named(name.into());
        }
        let rva = self.rva(Va(place));
        if self.module.contains(Va(place))
            && let Some(name) = self.imports().names.get(&rva)
        {
            return Callee::Named(name.clone());
        }
        let by_content = value.map_or(Callee::Unknown, |va| self.at(Va(va)));
        if matches!(by_content, Callee::Named(_)) {
            return by_content;
        }
        // Control flow guard: the slot leads to a check, and the function is in rax.
        let guarded = self.imports().guard_dispatch.is_none_or(|slot| slot == rva);
        match rax {
            Value::Loaded {
                value,
                base,
                offset,
            } if guarded => self.loaded(value, base, offset, Value::Unknown),
            _ => by_content,
        }
    }

    /// A function of the driver framework, called through the table it gives its drivers.
    fn framework(&self, value: Option<u64>, base: u64, offset: u64) -> Option<&'static str> {
        if offset == 0 || !offset.is_multiple_of(8) {
            return None;
        }
        let of_framework = |va: u64| {
            let module = self.kernel.module_at(Va(va));
            module.is_some_and(|m| m.name().eq_ignore_ascii_case(FRAMEWORK))
        };
        (of_framework(base) || value.is_some_and(of_framework))
            .then(|| api::framework(offset / 8))
            .flatten()
    }

    fn at(&self, va: Va) -> Callee {
        match self.targets.name(va) {
            Some(name) => Callee::Named(name.to_owned()),
            None if self.module.contains(va) => Callee::Own(va),
            None => Callee::Unknown,
        }
    }

    /// `module!name`, or `module+0x1234` without a name, for a function's first address.
    pub fn name_of(&self, va: Va) -> String {
        let module = self.module.name();
        let rva = self.rva(va);
        let symbol = match self.module.is_kernel {
            true => self.kernel.symbols.nearest(rva),
            false => None,
        };
        match (self.targets.name(va), symbol) {
            (_, Some((name, 0))) => format!("{module}!{name}"),
            (Some(name), _) => format!("{module}!{name}"),
            _ => format!("{module}+{rva:#x}"),
        }
    }
}

/// An instruction in words, as the Microsoft assembler writes it.
pub fn in_words(i: &Instruction) -> String {
    let mut formatter = MasmFormatter::new();
    let options = formatter.options_mut();
    options.set_space_after_operand_separator(true);
    options.set_rip_relative_addresses(false);
    let mut out = String::new();
    formatter.format(i, &mut out);
    out
}
