#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("pooltag", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::pooltag::run, data, harness::SECOND)
);
