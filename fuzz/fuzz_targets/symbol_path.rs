#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("symbol_path", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::symbol_path::run, data, harness::SECOND)
);
