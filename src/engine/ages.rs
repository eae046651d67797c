//! The ages of a tag's blocks.

use crate::analysis::ages::clock::Clocks;
use crate::analysis::ages::luid::Luids;
use crate::analysis::ages::slots::{Clock, Scales};
use crate::analysis::ages::{self, Ages, ObjectField, Unwanted};
use crate::analysis::census::Question;
use crate::analysis::objects::header::Reader;
use crate::kernel::processes;
use crate::memory::{AddressSpace, Va};
use crate::pool::block::Block;
use crate::pool::index::Snapshot;
use crate::pool::index::sort::Wanted;

use super::Engine;

/// A kernel object type with a field for its creation time.
struct ObjectTime {
    kind: &'static str,
    structure: &'static str,
    field: &'static str,
    name: &'static str,
    clock: Clock,
}

const OBJECT_TIMES: [ObjectTime; 3] = [
    ObjectTime {
        kind: "Process",
        structure: "_EPROCESS",
        field: "CreateTime",
        name: "_EPROCESS.CreateTime",
        clock: Clock::System,
    },
    ObjectTime {
        kind: "Thread",
        structure: "_ETHREAD",
        field: "CreateTime",
        name: "_ETHREAD.CreateTime",
        clock: Clock::System,
    },
    ObjectTime {
        kind: "Token",
        structure: "_TOKEN",
        field: "TokenId",
        name: "_TOKEN.TokenId",
        clock: Clock::Luid,
    },
];
/// The low bits of `EPROCESS.Token` are a reference count (EX_FAST_REF).
const FAST_REFERENCES: u64 = 0xf;

impl Engine {
    /// The clocks at the time of the dump; `None` if no time is known.
    pub fn clocks(&self) -> Option<Clocks> {
        let machine = &self.kernel().machine;
        Clocks::read(self.kernel(), machine.system_time, machine.uptime)
    }

    /// The ages of the blocks that `question` selects, all of them or its sample. Runs on the
    /// calling thread's workers. `Ok(None)` if the blocks contain no times.
    ///
    /// # Errors
    /// [`Unwanted`] if the request was cancelled.
    pub(super) fn ages_on(
        &self,
        index: &Snapshot,
        question: &Question,
        all: bool,
        wanted: Wanted<'_>,
    ) -> Result<Option<Ages>, Unwanted> {
        let Some(clocks) = self.clocks() else {
            return Ok(None);
        };
        let kernel = self.kernel();
        let types = self.object_types();
        let kind = types.of_tag(question.tag);
        let reader = Reader::new(kernel, types);
        let time = OBJECT_TIMES.iter().find_map(|time| {
            kind.filter(|k| k.name == time.kind)?;
            Some((kernel.offset(time.structure, time.field)?, time))
        });
        let offset = time.map_or(0, |(offset, _)| offset);
        let place = |space: &AddressSpace, block: &Block| -> Option<Va> {
            let object = reader.as_ref()?.in_block(space, block)?;
            Some(object.body.add(offset))
        };
        let space = |session: Option<u32>| self.space_of_session(session);
        let luids = self.luids.get_or_init(|| self.read_luids(&clocks));
        let setting = ages::Setting {
            index,
            space: &space,
            scales: Scales {
                clocks,
                luids: luids.as_ref(),
            },
            all,
            object: time.map(|(_, time)| ObjectField {
                name: time.name,
                clock: time.clock,
                place: &place,
            }),
        };
        ages::take(&setting, question, wanted)
    }

    /// The time scale of LUIDs: each process has its creation time, and a token that was created
    /// with it.
    fn read_luids(&self, clocks: &Clocks) -> Option<Luids> {
        let kernel = self.kernel();
        let id = kernel.offset("_TOKEN", "TokenId")?;
        let list = processes::list(kernel).ok()?;
        let anchor = |at: &Va| -> Option<(u64, u64)> {
            let get = |name| kernel.field(*at, "_EPROCESS", name).ok();
            let created = || get("CreateTime")?.checked_sub(clocks.boot());
            let time = get("CreateInterruptTime")
                .filter(|t| *t != 0)
                .or_else(created)?;
            let token = Va(get("Token")? & !FAST_REFERENCES);
            let luid = kernel.space.u64(token.add(id)).ok()?;
            token.is_kernel().then_some((time, luid))
        };
        let anchors: Vec<(u64, u64)> = list.all.iter().filter_map(anchor).collect();
        let counter = kernel.symbol("ExpLuid");
        let counter = counter.and_then(|va| kernel.space.u64(va).ok());
        Luids::of(&anchors, counter, clocks.uptime)
    }
}
