#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("page_tables", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::page_tables::run, data, harness::SECOND)
);
