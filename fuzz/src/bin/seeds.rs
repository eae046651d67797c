//! Writes the initial inputs for fuzzing: `corpus/TARGET/seed-N` beside this crate. For
//! each seed without damage it adds random lists of edits, because the fuzzer takes long to
//! get from a single byte to long lists.

use std::fs;
use std::path::Path;

/// A seed that is shorter only chooses a bed and has no edits.
const BARE: usize = 4;
/// Lengths of the edit lists in bytes: from one edit to some dozens.
const LENGTHS: [usize; 8] = [6, 8, 12, 20, 36, 70, 150, 400];
/// Number of lists of each length.
const EACH: u64 = 3;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for target in poolscope_fuzz::TARGETS {
        let folder = root.join("corpus").join(target.name);
        fs::create_dir_all(&folder)?;
        for (i, seed) in (target.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("seed-{i}")), seed)?;
            if seed.len() > BARE {
                continue;
            }
            for length in LENGTHS {
                for list in 0..EACH {
                    let edits = bytes(length as u64 * EACH + list, length);
                    let input = [seed.as_slice(), &edits].concat();
                    fs::write(folder.join(format!("seed-{i}-{length}-{list}")), input)?;
                }
            }
        }
        println!("{}", folder.display());
    }
    Ok(())
}

/// Pseudo-random bytes, the same in each run.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}
