#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("container", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::container::run, data, harness::SECOND)
);
