#![no_main]

libfuzzer_sys::fuzz_target!(
    init: poolscope_fuzz::prepare("page_tables"),
    |data: &[u8]| poolscope_fuzz::page_tables::run(data)
);
