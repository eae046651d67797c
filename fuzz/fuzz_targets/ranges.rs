#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("ranges", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::ranges::run, data, harness::SECOND)
);
