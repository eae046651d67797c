#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("index_file", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::index_file::run, data, harness::SECOND)
);
