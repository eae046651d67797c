//! The state of registers and memory between two instructions.

use iced_x86::Register;

use super::value::{Atom, Base, Id, UNKNOWN, Values};

/// Maximum number of tracked memory slots.
pub const MAX_SLOTS: usize = 512;
/// The non-volatile registers: rbx, rbp, rsi, rdi, r12 to r15.
const KEPT: [usize; 8] = [3, 5, 6, 7, 12, 13, 14, 15];
/// The number of the stack pointer.
pub const RSP: usize = 4;
/// The number of the result register.
pub const RAX: usize = 0;
/// The tracked arguments on the stack: the fifth to the twelfth.
const ON_STACK: std::ops::RangeInclusive<u8> = 5..=12;

/// A location in memory: base and offset.
pub type Slot = (Base, i64);

/// The possible values of registers and of known memory locations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    regs: [Id; 16],
    /// Sorted by location.
    slots: Vec<(Slot, Id)>,
}

impl State {
    /// The state at a function's first instruction. Source: "x64 calling convention" in
    /// Microsoft's documentation; four arguments are in registers, the others start at rsp+28h.
    pub fn at_entry(values: &mut Values) -> State {
        let mut out = State {
            regs: [UNKNOWN; 16],
            slots: Vec::new(),
        };
        for (n, reg) in out.regs.iter_mut().enumerate() {
            *reg = values.one(Atom::Pointer {
                base: Base::entry(n),
                offset: 0,
            });
        }
        for n in ON_STACK {
            let id = values.one(Atom::Pointer {
                base: Base::argument(n),
                offset: 0,
            });
            out.slots.push(((Base::STACK, i64::from(n) * 8), id));
        }
        out
    }

    /// The state in which only the stack and frame pointers are known.
    pub fn in_frame(values: &mut Values, stack: Id, frame: Id) -> State {
        let mut out = State {
            regs: [UNKNOWN; 16],
            slots: Vec::new(),
        };
        let pointer = |id| matches!(values.only(id), Some(Atom::Pointer { .. }));
        if pointer(stack) {
            out.regs[RSP] = stack;
        }
        if pointer(frame) {
            out.regs[5] = frame;
        }
        out
    }

    /// The possible values of a register; the part of the register that is named does not matter.
    pub fn get(&self, register: Register) -> Id {
        index(register).map_or(UNKNOWN, |i| self.at(i))
    }

    /// The possible values of a register, by number.
    pub fn at(&self, register: usize) -> Id {
        self.regs.get(register).copied().unwrap_or(UNKNOWN)
    }

    /// Sets a whole register.
    pub fn set(&mut self, register: usize, id: Id) {
        if let Some(reg) = self.regs.get_mut(register) {
            *reg = id;
        }
    }

    /// The possible values at a location, if known.
    pub fn slot(&self, slot: Slot) -> Option<Id> {
        let at = self.slots.binary_search_by_key(&slot, |s| s.0).ok()?;
        self.slots.get(at).map(|s| s.1)
    }

    /// All known locations, sorted.
    pub fn slots(&self) -> &[(Slot, Id)] {
        &self.slots
    }

    /// Stores a value of `size` bytes at a location.
    pub fn put(&mut self, slot: Slot, size: i64, id: Id, values: &Values) {
        let (base, at) = slot;
        let end = at.saturating_add(size.max(1));
        let first = self
            .slots
            .partition_point(|s| s.0 <= (base, at.saturating_sub(4)));
        let last = self.slots.partition_point(|s| s.0 < (base, end));
        if first < last {
            self.slots.drain(first..last);
        }
        if values.is_unknown(id) {
            return;
        }
        if self.slots.len() >= MAX_SLOTS {
            let plain = self.slots.iter().position(|s| !values.is_tagged(s.1));
            match plain.filter(|_| values.is_tagged(id)) {
                Some(plain) => drop(self.slots.remove(plain)),
                None => return,
            }
        }
        let at = self.slots.partition_point(|s| s.0 < slot);
        self.slots.insert(at, (slot, id));
    }

    /// The stack pointer, if known.
    pub fn stack(&self, values: &Values) -> Option<Slot> {
        match values.only(self.at(RSP))? {
            Atom::Pointer { base, offset } => Some((base, offset)),
            _ => None,
        }
    }

    /// The argument with this number (from 1) at a call, or at a tail jump.
    pub fn argument(&self, number: u8, tail: bool, values: &Values) -> Id {
        match number {
            1 => self.at(1),
            2 => self.at(2),
            3 => self.at(8),
            4 => self.at(9),
            _ => {
                let Some((base, at)) = self.stack(values) else {
                    return UNKNOWN;
                };
                let above = i64::from(number) * 8 - 8 + if tail { 8 } else { 0 };
                self.slot((base, at.wrapping_add(above))).unwrap_or(UNKNOWN)
            }
        }
    }

    /// Applies a call: volatile registers, the caller's 32-byte home space, and all memory except
    /// the stack and the image's data become unknown.
    pub fn returned(&mut self, result: Id, values: &Values) {
        let home = self
            .stack(values)
            .map(|(base, at)| (base, at, at.saturating_add(0x20)));
        let frame = home.map(|h| h.0);
        self.slots.retain(|((base, at), _)| {
            let known = [Some(Base::STACK), Some(Base::MEMORY), frame].contains(&Some(*base));
            let in_home = home.is_some_and(|(b, from, to)| b == *base && (from..to).contains(at));
            known && !in_home
        });
        for (i, reg) in self.regs.iter_mut().enumerate() {
            if !KEPT.contains(&i) && i != RSP {
                *reg = UNKNOWN;
            }
        }
        self.regs[RAX] = result;
    }

    /// Joins the state of another path into this one; true if that changed it.
    pub fn join(&mut self, other: &State, values: &mut Values) -> bool {
        let mut changed = false;
        for (mine, theirs) in self.regs.iter_mut().zip(other.regs) {
            let joined = values.join(*mine, theirs);
            changed |= joined != *mine;
            *mine = joined;
        }
        if self.slots == other.slots {
            return changed;
        }
        let mut slots = Vec::with_capacity(self.slots.len());
        let (mut mine, mut theirs) = (self.slots.iter().peekable(), other.slots.iter().peekable());
        loop {
            let (slot, a, b) = match (mine.peek(), theirs.peek()) {
                (None, None) => break,
                (Some(a), Some(b)) if a.0 == b.0 => (a.0, a.1, b.1),
                (Some(a), Some(b)) if a.0 < b.0 => (a.0, a.1, UNKNOWN),
                (Some(a), None) => (a.0, a.1, UNKNOWN),
                (_, Some(b)) => (b.0, UNKNOWN, b.1),
            };
            if mine.peek().is_some_and(|s| s.0 == slot) {
                mine.next();
            }
            if theirs.peek().is_some_and(|s| s.0 == slot) {
                theirs.next();
            }
            let joined = values.join(a, b);
            if !values.is_unknown(joined) && slots.len() < MAX_SLOTS {
                slots.push((slot, joined));
            }
        }
        changed |= slots != self.slots;
        self.slots = slots;
        changed
    }
}

/// The number of a general-purpose register, for any of its parts.
pub fn index(register: Register) -> Option<usize> {
    let full = register.full_register();
    full.is_gpr64().then(|| full.number())
}
