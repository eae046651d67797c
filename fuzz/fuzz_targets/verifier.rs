#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("verifier", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::verifier::run, data, harness::SECOND)
);
