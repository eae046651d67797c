//! What a place in code that has a tag's bytes does with them.

use iced_x86::{
    Code as Opcode, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind,
};
use rustc_hash::FxHashSet;

use crate::memory::Va;

use super::api::Role;
use super::code::{Code, in_words};
use super::follow::{Taken, Taker, follow};
use super::machine::{Place, State, Value};
use super::{Confidence, Verdict};

/// Bytes of one function that are disassembled; nt's largest are half of it.
const MAX_FUNCTION: u64 = 0x2_0000;
/// The furthest before its last four bytes that an instruction with an immediate begins.
const FURTHEST: u64 = 11;
/// Size of WDF_DRIVER_CONFIG, which is its first field, and how far behind it the tag is.
const DRIVER_CONFIG: (u64, i64) = (0x20, 0x1c);

/// An instruction that an address is in.
pub struct Found {
    /// The instruction.
    pub instruction: Instruction,
    /// What is known before it.
    pub state: State,
    /// Disassembled from the function's start, so that it begins where one begins.
    pub aligned: bool,
}

/// Judges four bytes of an executable section.
pub fn judge(code: &Code, hit: Va) -> Verdict {
    let function = function_name(code, hit);
    let mut verdict = match swept(code, hit) {
        Some((found, true)) => with_instruction(code, &found),
        Some((found, false)) => straddles(&found.instruction),
        None => match local(code, hit) {
            Some(found) => with_instruction(code, &found),
            None => no_instruction(),
        },
    };
    verdict.function = function;
    verdict
}

/// The function that holds an address: its name, or its first address.
pub fn function_name(code: &Code, va: Va) -> Option<String> {
    let entry = code.function_at(va)?;
    let start = code.start_of(entry)?;
    Some(code.name_of(code.module.base.add(start.into())))
}

/// The instruction that holds an address, disassembled from the start of its function's
/// piece; with `true` when its immediate is the four bytes there.
pub fn swept(code: &Code, hit: Va) -> Option<(Found, bool)> {
    let entry = code.function_at(hit)?;
    let start = code.module.base.add(entry.start.into());
    let length = u64::from(entry.end - entry.start).min(MAX_FUNCTION);
    let bytes = code.bytes(start, length);
    let joins = joins(&bytes, start);
    let mut state = State::at_entry();
    let mut frame = 0;
    let mut decoder = Decoder::with_ip(64, &bytes, start.0, DecoderOptions::NONE);
    while decoder.can_decode() {
        let i = decoder.decode();
        if i.code() == Opcode::INVALID {
            return None;
        }
        if joins.contains(&i.ip()) {
            state.joined();
        }
        if hit.0 < i.next_ip() {
            let offsets = decoder.get_constant_offsets(&i);
            let at = hit.0.checked_sub(i.ip())?;
            let exact = offsets.has_immediate()
                && offsets.immediate_size() == 4
                && offsets.immediate_offset() as u64 == at;
            let found = Found {
                instruction: i,
                state,
                aligned: true,
            };
            return Some((found, exact));
        }
        match i.flow_control() {
            FlowControl::Next | FlowControl::ConditionalBranch => {
                if i.flow_control() == FlowControl::Next {
                    state.step(&i, false, &|va| code.read(va));
                }
            }
            FlowControl::Call | FlowControl::IndirectCall => state.returned(),
            // What follows is jumped to; its frame is that of the function's body.
            _ => {
                state.joined();
                state.set_stack(frame);
            }
        }
        frame = frame.min(state.stack().unwrap_or(0));
    }
    None
}

/// Where the jumps within a piece of code lead.
fn joins(bytes: &[u8], start: Va) -> FxHashSet<u64> {
    Decoder::with_ip(64, bytes, start.0, DecoderOptions::NONE)
        .into_iter()
        .filter(|i| i.op0_kind() == OpKind::NearBranch64)
        .filter(|i| !matches!(i.flow_control(), FlowControl::Call))
        .map(|i| i.near_branch64())
        .collect()
}

/// An instruction that ends with the four bytes, by its own bytes alone.
fn local(code: &Code, hit: Va) -> Option<Found> {
    (1..=FURTHEST).rev().find_map(|back| {
        let i = code.instruction(Va(hit.0.checked_sub(back)?))?;
        let ends_there = i.next_ip() == hit.0.wrapping_add(4);
        let with_immediate = i.op_count() > 0
            && matches!(
                i.op_kind(i.op_count() - 1),
                OpKind::Immediate32 | OpKind::Immediate32to64
            );
        let usual = matches!(
            i.mnemonic(),
            Mnemonic::Mov | Mnemonic::Cmp | Mnemonic::Push | Mnemonic::Sub
        );
        (ends_there && with_immediate && usual).then(|| Found {
            instruction: i,
            state: State::at_entry(),
            aligned: false,
        })
    })
}

fn with_instruction(code: &Code, found: &Found) -> Verdict {
    let i = &found.instruction;
    let mut verdict = match i.mnemonic() {
        Mnemonic::Mov | Mnemonic::Push => loaded(code, found),
        Mnemonic::Cmp | Mnemonic::Sub => Verdict {
            role: Role::Comparison,
            confidence: Some(match found.aligned {
                true => Confidence::Likely,
                false => Confidence::Coincidence,
            }),
            reason: "compared with the tag: a check of a signature, and no allocation".into(),
            ..Verdict::default()
        },
        _ => Verdict {
            confidence: Some(Confidence::Coincidence),
            reason: "a number that the code calculates with, and not one that it hands over".into(),
            ..Verdict::default()
        },
    };
    verdict.instruction = Some(in_words(i));
    verdict.register = destination(i);
    verdict
}

/// Where the tag is put: a register, or a place in memory in brackets.
fn destination(i: &Instruction) -> Option<String> {
    match i.op0_kind() {
        OpKind::Register => Some(format!("{:?}", i.op0_register()).to_lowercase()),
        OpKind::Memory => {
            let words = in_words(i);
            let (from, to) = (words.find('[')?, words.find(']')?);
            words.get(from..=to).map(str::to_owned)
        }
        _ => None,
    }
}

/// Moved into a register or into memory.
fn loaded(code: &Code, found: &Found) -> Verdict {
    let i = &found.instruction;
    let mut state = found.state.clone();
    let place = match i.op0_kind() {
        OpKind::Memory => state.place(i),
        _ => None,
    };
    let on_stack = matches!(place, Some(Place::Stack(_)));
    if i.op0_kind() == OpKind::Memory && !on_stack {
        return Verdict {
            role: Role::Structure,
            confidence: Some(Confidence::Likely),
            reason:
                "stored in a structure or variable: a tag to allocate with later, or a signature"
                    .into(),
            ..Verdict::default()
        };
    }
    state.step(i, true, &|va| code.read(va));
    let config = match place {
        Some(Place::Stack(at)) => {
            state.slot(at.wrapping_sub(DRIVER_CONFIG.1)).number() == Some(DRIVER_CONFIG.0)
        }
        _ => false,
    };
    match follow(code, Va(i.next_ip()), state) {
        Some(taken) => by_call(code, &taken, found.aligned),
        None if config => Verdict {
            role: Role::Structure,
            confidence: Some(Confidence::Likely),
            reason: "the DriverPoolTag of a WDF_DRIVER_CONFIG on the stack: the driver framework allocates with it".into(),
            ..Verdict::default()
        },
        None => not_taken(on_stack, found.aligned),
    }
}

fn not_taken(on_stack: bool, aligned: bool) -> Verdict {
    let (role, confidence) = match (on_stack, aligned) {
        (_, false) => (Role::Unknown, Confidence::Coincidence),
        (true, true) => (Role::Structure, Confidence::Likely),
        (false, true) => (Role::Unknown, Confidence::Likely),
    };
    Verdict {
        role,
        confidence: Some(confidence),
        reason: match (on_stack, aligned) {
            (_, false) => "looks like an instruction, but there is no unwind data to tell where instructions begin, and no call takes it",
            (true, true) => "stored on the stack, and no call within 40 instructions takes it from there",
            (false, true) => "put into a register, and no call within 40 instructions takes it",
        }
        .into(),
        ..Verdict::default()
    }
}

const ORDINALS: [&str; 8] = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth",
];

fn ordinal(n: u8) -> &'static str {
    let at = usize::from(n).wrapping_sub(1);
    ORDINALS.get(at).copied().unwrap_or("ninth")
}

/// What the call says; `aligned` as in [`Found`].
pub fn by_call(code: &Code, taken: &Taken, aligned: bool) -> Verdict {
    let argument = ordinal(taken.argument);
    let mut verdict = Verdict {
        confidence: Some(Confidence::Likely),
        pool: taken.pool.clone(),
        size: taken.size,
        ..Verdict::default()
    };
    match &taken.by {
        Taker::Api(api) => {
            verdict.api = Some(api.name.into());
            verdict.role = api.role;
            verdict.reason = format!("passed to {} as its {argument} argument", api.name);
            if matches!(api.tag, super::api::TagPlace::Field(..)) {
                verdict.reason = format!(
                    "in the structure that {} takes as its {argument} argument",
                    api.name
                );
            }
            if let Some(wrapper) = taken.through.first() {
                let how = if taken.only_jumps { "jump" } else { "function" };
                verdict.reason +=
                    &format!(", by the driver's own {how} at {}", code.name_of(*wrapper));
            }
            if aligned && taken.only_jumps {
                verdict.confidence = Some(Confidence::Certain);
            }
            if api.role == Role::ObjectReference {
                verdict.confidence = Some(Confidence::Coincidence);
                verdict.reason += ": the tag of a reference to an object or lock, not of pool";
            }
        }
        Taker::Own(va) => {
            verdict.reason = format!(
                "passed as the {argument} argument to the driver's own function at {}, which may allocate with it",
                code.name_of(*va)
            );
        }
        Taker::Named(name) => {
            verdict.reason = format!(
                "passed as the {argument} argument to {name}, which is not known to take a pool tag"
            );
        }
        Taker::Unknown => {
            verdict.reason = format!(
                "passed as the {argument} argument of a call through a pointer that can't be resolved"
            );
        }
    }
    if !aligned {
        verdict.reason += "; by these bytes alone, since there is no unwind data to tell where instructions begin";
    }
    verdict
}

fn straddles(i: &Instruction) -> Verdict {
    Verdict {
        confidence: Some(Confidence::Coincidence),
        reason: format!(
            "no instruction has the tag as its constant: the bytes are part of `{}` at {} or run into the next",
            in_words(i),
            Va(i.ip())
        ),
        ..Verdict::default()
    }
}

fn no_instruction() -> Verdict {
    Verdict {
        confidence: Some(Confidence::Coincidence),
        reason: "in code, but not the constant of any instruction that ends there".into(),
        ..Verdict::default()
    }
}

/// A place in code that reads a variable with the tag in it: what becomes of it.
pub fn read_by(code: &Code, at: Va) -> Option<(Instruction, Verdict)> {
    let (found, _) = swept(code, at)?;
    let i = &found.instruction;
    if i.mnemonic() != Mnemonic::Mov || i.ip() != at.0 || i.op0_kind() != OpKind::Register {
        return None;
    }
    let mut state = found.state.clone();
    state.set(i.op0_register(), Value::Tag);
    let taken = follow(code, Va(i.next_ip()), state)?;
    let mut verdict = by_call(code, &taken, true);
    verdict.instruction = Some(in_words(i));
    verdict.register = destination(i);
    verdict.function = function_name(code, at);
    Some((*i, verdict))
}
