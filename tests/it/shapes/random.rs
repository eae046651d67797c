//! Random functions with a known result: how the tag moves, and whether a call receives it
//! in the end.

use poolscope::analysis::references::{Confidence, Role};
use poolscope::synth::Machine;
use proptest::prelude::*;

use super::driver::{Code, Driver};
use super::written::{SIZES, fill};
use super::{FREE, POOL, Truth, check, open, spec};

/// The location of the tag.
#[derive(Clone, Copy, Debug)]
pub enum Keeper {
    /// ebx, esi, edi, r12d to r15d.
    Register(usize),
    /// [rsp+50h] and up.
    Slot(u8),
}

/// A step before the call.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Filler(usize),
    Call,
    /// A branch over some instructions.
    Over(usize),
    /// A loop around some instructions.
    Loop(usize),
    /// Both sides of a condition.
    Diamond,
    /// The tag moves to another location.
    Moves(Keeper),
    /// One branch returns.
    Returns,
    /// The tag is also passed to a free function.
    Frees,
}

/// The form of the call.
#[derive(Clone, Copy, Debug)]
pub enum How {
    Import,
    Optimised,
    Retpoline,
    Guarded,
    Hoisted,
    Tail,
}

#[derive(Clone, Debug)]
pub struct Plan {
    first: Keeper,
    steps: Vec<Step>,
    how: How,
    /// The location of the tag is overwritten before the call.
    pub lost: bool,
}

/// Encodings of `mov reg, imm32`, `mov r8d, reg`, `mov edx, reg` and so on.
const REGISTERS: [u8; 7] = [3, 6, 7, 12, 13, 14, 15];

/// `mov to, from` of 32 bits.
fn mov(c: &mut Code, to: u8, from: u8) {
    let rex = 0x40 | (from >> 3) | (to >> 3) << 2;
    if rex != 0x40 {
        c.put(&[rex]);
    }
    c.put(&[0x8b, 0xc0 | (to & 7) << 3 | from & 7]);
}

fn slot(n: u8) -> u8 {
    0x50 + n * 8
}

/// Loads a 32-bit register from the location of the tag.
fn fetch(c: &mut Code, to: u8, keeper: Keeper) {
    match keeper {
        Keeper::Register(n) => mov(c, to, REGISTERS[n]),
        Keeper::Slot(n) => {
            if to > 7 {
                c.put(&[0x44]);
            }
            c.put(&[0x8b, 0x44 | (to & 7) << 3, 0x24, slot(n)]);
        }
    }
}

/// Stores a 32-bit register to the location of the tag.
fn keep(c: &mut Code, keeper: Keeper, from: u8) {
    match keeper {
        Keeper::Register(n) => mov(c, REGISTERS[n], from),
        Keeper::Slot(n) => {
            if from > 7 {
                c.put(&[0x44]);
            }
            c.put(&[0x89, 0x44 | (from & 7) << 3, 0x24, slot(n)]);
        }
    }
}

fn load(c: &mut Code, keeper: Keeper, tag: [u8; 4]) {
    match keeper {
        Keeper::Register(n) => {
            let register = REGISTERS[n];
            if register > 7 {
                c.put(&[0x41]);
            }
            c.tag(&[0xb8 | register & 7], tag);
        }
        Keeper::Slot(n) => {
            c.tag(&[0xc7, 0x44, 0x24, slot(n)], tag);
        }
    }
}

fn step(c: &mut Code, step: Step, at: &mut Keeper) {
    match step {
        Step::Filler(n) => fill(c, n),
        Step::Call => {
            c.call("KeSetEvent");
        }
        Step::Over(n) => {
            let over = c.label();
            c.put(&[0x48, 0x85, 0xc9]).jump(&[0x0f, 0x84], over);
            fill(c, n);
            c.here(over);
        }
        Step::Loop(n) => {
            let again = c.label();
            c.here(again);
            fill(c, n);
            c.call("KeSetEvent")
                .put(&[0x85, 0xc0])
                .jump(&[0x0f, 0x85], again);
        }
        Step::Diamond => {
            let (other, end) = (c.label(), c.label());
            c.put(&[0x48, 0x85, 0xc9]).jump(&[0x0f, 0x84], other);
            c.call("KeSetEvent").jump(&[0xe9], end);
            c.here(other);
            fill(c, 3);
            c.here(end);
        }
        Step::Moves(to) => {
            // Through eax, which the filler instructions may overwrite.
            fetch(c, 0, *at);
            keep(c, to, 0);
            *at = to;
        }
        Step::Returns => {
            let on = c.label();
            c.put(&[0x48, 0x85, 0xc9]).jump(&[0x0f, 0x85], on);
            c.leave().here(on);
        }
        Step::Frees => {
            fetch(c, 2, *at);
            c.call(FREE);
        }
    }
}

pub fn write(c: &mut Code, plan: &Plan, tag: [u8; 4], end: u32) {
    c.enter();
    let hoisted = matches!(plan.how, How::Hoisted);
    if hoisted {
        // mov rbp, [import]
        c.slot(&[0x48, 0x8b, 0x2d], POOL);
    }
    let mut at = plan.first;
    load(c, at, tag);
    for one in &plan.steps {
        step(c, *one, &mut at);
    }
    if plan.lost {
        // xor eax, eax
        c.put(&[0x33, 0xc0]);
        keep(c, at, 0);
        fill(c, 2);
    }
    c.put(&SIZES);
    if matches!(plan.how, How::Guarded) {
        c.slot(&[0x48, 0x8b, 0x05], POOL);
    }
    fetch(c, 8, at);
    match plan.how {
        How::Import => c.call(POOL),
        How::Optimised => c
            .slot(&[0x48, 0xff, 0x15], POOL)
            .put(&[0x0f, 0x1f, 0x44, 0, 0]),
        How::Retpoline => c.slot(&[0x4c, 0x8b, 0x15], POOL).to(&[0xe8], end + 0x420),
        How::Guarded => c.guard(),
        How::Hoisted => c.put(&[0xff, 0xd5]),
        How::Tail => {
            c.put(&[0x48, 0x81, 0xc4, 0x88, 0, 0, 0]);
            c.slot(&[0x48, 0xff, 0x25], POOL)
        }
    };
    c.leave();
}

fn keepers() -> impl Strategy<Value = Keeper> {
    prop_oneof![
        (0usize..REGISTERS.len()).prop_map(Keeper::Register),
        (0u8..2).prop_map(Keeper::Slot),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1usize..60).prop_map(Step::Filler),
        Just(Step::Call),
        (1usize..10).prop_map(Step::Over),
        (1usize..6).prop_map(Step::Loop),
        Just(Step::Diamond),
        keepers().prop_map(Step::Moves),
        Just(Step::Returns),
        Just(Step::Frees),
    ]
}

pub fn plans() -> impl Strategy<Value = Plan> {
    let how = prop_oneof![
        Just(How::Import),
        Just(How::Optimised),
        Just(How::Retpoline),
        Just(How::Guarded),
        Just(How::Hoisted),
        Just(How::Tail),
    ];
    let steps = proptest::collection::vec(steps(), 0..8);
    (keepers(), steps, how, prop::bool::weighted(0.2)).prop_map(|(first, steps, how, lost)| Plan {
        first,
        steps,
        how,
        lost,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3, max_shrink_iters: 0, ..ProptestConfig::default() })]

    /// Each case is a driver with many functions, because building a machine takes long.
    #[test]
    fn random_functions_are_analysed_correctly(plans in proptest::collection::vec(plans(), 220)) {
        let spec = spec();
        let mut machine = Machine::build(&spec).unwrap();
        let mut driver = Driver::new(&spec, &machine, "shapes.sys");
        let mut truths: Vec<Truth> = Vec::new();
        for (n, plan) in plans.iter().enumerate() {
            let digit = |n: usize| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[n % 32];
            let tag = [b'~', digit(n / 32), digit(n), b'r'];
            let mut code = driver.code();
            write(&mut code, plan, tag, super::driver::SIZE);
            let parts = code.into_parts();
            let start = driver.add_parts(parts, true);
            let frees = plan.steps.iter().any(|s| matches!(s, Step::Frees));
            truths.push(match (plan.lost, frees) {
                (false, _) => (tag, POOL, Role::Allocation, Confidence::Certain, start),
                (true, true) => (tag, FREE, Role::Free, Confidence::Certain, start),
                (true, false) => (tag, "", Role::Unknown, Confidence::Coincidence, start),
            });
        }
        driver.load(&mut machine, true);
        let (_folder, engine) = open(&machine);
        let wrong = check(&engine, "shapes", &truths, true);
        prop_assert!(wrong.is_empty(), "{:#?} of {:#?}", wrong, plans.first());
    }
}
