//! The container of physical pages: the data that every format provides, and the list of
//! formats.
//!
//! A new format needs its own file that builds a [`Contents`], a [`Kind`] in `magic.rs`, and a
//! line in [`read`].

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::cpu::Cpu;
use super::error::DumpError;
use super::flattened::Layout;
use super::header::{HEADER_SIZE, Header};
use super::magic::{self, Kind};
use super::mapping::Mapping;
use super::notes::Notes;
use super::page_map::{FileRun, PageMap};
use super::{crash, elf, hyperv, kdump, lime, vmware};

/// The format of a memory image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A crash dump of Windows; its header gives the type.
    Crash,
    /// VMware.
    Vmware,
    /// An ELF core, of QEMU or libvirt.
    Elf,
    /// An ELF core of VirtualBox.
    VirtualBox,
    /// kdump-compressed, of QEMU or libvirt.
    Kdump,
    /// Hyper-V.
    HyperV,
    /// LiME.
    Lime,
    /// Raw physical memory.
    Raw,
}

/// Whether memory could change while the image was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// The machine was stopped: all pages show the same moment.
    Stopped,
    /// The machine may have been running.
    Running,
    /// The format does not record it.
    Unknown,
}

/// The data that a container provides.
#[derive(Debug)]
pub(super) struct Contents {
    pub format: Format,
    /// The header, if the file is a crash dump.
    pub header: Option<Header>,
    pub pages: PageMap,
    /// The processors, if the container has their state.
    pub cpus: Vec<Cpu>,
    pub capture: Capture,
    /// Remarks for users.
    pub notes: Vec<String>,
    /// The file with the pages, if it is not the one that was opened.
    pub elsewhere: Option<PathBuf>,
}

impl Contents {
    fn new(format: Format, pages: PageMap) -> Contents {
        Contents {
            format,
            header: None,
            pages,
            cpus: Vec::new(),
            capture: Capture::Unknown,
            notes: Vec::new(),
            elsewhere: None,
        }
    }

    /// Adds the data from the notes of an ELF core.
    fn with_notes(mut self, notes: Notes) -> Contents {
        if let Some(version) = notes.unknown_version {
            self.notes.push(format!(
                "the VirtualBox processor state has version {version:#x}, which is unknown: it is \
                    not used"
            ));
        }
        if notes.linux {
            self.notes
                .push("the notes in the file describe a Linux kernel".into());
        }
        self.cpus = notes.cpus;
        self.cpus.retain(|cpu| !cpu.is_empty());
        self
    }
}

/// Finds the pages of a file. `file` is the whole file.
///
/// # Errors
/// A [`DumpError`] that says what the file is and which file to get instead.
pub(super) fn read(file: &[u8], path: &Path, given: Option<&Path>) -> Result<Contents, DumpError> {
    let kind = magic::recognise(file, path)?;
    // Only VMware stores memory and state in two files.
    let needed = matches!(kind, Kind::VmwareState | Kind::VmwareMemory);
    if let Some(given) = given.filter(|_| !needed) {
        return Err(DumpError::refused(
            format!(
                "{} was given as the partner of this file, which has none",
                given.display()
            ),
            "use --partner only for the .vmem, .vmsn or .vmss of a VMware snapshot",
        ));
    }
    match kind {
        Kind::Crash => {
            let header = Header::parse(file.get(..HEADER_SIZE).unwrap_or(file))?;
            let pages = crash::page_map(file, &header)?;
            let running = header.is_live();
            Ok(Contents {
                header: Some(header),
                capture: if running {
                    Capture::Running
                } else {
                    Capture::Stopped
                },
                ..Contents::new(Format::Crash, pages)
            })
        }
        Kind::Elf => {
            let core = elf::read(file)?;
            let format = match core.notes.virtualbox {
                true => Format::VirtualBox,
                false => Format::Elf,
            };
            let contents = Contents::new(format, core.pages).with_notes(core.notes);
            Ok(Contents {
                // `virsh dump --live` does not stop the guest, and the file does not record
                // this.
                capture: match format {
                    Format::VirtualBox => Capture::Stopped,
                    _ => Capture::Unknown,
                },
                ..contents
            })
        }
        Kind::Kdump => kdump_file(file, Layout::Plain),
        Kind::KdumpFlattened => {
            let (layout, whole) = Layout::flattened(file)?;
            let mut contents = kdump_file(file, layout)?;
            if !whole {
                contents.notes.push(
                    "the flattened kdump file has no end: it was cut short, and pages are missing; copy it again".into(),
                );
            }
            Ok(contents)
        }
        Kind::HyperV => {
            let saved = hyperv::read(file)?;
            Ok(Contents {
                cpus: saved.cpus,
                notes: saved.notes,
                capture: Capture::Stopped,
                ..Contents::new(Format::HyperV, saved.pages)
            })
        }
        Kind::Lime => Ok(Contents {
            capture: Capture::Running,
            ..Contents::new(Format::Lime, lime::page_map(file)?)
        }),
        Kind::Raw => {
            let pages = file.len() as u64 / crate::addr::PAGE_SIZE;
            let all = FileRun {
                first: 0,
                pages,
                offset: 0,
            };
            Ok(Contents::new(Format::Raw, PageMap::Runs(vec![all])))
        }
        Kind::VmwareState => vmware_state(file, path, given),
        Kind::VmwareMemory => vmware_memory(file, path, given),
    }
}

fn kdump_file(file: &[u8], layout: Layout) -> Result<Contents, DumpError> {
    let found = kdump::read(file, layout)?;
    let mut contents = Contents::new(Format::Kdump, found.pages).with_notes(found.notes);
    if found.incomplete {
        contents.notes.push(
            "the kdump file is marked as incomplete (the disk may have been full): pages are \
                missing"
                .into(),
        );
    }
    Ok(contents)
}

/// Opens a VMware state file: memory is inside it, or in a file beside it.
fn vmware_state(file: &[u8], path: &Path, given: Option<&Path>) -> Result<Contents, DumpError> {
    let state = vmware::State::read(file)?;
    if state.has_memory() {
        if let Some(given) = given {
            return Err(DumpError::refused(
                format!(
                    "{} was given as the memory of this state, which contains its memory",
                    given.display()
                ),
                "omit --partner",
            ));
        }
        return Ok(Contents {
            cpus: state.cpus.clone(),
            capture: Capture::Stopped,
            ..Contents::new(Format::Vmware, state.pages_inside(file)?)
        });
    }
    if state.is_compressed() {
        return Err(DumpError::refused(
            "the RAM in this VMware state is compressed by VMware",
            "take a snapshot with memory instead, or use a .vmem",
        ));
    }
    if let Some(given) = given {
        is_memory(given)?;
    }
    let beside = || partner(path, &["vmem"]);
    let Some(memory) = given.map(Path::to_owned).or_else(beside) else {
        let name = path.with_extension("vmem");
        let name = name.file_name().unwrap_or_default().to_string_lossy();
        return Err(match state.expects_memory() {
            true => DumpError::refused(
                format!(
                    "this is the state of a VMware machine; its memory is in another file, \
                        {name}, which is not in the same directory"
                ),
                format!(
                    "copy {name} into the same directory, or give it with --partner FILE (on vSAN \
                        it may have a different name)"
                ),
            ),
            false => DumpError::refused(
                "this VMware snapshot was taken without memory",
                "take a snapshot with \"Snapshot the virtual machine's memory\" set, and open its .vmem",
            ),
        });
    };
    let length = std::fs::metadata(&memory).map_or(0, |about| about.len());
    let pages = state.pages_outside(length)?;
    let mut contents = Contents {
        cpus: state.cpus.clone(),
        capture: Capture::Stopped,
        ..Contents::new(Format::Vmware, pages)
    };
    contents.notes.extend(unfit(&state, length));
    contents.elsewhere = Some(memory);
    Ok(contents)
}

/// If the regions of a state do not end at the end of memory, the state belongs to another
/// snapshot.
fn unfit(state: &vmware::State, length: u64) -> Option<String> {
    (state.has_regions() && !state.fits(length)).then(|| {
        "the memory regions in the VMware state do not match the length of the .vmem: the files \
            may be from different snapshots, or the .vmem is truncated"
            .into()
    })
}

/// Opens a VMware memory file: its state is in a file beside it, or missing.
fn vmware_memory(file: &[u8], path: &Path, given: Option<&Path>) -> Result<Contents, DumpError> {
    let length = file.len() as u64;
    let mut states = Vec::new();
    let mut notes = Vec::new();
    if let Some(given) = given {
        // A state file that was given explicitly is used, or the dump is refused.
        states.push(read_state(given).map_err(|error| error.with_path(given))?);
    }
    let beside = ["vmss", "vmsn"].into_iter().filter(|_| given.is_none());
    for extension in beside {
        let Some(path) = partner(path, &[extension]) else {
            continue;
        };
        match read_state(&path) {
            Ok(state) => states.push(state),
            Err(why) => notes.push(format!(
                "the .{extension} beside the .vmem is not used: {why}"
            )),
        }
    }
    let best = states.iter().position(|state| state.fits(length));
    if let Some(state) = states.get(best.unwrap_or(0)) {
        notes.extend(unfit(state, length));
        return Ok(Contents {
            cpus: state.cpus.clone(),
            capture: Capture::Stopped,
            notes,
            ..Contents::new(Format::Vmware, state.pages_outside(length)?)
        });
    }
    let (pages, hole) = vmware::without_state(file);
    notes.push(match hole {
        true => "assumed a memory hole at 3 GB: the .vmsn is missing; copy the .vmsn or .vmss of the snapshot into the same directory, or give it with --partner FILE".into(),
        false => "the .vmsn or .vmss is missing: memory is used in the order of the file, and the \
            processor state is unknown".into(),
    });
    notes.push(
        "without its state file, a .vmem may be from a running machine: parts of it may be from \
            different moments"
            .into(),
    );
    Ok(Contents {
        notes,
        ..Contents::new(Format::Vmware, pages)
    })
}

/// Refuses files that can't be the memory of a state.
fn is_memory(path: &Path) -> Result<(), DumpError> {
    let io = |source: io::Error| DumpError::Io {
        path: path.to_owned(),
        source,
    };
    let about = std::fs::metadata(path).map_err(io)?;
    if !about.is_file() {
        return Err(DumpError::refused(
            format!(
                "{} was given as the memory of the state, but is not a file",
                path.display()
            ),
            "give the .vmem of the same snapshot",
        ));
    }
    let mut start = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    match read {
        Ok(()) if !vmware::is_state(&start) => Ok(()),
        _ => Err(DumpError::refused(
            format!(
                "{} was given as the memory of the state, but is a state itself, or empty",
                path.display()
            ),
            "give the .vmem of the same snapshot",
        )),
    }
}

fn read_state(path: &Path) -> Result<vmware::State, DumpError> {
    let io = |source: io::Error| DumpError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() == 0 {
        return Err(DumpError::Empty);
    }
    let mapping = Mapping::new(&file).map_err(io)?;
    match vmware::is_state(mapping.bytes()) {
        true => vmware::State::read(mapping.bytes()),
        false => Err(DumpError::refused(
            "it is not a VMware state file",
            "if the virtual machine is encrypted, decrypt it",
        )),
    }
}

/// The file with the same name and another extension in the same directory. Only regular files
/// are accepted.
fn partner(path: &Path, extensions: &[&str]) -> Option<PathBuf> {
    let upper: Vec<String> = extensions.iter().map(|e| e.to_ascii_uppercase()).collect();
    let all = extensions
        .iter()
        .copied()
        .chain(upper.iter().map(String::as_str));
    all.map(|extension| path.with_extension(extension))
        .find(|path| std::fs::metadata(path).is_ok_and(|about| about.is_file()))
}
