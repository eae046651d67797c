//! Builds a machine from its [`Spec`] and writes dumps of it.

mod accounting;
mod fixed;
mod images;
mod lists;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use crate::addr::{PAGE_SIZE, Va};

use super::container::Container;
#[cfg(any(test, feature = "synth"))]
use super::era::Heap as Encoding;
use super::header::DumpHeader;
#[cfg(any(test, feature = "synth"))]
use super::heap::{self, HeapShape};
use super::kernel::Nt;
use super::legacy::Contents;
use super::legacy::layout::Layout;
use super::legacy::write::{Laid, Writer};
use super::paging::Memory;
use super::physical::Physical;
use super::processors;
use super::rng::Rng;
use super::spec::Spec;
use super::truth::{Pool, Truth};

const SHARED_USER_DATA: Va = Va(0xffff_f780_0000_0000);
/// System mapping space, for structures that are in neither image nor pool.
const KPCRS: Va = Va(0xffff_f880_0090_0000);
const MORE_KPCRS: Va = Va(0xffff_f881_0000_0000);
const DESCRIPTORS: Va = Va(0xffff_f880_00a0_0000);
const SESSIONS: Va = Va(0xffff_f880_00a8_0000);
const PROTOTYPES: Va = Va(0xffff_f880_00b0_0000);
const MEMORY_BLOCK: Va = Va(0xffff_f880_00b1_0000);
const STACKS: Va = Va(0xffff_f880_0200_0000);
/// Size of a kernel stack in bytes, and the distance between two stacks.
const STACK_SIZE: u64 = 0x6000;
/// A 1 GB mapping, outside of all pools and images.
const GIGABYTE: Va = Va(0xffff_f8c0_0000_0000);

/// A machine in memory; any number of dumps can be written from it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its memory.
    pub memory: Memory,
    /// The header of its dumps.
    pub header: DumpHeader,
    /// The expected contents.
    pub truth: Truth,
}

impl Machine {
    /// Builds the machine.
    ///
    /// # Errors
    /// Fails if the blocks do not fit in the pools, the pools do not fit in memory, or the builder
    /// wrote to an unmapped address.
    pub fn build(spec: &Spec) -> io::Result<Machine> {
        Builder::new(spec).build()
    }

    /// Writes a dump. Returns its length in bytes; most of it may be holes.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn write(&self, path: &Path, container: Container) -> io::Result<u64> {
        let mut file = File::create(path)?;
        container.write(&self.header, &self.memory.physical, &mut file)
    }
}

struct Builder<'a> {
    spec: &'a Spec,
    nt: Nt,
    memory: Memory,
    rng: Rng,
    truth: Truth,
    /// Descriptions of what did not fit.
    mistakes: Vec<String>,
}

/// The maximum number of processors that Windows supports.
const MAX_PROCESSORS: u16 = 2048;
/// Number of processors with control blocks in the first range. Further processors have theirs
/// elsewhere, and no stacks.
const FIRST_PROCESSORS: u64 = 16;

/// Address of the control block of a processor.
fn control_block(cpu: u64) -> Va {
    let start = if cpu < FIRST_PROCESSORS {
        KPCRS
    } else {
        MORE_KPCRS
    };
    start.add(cpu * processors::CONTROL_BLOCKS)
}

impl<'a> Builder<'a> {
    fn new(spec: &'a Spec) -> Self {
        let mut physical = Physical::new(spec.runs.clone());
        if spec.options.scatter {
            physical.scatter(spec.seed ^ 0x5ca7);
        }
        let mut memory = Memory::new(physical);
        memory.invalid_mask = spec.options.invalid_mask;
        Builder {
            spec,
            nt: Nt {
                era: spec.era,
                base: spec.modules.first().map_or(Va(0), |m| m.base),
            },
            memory,
            rng: Rng::new(spec.seed),
            truth: Truth {
                build: spec.era.build,
                lab: spec.era.lab.into(),
                processors: spec.processors.into(),
                kernel_base: spec.modules.first().map_or(Va(0), |m| m.base),
                system_time: spec.system_time,
                uptime: spec.uptime,
                bugcheck: if spec.options.live {
                    0x161
                } else {
                    spec.bugcheck.0
                },
                vm: spec.vm.clone(),
                ..Truth::default()
            },
            mistakes: Vec::new(),
        }
    }

    /// Address of the PFN database. On NT 5.2, paged pool is at the address that later versions
    /// use for it.
    fn pfn_database(&self) -> Va {
        match self.spec.era.is_nt52() {
            true => Va(0xffff_fac0_0000_0000),
            false => Va(0xffff_fa80_0000_0000),
        }
    }

    fn build(mut self) -> io::Result<Machine> {
        self.images();
        self.fixed_mappings();
        // These structures exist early, while memory is still in order.
        if self.spec.options.shuffle {
            self.memory.physical.shuffle(self.spec.seed ^ 0xdec4);
        }
        let laid = self.pools()?;
        self.accounting(&laid);
        self.module_lists(&laid)?;
        self.object_types(&laid)?;
        let roots = self.processes(&laid)?;
        let header = self.processors(&laid, roots);
        self.references();
        if self.spec.options.retired_table {
            self.memory.retire_table(self.spec.paged.start);
        }
        self.check()?;
        Ok(Machine {
            memory: self.memory,
            header,
            truth: self.truth,
        })
    }

    fn pools(&mut self) -> io::Result<Laid> {
        match (&self.spec.heaps, self.spec.era.heap) {
            (None, _) => self.chains(),
            #[cfg(any(test, feature = "synth"))]
            (Some(shape), Some(encoding)) => Ok(self.heaps(shape, encoding)),
            _ => Err(io::Error::other("this era has no segment heaps")),
        }
    }

    fn contents(&self) -> Contents {
        let spec = self.spec;
        let leaker = spec.modules.last().map_or(self.nt.base, |m| m.base);
        Contents {
            era: spec.era,
            kernel_data: self.nt.base.add(spec.era.data.0.into()),
            leaker: leaker.add(0x13b9),
            neighbours: Vec::new(),
            holds: spec.options.holds.clone(),
        }
    }

    /// Writes pools with segment heaps.
    #[cfg(any(test, feature = "synth"))]
    fn heaps(&mut self, shape: &HeapShape, encoding: Encoding) -> Laid {
        let setting = heap::Setting {
            nt: self.nt,
            encoding,
            allocations: &self.spec.allocations,
            contents: self.contents(),
            shape,
            pools: [&self.spec.nonpaged, &self.spec.paged],
        };
        heap::lay(&mut self.memory, setting, &mut self.rng)
    }

    /// Writes pools with chains of blocks.
    fn chains(&mut self) -> io::Result<Laid> {
        let spec = self.spec;
        let nonpaged = Layout::place(spec.nonpaged.clone(), &spec.allocations, &mut self.rng)?;
        let paged = Layout::place(spec.paged.clone(), &spec.allocations, &mut self.rng)?;
        let contents = self.contents();
        let mut writer = Writer {
            memory: &mut self.memory,
            allocations: &spec.allocations,
            contents,
            prototypes: PROTOTYPES,
            laid: Laid::default(),
            rng: self.rng.clone(),
        };
        writer.pool(&nonpaged, &[]);
        writer.pool(&paged, &spec.vm.paged_usage);
        let (mut laid, rng) = (writer.laid, writer.rng);
        self.rng = rng;
        let mut ends = BTreeMap::from([(Pool::NonPaged, nonpaged.end), (Pool::Paged, paged.end)]);
        for bulk in &spec.bulk {
            let Some(end) = ends.get_mut(&bulk.pool) else {
                continue;
            };
            bulk.lay(&mut self.memory, *end);
            *end = end.add(bulk.pages * PAGE_SIZE);
            laid.pages.entry(bulk.pool).or_default().small += bulk.pages;
        }
        Ok(laid)
    }

    /// Reports the builder's own mistakes, so that they do not end up in a dump.
    fn check(&self) -> io::Result<()> {
        if let Some(mistake) = self.mistakes.first() {
            return Err(io::Error::other(mistake.clone()));
        }
        if self.spec.processors > MAX_PROCESSORS {
            return Err(io::Error::other("the machine has too many processors"));
        }
        if self.memory.physical.is_exhausted() {
            return Err(io::Error::other("the machine has too little memory"));
        }
        match self.memory.unmapped_writes() {
            [] => Ok(()),
            [first, ..] => Err(io::Error::other(format!(
                "{} writes to unmapped addresses, the first at {first}",
                self.memory.unmapped_writes().len()
            ))),
        }
    }
}
