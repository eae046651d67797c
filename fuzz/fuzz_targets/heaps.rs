#![no_main]

libfuzzer_sys::fuzz_target!(
    init: poolscope_fuzz::prepare("heaps"),
    |data: &[u8]| poolscope_fuzz::heaps::run(data)
);
