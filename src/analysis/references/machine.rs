//! A processor that knows only what matters here: which registers and stack slots hold
//! the tag, a number, a place on the stack, or a pointer that was loaded from somewhere.
//!
//! What is not understood makes a register unknown, never something else. The calling
//! convention is that of "x64 calling convention" in Microsoft's documentation.

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

/// What a register or a stack slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Value {
    /// Nobody knows.
    #[default]
    Unknown,
    /// The tag.
    Tag,
    /// A number, or the address of something in an image.
    Number(u64),
    /// The stack pointer at the function's entry, plus so many bytes.
    Stack(i64),
    /// What was read from `base + offset`.
    Loaded {
        /// What stands there, where it is in the dump.
        value: Option<u64>,
        /// What the address was made of: the pointer, or the place itself.
        base: u64,
        /// Bytes from there.
        offset: u64,
    },
}

impl Value {
    /// The number, for a known one.
    pub fn number(self) -> Option<u64> {
        match self {
            Value::Number(n) => Some(n),
            _ => None,
        }
    }

    /// As the low 32 bits of it.
    fn low(self) -> Value {
        match self {
            Value::Number(n) => Value::Number(n & 0xffff_ffff),
            Value::Tag => Value::Tag,
            _ => Value::Unknown,
        }
    }
}

/// Where an operand in memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the stack, relative to the stack pointer at entry.
    Stack(i64),
    /// Elsewhere: a base, and bytes from there.
    Memory(u64, u64),
}

/// Reads a qword of the dump.
pub type Read<'a> = &'a dyn Fn(u64) -> Option<u64>;

/// Larger than any kernel stack.
const FRAME: i64 = 1 << 20;
/// Stack slots that are remembered.
const MAX_SLOTS: usize = 48;
/// Registers that a call leaves as they were: rbx, rbp, rsi, rdi, r12 to r15.
const KEPT: [usize; 8] = [3, 5, 6, 7, 12, 13, 14, 15];
const RSP: usize = 4;

/// The state between two instructions.
#[derive(Clone, Debug)]
pub struct State {
    regs: [Value; 16],
    slots: Vec<(i64, Value)>,
}

impl State {
    /// At a function's first instruction.
    pub fn at_entry() -> State {
        let mut regs = [Value::Unknown; 16];
        regs[RSP] = Value::Stack(0);
        State {
            regs,
            slots: Vec::new(),
        }
    }

    /// The same registers and stack as the called function meets them.
    pub fn entered(&self, tail: bool) -> State {
        let mut out = self.clone();
        if let (Value::Stack(at), false) = (self.get(Register::RSP), tail) {
            out.regs[RSP] = Value::Stack(at.wrapping_sub(8));
        }
        out
    }

    /// What a register holds, whatever part of it is named.
    pub fn get(&self, register: Register) -> Value {
        index(register).map_or(Value::Unknown, |i| {
            self.regs.get(i).copied().unwrap_or_default()
        })
    }

    /// Puts something into a register.
    pub fn set(&mut self, register: Register, value: Value) {
        if let Some(slot) = index(register).and_then(|i| self.regs.get_mut(i)) {
            *slot = match register.size() {
                8 => value,
                4 => value.low(),
                _ => Value::Unknown,
            };
        }
    }

    /// What a stack slot holds.
    pub fn slot(&self, at: i64) -> Value {
        let found = self.slots.iter().find(|s| s.0 == at);
        found.map_or(Value::Unknown, |s| s.1)
    }

    fn put(&mut self, at: i64, size: i64, value: Value) {
        let end = at.saturating_add(size);
        self.slots
            .retain(|s| s.0.saturating_add(4) <= at || s.0 >= end);
        if value != Value::Unknown && self.slots.len() < MAX_SLOTS {
            self.slots.push((at, value));
        }
    }

    /// The argument of that number (from 1) at a call, or at a jump in place of one.
    pub fn argument(&self, number: u8, tail: bool) -> Value {
        match number {
            1 => self.get(Register::RCX),
            2 => self.get(Register::RDX),
            3 => self.get(Register::R8),
            4 => self.get(Register::R9),
            _ => {
                let Value::Stack(at) = self.get(Register::RSP) else {
                    return Value::Unknown;
                };
                self.slot(at.wrapping_add(i64::from(number) * 8 - 8 + if tail { 8 } else { 0 }))
            }
        }
    }

    /// True while something holds the tag.
    pub fn carries(&self) -> bool {
        let tag = |v: &Value| *v == Value::Tag;
        self.regs.iter().any(tag) || self.slots.iter().any(|s| tag(&s.1))
    }

    /// After a call: what the called function may change is unknown, the 32 bytes that the
    /// caller leaves it on the stack included.
    pub fn returned(&mut self) {
        if let Some(at) = self.stack() {
            let end = at.saturating_add(0x20);
            self.slots.retain(|s| s.0 < at || s.0 >= end);
        }
        for (i, value) in self.regs.iter_mut().enumerate() {
            if !KEPT.contains(&i) && i != RSP {
                *value = Value::Unknown;
            }
        }
    }

    /// Where code is reached from elsewhere: only the frame is certain.
    pub fn joined(&mut self) {
        for value in &mut self.regs {
            if !matches!(value, Value::Stack(_)) {
                *value = Value::Unknown;
            }
        }
        self.slots.clear();
    }

    /// Sets the stack pointer, as it is behind a jump or return.
    pub fn set_stack(&mut self, at: i64) {
        self.regs[RSP] = Value::Stack(at);
    }

    /// The stack pointer, relative to that at entry.
    pub fn stack(&self) -> Option<i64> {
        match self.regs[RSP] {
            Value::Stack(at) => Some(at),
            _ => None,
        }
    }

    /// Where the instruction's operand in memory is.
    pub fn place(&self, i: &Instruction) -> Option<Place> {
        if i.memory_index() != Register::None
            || !matches!(i.segment_prefix(), Register::None | Register::DS)
        {
            return None;
        }
        if i.is_ip_rel_memory_operand() {
            return Some(Place::Memory(i.ip_rel_memory_address(), 0));
        }
        let offset = i.memory_displacement64();
        match self.get(i.memory_base()) {
            Value::Stack(at) => Some(Place::Stack(at.wrapping_add(offset as i64))),
            Value::Number(base) => Some(Place::Memory(base, offset)),
            Value::Loaded {
                value: Some(base), ..
            } => Some(Place::Memory(base, offset)),
            _ => None,
        }
    }

    /// What the instruction's operand in memory holds.
    pub fn load(&self, i: &Instruction, read: Read) -> Value {
        match self.place(i) {
            Some(Place::Stack(at)) => self.slot(at),
            Some(Place::Memory(base, offset)) => Value::Loaded {
                value: read(base.wrapping_add(offset)),
                base,
                offset,
            },
            None => Value::Unknown,
        }
    }

    /// What an operand holds before the instruction.
    pub fn operand(&self, i: &Instruction, n: u32, read: Read) -> Value {
        match i.op_kind(n) {
            OpKind::Register => match i.op_register(n).size() {
                8 => self.get(i.op_register(n)),
                4 => self.get(i.op_register(n)).low(),
                _ => Value::Unknown,
            },
            OpKind::Memory => self.load(i, read),
            OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64 => Value::Number(i.immediate(n)),
            _ => Value::Unknown,
        }
    }

    /// Carries out an instruction that neither calls nor jumps. With `tag` the operand
    /// that is an immediate is the tag.
    pub fn step(&mut self, i: &Instruction, tag: bool, read: Read) {
        let source = |state: &State, n| match tag && i.op_kind(n) != OpKind::Register {
            true if i.op_kind(n) != OpKind::Memory => Value::Tag,
            _ => state.operand(i, n, read),
        };
        match i.mnemonic() {
            Mnemonic::Mov => {
                let value = source(self, 1);
                self.write(i, value);
            }
            Mnemonic::Lea => {
                let value = match self.place(i) {
                    Some(Place::Stack(at)) => Value::Stack(at),
                    Some(Place::Memory(base, offset)) => Value::Number(base.wrapping_add(offset)),
                    None => Value::Unknown,
                };
                self.write(i, value);
            }
            Mnemonic::Xor | Mnemonic::Sub
                if i.op1_kind() == OpKind::Register && i.op0_register() == i.op1_register() =>
            {
                self.write(i, Value::Number(0));
            }
            Mnemonic::Add | Mnemonic::Sub | Mnemonic::And | Mnemonic::Or | Mnemonic::Xor => {
                let value = arithmetic(i, self.operand(i, 0, read), self.operand(i, 1, read));
                self.write(i, value);
            }
            Mnemonic::Push => {
                let value = source(self, 0);
                self.push(value);
            }
            Mnemonic::Pop => {
                let at = self.stack();
                self.write(i, at.map_or(Value::Unknown, |at| self.slot(at)));
                if let Some(at) = at {
                    self.set_stack(at.wrapping_add(8));
                }
            }
            Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Bt | Mnemonic::Nop => {}
            m if is_conditional_move(m) => {
                let (old, new) = (self.operand(i, 0, read), self.operand(i, 1, read));
                let either = old == Value::Tag || new == Value::Tag || old == new;
                let value = if old == Value::Tag { old } else { new };
                self.write(i, if either { value } else { Value::Unknown });
            }
            _ => {
                self.write(i, Value::Unknown);
                self.overwritten(i);
            }
        }
    }

    /// Makes every register unknown that the instruction writes, named or not.
    fn overwritten(&mut self, i: &Instruction) {
        let mut factory = InstructionInfoFactory::new();
        for used in factory.info(i).used_registers() {
            let writes = !matches!(
                used.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess | OpAccess::None
            );
            if let Some(value) = index(used.register())
                .filter(|_| writes)
                .and_then(|at| self.regs.get_mut(at))
            {
                *value = Value::Unknown;
            }
        }
    }

    fn push(&mut self, value: Value) {
        if let Some(at) = self.stack() {
            let at = at.wrapping_sub(8);
            self.set_stack(at);
            self.put(at, 8, value);
        }
    }

    /// A stack pointer that can't be followed (`sub rsp, rax` behind a stack probe, an
    /// alignment) points into a frame of its own from there on.
    fn move_stack(&mut self, value: Value) {
        let moved = match (value, self.stack()) {
            (Value::Stack(at), _) => at,
            (_, Some(at)) => at.wrapping_sub(FRAME),
            (_, None) => return,
        };
        self.set_stack(moved);
    }

    fn write(&mut self, i: &Instruction, value: Value) {
        match i.op0_kind() {
            OpKind::Register if index(i.op0_register()) == Some(RSP) => self.move_stack(value),
            OpKind::Register => self.set(i.op0_register(), value),
            OpKind::Memory => {
                if let Some(Place::Stack(at)) = self.place(i) {
                    let size = i.memory_size().size().clamp(1, 64) as i64;
                    let value = if size >= 4 { value } else { Value::Unknown };
                    self.put(at, size, value);
                }
            }
            _ => {}
        }
    }
}

fn index(register: Register) -> Option<usize> {
    let full = register.full_register();
    (full.is_gpr64()).then(|| full.number())
}

fn arithmetic(i: &Instruction, a: Value, b: Value) -> Value {
    match (i.mnemonic(), a, b) {
        (Mnemonic::Add, Value::Number(a), Value::Number(b)) => Value::Number(a.wrapping_add(b)),
        (Mnemonic::Sub, Value::Number(a), Value::Number(b)) => Value::Number(a.wrapping_sub(b)),
        (Mnemonic::And, Value::Number(a), Value::Number(b)) => Value::Number(a & b),
        (Mnemonic::Or, Value::Number(a), Value::Number(b)) => Value::Number(a | b),
        (Mnemonic::Xor, Value::Number(a), Value::Number(b)) => Value::Number(a ^ b),
        (Mnemonic::Add, Value::Stack(a), Value::Number(b)) => {
            Value::Stack(a.wrapping_add(b as i64))
        }
        (Mnemonic::Sub, Value::Stack(a), Value::Number(b)) => {
            Value::Stack(a.wrapping_sub(b as i64))
        }
        _ => Value::Unknown,
    }
}

fn is_conditional_move(m: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        m,
        Cmova
            | Cmovae
            | Cmovb
            | Cmovbe
            | Cmove
            | Cmovg
            | Cmovge
            | Cmovl
            | Cmovle
            | Cmovne
            | Cmovno
            | Cmovnp
            | Cmovns
            | Cmovo
            | Cmovp
            | Cmovs
    )
}

#[cfg(test)]
mod tests;
