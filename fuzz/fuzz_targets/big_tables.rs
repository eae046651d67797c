#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| poolscope_fuzz::big_tables::run(data));
