#![no_main]

libfuzzer_sys::fuzz_target!(
    init: poolscope_fuzz::prepare("keys"),
    |data: &[u8]| poolscope_fuzz::keys::run(data)
);
