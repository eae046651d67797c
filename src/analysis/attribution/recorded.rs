//! Who was recorded as the caller that allocated a tag's live blocks.

/// Of this many recorded blocks on, it is not by chance that all belong to one driver.
const ENOUGH: u64 = 8;

/// A module that Driver Verifier recorded as the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Its name as WinDbg has it: the first on the stack that is not part of Windows that allocates
    /// for others.
    pub module: String,
    /// Live blocks that it allocated.
    pub blocks: u64,
    /// Live blocks with a record, allocated by any module.
    pub recorded: u64,
    /// All live blocks of the tag.
    pub live: u64,
}

impl Recorded {
    /// It allocated nearly all live blocks.
    pub fn is_proof(&self) -> bool {
        self.blocks > 0 && self.blocks.saturating_mul(5) >= self.live.saturating_mul(4)
    }

    /// It allocated nearly all blocks with a record, and there are some.
    pub fn is_sign(&self) -> bool {
        self.blocks >= ENOUGH && self.blocks.saturating_mul(5) >= self.recorded.saturating_mul(4)
    }

    /// What was recorded, as a sentence.
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
    fn records_of_all_blocks_are_proof_and_those_of_a_few_a_sign() {
        assert!(recorded(900, 900, 1000).is_proof());
        assert!(!recorded(15, 15, 1000).is_proof());
        assert!(recorded(15, 15, 1000).is_sign());
        assert!(!recorded(3, 3, 1000).is_sign());
        assert!(!recorded(15, 40, 1000).is_sign());
        assert!(!Recorded::default().is_proof());
    }
}
