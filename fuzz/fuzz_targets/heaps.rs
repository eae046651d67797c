#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("heaps", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::heaps::run, data, harness::SECOND)
);
