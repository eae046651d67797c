#![no_main]

mod harness;

libfuzzer_sys::fuzz_target!(
    init: harness::prepare("whole", &[]),
    |data: &[u8]| harness::run(poolscope_fuzz::whole::run, data, 10 * harness::SECOND)
);
