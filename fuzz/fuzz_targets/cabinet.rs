#![no_main]

mod contained;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    contained::allow(&["cab", "lzxd", "miniz_oxide", "pdb2"]);
    poolscope_fuzz::cabinet::run(data);
});
