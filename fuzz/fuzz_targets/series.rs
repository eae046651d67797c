#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("series", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::series::run, data, harness::SECOND)
);
