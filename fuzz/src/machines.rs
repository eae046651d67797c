//! Dumps of the builder's machines, ready to be damaged.

use std::path::Path;
use std::sync::Mutex;

use poolscope::synth::{Container, Machine, Spec};

use super::bed::{Bed, Place};
use super::input::Input;
use super::locate::Whole;

/// A bed for the kernel dump of a machine; `groups` finds its structures.
pub fn bed(spec: &Spec, groups: impl FnOnce(&Whole) -> Vec<Vec<Place>>) -> Mutex<Bed> {
    let machine = Machine::build(spec).unwrap();
    let write = |path: &Path| {
        machine.write(path, Container::BitmapKernel).unwrap();
    };
    Mutex::new(Bed::new(write, |path| groups(&Whole::open(path))))
}

/// Runs an input on the bed that its first byte chooses.
pub fn run_on(beds: &[Mutex<Bed>], data: &[u8], ask: impl FnOnce(&Path)) {
    let mut input = Input(data);
    let Some(which) = input.u8() else { return };
    let bed = &beds[usize::from(which) % beds.len()];
    bed.lock().unwrap().run(&mut input, ask);
}

/// Inputs without damage, one for each bed.
pub fn untouched(beds: usize) -> Vec<Vec<u8>> {
    (0..beds as u8).map(|which| vec![which]).collect()
}
