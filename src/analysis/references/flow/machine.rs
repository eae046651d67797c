//! The effects of one instruction on registers and memory.
//!
//! An unsupported instruction makes its results unknown; the state is never wrong.

use iced_x86::{
    Instruction, InstructionInfoFactory, InstructionInfoOptions, Mnemonic, OpAccess, OpKind,
    Register,
};

use super::state::{RSP, State, index};
use super::value::{Atom, Base, Id, UNKNOWN, Values};

/// The values that may be a tag: at least two printable bytes, and not a small negative number.
const TAG_LIKE: std::ops::Range<u32> = 0x2020..0xffff_0000;

/// A possible location of a memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A base and an offset in bytes.
    At(Base, i64),
    /// An offset from a pointer that was itself read from memory.
    Through(u64, u64),
    /// An entry of the table at this address.
    Table(u64),
}

/// The environment for all instructions of a function.
pub struct Machine<'a> {
    /// The sets of possible values.
    pub values: Values,
    /// Reads a qword from the dump.
    pub read: &'a dyn Fn(u64) -> Option<u64>,
    /// The image's base address.
    pub image: u64,
    info: InstructionInfoFactory,
}

impl<'a> Machine<'a> {
    /// An interpreter for code of the image at this address.
    pub fn new(image: u64, read: &'a dyn Fn(u64) -> Option<u64>) -> Machine<'a> {
        Machine {
            values: Values::new(),
            read,
            image,
            info: InstructionInfoFactory::new(),
        }
    }

    fn rva(&self, ip: u64) -> u32 {
        ip.wrapping_sub(self.image) as u32
    }

    /// RVA of the last four bytes of an instruction if they may be a tag; otherwise 0.
    fn origin(&self, i: &Instruction, value: u64) -> u32 {
        match TAG_LIKE.contains(&(value as u32)) {
            true => self.rva(i.next_ip()).wrapping_sub(4),
            false => 0,
        }
    }

    /// The possible locations of a memory operand; empty if unknown.
    fn places(&self, state: &State, i: &Instruction) -> Vec<Place> {
        if !matches!(
            i.segment_prefix(),
            Register::None | Register::DS | Register::SS
        ) {
            return Vec::new();
        }
        if i.is_ip_rel_memory_operand() {
            return vec![Place::At(Base::MEMORY, i.ip_rel_memory_address() as i64)];
        }
        let displacement = i.memory_displacement64();
        let moved = |n: i64| n.wrapping_add(displacement as i64);
        let mut shift = 0i64;
        if i.memory_index() != Register::None {
            match self.values.number(state.get(i.memory_index())) {
                Some(n) => shift = (n as i64).wrapping_mul(i64::from(i.memory_index_scale())),
                None => return self.table(state, i),
            }
        }
        let bases = self.values.get(state.get(i.memory_base()));
        let place = |atom: &Atom| match *atom {
            Atom::Pointer { base, offset } => {
                Some(Place::At(base, moved(offset.wrapping_add(shift))))
            }
            Atom::Number { value, .. } => Some(Place::At(
                Base::MEMORY,
                moved((value as i64).wrapping_add(shift)),
            )),
            Atom::Loaded { base, offset } => {
                let pointer = (self.read)(base.wrapping_add(offset))?;
                Some(Place::Through(pointer, moved(shift) as u64))
            }
            _ => None,
        };
        bases.iter().filter_map(place).collect()
    }

    /// `[table + register * size]`.
    fn table(&self, state: &State, i: &Instruction) -> Vec<Place> {
        let size = i.memory_size().size();
        if i.memory_index_scale() as usize != size || !matches!(size, 4 | 8) {
            return Vec::new();
        }
        match self.values.number(state.get(i.memory_base())) {
            Some(base) => vec![Place::Table(base.wrapping_add(i.memory_displacement64()))],
            None => Vec::new(),
        }
    }

    fn load(&mut self, state: &State, i: &Instruction) -> Id {
        let wide = i.memory_size().size() == 8;
        let mut atoms = Vec::new();
        for place in self.places(state, i) {
            match place {
                Place::At(base, at) => match state.slot((base, at)) {
                    Some(id) => atoms.extend_from_slice(self.values.get(id)),
                    None if base == Base::MEMORY => atoms.push(Atom::Loaded {
                        base: at as u64,
                        offset: 0,
                    }),
                    None => atoms.push(Atom::Unknown),
                },
                Place::Through(base, offset) => atoms.push(Atom::Loaded { base, offset }),
                Place::Table(table) => atoms.push(Atom::Entry {
                    table,
                    plus: 0,
                    wide,
                }),
            }
        }
        match atoms.as_slice() {
            [] => UNKNOWN,
            [one] => self.values.one(*one),
            _ => self.values.many(atoms),
        }
    }

    /// The possible values of an operand before the instruction.
    pub fn operand(&mut self, state: &State, i: &Instruction, n: u32) -> Id {
        match i.op_kind(n) {
            OpKind::Register => match i.op_register(n).size() {
                8 => state.get(i.op_register(n)),
                4 => self.values.map(state.get(i.op_register(n)), Atom::low),
                _ => UNKNOWN,
            },
            OpKind::Memory => match i.memory_size().size() {
                8 => self.load(state, i),
                4 => {
                    let loaded = self.load(state, i);
                    self.values.map(loaded, Atom::low)
                }
                _ => UNKNOWN,
            },
            OpKind::Immediate32 | OpKind::Immediate32to64 => {
                let value = i.immediate(n);
                let from = self.origin(i, value);
                self.values.one(Atom::Number { value, from })
            }
            OpKind::Immediate64 => {
                let value = i.immediate(n);
                let tag_like = TAG_LIKE.contains(&(value as u32))
                    || TAG_LIKE.contains(&((value >> 32) as u32));
                let from = match tag_like {
                    true => self.rva(i.next_ip()).wrapping_sub(8),
                    false => 0,
                };
                self.values.one(Atom::Number { value, from })
            }
            OpKind::Immediate8to32 | OpKind::Immediate8to64 | OpKind::Immediate8 => {
                let value = i.immediate(n);
                self.values.one(Atom::number(value))
            }
            _ => UNKNOWN,
        }
    }

    /// Executes an instruction that is neither a call nor a jump.
    pub fn step(&mut self, state: &mut State, i: &Instruction) {
        let same = i.op_count() == 2
            && i.op0_kind() == OpKind::Register
            && i.op1_kind() == OpKind::Register
            && i.op0_register() == i.op1_register();
        match i.mnemonic() {
            Mnemonic::Mov | Mnemonic::Movsxd => {
                let value = self.operand(state, i, 1);
                self.write(state, i, value);
            }
            Mnemonic::Lea => {
                let value = self.address(state, i);
                self.write(state, i, value);
            }
            Mnemonic::Xor | Mnemonic::Sub if same => {
                let zero = self.values.one(Atom::number(0));
                self.write(state, i, zero);
            }
            // `sbb x, x` copies the carry flag to all bits.
            Mnemonic::Sbb if same => {
                let ones = match i.op0_register().size() {
                    8 => u64::MAX,
                    _ => u64::from(u32::MAX),
                };
                let both = vec![Atom::number(0), Atom::number(ones)];
                let value = self.values.many(both);
                self.write(state, i, value);
            }
            Mnemonic::Add
            | Mnemonic::Sub
            | Mnemonic::And
            | Mnemonic::Or
            | Mnemonic::Xor
            | Mnemonic::Shl
            | Mnemonic::Inc
            | Mnemonic::Dec => {
                let value = self.calculated(state, i);
                self.write(state, i, value);
            }
            Mnemonic::Push => {
                let value = self.operand(state, i, 0);
                self.push(state, value);
            }
            Mnemonic::Pop => self.pop(state, i),
            Mnemonic::Leave => {
                state.set(RSP, state.at(5));
                let saved = state.stack(&self.values).and_then(|at| state.slot(at));
                state.set(5, saved.unwrap_or(UNKNOWN));
                self.grow(state, i, 8);
            }
            Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Bt | Mnemonic::Nop | Mnemonic::Prefetchw => {
            }
            m if is_conditional_move(m) => {
                let (old, new) = (self.operand(state, i, 0), self.operand(state, i, 1));
                let value = self.values.join(old, new);
                self.write(state, i, value);
            }
            _ => {
                self.overwritten(state, i);
            }
        }
    }

    fn address(&mut self, state: &State, i: &Instruction) -> Id {
        // `lea r8d, [rax+tag]` is used as an addition: the result is not an address.
        if i.op0_register().size() == 4 && i.memory_displ_size() >= 4 {
            let value = i.memory_displacement64() & 0xffff_ffff;
            let from = self.origin(i, value);
            let constant = self.values.one(Atom::Number { value, from });
            if i.memory_index() == Register::None && from != 0 && !i.is_ip_rel_memory_operand() {
                let base = state.get(i.memory_base());
                return self.values.pairs(base, constant, |a, b| sum(a.low(), b));
            }
        }
        let places = self.places(state, i);
        let atoms: Vec<Atom> = places
            .into_iter()
            .map(|place| match place {
                Place::At(Base::MEMORY, at) => Atom::number(at as u64),
                Place::At(base, offset) => Atom::Pointer { base, offset },
                Place::Through(..) | Place::Table(_) => Atom::Unknown,
            })
            .collect();
        match atoms.is_empty() {
            true => UNKNOWN,
            false => self.values.many(atoms),
        }
    }

    fn calculated(&mut self, state: &State, i: &Instruction) -> Id {
        let size = match i.op0_kind() {
            OpKind::Register => i.op0_register().size(),
            _ => i.memory_size().size(),
        };
        if size < 4 {
            return UNKNOWN;
        }
        let a = self.operand(state, i, 0);
        let b = match i.op_count() {
            1 => self.values.one(Atom::number(1)),
            _ => self.operand(state, i, 1),
        };
        let mnemonic = i.mnemonic();
        let value = self
            .values
            .pairs(a, b, |x, y| arithmetic(mnemonic, size, x, y));
        match size {
            4 => self.values.map(value, Atom::low),
            _ => value,
        }
    }

    /// Makes all destinations of the instruction unknown, implicit ones included.
    fn overwritten(&mut self, state: &mut State, i: &Instruction) {
        let writes = |access| {
            !matches!(
                access,
                OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess | OpAccess::None
            )
        };
        let info = self
            .info
            .info_options(i, InstructionInfoOptions::NO_MEMORY_USAGE);
        let to_memory = i.op0_kind() == OpKind::Memory && writes(info.op0_access());
        let registers: Vec<Register> = info
            .used_registers()
            .iter()
            .filter(|used| writes(used.access()))
            .map(|used| used.register())
            .collect();
        for register in registers {
            match index(register) {
                Some(RSP) => self.move_stack(state, i, UNKNOWN),
                Some(at) => state.set(at, UNKNOWN),
                None => {}
            }
        }
        if to_memory {
            self.store(state, i, UNKNOWN);
        }
    }

    fn push(&mut self, state: &mut State, value: Id) {
        if let Some((base, at)) = state.stack(&self.values) {
            let offset = at.wrapping_sub(8);
            let moved = self.values.one(Atom::Pointer { base, offset });
            state.set(RSP, moved);
            state.put((base, offset), 8, value, &self.values);
        }
    }

    fn pop(&mut self, state: &mut State, i: &Instruction) {
        let at = state.stack(&self.values);
        let value = at.and_then(|at| state.slot(at)).unwrap_or(UNKNOWN);
        self.grow(state, i, 8);
        self.write(state, i, value);
    }

    fn grow(&mut self, state: &mut State, i: &Instruction, bytes: i64) {
        let moved = match state.stack(&self.values) {
            Some((base, at)) => {
                let offset = at.wrapping_add(bytes);
                self.values.one(Atom::Pointer { base, offset })
            }
            None => UNKNOWN,
        };
        self.move_stack(state, i, moved);
    }

    /// If the stack pointer becomes unknown (`sub rsp, rax` after a stack probe, or an
    /// alignment), it points into a new frame from then on.
    fn move_stack(&mut self, state: &mut State, i: &Instruction, value: Id) {
        let known = matches!(self.values.only(value), Some(Atom::Pointer { .. }));
        let value = match known {
            true => value,
            false => self.values.one(Atom::Pointer {
                base: Base::result(self.rva(i.ip())),
                offset: 0,
            }),
        };
        state.set(RSP, value);
    }

    fn write(&mut self, state: &mut State, i: &Instruction, value: Id) {
        match i.op0_kind() {
            OpKind::Register => {
                let register = i.op0_register();
                let value = match register.size() {
                    8 => value,
                    4 => self.values.map(value, Atom::low),
                    _ => UNKNOWN,
                };
                match index(register) {
                    Some(RSP) => self.move_stack(state, i, value),
                    Some(at) => state.set(at, value),
                    None => {}
                }
            }
            OpKind::Memory => self.store(state, i, value),
            _ => {}
        }
    }

    fn store(&mut self, state: &mut State, i: &Instruction, value: Id) {
        let size = i.memory_size().size().clamp(1, 64) as i64;
        let places = self.places(state, i);
        let alone = places.len() == 1 && self.values.only(state.get(i.memory_base())).is_some()
            || i.is_ip_rel_memory_operand();
        for place in places {
            let Place::At(base, at) = place else { continue };
            let value = match (size, alone) {
                (..4, _) => UNKNOWN,
                (_, true) => value,
                (_, false) => {
                    let old = state.slot((base, at)).unwrap_or(UNKNOWN);
                    self.values.join(old, value)
                }
            };
            state.put((base, at), size, value, &self.values);
            if let (8, Some(Atom::Number { value, from })) = (size, self.values.only(value))
                && value > u64::from(u32::MAX)
                && from != 0
            {
                self.halves(state, (base, at), value, from);
            }
        }
    }

    /// Combines two adjacent 4-byte values that are read as one of 8 bytes.
    fn halves(&mut self, state: &mut State, (base, at): (Base, i64), value: u64, from: u32) {
        for (shift, bytes) in [(0, 0), (32, 4)] {
            let half = value >> shift & 0xffff_ffff;
            let from = match TAG_LIKE.contains(&(half as u32)) {
                true => from + bytes,
                false => 0,
            };
            let id = self.values.one(Atom::Number { value: half, from });
            state.put((base, at.wrapping_add(bytes.into())), 4, id, &self.values);
        }
    }

    /// The locations of the instruction's memory operand that are on the stack or relative to a
    /// known base, and whether these are all.
    pub fn is_on_stack(&self, state: &State, i: &Instruction) -> bool {
        let stack = state.stack(&self.values).map(|s| s.0);
        let places = self.places(state, i);
        let on_stack = |place: &Place| match place {
            Place::At(base, _) => *base == Base::STACK || Some(*base) == stack,
            _ => false,
        };
        !places.is_empty() && places.iter().all(on_stack)
    }
}

/// Adds two values; a constant of the code keeps its origin.
fn sum(a: Atom, b: Atom) -> Atom {
    match (a, b) {
        (Atom::Number { value: x, from: f }, Atom::Number { value: y, from: g }) => Atom::Number {
            value: x.wrapping_add(y),
            from: if f != 0 { f } else { g },
        },
        (
            Atom::Shifted,
            Atom::Number {
                value,
                from: from @ 1..,
            },
        )
        | (
            Atom::Number {
                value,
                from: from @ 1..,
            },
            Atom::Shifted,
        ) => Atom::Mixed {
            value: value as u32,
            from,
        },
        (Atom::Pointer { base, offset }, Atom::Number { value, .. })
        | (Atom::Number { value, .. }, Atom::Pointer { base, offset }) => Atom::Pointer {
            base,
            offset: offset.wrapping_add(value as i64),
        },
        (Atom::Entry { table, plus, wide }, Atom::Number { value, .. })
        | (Atom::Number { value, .. }, Atom::Entry { table, plus, wide }) => Atom::Entry {
            table,
            plus: plus.wrapping_add(value),
            wide,
        },
        _ => Atom::Unknown,
    }
}

fn arithmetic(mnemonic: Mnemonic, size: usize, a: Atom, b: Atom) -> Atom {
    const LOW: u64 = 0x00ff_ffff;
    let kept = |x: u32, y: u32| if x != 0 { x } else { y };
    match (mnemonic, a, b) {
        (Mnemonic::Add | Mnemonic::Inc, ..) => sum(a, b),
        (Mnemonic::Or, Atom::Shifted, Atom::Number { from: 1.., .. })
        | (Mnemonic::Or, Atom::Number { from: 1.., .. }, Atom::Shifted) => sum(a, b),
        (
            Mnemonic::Sub | Mnemonic::Dec,
            Atom::Number { value: x, from },
            Atom::Number { value: y, .. },
        ) => Atom::Number {
            value: x.wrapping_sub(y),
            from,
        },
        (
            Mnemonic::Sub | Mnemonic::Dec,
            Atom::Pointer { base, offset },
            Atom::Number { value, .. },
        ) => Atom::Pointer {
            base,
            offset: offset.wrapping_sub(value as i64),
        },
        (Mnemonic::And, Atom::Number { value: x, from: f }, Atom::Number { value: y, from: g }) => {
            // A mask is not a tag, but the masked value may be one.
            let value = x & y;
            let from = if value == x {
                f
            } else if value == y {
                g
            } else {
                0
            };
            Atom::Number { value, from }
        }
        (Mnemonic::Or, Atom::Number { value: x, from: f }, Atom::Number { value: y, from: g }) => {
            Atom::Number {
                value: x | y,
                from: kept(f, g),
            }
        }
        (Mnemonic::Xor, Atom::Number { value: x, from: f }, Atom::Number { value: y, from: g }) => {
            Atom::Number {
                value: x ^ y,
                from: kept(f, g),
            }
        }
        (Mnemonic::Shl, Atom::Number { value, .. }, Atom::Number { value: by, .. }) => {
            Atom::number(value.wrapping_shl(by as u32 & 63))
        }
        (Mnemonic::Shl, _, Atom::Number { value: 24..=31, .. }) if size == 4 => Atom::Shifted,
        (Mnemonic::And, Atom::Number { value, .. }, _)
        | (Mnemonic::And, _, Atom::Number { value, .. })
            if value & LOW == 0 && (value >> 32 == 0 || size == 4) =>
        {
            Atom::Shifted
        }
        _ => Atom::Unknown,
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
