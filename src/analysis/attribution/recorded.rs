//! The callers that Driver Verifier recorded for a tag's live blocks.

/// With at least this many records, a single common driver is not a coincidence.
const ENOUGH: u64 = 8;

/// A module that Driver Verifier recorded as the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The module name as in WinDbg: the first module on the stack that is not a part of Windows
    /// that allocates on behalf of others.
    pub module: String,
    /// Number of live blocks that it allocated.
    pub blocks: u64,
    /// Number of live blocks with a record.
    pub recorded: u64,
    /// Number of live blocks of the tag.
    pub live: u64,
}

impl Recorded {
    /// True if it allocated nearly all live blocks.
    pub fn is_proof(&self) -> bool {
        self.blocks > 0 && self.blocks.saturating_mul(5) >= self.live.saturating_mul(4)
    }

    /// True if it allocated nearly all blocks with a record, and there are enough records.
    pub fn is_sign(&self) -> bool {
        self.blocks >= ENOUGH && self.blocks.saturating_mul(5) >= self.recorded.saturating_mul(4)
    }

    /// The evidence as a sentence.
    pub fn sentence(&self) -> String {
        let Recorded {
            blocks,
            recorded,
            live,
            ..
        } = self;
        match recorded == live {
            true => format!(
                "Driver Verifier recorded its code as the caller of {blocks} of {live} live blocks"
            ),
            false => format!(
                "Driver Verifier recorded its code as the caller of {blocks} of {recorded} blocks with a record ({live} are live)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(blocks: u64, recorded: u64, live: u64) -> Recorded {
        Recorded {
            blocks,
            recorded,
            live,
            ..Recorded::default()
        }
    }

    #[test]
    fn records_of_all_blocks_are_proof_and_records_of_some_are_evidence() {
        assert!(recorded(900, 900, 1000).is_proof());
        assert!(!recorded(15, 15, 1000).is_proof());
        assert!(recorded(15, 15, 1000).is_sign());
        assert!(!recorded(3, 3, 1000).is_sign());
        assert!(!recorded(15, 40, 1000).is_sign());
        assert!(!Recorded::default().is_proof());
    }
}
