//! How long the one pass over all tags and images takes.
//!
//! `cargo test --release --test it shapes::many -- --ignored --nocapture`

use std::time::Instant;

use poolscope::analysis::TagSearch;
use poolscope::analysis::references::{Survey, Targets};
use poolscope::memory::Va;
use poolscope::pool::Tag;
use poolscope::synth::Machine;
use proptest::prelude::Strategy;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::driver::{Driver, SIZE, module};
use super::random::{plans, write};
use super::{IMPORTS, open, spec, tag};

const DRIVERS: u64 = 210;
const TAGS: usize = 547;
const FUNCTIONS: usize = 260;
/// Functions of each driver whose tags are looked for.
const WITH_TAG: usize = 26;

fn name(n: usize) -> [u8; 4] {
    let digit = |n: usize| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[n % 32];
    [b'~', digit(n / 32), digit(n), b'm']
}

#[test]
#[ignore = "takes minutes to build its machine; to be timed with optimisation"]
fn all_tags_in_all_drivers_are_found_in_time() {
    let mut spec = spec();
    spec.runs = vec![(1, 0x9e), (0x100, 0x1_0000)];
    spec.vm.physical_memory = 0x9e + 0x1_0000;
    let file = |n: u64| format!("many{n}.sys");
    for n in 0..DRIVERS {
        let base = Va(0xffff_f880_1000_0000 + n * 0x10_0000);
        spec.modules.push(module(&file(n), base, &IMPORTS));
    }
    spec.allocations = poolscope::synth::small::allocations(&spec);
    let mut machine = Machine::build(&spec).unwrap();
    let mut runner = TestRunner::deterministic();
    let plan = plans();
    let mut code_bytes = 0u64;
    for n in 0..DRIVERS {
        let mut driver = Driver::new(&spec, &machine, &file(n));
        for function in 0..FUNCTIONS {
            let mut plan = plan.new_tree(&mut runner).unwrap().current();
            plan.lost = false;
            let tag = match function < WITH_TAG {
                true => name((n as usize * WITH_TAG + function) % TAGS),
                false => [b'#', b'#', n as u8, function as u8],
            };
            let mut code = driver.code();
            write(&mut code, &plan, tag, SIZE);
            let parts = code.into_parts();
            code_bytes += parts.1.len() as u64;
            driver.add_parts(parts, true);
        }
        driver.load(&mut machine, true);
    }
    let (_folder, engine) = open(&machine);
    let tags: Vec<Tag> = (0..TAGS).map(|n| tag(&name(n))).collect();
    let workers = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .unwrap();
    let sessions = engine.sessions();
    let start = Instant::now();
    let (survey, searched) = workers.install(|| {
        let targets = Targets::of(engine.kernel(), sessions);
        let tags_of = tags.iter().copied();
        let search = TagSearch::run(engine.kernel(), sessions, tags_of, &|| true).unwrap();
        let searched = start.elapsed();
        let survey = Survey::of(engine.kernel(), sessions, &targets, &search, &tags, &|| {
            true
        })
        .unwrap();
        (survey, searched)
    });
    let took = start.elapsed();
    let places: usize = tags.iter().map(|t| survey.places(*t).len()).sum();
    let certain = tags.iter().flat_map(|t| survey.places(*t));
    let certain = certain.filter(|r| r.verdict.api.is_some()).count();
    println!(
        "{TAGS} tags in {DRIVERS} drivers of {code_bytes} bytes of code: {places} places, {certain} with a function that takes the tag; searched after {searched:?}, all after {took:?}"
    );
    assert!(places >= DRIVERS as usize * WITH_TAG && certain >= places * 99 / 100);
    assert!(took.as_secs_f64() < 2.0, "{took:?}");
}
