#![no_main]

mod contained;

libfuzzer_sys::fuzz_target!(
    init: {
        contained::allow(&["cab", "lzxd", "miniz_oxide", "pdb2"]);
        poolscope_fuzz::prepare("cabinet");
    },
    |data: &[u8]| poolscope_fuzz::cabinet::run(data)
);
