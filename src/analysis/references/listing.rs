//! The instructions around a reference, in the form of a debugger's listing.

use iced_x86::{FlowControl, Instruction, OpKind};

use crate::kernel::Kernel;
use crate::kernel::sessions::Sessions;
use crate::memory::Va;

use super::Reference;
use super::callee::{Callee, Registers};
use super::code::{Code, Images, in_words};
use super::flow::Surroundings;
use super::flow::value::Atom;
use super::targets::Targets;

/// Number of instructions before the one with the tag.
const BEFORE: usize = 6;
/// Number of instructions after the last call that takes the tag, or after the tag.
const AFTER: usize = 3;
/// Number of instructions around each point of interest if they are far apart.
const AROUND: usize = 6;
/// Maximum number of lines per reference.
const MAX_LINES: usize = 64;
/// Maximum distance from an instruction's start to its last four bytes.
const FURTHEST: u32 = 11;

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its address.
    pub va: Va,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The text in the syntax of the Microsoft assembler.
    pub text: String,
    /// True if the tag is its constant, or it reads the variable with the tag.
    pub is_tag: bool,
    /// True for a call that takes the tag.
    pub takes_tag: bool,
    /// The function that it calls, if known.
    pub function: Option<String>,
    /// True if instructions before this line are omitted.
    pub gap: bool,
}

/// The instructions around a reference in code: from a few before the tag to the calls that take
/// it. Empty for a reference in data, or if the bytes are not an instruction.
pub fn listing(
    kernel: &Kernel,
    sessions: &Sessions,
    targets: &Targets,
    place: &Reference,
) -> Vec<Line> {
    let images = Images::new(kernel, sessions, targets);
    match images.code(place.module) {
        Some(code) if place.in_code => lines(code, place),
        _ => Vec::new(),
    }
}

fn lines(code: &Code, place: &Reference) -> Vec<Line> {
    let hit = code.rva(place.va);
    let calls: Vec<u32> = place.verdict.calls.iter().map(|c| code.rva(c.va)).collect();
    let (starts, whole) = match code.facts_at(hit) {
        Some(facts) if facts.instruction_at(hit).is_some() => (facts.starts.to_vec(), true),
        _ => (alone(code, hit, &calls), false),
    };
    let at = |rva: u32| starts.partition_point(|start| *start <= rva).checked_sub(1);
    let Some(tag) = at(hit) else {
        return Vec::new();
    };
    let before = if whole { BEFORE } else { 0 };
    let mut wanted = vec![false; starts.len()];
    let mut want = |from: usize, to: usize| {
        for slot in wanted.iter_mut().take(to.saturating_add(1)).skip(from) {
            *slot = true;
        }
    };
    want(tag.saturating_sub(before), tag + AFTER);
    for call in calls.iter().filter_map(|call| at(*call)) {
        match call >= tag && call - tag < MAX_LINES - BEFORE - AFTER {
            true => want(tag, call + AFTER),
            false => want(call.saturating_sub(AROUND), call + AFTER),
        }
    }
    let mut out: Vec<Line> = Vec::new();
    let mut last = None;
    for (n, rva) in starts.iter().enumerate() {
        let tells = n == tag || calls.contains(rva);
        if !wanted.get(n).copied().unwrap_or(false) || (out.len() >= MAX_LINES && !tells) {
            continue;
        }
        let Some(i) = code.instruction(*rva) else {
            continue;
        };
        out.push(Line {
            va: code.va(*rva),
            bytes: code.pages.bytes(*rva, i.len()),
            text: in_words(&i),
            is_tag: n == tag,
            takes_tag: calls.contains(rva),
            function: called(code, place, &i),
            gap: last.is_some_and(|last| last + 1 != n),
        });
        last = Some(n);
    }
    out
}

/// The instruction that ends with the four bytes, and those that follow.
fn alone(code: &Code, hit: u32, calls: &[u32]) -> Vec<u32> {
    let ends_there = |back: &u32| {
        let start = hit.checked_sub(*back)?;
        let i = code.instruction(start)?;
        (i.len() as u32 == back + 4).then_some(start)
    };
    let Some(start) = (1..=FURTHEST).rev().find_map(|back| ends_there(&back)) else {
        return Vec::new();
    };
    let end = calls.iter().copied().max().unwrap_or(start);
    let mut out = Vec::new();
    let mut at = start;
    while out.len() < MAX_LINES {
        let Some(i) = code.instruction(at) else {
            break;
        };
        out.push(at);
        let leaves = !matches!(
            i.flow_control(),
            FlowControl::Next
                | FlowControl::ConditionalBranch
                | FlowControl::Call
                | FlowControl::IndirectCall
        );
        if leaves && at >= end {
            break;
        }
        at = at.wrapping_add(i.len() as u32);
    }
    out
}

/// The name of a called function: from the analysis of the call, otherwise from the instruction.
fn called(code: &Code, place: &Reference, i: &Instruction) -> Option<String> {
    let calls = matches!(
        i.flow_control(),
        FlowControl::Call | FlowControl::IndirectCall | FlowControl::IndirectBranch
    );
    let known = place.verdict.calls.iter().find(|c| c.va.0 == i.ip());
    if let Some(function) = known.and_then(|call| call.function.clone()) {
        return Some(function);
    }
    let target = match i.is_ip_rel_memory_operand() {
        true => vec![Atom::Loaded {
            base: i.ip_rel_memory_address(),
            offset: 0,
        }],
        false => Vec::new(),
    };
    if !calls || (target.is_empty() && i.op0_kind() != OpKind::NearBranch64) {
        return None;
    }
    let unknown = Registers {
        r10: &[],
        rax: &[],
        routines: &[],
    };
    let found = code.callees(i, &target, &unknown).into_iter().next()?;
    match found.callee {
        Callee::Named(name) => Some(name.into()),
        Callee::Own(rva) => Some(code.name_of(rva)),
        _ => None,
    }
}
