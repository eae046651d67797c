#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("identity", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::identity::run, data, harness::SECOND)
);
