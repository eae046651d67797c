#![no_main]

libfuzzer_sys::fuzz_target!(
    init: poolscope_fuzz::prepare("pooltag"),
    |data: &[u8]| poolscope_fuzz::pooltag::run(data)
);
