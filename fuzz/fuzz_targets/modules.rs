#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("modules", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::modules::run, data, harness::SECOND)
);
