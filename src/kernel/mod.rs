//! The kernel of the dump: its address, its build, and its variables.
//!
//! Everything is found by name (the PDB, or the built-in tables), or through the debugger data
//! block if there is no name. A missing value is a note for the user and `None` for the layers
//! above, never a guess that looks like a fact.

pub mod consistency;
mod counter;
pub mod etw;
mod fit;
pub mod functions;
pub mod identity;
pub mod image;
#[doc(hidden)]
pub mod imports;
#[doc(hidden)]
pub mod kdbg;
#[doc(hidden)]
pub mod locate;
pub mod machine;
pub mod modules;
pub mod names;
pub mod processes;
#[doc(hidden)]
pub mod search;
pub mod sessions;
pub mod verifier;
pub(crate) mod visible_state;
pub mod vm;
pub(crate) mod vm_lines;
pub(crate) mod vm_nonpaged;

use std::sync::Arc;

use crate::dump::{Dump, Header};
use crate::memory::{AddressSpace, Fault, InvalidMask, Pa, Va};
use search::Found;

use crate::symbols::{Field, LoadOptions, PdbId, Source, SymbolPath, Symbols};

use kdbg::{Kdbg, KdbgError, field};
use machine::Machine;
use modules::Module;
use visible_state::VisibleState;

/// KUSER_SHARED_DATA in the kernel's address space, the same on every x64 build.
const SHARED_USER_DATA: Va = Va(0xffff_f780_0000_0000);

/// The address bits of CR3.
const ROOT_MASK: u64 = 0x000f_ffff_ffff_f000;

/// The reason why the kernel can't be read.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Neither the debugger data nor the module list can be reached.
    #[error(
        "the page tables at {root:#x} (from the dump header) lead neither to the debugger data nor to the list of loaded modules ({why}): the dump is damaged, or its header names the wrong page-table root; copy it again, or get another dump"
    )]
    NoKernel {
        /// DirectoryTableBase of the header.
        root: u64,
        /// The read error.
        why: Fault,
    },
    /// A memory image without a trace of Windows.
    #[error(
        "no Windows kernel found in this {image} ({}): it may belong to another operating system, be encrypted or truncated, or not be a memory image{}; take it again, or get %SystemRoot%\\MEMORY.DMP",
        if *.processors == 0 { "it was searched for page tables; the state of the processors is not in it".to_owned() } else { format!("neither the state of {} processors nor a search for page tables leads to one", .processors) },
        if *.zeros { "; it starts with zeros: a dump that was reserved and never written does, and Windows writes it at the next boot" } else { "" }
    )]
    NoWindows {
        /// The kind of image, in words.
        image: &'static str,
        /// Number of processors whose page-table root was tried.
        processors: usize,
        /// The image starts with a page of zeros, and has no signature.
        zeros: bool,
    },
}

/// The kernel of a dump.
#[derive(Debug)]
pub struct Kernel {
    /// Facts about the machine as a whole.
    pub machine: Machine,
    /// How the kernel was found, if not through a dump header.
    pub how: Option<locate::How>,
    /// Its address space.
    pub space: AddressSpace,
    /// Windows build number: 7601, 19041…
    pub build: u32,
    /// Major and minor version: (6, 1).
    pub version: (u32, u32),
    /// NtBuildLab, such as `7601.24540.amd64fre.win7sp1_ldr_escrow.191126-1547`.
    pub build_lab: Option<String>,
    /// Base of nt.
    pub base: Va,
    /// The debugger data block.
    pub kdbg: Option<Kdbg>,
    /// The identity of nt's PDB.
    pub pdb: Option<PdbId>,
    /// Names to addresses and offsets.
    pub symbols: Symbols,
    /// Variables that were found by structure, without symbols.
    found: Found,
    /// `MiState.Vs`, or the reason why it is unknown.
    visible_state: Result<VisibleState, String>,
    /// Loaded modules, nt first; previously unloaded modules at the end.
    pub modules: Vec<Module>,
    /// Remarks on missing or guessed data.
    pub notes: Vec<String>,
}

impl Kernel {
    /// Finds the kernel in a dump.
    ///
    /// # Errors
    /// [`KernelError::NoKernel`] if the page tables do not lead to a kernel.
    pub fn open(
        dump: Arc<Dump>,
        path: &SymbolPath,
        options: LoadOptions,
    ) -> Result<Kernel, KernelError> {
        let start = match dump.header() {
            Some(header) => Start::of_header(&dump, header)?,
            None => Start::of_image(locate::find(&dump)?),
        };
        let Start {
            space,
            machine,
            kdbg,
            base,
            mut modules,
            how,
            mut notes,
        } = start;
        if let Some(kernel) = modules::missing_kernel(&space, base, &modules) {
            notes.push(format!(
                "nt is not in the list of loaded modules: it is taken from its image at {base}"
            ));
            modules.insert(0, kernel);
        }
        let pdb = modules
            .iter()
            .find(|m| m.base == base)
            .and_then(|m| m.pdb().cloned());
        if pdb.is_none() {
            notes.push(
                "the debug record of nt is not in the dump: its symbols can't be matched".into(),
            );
        }
        let loaded = Symbols::load(pdb.as_ref(), machine.build, path, options);
        notes.extend(loaded.notes);
        if let Some(table) = unloaded_table(&space, kdbg.as_ref()) {
            modules.extend(modules::unloaded(&space, table));
        }
        let mut kernel = Kernel {
            build: machine.build,
            version: version(&space, machine.build),
            build_lab: kdbg
                .as_ref()
                .and_then(|k| k.address(field::NT_BUILD_LAB))
                .and_then(|at| image::text(&space, at, 128)),
            base,
            kdbg,
            pdb,
            symbols: loaded.symbols,
            found: Found::default(),
            visible_state: Err("it was not looked for".into()),
            modules,
            notes,
            space,
            machine,
            how,
        };
        if kernel.lacks_symbols() {
            kernel.search(path);
        }
        fit::hold_against_debugger_data(&mut kernel);
        kernel.learn_visible_state();
        kernel.learn_invalid_mask();
        Ok(kernel)
    }

    /// True when the symbols do not cover the pool: there are none, or the PDB is stripped.
    fn lacks_symbols(&self) -> bool {
        const NEEDED: [&str; 3] = ["PoolTrackTableSize", "ExPoolTagTables", "PoolBigPageTable"];
        NEEDED.iter().any(|name| self.symbols.rva(name).is_none())
    }

    /// Finds variables without symbols by structure. If the structures reveal another revision
    /// of the layouts, that revision is used.
    fn search(&mut self, path: &SymbolPath) {
        let trackers = search::tracker_build(self, path);
        self.take_trackers(trackers);
        self.found = search::search(self, path);
        if let Some(revision) = self.found.revision {
            let options = LoadOptions {
                revision: Some(revision),
            };
            self.symbols = Symbols::load(self.pdb.as_ref(), self.build, path, options).symbols;
            self.take_trackers(trackers);
        }
        if let Some(build) = trackers {
            self.notes.push(format!(
                "the pool trackers have the layout of build {build}, as the positions of their \
                    tags show"
            ));
        }
        self.notes.append(&mut self.found.notes);
    }

    fn take_trackers(&mut self, build: Option<u32>) {
        if let Some(build) = build {
            self.symbols.take_type("_POOL_TRACKER_TABLE", build);
        }
    }

    /// The address of a kernel variable or function.
    pub fn symbol(&self, name: &str) -> Option<Va> {
        let by_name = self.symbols.rva(name).map(|rva| self.base.add(rva.into()));
        by_name.or_else(|| self.found.variables.get(name).copied())
    }

    /// A kernel variable: by its symbol, or else by the debugger data field with its address.
    /// The second value is the source, for the user.
    pub fn variable(&self, name: &str, kdbg_field: Option<usize>) -> Option<(Va, Origin)> {
        if let Some(at) = self.symbol(name) {
            return Some((at, Origin::Symbol));
        }
        let at = self.kdbg.as_ref()?.address(kdbg_field?)?;
        Some((at, Origin::Kdbg))
    }

    /// The value of a 64-bit kernel variable.
    pub fn number_in(&self, name: &str) -> Option<u64> {
        match self.symbol(name) {
            Some(at) => self.space.u64(at).ok(),
            None => self.found.numbers.get(name).copied(),
        }
    }

    /// The pointer in a kernel variable, if it is a kernel address.
    pub fn pointer_in(&self, name: &str, kdbg_field: Option<usize>) -> Option<Va> {
        let (at, _) = self.variable(name, kdbg_field)?;
        self.space.pointer(at).ok().filter(|va| va.is_kernel())
    }

    /// Reads a structure's field as an unsigned number of 1, 2, 4 or 8 bytes.
    ///
    /// # Errors
    /// [`FieldError::NoLayout`] if no source has the field, otherwise the fault.
    pub fn field(&self, at: Va, ty: &str, name: &str) -> Result<u64, FieldError> {
        let field = self.symbols.field(ty, name).ok_or(FieldError::NoLayout)?;
        self.read_field(at, field).map_err(FieldError::Unreadable)
    }

    /// Reads a field at a known location.
    ///
    /// # Errors
    /// The fault, if it can't be read.
    pub fn read_field(&self, at: Va, field: Field) -> Result<u64, Fault> {
        let at = at.add(field.offset.into());
        let raw = match field.size {
            1 => self.space.u8(at)?.into(),
            2 => self.space.u16(at)?.into(),
            4 => self.space.u32(at)?.into(),
            _ => self.space.u64(at)?,
        };
        Ok(field.extract(raw))
    }

    /// The offset of a field in bytes, if its layout is known.
    pub fn offset(&self, ty: &str, name: &str) -> Option<u64> {
        self.symbols.field(ty, name).map(|f| f.offset.into())
    }

    /// nt's own image.
    pub fn nt(&self) -> Option<&Module> {
        self.modules.iter().find(|m| m.base == self.base)
    }

    /// The loaded module that contains an address.
    pub fn module_at(&self, va: Va) -> Option<&Module> {
        self.modules.iter().find(|m| !m.unloaded && m.contains(va))
    }

    /// The processors' control blocks, from KiProcessorBlock.
    pub fn processor_blocks(&self) -> Vec<Va> {
        let Some((array, _)) = self.variable("KiProcessorBlock", Some(field::PROCESSOR_BLOCK))
        else {
            return Vec::new();
        };
        let count = u64::from(self.machine.processors.min(MAX_PROCESSORS));
        (0..count)
            .filter_map(|i| self.space.pointer(array.add(i * 8)).ok())
            .filter(|va| va.is_kernel())
            .collect()
    }

    /// The address of `MiState.Vs`, if it is known or proven.
    ///
    /// # Errors
    /// The reason why it is unknown.
    pub fn visible_state(&self) -> Result<VisibleState, &str> {
        self.visible_state.as_ref().copied().map_err(String::as_str)
    }

    fn learn_visible_state(&mut self) {
        self.visible_state = visible_state::locate(self);
        if self.build < FIRST_WITH_STATE {
            return;
        }
        match &self.visible_state {
            Ok(state) if state.shift != 0 => self.notes.push(format!(
                "the counters of MiState are {:#x} bytes {} than in the nearest layout: found by a closed list and the pools' maxima",
                state.shift.unsigned_abs(),
                if state.shift > 0 { "further" } else { "nearer" }
            )),
            Err(why) if self.symbol("MiState").is_some() => {
                self.notes.push(format!("{why}; the value there is not used"));
            }
            _ => {}
        }
    }

    /// The source of names and offsets.
    pub fn symbol_source(&self) -> &Source {
        self.symbols.source()
    }

    fn learn_invalid_mask(&mut self) {
        // Such old kernels never got the 2018 updates that introduced the mask.
        if self.build < FIRST_MASKED {
            self.space = self.space.clone().with_invalid_mask(InvalidMask::Known(0));
            return;
        }
        let partition_mask = || {
            let at = self.symbol("MiState")?;
            let hardware = self.offset("_MI_SYSTEM_INFORMATION", "Hardware")?;
            let mask = self.offset("_MI_HARDWARE_STATE", "InvalidPteMask")?;
            Some(at.add(hardware + mask))
        };
        let at = self.symbol("MiInvalidPteMask").or_else(partition_mask);
        let read = at.and_then(|at| self.space.u64(at).ok());
        // The mask is one or more high physical bits; any other value belongs to another
        // variable.
        let read = read.filter(|&m| m & 0xfff == 0 && m >> 52 == 0);
        let exact = visible_state::is_exact(self);
        // With another build's layout, the entries themselves are more reliable, and a zero
        // there is not conclusive.
        let inferred = match (exact, read) {
            (true, Some(_)) => None,
            _ => self.space.infer_invalid_mask(),
        };
        let mask = inferred.or(read.filter(|m| exact || *m != 0));
        if let Some(mask) = mask {
            self.space = self
                .space
                .clone()
                .with_invalid_mask(InvalidMask::Known(mask));
        } else if at.is_some() {
            self.notes.push(
                "the mask of invalid page-table entries can't be read: the usual one is assumed where needed".into(),
            );
        }
    }
}

/// Windows 10 1607: the first build with `MiState`.
const FIRST_WITH_STATE: u32 = 14393;

/// Vista: older builds have no mask for invalid page-table entries.
const FIRST_MASKED: u32 = 6000;

/// Limit above the maximum of any x64 Windows version (2,048 from Server 2022).
const MAX_PROCESSORS: u32 = 2048;

/// The source of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By its symbol.
    Symbol,
    /// By the debugger data block.
    Kdbg,
}

/// The reason why a field has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldError {
    /// Neither the PDB nor the built-in tables have it.
    NoLayout,
    /// Its page can't be read.
    Unreadable(Fault),
}

fn kdbg_note(why: KdbgError, at: Va) -> String {
    match why {
        KdbgError::Unreadable(fault) => {
            format!("the debugger data block at {at} can't be read: {fault}")
        }
        KdbgError::NotKdbg => format!(
            "there is no debugger data block at {at} (it may be encoded: the dump was not written by Windows itself)"
        ),
        KdbgError::Size(size) => {
            format!(
                "the debugger data block at {at} has an implausible size of {size:#x} bytes \
                and is not used"
            )
        }
    }
}

/// The starting point for finding the kernel.
struct Start {
    space: AddressSpace,
    machine: Machine,
    kdbg: Option<Kdbg>,
    base: Va,
    modules: Vec<Module>,
    how: Option<locate::How>,
    notes: Vec<String>,
}

impl Start {
    /// The starting point from the header of a crash dump.
    fn of_header(dump: &Arc<Dump>, header: &Header) -> Result<Start, KernelError> {
        let root = Pa(header.directory_table & ROOT_MASK);
        let space = AddressSpace::new(Arc::clone(dump), root);
        let mut notes = Vec::new();
        let kdbg = match Kdbg::read(&space, header.debugger_data) {
            Ok(kdbg) => Some(kdbg),
            Err(why) => {
                notes.push(kdbg_note(why, header.debugger_data));
                None
            }
        };
        let own = kdbg.as_ref().and_then(base_of);
        let (head, list) = match list_head(&space, kdbg.as_ref(), header.loaded_modules) {
            Ok(head) => (head, modules::loaded(&space, head)),
            // The block gives nt's base, which is enough for most of the rest.
            Err(_) if own.is_some() => (Va(0), modules::ModuleList::lost()),
            Err(why) => return Err(KernelError::NoKernel { root: root.0, why }),
        };
        notes.extend(list.notes);
        let base = own.unwrap_or_else(|| kernel_base(&list.modules, head));
        let mut machine = Machine::of_header(header);
        let found = match kdbg {
            Some(_) => None,
            None => locate::debugger_data(&space, base),
        };
        let kdbg = match found {
            Some((at, found)) => {
                notes.push(format!(
                    "the debugger data block was found at {at}, by a search of the kernel's data"
                ));
                machine.debugger_data = at;
                Some(found)
            }
            None => kdbg,
        };
        Ok(Start {
            machine,
            modules: list.modules,
            how: None,
            space,
            kdbg,
            base,
            notes,
        })
    }

    /// The starting point found in an image.
    fn of_image(found: locate::Located) -> Start {
        let list = match found.machine.loaded_modules {
            Va(0) => modules::ModuleList::lost(),
            head => modules::loaded(&found.space, head),
        };
        let mut notes = found.notes;
        notes.extend(list.notes);
        Start {
            space: found.space,
            machine: found.machine,
            kdbg: found.kdbg,
            base: found.base,
            modules: list.modules,
            how: Some(found.how),
            notes,
        }
    }
}

/// The head of the module list: from the header, or from the debugger data if that fails.
fn list_head(space: &AddressSpace, kdbg: Option<&Kdbg>, header: Va) -> Result<Va, Fault> {
    let candidates = [
        Some(header),
        kdbg.and_then(|k| k.address(field::LOADED_MODULES)),
    ];
    let mut why = Fault::Unmapped;
    for head in candidates.into_iter().flatten() {
        match space.pointer(head) {
            Ok(first) if first.is_kernel() => return Ok(head),
            Ok(_) => {}
            Err(fault) => why = fault,
        }
    }
    Err(why)
}

/// KernBase, if it is plausible.
fn base_of(kdbg: &Kdbg) -> Option<Va> {
    let base = kdbg.address(field::KERN_BASE);
    base.filter(|base| base.offset() == 0)
}

/// The module that contains the list head, or the first module.
fn kernel_base(modules: &[Module], head: Va) -> Va {
    let holder = modules.iter().find(|m| m.contains(head));
    holder
        .or(modules.first())
        .map(|m| m.base)
        .unwrap_or_default()
}

fn unloaded_table(space: &AddressSpace, kdbg: Option<&Kdbg>) -> Option<Va> {
    let variable = kdbg?.address(field::UNLOADED_DRIVERS)?;
    space.pointer(variable).ok().filter(|va| va.is_kernel())
}

impl Kernel {
    /// `KUSER_SHARED_DATA.BootId`: how many times Windows was started on this machine.
    /// `None` before Windows 10 1607, and where it is unreadable or 0.
    pub fn boot_number(&self) -> Option<u32> {
        let number = self
            .field(SHARED_USER_DATA, "_KUSER_SHARED_DATA", "BootId")
            .ok()?;
        u32::try_from(number).ok().filter(|number| *number != 0)
    }
}

/// NtMajorVersion (+0x26C) and NtMinorVersion (+0x270) of KUSER_SHARED_DATA, or what the
/// build is known to be.
fn version(space: &AddressSpace, build: u32) -> (u32, u32) {
    let read = |offset| space.u32(SHARED_USER_DATA.add(offset)).ok();
    if let (Some(major @ 5..=10), Some(minor @ 0..=4)) = (read(0x26c), read(0x270)) {
        return (major, minor);
    }
    match build {
        0..3791 => (5, 2),
        3791..7600 => (6, 0),
        7600..9200 => (6, 1),
        9200..9600 => (6, 2),
        9600..10000 => (6, 3),
        _ => (10, 0),
    }
}
