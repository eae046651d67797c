#![no_main]

libfuzzer_sys::fuzz_target!(
    init: poolscope_fuzz::prepare("legacy"),
    |data: &[u8]| poolscope_fuzz::legacy::run(data)
);
