#![no_main]

libfuzzer_sys::fuzz_target!(
    init: poolscope_fuzz::prepare("index_file"),
    |data: &[u8]| poolscope_fuzz::index_file::run(data)
);
