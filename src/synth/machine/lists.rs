//! The module lists, the processes, the processors.

use std::io;

use crate::addr::{Pa, Va};
use crate::synth::header::DumpHeader;
use crate::synth::kernel::{self, LoaderEntry, Process};
use crate::synth::legacy::Role;
use crate::synth::legacy::write::Laid;
use crate::synth::objects;
use crate::synth::processors::{self, Processor};

use super::{Builder, STACK_SIZE, STACKS, control_block};

/// Bug check code of a live dump, and its bit in the header's Attributes.
const LIVE_SYSTEM_DUMP: u32 = 0x161;
const LIVE_DUMP: u32 = 1 << 4;

/// The address of a block with a role.
fn role(laid: &Laid, role: Role) -> io::Result<Va> {
    let found = laid.roles.get(&role).copied();
    found.ok_or_else(|| io::Error::other(format!("no block was laid for {role:?}")))
}

impl Builder<'_> {
    /// Writes the loaded modules, and the unloaded ones.
    pub(super) fn module_lists(&mut self, laid: &Laid) -> io::Result<()> {
        let mut entries = Vec::new();
        for (i, module) in self.spec.modules.iter().enumerate() {
            entries.push(LoaderEntry {
                at: role(laid, Role::LoaderEntry(i as u16))?,
                path_at: role(laid, Role::LoaderName(i as u16))?,
                path: format!("{}{}", module.folder, module.file),
                file: module.file.clone(),
                base: module.base,
                size: module.size,
                entry_point: 0x1000,
            });
        }
        kernel::module_list(&mut self.memory, &self.nt, &entries);
        kernel::debugger_data(&mut self.memory, &self.nt);
        if self.spec.unloaded.is_empty() {
            return Ok(());
        }
        let mut gone = Vec::new();
        for (i, (file, base, size)) in self.spec.unloaded.iter().enumerate() {
            let name_at = role(laid, Role::UnloadedName(i as u16))?;
            gone.push((file.clone(), name_at, *base, *size));
        }
        let array = role(laid, Role::UnloadedDrivers)?;
        let now = self.spec.system_time;
        kernel::unloaded_drivers(&mut self.memory, &self.nt, array, &gone, now);
        Ok(())
    }

    /// Writes the object types.
    pub(super) fn object_types(&mut self, laid: &Laid) -> io::Result<()> {
        let places: io::Result<Vec<Va>> = (0..objects::TYPES.len())
            .map(|i| role(laid, Role::ObjectType(i as u16)))
            .collect();
        objects::write(&mut self.memory, &self.nt, &places?, &self.truth.tags);
        Ok(())
    }

    /// Writes the processes. Returns the page-table roots of System and of the crashed process;
    /// all other processes share the latter.
    pub(super) fn processes(&mut self, laid: &Laid) -> io::Result<(Pa, Pa)> {
        let system = self.memory.root();
        let crashed = self.memory.clone_root();
        let booted = self.spec.system_time.saturating_sub(self.spec.uptime);
        let of_processes = objects::TYPES
            .iter()
            .position(|(index, ..)| *index == objects::PROCESS)
            .unwrap_or(0);
        let ty = role(laid, Role::ObjectType(of_processes as u16))?;
        let mut processes = Vec::new();
        for (i, name) in self.spec.processes.iter().enumerate() {
            processes.push(Process {
                name: name.clone(),
                id: if i == 0 { 4 } else { 200 + 88 * i as u64 },
                parent: if i == 0 { 0 } else { 4 },
                body: role(laid, Role::Process(i as u16))?,
                object_type: ty.add(objects::HEADER),
                root: if i == 0 { system } else { crashed },
                created: booted + i as u64 * 20_000_000,
                handles: laid.roles.get(&Role::HandleTable(i as u16)).copied(),
                image_path: laid.roles.get(&Role::ImagePath(i as u16)).copied(),
            });
        }
        kernel::processes(&mut self.memory, &self.nt, &processes);
        if processes.iter().any(|p| p.handles.is_some()) {
            let page = self.memory.map_user(crashed, kernel::PEB);
            kernel::environment_block(page, self.spec.era);
        }
        Ok((system, crashed))
    }

    /// Writes the control blocks, and returns the dump header.
    pub(super) fn processors(&mut self, laid: &Laid, (system, crashed): (Pa, Pa)) -> DumpHeader {
        let header = DumpHeader {
            build: self.spec.era.build,
            directory_table: crashed.0 | self.spec.options.root_low_bits,
            pfn_database: self.pfn_database(),
            loaded_modules: self.nt.at("PsLoadedModuleList"),
            processes: self.nt.at("PsActiveProcessHead"),
            debugger_data: self.nt.at("KdDebuggerDataBlock"),
            processors: self.spec.processors.into(),
            bugcheck: match self.spec.options.live {
                true => (LIVE_SYSTEM_DUMP, [0; 4]),
                false => self.spec.bugcheck,
            },
            attributes: self.spec.options.live.then_some(LIVE_DUMP),
            runs: self.spec.runs.clone(),
            system_time: self.spec.system_time,
            uptime: self.spec.uptime,
            rip: self.nt.at("KeBugCheckEx"),
            rsp: STACKS.add(STACK_SIZE - 0x300),
            ..DumpHeader::default()
        };
        let all: Vec<Processor> = (0..self.spec.processors)
            .map(|number| Processor {
                number,
                kpcr: match number {
                    0 if self.nt.variable("KiInitialPCR").is_some() => self.nt.at("KiInitialPCR"),
                    _ => control_block(u64::from(number)),
                },
                thread: self.nt.at("KiInitialThread"),
                root: if number == 0 { crashed } else { system },
            })
            .collect();
        let packed = self.spec.options.packed_slists;
        processors::write(
            &mut self.memory,
            &self.nt,
            &all,
            &header,
            (&laid.parked, packed),
        );
        header
    }
}
