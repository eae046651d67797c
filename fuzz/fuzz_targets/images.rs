#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("images", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::images::run, data, harness::SECOND)
);
