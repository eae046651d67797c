#![no_main]

libfuzzer_sys::fuzz_target!(
    init: poolscope_fuzz::prepare("symbol_path"),
    |data: &[u8]| poolscope_fuzz::symbol_path::run(data)
);
