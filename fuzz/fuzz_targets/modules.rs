#![no_main]

libfuzzer_sys::fuzz_target!(
    init: poolscope_fuzz::prepare("modules"),
    |data: &[u8]| poolscope_fuzz::modules::run(data)
);
