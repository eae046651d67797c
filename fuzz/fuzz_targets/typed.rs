#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("typed", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::typed::run, data, harness::SECOND)
);
