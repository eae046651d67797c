//! When a tag's blocks were made.

use crate::analysis::ages::clock::Clocks;
use crate::analysis::ages::{self, Ages, ObjectField, Unwanted};
use crate::analysis::census::Question;
use crate::analysis::objects::header::Reader;
use crate::memory::{AddressSpace, Va};
use crate::pool::block::Block;
use crate::pool::index::Snapshot;
use crate::pool::index::sort::Wanted;

use super::Engine;

/// Kernel objects that carry the time of their creation, a FILETIME: the type's name, and
/// the structure and field.
const OBJECT_TIMES: [(&str, &str, &str, &str); 2] = [
    ("Process", "_EPROCESS", "CreateTime", "_EPROCESS.CreateTime"),
    ("Thread", "_ETHREAD", "CreateTime", "_ETHREAD.CreateTime"),
];

impl Engine {
    /// The clocks at the moment of the dump; `None` where no time is known.
    pub fn clocks(&self) -> Option<Clocks> {
        let machine = &self.kernel().machine;
        Clocks::read(self.kernel(), machine.system_time, machine.uptime)
    }

    /// The ages of the blocks that `question` asks about, all of them or its sample, on the
    /// threads that this is called on; `Ok(None)` where they carry no times.
    ///
    /// # Errors
    /// [`Unwanted`] when the answer isn't wanted any more.
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
        let time = OBJECT_TIMES
            .iter()
            .find_map(|(name, structure, field, full)| {
                kind.filter(|k| k.name == *name)?;
                Some((kernel.offset(structure, field)?, *full))
            });
        let offset = time.map_or(0, |(offset, _)| offset);
        let place = |space: &AddressSpace, block: &Block| -> Option<Va> {
            let object = reader.as_ref()?.in_block(space, block)?;
            Some(object.body.add(offset))
        };
        let space = |session: Option<u32>| self.space_of_session(session);
        let setting = ages::Setting {
            index,
            space: &space,
            clocks,
            all,
            object: time.map(|(_, name)| ObjectField {
                name,
                place: &place,
            }),
        };
        ages::take(&setting, question, wanted)
    }
}
