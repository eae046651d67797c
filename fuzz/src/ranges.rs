//! Dumps written by a debugger: the list of ranges of types 8, 9 and 0xA.

use std::sync::{Mutex, OnceLock};

use poolscope::synth::Container;

use super::bed::Bed;
use super::container;

const CONTAINERS: [Container; 3] = [
    Container::RangesKernel,
    Container::RangesKernelAndUser,
    Container::RangesFull,
];

/// The same as for the other containers.
pub fn run(data: &[u8]) {
    static BEDS: OnceLock<Vec<Mutex<Bed>>> = OnceLock::new();
    let beds = BEDS.get_or_init(|| container::beds(&CONTAINERS));
    container::run_on(beds, data);
}

/// An undamaged dump of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    (0..CONTAINERS.len() as u8).map(|c| vec![c]).collect()
}
