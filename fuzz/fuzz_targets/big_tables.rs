#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("big_tables", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::big_tables::run, data, harness::SECOND)
);
