#![no_main]

libfuzzer_sys::fuzz_target!(
    init: poolscope_fuzz::prepare("typed"),
    |data: &[u8]| poolscope_fuzz::typed::run(data)
);
