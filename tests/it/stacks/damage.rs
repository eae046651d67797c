//! Damaged records of Driver Verifier: each damage ends in a warning, and nothing is invented.

use poolscope::engine::{Recorder, StacksOf};
use poolscope::memory::Va;
use poolscope::pool::TagPattern;
use poolscope::synth::era::{WIN7, WIN10_2004, WIN11};
use poolscope::synth::truth::{Pool, State};
use poolscope::synth::verifier::Laid;
use poolscope::synth::{Container, Machine};

use super::{FIRST, LENGTH, Scene};

/// A name, a change to a machine, and the expected warning.
type Damage = (&'static str, fn(&mut Machine, &Laid), &'static str);

const DAMAGES: [Damage; 12] = [
    (
        "a node is its own child",
        |m, l| m.memory.pointer(l.nodes[0].add(8), l.nodes[0]),
        "tables of Driver Verifier's tree",
    ),
    (
        "more tables than there can be",
        |m, l| {
            for at in [0x18, 0x28] {
                m.memory.u32(l.tree.add(at), u32::MAX);
            }
        },
        "tree of drivers is damaged",
    ),
    (
        "a node is no module",
        |m, l| m.memory.pointer(l.nodes[0].add(0x20), Va(0x1234)),
        "are not loaded modules",
    ),
    (
        "a list of pages comes back",
        |m, l| m.memory.pointer(l.pages[0][0], l.pages[0][0]),
        "comes back",
    ),
    (
        "a page is of another driver",
        |m, l| m.memory.u64(l.pages[0][0].add(8), 7),
        "not a page of this driver",
    ),
    (
        "the free list leads astray",
        |m, l| {
            m.memory
                .u64(l.data[0].add(l.lists + 0x18), 0xffff_8000_0000_1230)
        },
        "list of free entries breaks off",
    ),
    (
        "the counters are another driver's",
        |m, l| m.memory.write(l.data[0].add(0x50), &[1; 0x50]),
        "its counters say",
    ),
    (
        "an entry has no caller",
        |m, l| m.memory.u64(l.pages[0][0].add(0x28), 0),
        "entries are damaged",
    ),
    (
        "a length that is no power of two",
        |m, l| m.memory.u32(l.variables[2], LENGTH - 1),
        "is not one that Windows uses",
    ),
    (
        "a length beyond all memory",
        |m, l| m.memory.u32(l.variables[2], 0xffff_fff0),
        "is not one that Windows uses",
    ),
    (
        "a log in the user's half",
        |m, l| m.memory.u64(l.variables[0], 0x1000),
        "log at",
    ),
    (
        "frames that are no addresses",
        |m, l| m.memory.u64(l.log.add(0x20), 0x1234_5678_9abc_def0),
        "records are damaged",
    ),
];

#[test]
fn damaged_records_end_in_a_warning() {
    for era in [&WIN7, &WIN10_2004] {
        for (name, damage, said) in DAMAGES {
            let mut scene = Scene::new(era, false);
            damage(&mut scene.machine, &scene.laid);
            let found = scene.of_tag();
            let warnings = found.warnings.join("\n");
            assert!(
                warnings.contains(said),
                "{name}: {warnings}\n{:?}",
                found.notes
            );
            // Nothing is invented: no count is higher than on the undamaged machine.
            for row in &found.rows {
                assert!(row.count <= FIRST, "{name}: {row:?}");
            }
        }
    }
}

#[test]
fn zeroed_log_records_give_no_stacks() {
    let mut scene = Scene::new(&WIN7, false);
    let zeros = vec![0; scene.laid.stride as usize - 0x18];
    for slot in 0..u64::from(LENGTH) {
        let at = scene.laid.log.add(slot * scene.laid.stride + 0x18);
        scene.machine.memory.write(at, &zeros);
    }
    let found = scene.of_tag();
    assert!(found.rows.iter().all(|r| r.source == Recorder::Pool));
    assert!(found.coverage.unknown_events > 0);
    let said = found.notes.join("\n");
    assert!(said.contains("of an allocation or of a free"), "{said}");
}

#[test]
fn a_log_longer_than_its_pool_block_is_truncated() {
    let mut scene = Scene::new(&WIN7, false);
    let blocks = scene.machine.truth.blocks.iter();
    let big = blocks
        .filter(|b| b.big && b.state == State::Allocated && b.pool == Pool::NonPaged)
        .max_by_key(|b| b.bytes)
        .unwrap();
    let room = big.bytes / scene.laid.stride;
    let said = 2 * room.next_power_of_two();
    let [pointer, _, length] = scene.laid.variables;
    scene.machine.memory.pointer(pointer, big.va);
    scene.machine.memory.u32(length, said as u32);
    let found = scene.of_tag();
    let warnings = found.warnings.join("\n");
    assert!(warnings.contains("has room for"), "{warnings}");
}

#[test]
fn unreadable_log_records_are_counted() {
    for era in [&WIN7, &WIN11] {
        let mut scene = Scene::new(era, false);
        let (log, stride) = (scene.laid.log.0, scene.laid.stride);
        let page = (log + stride * u64::from(LENGTH) / 2) & !0xfff;
        let frame = scene.machine.memory.frame(Va(page)).unwrap();
        scene.machine.memory.physical.omit(frame);
        let touches = |slot: &u64| {
            let first = log + slot * stride;
            first < page + 0x1000 && first + stride > page
        };
        let lost = (0..u64::from(LENGTH)).filter(touches).count() as u64;
        assert!(lost > 1 && lost < u64::from(LENGTH));
        let of = StacksOf::Tag(TagPattern::parse("Leak").unwrap());
        let found = scene.ask_in(Container::BitmapKernel, &of);
        assert_eq!(found.coverage.unreadable, lost, "{}", era.build);
    }
}
