//! Tracks what a function does with its constants, variables and arguments.
//!
//! This is an abstract interpretation: registers and memory hold sets of possible values. Blocks
//! are executed along both paths of each branch, and again when a path adds new values, until a
//! fixed point is reached. Then the possible arguments of each call are collected. All limits
//! hold for any code.

pub mod graph;
mod machine;
pub mod region;
mod state;
pub mod value;

use std::collections::BTreeSet;

use iced_x86::{
    Code as Opcode, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};
use rustc_hash::FxHashMap;

use super::api::{self, Api, Pool, TagPlace};
use super::callee::{ARGUMENTS, Argument, Called, Callee, Event, Registers, Source, What};
use super::framework::wide_text;
use super::pages::Pages;
use graph::{Graph, Next};
use machine::Machine;
use region::Region;
use state::State;
use value::{Atom, Base, Id, UNKNOWN};

/// Maximum number of executed instructions per function; nt's largest function needs a tenth.
const MAX_STEPS: u32 = 300_000;
/// Maximum number of executions of one block.
const MAX_VISITS: u32 = 64;
/// Maximum number of events per function.
const MAX_EVENTS: usize = 1 << 14;
/// Maximum number of entries of a jump table.
const MAX_TABLE: u32 = 1024;
/// Maximum offset of the tag in a structure on the stack, in bytes.
const MAX_STRUCTURE: i64 = 0x40;
/// Maximum number of names passed to MmGetSystemRoutineAddress.
const MAX_ROUTINES: usize = 64;
/// Maximum number of instructions of a leaf function.
const MAX_LEAF: usize = 4096;

/// The interface of the image that contains a function.
pub trait Surroundings {
    /// The image's base address.
    fn base(&self) -> u64;
    /// The image's pages.
    fn pages(&self) -> &Pages<'_>;
    /// The RVA of an address if it lies in the image.
    fn inside(&self, va: u64) -> Option<u32>;
    /// Reads a qword from the dump.
    fn read(&self, va: u64) -> Option<u64>;
    /// True if the image may look up kernel functions by name.
    fn asks_by_name(&self) -> bool;
    /// The possible functions that a call or tail jump leads to, each with the jump thunk on the
    /// way. `target` is the set of possible values of the operand.
    fn callees(&self, i: &Instruction, target: &[Atom], known: &Registers) -> Vec<Called>;
}

/// The result of analysing a function.
#[derive(Debug)]
pub struct Facts {
    /// The function's first RVA and extent, and how the extent is known.
    pub region: Region,
    /// RVAs of the instructions, sorted.
    pub starts: Box<[u32]>,
    /// Uses of tracked values, sorted by source.
    pub events: Vec<Event>,
    /// False if a limit was reached or bytes are missing.
    pub whole: bool,
}

impl Facts {
    /// The uses of a source.
    pub fn of(&self, source: Source) -> &[Event] {
        let first = self.events.partition_point(|e| e.source < source);
        let last = self.events.partition_point(|e| e.source <= source);
        self.events.get(first..last).unwrap_or_default()
    }

    /// RVA of the last instruction that starts at or before an RVA.
    pub fn instruction_at(&self, rva: u32) -> Option<u32> {
        let after = self.starts.partition_point(|start| *start <= rva);
        self.starts.get(after.checked_sub(1)?).copied()
    }
}

/// Analyses a function.
pub fn analyse(code: &dyn Surroundings, region: &Region) -> Facts {
    let read = |va: u64| code.read(va);
    let mut analysis = Analysis {
        code,
        region,
        graph: Graph::of(region, code.pages(), code.base()),
        machine: Machine::new(code.base(), &read),
        states: FxHashMap::default(),
        visits: FxHashMap::default(),
        pending: BTreeSet::new(),
        steps: 0,
        whole: true,
        frame: None,
        anywhere: None,
        routines: Vec::new(),
        events: Vec::new(),
    };
    analysis.run();
    analysis.facts()
}

/// Length in bytes of the leaf function that starts here: up to the first end that no earlier
/// branch jumps over. `None` if the bytes are not code.
pub fn leaf_length(bytes: &[u8], ip: u64) -> Option<u32> {
    let mut decoder = Decoder::with_ip(64, bytes, ip, DecoderOptions::NONE);
    let mut furthest = ip;
    for _ in 0..MAX_LEAF {
        if !decoder.can_decode() {
            return None;
        }
        let i = decoder.decode();
        if i.code() == Opcode::INVALID {
            return None;
        }
        let near = i.op0_kind() == OpKind::NearBranch64;
        let end = ip + bytes.len() as u64;
        if near && !matches!(i.flow_control(), FlowControl::Call) && i.near_branch64() < end {
            // A distant forward jump leads to another function.
            let target = i.near_branch64();
            let conditional = i.flow_control() == FlowControl::ConditionalBranch;
            if conditional || target < i.next_ip() + 0x40 {
                furthest = furthest.max(target);
            }
        }
        let ends = !matches!(
            i.flow_control(),
            FlowControl::Next
                | FlowControl::ConditionalBranch
                | FlowControl::Call
                | FlowControl::IndirectCall
        );
        if ends && furthest < i.next_ip() {
            return Some((i.next_ip() - ip) as u32);
        }
    }
    None
}

struct Analysis<'c, 'm> {
    code: &'c dyn Surroundings,
    region: &'c Region,
    graph: Graph,
    machine: Machine<'m>,
    /// The state before each block.
    states: FxHashMap<u32, State>,
    visits: FxHashMap<u32, u32>,
    pending: BTreeSet<u32>,
    steps: u32,
    whole: bool,
    /// The stack and frame pointers in the function's body.
    frame: Option<(Id, Id)>,
    /// The joined state of all jumps with an unknown target.
    anywhere: Option<State>,
    /// Names that were passed to MmGetSystemRoutineAddress.
    routines: Vec<String>,
    events: Vec<Event>,
}

impl Analysis<'_, '_> {
    fn run(&mut self) {
        let entry = State::at_entry(&mut self.machine.values);
        self.flow_into(self.region.start, entry);
        self.settle();
        self.graph.reach_rest(self.region.known);
        for orphan in std::mem::take(&mut self.graph.orphans) {
            if self.states.contains_key(&orphan) {
                continue;
            }
            let state = match &self.anywhere {
                Some(state) => state.clone(),
                None => {
                    let (stack, frame) = self.frame.unwrap_or((UNKNOWN, UNKNOWN));
                    State::in_frame(&mut self.machine.values, stack, frame)
                }
            };
            self.flow_into(orphan, state);
        }
        self.settle();
        let mut leaders: Vec<u32> = self.states.keys().copied().collect();
        leaders.sort_unstable();
        for leader in leaders {
            self.block(leader, true);
        }
    }

    fn facts(mut self) -> Facts {
        let mut starts: Vec<u32> = self.graph.instructions().map(|(rva, _)| rva).collect();
        starts.sort_unstable();
        self.events.sort_by_key(|e| (e.source, e.at, e.argument));
        self.events.dedup();
        Facts {
            region: self.region.clone(),
            starts: starts.into(),
            whole: self.whole && self.graph.whole,
            events: self.events,
        }
    }

    fn flow_into(&mut self, leader: u32, state: State) {
        let changed = match self.states.get_mut(&leader) {
            Some(known) => known.join(&state, &mut self.machine.values),
            None => {
                self.states.insert(leader, state);
                true
            }
        };
        if changed {
            self.pending.insert(leader);
        }
    }

    /// Executes blocks until a fixed point is reached.
    fn settle(&mut self) {
        while let Some(leader) = self.pending.pop_first() {
            let visits = self.visits.entry(leader).or_default();
            *visits += 1;
            if *visits > MAX_VISITS || self.steps > MAX_STEPS {
                self.whole = false;
                continue;
            }
            self.block(leader, false);
        }
    }

    /// Executes one block; in the last pass, also collects the arguments of calls.
    fn block(&mut self, leader: u32, last: bool) {
        let Some(mut state) = self.states.get(&leader).cloned() else {
            return;
        };
        let mut at = leader;
        while let Some(&i) = self.graph.get(at) {
            self.steps += 1;
            let next = at.wrapping_add(i.len() as u32);
            match self.graph.next(&i) {
                Next::Falls => {
                    if last {
                        self.stores(&i, at, &state);
                    }
                    if i.flow_control() == FlowControl::Next {
                        self.machine.step(&mut state, &i);
                    }
                }
                Next::Calls => {
                    if last {
                        self.call(&i, at, &state, false);
                    } else if self.frame.is_none() {
                        self.frame = Some((state.at(state::RSP), state.at(5)));
                    }
                    let result = self.result(&i, at, &mut state);
                    state.returned(result, &self.machine.values);
                }
                Next::Branches(target) => {
                    if !last {
                        self.flow_into(target, state.clone());
                        self.flow_into(next, state);
                    }
                    return;
                }
                Next::Jumps(target) => {
                    if !last {
                        self.flow_into(target, state);
                    }
                    return;
                }
                Next::Leaves => {
                    if last {
                        self.call(&i, at, &state, true);
                    }
                    return;
                }
                Next::Anywhere => {
                    if last {
                        self.call(&i, at, &state, true);
                    } else {
                        self.jump(&i, state);
                    }
                    return;
                }
                Next::Ends => return,
            }
            if self.graph.leaders.contains(&next) {
                if !last {
                    self.flow_into(next, state);
                }
                return;
            }
            at = next;
        }
    }

    /// An indirect jump: through a jump table, or to an unknown target.
    fn jump(&mut self, i: &Instruction, state: State) {
        if i.op0_kind() == OpKind::Memory && i.is_ip_rel_memory_operand() {
            return;
        }
        let target = self.machine.operand(&state, i, 0);
        let mut targets = BTreeSet::new();
        for atom in self.machine.values.get(target).to_vec() {
            if let Atom::Entry { table, plus, wide } = atom {
                self.entries(table, plus, wide, &mut targets);
            }
        }
        if targets.is_empty() {
            match &mut self.anywhere {
                Some(known) => {
                    known.join(&state, &mut self.machine.values);
                }
                None => self.anywhere = Some(state),
            }
            return;
        }
        for target in targets {
            self.graph.reach(target);
            self.flow_into(target, state.clone());
        }
    }

    /// Adds the targets of a jump table that lie in the function.
    fn entries(&self, table: u64, plus: u64, wide: bool, out: &mut BTreeSet<u32>) {
        let size = if wide { 8 } else { 4 };
        for n in 0..MAX_TABLE {
            let Some(rva) = self.code.inside(table.wrapping_add(u64::from(n) * size)) else {
                return;
            };
            let entry = match wide {
                true => self.code.pages().array(rva).map(u64::from_le_bytes),
                false => self
                    .code
                    .pages()
                    .array(rva)
                    .map(|bytes| i64::from(i32::from_le_bytes(bytes)) as u64),
            };
            let Some(entry) = entry else { return };
            let narrow = |va: u64| if wide { va } else { va & 0xffff_ffff };
            // Entries may be relative to the image's base or to the table.
            let sum = entry.wrapping_add(plus);
            let target = match self.code.inside(sum) {
                Some(rva) => rva,
                None => narrow(sum) as u32,
            };
            if !self.graph.contains(target) {
                return;
            }
            out.insert(target);
        }
    }

    /// The value of rax after a call; also applies the call's effects on the stack.
    fn result(&mut self, i: &Instruction, at: u32, state: &mut State) -> Id {
        let opaque = self.machine.values.one(Atom::Pointer {
            base: Base::result(at),
            offset: 0,
        });
        if !self.code.asks_by_name() {
            return opaque;
        }
        let named = |called: &Called| match &called.callee {
            Callee::Named(name) => Some(name.to_string()),
            _ => None,
        };
        let callees = self.callees(i, state);
        match callees.iter().find_map(named).as_deref() {
            Some("RtlInitUnicodeString") => {
                self.init_string(state);
                opaque
            }
            Some("MmGetSystemRoutineAddress") => match self.asked_for(state) {
                Some(name) => self.routine(name),
                None => opaque,
            },
            _ => opaque,
        }
    }

    /// RtlInitUnicodeString stores rdx in `UNICODE_STRING.Buffer`, at offset 8.
    fn init_string(&mut self, state: &mut State) {
        let (to, text) = (state.get(Register::RCX), state.get(Register::RDX));
        let place = match self.machine.values.only(to) {
            Some(Atom::Pointer { base, offset }) => (base, offset.wrapping_add(8)),
            Some(Atom::Number { value, .. }) => (Base::MEMORY, value.wrapping_add(8) as i64),
            _ => return,
        };
        state.put(place, 8, text, &self.machine.values);
    }

    /// The text of the UNICODE_STRING that rcx points to.
    fn asked_for(&self, state: &State) -> Option<String> {
        let values = &self.machine.values;
        let buffer = match values.only(state.get(Register::RCX))? {
            Atom::Pointer { base, offset } => state
                .slot((base, offset.wrapping_add(8)))
                .and_then(|id| values.number(id))?,
            Atom::Number { value, .. } => {
                let place = value.wrapping_add(8);
                let known = state
                    .slot((Base::MEMORY, place as i64))
                    .and_then(|id| values.number(id));
                known.or_else(|| self.code.read(place))?
            }
            _ => return None,
        };
        wide_text(self.code.pages(), self.code.inside(buffer)?)
    }

    fn routine(&mut self, name: String) -> Id {
        let known = self.routines.iter().position(|r| *r == name);
        let at = match known {
            Some(at) => at,
            None if self.routines.len() < MAX_ROUTINES => {
                self.routines.push(name);
                self.routines.len() - 1
            }
            None => return UNKNOWN,
        };
        self.machine.values.one(Atom::Routine(at as u32))
    }

    fn callees(&mut self, i: &Instruction, state: &State) -> Vec<Called> {
        let target = match i.op0_kind() {
            OpKind::NearBranch64 => UNKNOWN,
            _ => self.machine.operand(state, i, 0),
        };
        let values = &self.machine.values;
        let known = Registers {
            r10: values.get(state.get(Register::R10)),
            rax: values.get(state.get(Register::RAX)),
            routines: &self.routines,
        };
        self.code.callees(i, values.get(target), &known)
    }

    fn push(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push(event);
        } else {
            self.whole = false;
        }
    }

    /// The tracked values in a set.
    fn followed(&self, id: Id) -> Vec<(Source, Option<(u32, u32)>)> {
        let one = |atom: &Atom| followed(self.code, *atom);
        self.machine.values.get(id).iter().filter_map(one).collect()
    }

    /// An instruction that stores a tracked value outside the stack frame.
    fn stores(&mut self, i: &Instruction, at: u32, state: &State) {
        if i.op0_kind() != OpKind::Memory || i.mnemonic() != Mnemonic::Mov {
            return;
        }
        let value = self.machine.operand(state, i, 1);
        let found = self.followed(value);
        if found.is_empty() || self.machine.is_on_stack(state, i) {
            return;
        }
        for (source, value) in found {
            self.push(Event {
                source,
                value,
                at,
                argument: 0,
                what: What::Stored,
                pool: Argument::Unknown,
                size: Argument::Unknown,
                jump: None,
            });
        }
    }

    /// A call or a tail jump: collects its possible arguments.
    fn call(&mut self, i: &Instruction, at: u32, state: &State, tail: bool) {
        let values = &self.machine.values;
        let mut arguments = [UNKNOWN; ARGUMENTS as usize];
        for (n, argument) in (1..).zip(&mut arguments) {
            *argument = state.argument(n, tail, values);
        }
        let any = arguments.iter().any(|id| {
            let mut atoms = values.get(*id).iter();
            atoms.any(|atom| followed(self.code, *atom).is_some())
        });
        let in_memory = state.slots().iter().any(|s| values.is_tagged(s.1));
        if !any && !in_memory {
            return;
        }
        let given = Given {
            at,
            tail,
            arguments,
        };
        for called in self.callees(i, state) {
            let api = match &called.callee {
                Callee::Named(name) => api::find(name),
                _ => None,
            };
            match api {
                Some(api) => self.taken(api, &called, state, &given),
                None => self.passed(&called, state, &given),
            }
        }
    }

    fn argument(&self, given: &Given, state: &State, n: u8) -> Id {
        match given.arguments.get(usize::from(n).wrapping_sub(1)) {
            Some(id) => *id,
            None => state.argument(n, given.tail, &self.machine.values),
        }
    }

    fn known(&self, id: Id) -> Argument {
        Argument::of(self.machine.values.get(id))
    }

    /// A call of a function that takes tags.
    fn taken(&mut self, api: &'static Api, called: &Called, state: &State, given: &Given) {
        if let Some((n, wanted)) = api.only {
            let atoms = self.machine.values.get(self.argument(given, state, n));
            let has = |a: &Atom| matches!(a, Atom::Number { value, .. } if *value == wanted);
            if !atoms.iter().any(has) {
                return;
            }
        }
        let (argument, holds, in_structure) = match api.tag {
            TagPlace::Argument(n) => (n, vec![self.argument(given, state, n)], false),
            TagPlace::Field(n, offset) => {
                let pointers = self.machine.values.get(self.argument(given, state, n));
                let holds = pointers.iter().filter_map(|atom| {
                    let place = pointed(*atom)?;
                    state.slot((place.0, place.1.wrapping_add(offset.into())))
                });
                (n, holds.collect(), true)
            }
        };
        let pool = match api.pool {
            Some(Pool::Type(n) | Pool::Flags(n)) => self.known(self.argument(given, state, n)),
            None => Argument::Unknown,
        };
        let size = api.size.map(|n| self.known(self.argument(given, state, n)));
        for id in holds {
            for (source, value) in self.followed(id) {
                self.push(Event {
                    source,
                    value,
                    at: given.at,
                    argument,
                    what: What::Taken { api, in_structure },
                    pool,
                    size: size.unwrap_or_default(),
                    jump: called.jump,
                });
            }
        }
    }

    /// A call of any other function.
    fn passed(&mut self, called: &Called, state: &State, given: &Given) {
        let known = given.arguments.map(|id| self.known(id));
        let named = matches!(called.callee, Callee::Named(_));
        for (n, id) in (1..).zip(given.arguments) {
            for (source, value) in self.followed(id) {
                if named && !matches!(source, Source::Constant(_)) {
                    continue;
                }
                self.push(Event {
                    source,
                    value,
                    at: given.at,
                    argument: n,
                    what: What::Passed {
                        callee: called.callee.clone(),
                        arguments: known,
                    },
                    pool: Argument::Unknown,
                    size: Argument::Unknown,
                    jump: called.jump,
                });
            }
            self.in_structures(id, n, called, state, given.at);
        }
    }

    /// A structure whose address is passed to a call.
    fn in_structures(&mut self, id: Id, n: u8, called: &Called, state: &State, at: u32) {
        let pointers: Vec<Atom> = self.machine.values.get(id).to_vec();
        for (base, start) in pointers.into_iter().filter_map(pointed) {
            if base == Base::MEMORY {
                continue;
            }
            let values = &self.machine.values;
            let first = state.slot((base, start)).and_then(|id| values.number(id));
            let slots = state.slots();
            let from = slots.partition_point(|s| s.0 < (base, start));
            let to = slots.partition_point(|s| s.0 < (base, start.saturating_add(MAX_STRUCTURE)));
            let mut found = Vec::new();
            for ((_, place), id) in slots.get(from..to).unwrap_or_default() {
                for (source, value) in self.followed(*id) {
                    if matches!(source, Source::Constant(_)) {
                        found.push((source, value, place.wrapping_sub(start) as u32));
                    }
                }
            }
            for (source, value, offset) in found {
                self.push(Event {
                    source,
                    value,
                    at,
                    argument: n,
                    what: What::InStructure {
                        offset,
                        first: first.map(|n| n as u32),
                        callee: called.callee.clone(),
                    },
                    pool: Argument::Unknown,
                    size: Argument::Unknown,
                    jump: called.jump,
                });
            }
        }
    }
}

/// The arguments of a call.
struct Given {
    at: u32,
    tail: bool,
    arguments: [Id; ARGUMENTS as usize],
}

/// The location that a pointer points to.
fn pointed(atom: Atom) -> Option<(Base, i64)> {
    match atom {
        Atom::Pointer { base, offset } => Some((base, offset)),
        Atom::Number { value, .. } if value >> 47 == 0x1_ffff => Some((Base::MEMORY, value as i64)),
        _ => None,
    }
}

/// The source of a tracked value, with the value and a mask of its certain bits.
fn followed(code: &dyn Surroundings, atom: Atom) -> Option<(Source, Option<(u32, u32)>)> {
    match atom {
        Atom::Number {
            value,
            from: from @ 1..,
        } => Some((Source::Constant(from), Some((value as u32, u32::MAX)))),
        Atom::Mixed { value, from } => Some((Source::Constant(from), Some((value, 0x00ff_ffff)))),
        Atom::Pointer { base, offset: 0 } => Some((Source::Parameter(base.parameter()?), None)),
        Atom::Loaded { base, offset } => {
            let rva = code.inside(base.wrapping_add(offset))?;
            Some((Source::Variable(rva), None))
        }
        _ => None,
    }
}
