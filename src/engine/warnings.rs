//! What the user must know before trusting an answer.

use crate::analysis::verifier;
use crate::characters::grouped;
use crate::dump::Header;
use crate::kernel::consistency;
use crate::symbols::Source;

use super::Engine;

impl Engine {
    /// A warning if the lists are inconsistent: the image was written while the machine ran.
    fn torn(&self) -> Option<String> {
        self.kernel.how.as_ref()?;
        let found = consistency::check(&self.kernel);
        (found.broken > 0).then(|| {
            format!(
                "the image is inconsistent: {} of {} links in the module and process lists do not \
                    agree; memory changed while it was written, and counters may disagree",
                found.broken, found.links
            )
        })
    }

    /// What the user must know before trusting an answer, as sentences.
    pub fn warnings(&self) -> Vec<String> {
        let mut out = Vec::new();
        let header = self.dump.header();
        if self.dump.pages_cut_off() > 0 {
            out.push(format!(
                "the file is truncated: {} of {} pages are missing, at the highest addresses",
                grouped(self.dump.pages_cut_off()),
                grouped(self.dump.pages_cut_off() + self.dump.pages_present())
            ));
        }
        if header.is_some_and(Header::is_insufficient) {
            out.push(
                "Windows marked the dump as incomplete, because there was too little space for it"
                    .into(),
            );
        }
        if header.is_some_and(Header::is_live) {
            out.push(
                "a live dump: memory changed while it was written, so counters may disagree".into(),
            );
        }
        out.extend(self.dump.notes());
        out.extend(self.torn());
        out.extend(self.dump.failure());
        out.extend(self.kernel.notes.iter().cloned());
        out.extend(self.symbol_warning());
        out.extend(self.trackers.notes.iter().cloned());
        out.extend(self.vm.warnings());
        out.extend(verifier::note(&self.kernel));
        out
    }

    fn symbol_warning(&self) -> Option<String> {
        let Source::Layout { build } = self.kernel.symbol_source() else {
            return None;
        };
        let wanted = self.missing_pdb()?;
        Some(format!(
            "{} was not found, and this kernel is not built in: the layouts of build {build} are \
                used, without symbol addresses; `poolscope symbols DUMP` shows what to download",
            wanted.id
        ))
    }
}
