#![no_main]

libfuzzer_sys::fuzz_target!(
    init: poolscope_fuzz::prepare("images"),
    |data: &[u8]| poolscope_fuzz::images::run(data)
);
