#![no_main]

libfuzzer_sys::fuzz_target!(
    init: poolscope_fuzz::prepare("whole"),
    |data: &[u8]| poolscope_fuzz::whole::run(data)
);
