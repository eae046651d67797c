#![no_main]

libfuzzer_sys::fuzz_target!(
    init: poolscope_fuzz::prepare("big_tables"),
    |data: &[u8]| poolscope_fuzz::big_tables::run(data)
);
