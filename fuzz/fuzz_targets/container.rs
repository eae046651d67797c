#![no_main]

libfuzzer_sys::fuzz_target!(
    init: poolscope_fuzz::prepare("container"),
    |data: &[u8]| poolscope_fuzz::container::run(data)
);
