#![no_main]

mod contained;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    contained::allow(&["pdb2"]);
    poolscope_fuzz::pdb::run(data);
});
