#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("functions", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::functions::run, data, harness::SECOND)
);
