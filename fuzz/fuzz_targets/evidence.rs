#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("evidence", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::evidence::run, data, 10 * harness::SECOND)
);
