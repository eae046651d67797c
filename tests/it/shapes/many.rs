//! A machine with as many drivers and tags as a large server, and the time of the single
//! pass over them.
//!
//! `cargo test --release --test it shapes::many -- --ignored --nocapture` times only the pass;
//! `cargo bench --bench diagnose` times the program on a dump of this machine.

use std::time::Instant;

use poolscope::analysis::TagSearch;
use poolscope::analysis::references::{Survey, Targets};
use poolscope::memory::Va;
use poolscope::pool::Tag;
use poolscope::synth::legacy::{Allocation, Bulk};
use poolscope::synth::truth::Pool;
use poolscope::synth::{Machine, small};
use proptest::prelude::Strategy;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::driver::{Driver, SIZE, module};
use super::random::{plans, write};
use super::{IMPORTS, open, spec, tag};

pub const DRIVERS: u64 = 210;
pub const TAGS: usize = 547;
const FUNCTIONS: usize = 250;
/// Number of functions with a tag in each driver.
const WITH_TAG: usize = 26;
/// A tag that only one driver uses, and that was never freed.
pub const LEAK: [u8; 4] = *b"Qx7z";
/// The driver and the function that allocate with it.
const LEAKER: (u64, usize) = (17, 3);
/// The leak's share of the pool is one in this many.
const OF_LEAK: u64 = 6;

fn name(n: usize) -> [u8; 4] {
    let digit = |n: usize| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[n % 32];
    [b'~', digit(n / 32), digit(n), b'm']
}

/// The machine with this many additional pages of pool, and the bytes of code in its drivers.
pub fn machine(pages: u64) -> (Machine, u64) {
    let mut spec = spec();
    let frames = pages + pages / 64 + 0x1_0000;
    spec.runs = vec![(1, 0x9e), (0x100, frames.next_multiple_of(512))];
    spec.vm.physical_memory = 0x9e + frames;
    spec.options.tracker_entries = 2049;
    spec.options.gigabyte_page = false;
    let file = |n: u64| format!("many{n}.sys");
    for n in 0..DRIVERS {
        let base = Va(0xffff_f880_1000_0000 + n * 0x10_0000);
        spec.modules.push(module(&file(n), base, &IMPORTS));
    }
    if pages > 0 {
        let tags: Vec<[u8; 4]> = (0..TAGS).map(name).collect();
        let (paged, leaked) = (pages / 4, pages / OF_LEAK);
        let nonpaged = pages - paged - leaked;
        spec.bulk = vec![
            Bulk::new(Pool::NonPaged, nonpaged, &tags, 11),
            Bulk::new(Pool::NonPaged, leaked, &[LEAK], 12),
            Bulk::new(Pool::Paged, paged, &tags, 13),
        ];
        spec.vm.nonpaged_max = nonpaged + leaked + 0x2000;
        spec.options.unfreed = vec![LEAK];
    }
    spec.allocations = small::allocations(&spec);
    // Each tag has at least one block.
    let each = (0..TAGS).map(|n| Allocation::new(name(n), Pool::NonPaged, 0x60));
    spec.allocations.extend(each);
    let mut machine = Machine::build(&spec).unwrap();
    let mut runner = TestRunner::deterministic();
    let plan = plans();
    let mut code_bytes = 0u64;
    for n in 0..DRIVERS {
        let mut driver = Driver::new(&spec, &machine, &file(n));
        for function in 0..FUNCTIONS {
            let mut plan = plan.new_tree(&mut runner).unwrap().current();
            plan.lost = false;
            let tag = match function {
                _ if (n, function) == LEAKER => LEAK,
                0..WITH_TAG => name((n as usize * WITH_TAG + function) % TAGS),
                _ => [b'#', b'#', n as u8, function as u8],
            };
            let mut code = driver.code();
            write(&mut code, &plan, tag, SIZE);
            let parts = code.into_parts();
            code_bytes += parts.1.len() as u64;
            driver.add_parts(parts, true);
        }
        driver.load(&mut machine, true);
    }
    (machine, code_bytes)
}

#[test]
#[ignore = "takes minutes to build its machine; to be timed with optimisation"]
fn all_tags_in_all_drivers_are_found_in_time() {
    let (machine, code_bytes) = machine(0);
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
    // One reference is to the leaking tag instead.
    assert!(places + 1 >= DRIVERS as usize * WITH_TAG && certain >= places * 99 / 100);
    assert!(took.as_secs_f64() < 2.0, "{took:?}");
}
