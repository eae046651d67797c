#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("keys", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::keys::run, data, harness::SECOND)
);
