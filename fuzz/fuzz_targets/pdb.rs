#![no_main]

mod contained;

libfuzzer_sys::fuzz_target!(
    init: {
        contained::allow(&["pdb2"]);
        poolscope_fuzz::prepare("pdb");
    },
    |data: &[u8]| poolscope_fuzz::pdb::run(data)
);
