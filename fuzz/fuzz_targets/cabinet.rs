#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("cabinet", &["cab", "lzxd", "miniz_oxide", "pdb2"]),
    |data: &[u8]| harness::run(poolscope_fuzz::cabinet::run, data, harness::SECOND)
);
