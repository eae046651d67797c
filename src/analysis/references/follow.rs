//! Following a tag from the instruction that names it to the call that takes it.
//!
//! Straight on, through conditional jumps both ways, across unconditional jumps, and one
//! or two of the driver's own functions deep; forty instructions a way, so that a crafted
//! image can't make it long.

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

use crate::memory::Va;

use super::api::{self, Api, Pool, TagPlace};
use super::code::{Callee, Code};
use super::machine::{State, Value};

/// Instructions on one way to a call.
const WAY: u32 = 40;
/// Instructions on all ways together.
const ALL: u32 = 400;
/// Ways that are still to go at once.
const MAX_PENDING: usize = 8;
/// The driver's own functions that are gone into, one from another.
const DEPTH: u32 = 2;
/// Arguments that are looked at.
const ARGUMENTS: u8 = 8;

/// A call that takes the tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Who takes it.
    pub by: Taker,
    /// In which argument, from 1.
    pub argument: u8,
    /// POOL_TYPE or POOL_FLAGS in words, where it is a constant.
    pub pool: Option<String>,
    /// Bytes that are asked for, where they are a constant.
    pub size: Option<u64>,
    /// The driver's own functions on the way to it.
    pub through: Vec<Va>,
    /// They do nothing but jump on.
    pub only_jumps: bool,
}

/// Who takes a tag.
#[derive(Clone, Debug)]
pub enum Taker {
    /// A function that is known to take one there.
    Api(&'static Api),
    /// A function with a name that is not known to.
    Named(String),
    /// A function of the same image.
    Own(Va),
    /// A call that leads nobody knows where.
    Unknown,
}

impl PartialEq for Taker {
    fn eq(&self, other: &Taker) -> bool {
        match (self, other) {
            (Taker::Api(a), Taker::Api(b)) => a.name == b.name,
            (Taker::Named(a), Taker::Named(b)) => a == b,
            (Taker::Own(a), Taker::Own(b)) => a == b,
            (a, b) => matches!((a, b), (Taker::Unknown, Taker::Unknown)),
        }
    }
}

impl Eq for Taker {}

impl Taken {
    /// How much it says: a function that takes tags before anything else.
    fn weight(&self) -> u8 {
        match self.by {
            Taker::Api(_) => 3,
            Taker::Own(_) => 2,
            Taker::Unknown => 1,
            Taker::Named(_) => 0,
        }
    }
}

/// Follows the tag from an address on.
pub fn follow(code: &Code, from: Va, state: State) -> Option<Taken> {
    let mut walk = Walk { code, left: ALL };
    walk.follow(from, state, 0)
}

struct Walk<'a> {
    code: &'a Code<'a>,
    left: u32,
}

impl Walk<'_> {
    fn follow(&mut self, from: Va, state: State, depth: u32) -> Option<Taken> {
        let mut best: Option<Taken> = None;
        let mut pending = vec![(from, state, WAY)];
        while let Some((at, state, way)) = pending.pop() {
            let found = self.straight(at, state, way, depth, &mut pending);
            if let Some(found) = found
                && best.as_ref().is_none_or(|b| found.weight() > b.weight())
            {
                best = Some(found);
            }
            if best.as_ref().is_some_and(|b| b.weight() == 3) {
                break;
            }
        }
        best
    }

    /// One way, up to the first call that takes the tag as such, its end, or the last
    /// register with the tag being overwritten.
    fn straight(
        &mut self,
        mut at: Va,
        mut state: State,
        way: u32,
        depth: u32,
        pending: &mut Vec<(Va, State, u32)>,
    ) -> Option<Taken> {
        let mut best: Option<Taken> = None;
        let code = self.code;
        for left in (0..way).rev() {
            if self.left == 0 || !state.carries() {
                break;
            }
            self.left -= 1;
            let Some(i) = code.instruction(at) else {
                break;
            };
            let mut next = Va(i.next_ip());
            let found = match i.flow_control() {
                FlowControl::Next => {
                    state.step(&i, false, &|va| code.read(va));
                    None
                }
                FlowControl::ConditionalBranch => {
                    let target = Va(i.near_branch64());
                    if pending.len() < MAX_PENDING && code.module.contains(target) {
                        pending.push((target, state.clone(), left));
                    }
                    None
                }
                FlowControl::UnconditionalBranch if self.stays(&i) => {
                    next = Va(i.near_branch64());
                    None
                }
                FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => {
                    return self.call(&i, &state, true, depth).or(best);
                }
                FlowControl::Call | FlowControl::IndirectCall => {
                    let found = self.call(&i, &state, false, depth);
                    state.returned();
                    found
                }
                _ => break,
            };
            if let Some(found) = found
                && best.as_ref().is_none_or(|b| found.weight() > b.weight())
            {
                let decided = found.weight() == 3;
                best = Some(found);
                if decided {
                    break;
                }
            }
            at = next;
        }
        best
    }

    /// True for a jump within the image to something without a name.
    fn stays(&self, i: &Instruction) -> bool {
        let target = Va(i.near_branch64());
        let callee = self
            .code
            .callee(i, Value::Unknown, Value::Unknown, Value::Unknown);
        i.op0_kind() == OpKind::NearBranch64 && callee == Callee::Own(target)
    }

    fn call(&mut self, i: &Instruction, state: &State, tail: bool, depth: u32) -> Option<Taken> {
        let code = self.code;
        let target = state.operand(i, 0, &|va| code.read(va));
        let (r10, rax) = (state.get(Register::R10), state.get(Register::RAX));
        let callee = code.callee(i, target, r10, rax);
        if let Callee::Named(name) = &callee
            && let Some(api) = api::find(name)
            && let Some(taken) = takes(api, state, tail)
        {
            return Some(taken);
        }
        let argument = (1..=ARGUMENTS).find(|&n| state.argument(n, tail) == Value::Tag)?;
        let by = match callee {
            Callee::Named(name) => Taker::Named(name),
            Callee::Own(target) => {
                if let Some(inner) = self.inside(target, state, tail, depth) {
                    return Some(inner);
                }
                Taker::Own(target)
            }
            Callee::Unknown => Taker::Unknown,
        };
        Some(Taken {
            by,
            argument,
            pool: None,
            size: None,
            through: Vec::new(),
            only_jumps: true,
        })
    }

    /// Goes into a function of the driver's own.
    fn inside(&mut self, target: Va, state: &State, tail: bool, depth: u32) -> Option<Taken> {
        if depth == DEPTH {
            return None;
        }
        let first = self.code.instruction(target)?;
        let mut inner = self.follow(target, state.entered(tail), depth + 1)?;
        if inner.weight() < 3 {
            return None;
        }
        let jumps = matches!(
            first.flow_control(),
            FlowControl::IndirectBranch | FlowControl::UnconditionalBranch
        );
        inner.only_jumps &= jumps || loads_for_jump(&first);
        inner.through.insert(0, target);
        Some(inner)
    }
}

/// `mov r10, [slot]`: the first half of a jump that the kernel has redirected.
fn loads_for_jump(i: &Instruction) -> bool {
    i.mnemonic() == Mnemonic::Mov && i.op0_register() == Register::R10
}

/// The call, where it has the tag in the place that the function takes it from.
fn takes(api: &'static Api, state: &State, tail: bool) -> Option<Taken> {
    let argument = |n| state.argument(n, tail);
    if let Some((n, wanted)) = api.only
        && argument(n).number() != Some(wanted)
    {
        return None;
    }
    let (number, holds) = match api.tag {
        TagPlace::Argument(n) => (n, argument(n)),
        TagPlace::Field(n, offset) => match argument(n) {
            Value::Stack(at) => (n, state.slot(at.wrapping_add(i64::from(offset)))),
            _ => return None,
        },
    };
    if holds != Value::Tag {
        return None;
    }
    let known = |n: u8| argument(n).number();
    Some(Taken {
        by: Taker::Api(api),
        argument: number,
        pool: match api.pool {
            Some(Pool::Type(n)) => known(n).map(api::pool_type),
            Some(Pool::Flags(n)) => known(n).map(api::pool_flags),
            None => None,
        },
        size: api.size.and_then(known),
        through: Vec::new(),
        only_jumps: true,
    })
}
