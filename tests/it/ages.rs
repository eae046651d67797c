//! The ages of blocks, from times in their contents.

use std::sync::Arc;

use poolscope::analysis::ages::{Ages, Shape};
use poolscope::analysis::census::{Progress as Reading, Question};
use poolscope::engine::{Engine, Options};
use poolscope::pool::Tag;
use poolscope::pool::index::Progress;
use poolscope::synth::era::{Era, WIN7, WIN10_2004};
use poolscope::synth::legacy::Allocation;
use poolscope::synth::truth::{Pool, State};
use poolscope::synth::{Container, Machine, small};

const HOUR: u64 = 3600 * 10_000_000;
const UPTIME: u64 = 100 * HOUR;
const BLOCKS: u64 = 480;

/// The ages of a tag with about 480 blocks in use; `value` computes the word at +0x28 of a
/// block from its number and the boot time.
fn ages(era: &'static Era, value: impl Fn(u64, u64) -> u64) -> Option<Ages> {
    ages_of(era, value).0
}

/// The same, and the number of blocks in use.
fn ages_of(era: &'static Era, value: impl Fn(u64, u64) -> u64) -> (Option<Ages>, u64) {
    let mut spec = small::of_era(era);
    spec.uptime = UPTIME;
    spec.allocations = small::allocations(&spec);
    for _ in 0..BLOCKS {
        spec.allocations
            .push(Allocation::new(*b"Time", Pool::NonPaged, 0x90));
    }
    let boot = spec.system_time - UPTIME;
    let mut machine = Machine::build(&spec).unwrap();
    let mine = machine.truth.blocks.iter();
    let mine: Vec<_> = mine
        .filter(|b| b.tag == *b"Time" && b.state == State::Allocated)
        .map(|b| b.body())
        .collect();
    let in_use = mine.len() as u64;
    assert!(in_use > BLOCKS * 9 / 10, "{in_use}");
    for (nth, body) in (0..).zip(mine) {
        machine.memory.u64(body.add(0x28), value(nth, boot));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapFull).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::new(Progress::default())).unwrap();
    let tag = Tag::of("Time").unwrap();
    let census = engine
        .contents(&index, Question::of(tag), &|| true, &Reading::default())
        .unwrap();
    (census.unwrap().ages, in_use)
}

/// One of 480 even steps over the uptime, not on round numbers.
fn step(nth: u64) -> u64 {
    nth * (UPTIME / BLOCKS) + 1_234_567
}

#[test]
fn a_steady_leak_is_drawn_over_the_uptime() {
    for era in [&WIN7, &WIN10_2004] {
        let (ages, in_use) = ages_of(era, |nth, boot| boot + step(nth));
        let ages = ages.unwrap();
        assert_eq!(ages.source, "field +0x28 (system time)");
        // A few blocks on lookaside lists still look allocated, and have no time.
        assert_eq!(ages.blocks_with_time, in_use);
        assert!(ages.blocks >= in_use);
        // 20 blocks per slice; the last slices have fewer.
        let even = (0..24).map(|slice| in_use.saturating_sub(slice * 20).min(20));
        assert_eq!(ages.histogram.to_vec(), even.collect::<Vec<_>>());
        assert_eq!(ages.shape, Shape::Steady);
        assert_eq!(ages.newest - ages.oldest, step(in_use - 1) - step(0));
    }
}

#[test]
fn interrupt_times_and_bursts_are_recognised() {
    let steady = ages(&WIN7, |nth, _| step(nth) + nth % 7).unwrap();
    assert_eq!(steady.source, "field +0x28 (interrupt time)");
    assert_eq!(
        steady.histogram.iter().sum::<u64>(),
        steady.blocks_with_time
    );
    assert!(steady.blocks_with_time * 10 > BLOCKS * 9, "{steady:?}");
    let burst = ages(&WIN7, |nth, boot| boot + UPTIME - HOUR + nth * 1_234_567).unwrap();
    assert_eq!(burst.shape, Shape::Burst);
    let old = ages(&WIN7, |nth, boot| boot + step(nth) / 5).unwrap();
    assert_eq!(old.shape, Shape::Old);
}

#[test]
fn values_that_are_not_times_give_no_ages() {
    assert_eq!(
        ages(&WIN7, |nth, _| nth.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        None
    );
    assert_eq!(ages(&WIN7, |nth, _| nth), None);
    assert_eq!(ages(&WIN7, |_, boot| boot + HOUR), None);
    assert_eq!(ages(&WIN7, |nth, _| 0x0000_7ff6_1234_0000 + nth * 16), None);
    // File dates over twenty years are not allocation times.
    assert_eq!(
        ages(&WIN7, |nth, boot| boot + UPTIME
            - nth * 365 * 24 * HOUR / 24),
        None
    );
}

/// The block contents view draws the ages, and the verdict uses them as evidence.
#[test]
fn ages_are_drawn_with_the_contents_and_counted_as_evidence() {
    const MANY: u64 = 40_000;
    let mut spec = small::of_era(&WIN7);
    let pages = 0x1_0000;
    spec.runs = vec![(1, 0x9e), (0x100, pages)];
    spec.vm.physical_memory = 0x9e + pages;
    spec.vm.committed = pages;
    spec.vm.commit_limit = 2 * pages;
    spec.vm.nonpaged_max = pages;
    spec.options.gigabyte_page = false;
    spec.uptime = UPTIME;
    for _ in 0..MANY {
        spec.allocations
            .push(Allocation::new(*b"Time", Pool::NonPaged, 0x390));
    }
    let boot = spec.system_time - UPTIME;
    let mut machine = Machine::build(&spec).unwrap();
    let mine = machine.truth.blocks.iter();
    let mine: Vec<_> = mine
        .filter(|b| b.tag == *b"Time" && b.state == State::Allocated)
        .map(|b| b.body())
        .collect();
    for (nth, body) in (0..).zip(mine) {
        let time = boot + nth * (UPTIME / MANY) + 1_234_567;
        machine.memory.u64(body.add(0x28), time);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapFull).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::new(Progress::default())).unwrap();
    let found = engine.diagnose(&index);
    let finding = found
        .findings
        .iter()
        .find(|f| f.tag() == Tag::of("Time").unwrap());
    let evidence = &finding.unwrap().score.evidence;
    let ages = evidence.iter().find(|e| e.name == "ages").unwrap();
    assert_eq!(ages.points, 2, "{ages:?}");
    assert!(
        ages.sentence.contains("every part of the uptime"),
        "{ages:?}"
    );
    let mut screens = crate::screens::Screens::open(&path).unwrap();
    screens.keys("/Time\r\r");
    screens.keys("c");
    screens.wait_for("Ages: boot ");
    let screen = screens.screen();
    assert!(screen.contains(" dump, steady"), "{screen}");
    assert!(screen.contains("field +0x28 (system time)"), "{screen}");
}

/// Offsets of Windows 7 (public symbols).
mod win7 {
    pub const TOKEN: u64 = 0x208;
    pub const CREATE_INTERRUPT_TIME: u64 = 0x4d8;
    pub const TOKEN_ID: u64 = 0x10;
}

/// Tokens contain no time. Their IDs come from a rising counter, and the creation times of
/// processes date the IDs.
#[test]
fn tokens_are_dated_by_their_ids() {
    const PROCESSES: u64 = 25;
    const IDS: u64 = 1_000_000;
    let mut spec = small::of_era(&WIN7);
    spec.uptime = UPTIME;
    spec.processes = (0..PROCESSES).map(|n| format!("p{n}.exe")).collect();
    spec.processes[0] = "System".into();
    spec.allocations = small::allocations(&spec);
    for _ in 0..BLOCKS {
        let token = Allocation::new(*b"Toke", Pool::Paged, 0x480);
        spec.allocations.push(token);
        let other = Allocation::new(*b"Time", Pool::NonPaged, 0x90);
        spec.allocations.push(other);
    }
    let mut machine = Machine::build(&spec).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Windows does not replace a file that is still mapped, so each dump has a name of its own.
    let open = |machine: &Machine, name: &str| {
        let path = folder.path().join(name);
        machine.write(&path, Container::BitmapFull).unwrap();
        let engine = Engine::open(&path, &Options::default()).unwrap();
        let index = engine.index(Arc::new(Progress::default())).unwrap();
        (engine, index)
    };
    let bodies = |machine: &Machine, tag: &[u8; 4], least: u64| -> Vec<_> {
        let blocks = machine.truth.blocks.iter();
        let mine =
            blocks.filter(|b| b.tag == *tag && b.state == State::Allocated && b.bytes >= least);
        mine.map(|b| b.body()).collect()
    };
    // After the optional headers and the header of the builder's objects.
    let tokens = bodies(&machine, b"Toke", 0x400);
    let tokens: Vec<_> = tokens.into_iter().map(|body| body.add(0x50)).collect();
    let others = bodies(&machine, b"Time", 0x90);
    let (engine, _) = open(&machine, "before.dmp");
    let processes = poolscope::kernel::processes::list(engine.kernel()).unwrap();
    let counter = engine.kernel().symbol("ExpLuid").unwrap();
    assert_eq!(processes.all.len() as u64, PROCESSES);
    drop(engine);
    if machine.memory.frame(counter).is_none() {
        machine.memory.map_new(counter.page(), 1);
    }
    machine.memory.u64(counter, IDS);
    // Twice as many IDs per hour in the second half of the uptime.
    let id_at = |time: u64| match time * 2 < UPTIME {
        true => 0x3e9 + time * 2 / 3 / (UPTIME / IDS),
        false => IDS - (UPTIME - time) * 4 / 3 / (UPTIME / IDS),
    };
    let count = tokens.len() as u64;
    let memory = &mut machine.memory;
    for (nth, process) in (0..).zip(&processes.all) {
        let time = 1 + UPTIME / PROCESSES * nth;
        memory.u64(process.add(win7::CREATE_INTERRUPT_TIME), time);
        // The low bits are a reference count.
        let token = tokens[nth as usize];
        memory.u64(process.add(win7::TOKEN), token.0 | 7);
        memory.u64(token.add(win7::TOKEN_ID), id_at(time));
    }
    for (nth, token) in (0..).zip(&tokens).skip(PROCESSES as usize) {
        memory.u64(token.add(win7::TOKEN_ID), id_at(UPTIME / count * nth));
    }
    for (nth, body) in (0..).zip(&others) {
        memory.u64(body.add(0x28), id_at(UPTIME / BLOCKS * nth) | 1);
    }
    let (engine, index) = open(&machine, "after.dmp");
    let ages_of = |name: &str| {
        let question = Question::of(Tag::of(name).unwrap());
        let census = engine.contents(&index, question, &|| true, &Reading::default());
        census.unwrap().unwrap().ages
    };
    let ages = ages_of("Toke").unwrap();
    assert!(
        ages.source
            .starts_with("_TOKEN.TokenId (LUID, times within 04:0"),
        "{}",
        ages.source
    );
    assert!(ages.blocks_with_time >= count - 2, "{ages:?}");
    assert_eq!(ages.shape, Shape::Steady, "{ages:?}");
    assert!(ages.error.unwrap() <= UPTIME / PROCESSES + 1);
    let first = ages.histogram.iter().take(12).sum::<u64>();
    assert!(first.abs_diff(count / 2) < count / 8, "{ages:?}");
    // The same numbers in blocks of an unknown type.
    let unknown = ages_of("Time").unwrap();
    assert!(
        unknown.source.starts_with("field +0x28 (LUID"),
        "{unknown:?}"
    );
    // Numbers that only count the blocks are not IDs.
    for (nth, body) in (0..).zip(&others) {
        machine.memory.u64(body.add(0x28), 900_000 + nth * 2 + 1);
    }
    // Without tokens whose IDs rise with their processes there is no time scale.
    let (engine, index) = open(&machine, "again.dmp");
    let ages_of = |name: &str| {
        let question = Question::of(Tag::of(name).unwrap());
        let census = engine.contents(&index, question, &|| true, &Reading::default());
        census.unwrap().unwrap().ages
    };
    assert_eq!(ages_of("Time"), None);
    drop(engine);
    for (nth, process) in (0..PROCESSES).zip(&processes.all) {
        let token = tokens[(PROCESSES - nth) as usize];
        machine.memory.u64(process.add(win7::TOKEN), token.0);
        let id = token.add(win7::TOKEN_ID);
        machine
            .memory
            .u64(id, id_at(UPTIME / PROCESSES * (PROCESSES - nth)));
    }
    let (engine, index) = open(&machine, "last.dmp");
    let question = Question::of(Tag::of("Toke").unwrap());
    let census = engine.contents(&index, question, &|| true, &Reading::default());
    assert_eq!(census.unwrap().unwrap().ages, None);
}
