#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("memory_images", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::memory_images::run, data, harness::SECOND)
);
