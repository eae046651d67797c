#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("pdb", &["pdb2"]),
    |data: &[u8]| harness::run(poolscope_fuzz::pdb::run, data, harness::SECOND)
);
