#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("legacy", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::legacy::run, data, harness::SECOND)
);
