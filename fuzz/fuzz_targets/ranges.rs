#![no_main]

libfuzzer_sys::fuzz_target!(
    init: poolscope_fuzz::prepare("ranges"),
    |data: &[u8]| poolscope_fuzz::ranges::run(data)
);
