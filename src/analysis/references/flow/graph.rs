//! The instructions of a function and its control flow.

use iced_x86::{
    Code as Opcode, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind,
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::region::{Known, MAX_FUNCTION, Region};
use crate::analysis::references::pages::Pages;

/// Maximum number of decoded instructions per function.
const MAX_INSTRUCTIONS: usize = 1 << 16;

/// The control flow after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Continues with the next instruction.
    Falls,
    /// Continues with the next instruction or at this RVA of the function.
    Branches(u32),
    /// Jumps to this RVA of the function.
    Jumps(u32),
    /// Calls a function, then continues with the next instruction.
    Calls,
    /// Jumps out of the function (a tail call).
    Leaves,
    /// Jumps to a target that is not yet known.
    Anywhere,
    /// Does not continue.
    Ends,
}

/// The instructions of a function, by RVA.
#[derive(Debug)]
pub struct Graph {
    image: u64,
    /// Sorted by RVA once the graph is complete.
    at: FxHashMap<u32, Instruction>,
    /// RVAs that are reached by something other than the previous instruction.
    pub leaders: FxHashSet<u32>,
    /// RVAs of code to which no control flow was found.
    pub orphans: Vec<u32>,
    /// False if a limit was reached or bytes are missing.
    pub whole: bool,
    bytes: Vec<(u32, Vec<u8>)>,
}

impl Graph {
    /// Decodes the code that is reachable from the function's first instruction.
    pub fn of(region: &Region, pages: &Pages, image: u64) -> Graph {
        let mut left = MAX_FUNCTION;
        let mut whole = true;
        let mut bytes = Vec::new();
        for &(start, end) in &region.pieces {
            let wanted = end.saturating_sub(start);
            let size = wanted.min(left);
            left -= size;
            let piece = pages.bytes(start, size as usize);
            whole &= piece.len() == wanted as usize;
            bytes.push((start, piece));
        }
        let mut out = Graph {
            image,
            at: FxHashMap::default(),
            leaders: FxHashSet::default(),
            orphans: Vec::new(),
            whole,
            bytes,
        };
        out.reach(region.start);
        out
    }

    /// The instruction at an RVA.
    pub fn get(&self, rva: u32) -> Option<&Instruction> {
        self.at.get(&rva)
    }

    /// All instructions.
    pub fn instructions(&self) -> impl Iterator<Item = (u32, &Instruction)> {
        self.at.iter().map(|(rva, i)| (*rva, i))
    }

    /// The RVA of an address.
    pub fn rva(&self, va: u64) -> u32 {
        va.wrapping_sub(self.image) as u32
    }

    /// True if an RVA lies in the function.
    pub fn contains(&self, rva: u32) -> bool {
        self.bytes_from(rva).is_some()
    }

    fn bytes_from(&self, rva: u32) -> Option<&[u8]> {
        self.bytes.iter().find_map(|(start, bytes)| {
            let at = rva.checked_sub(*start)? as usize;
            bytes.get(at..).filter(|rest| !rest.is_empty())
        })
    }

    /// Decodes from an RVA, including all branch targets.
    pub fn reach(&mut self, from: u32) {
        let mut pending = vec![from];
        while let Some(leader) = pending.pop() {
            if !self.leaders.insert(leader) {
                continue;
            }
            let mut at = leader;
            let mut found = Vec::new();
            let mut falls = false;
            {
                let Some(bytes) = self.bytes_from(at) else {
                    continue;
                };
                let ip = self.image.wrapping_add(at.into());
                let mut decoder = Decoder::with_ip(64, bytes, ip, DecoderOptions::NONE);
                while decoder.can_decode() && !self.at.contains_key(&at) {
                    if self.at.len() + found.len() >= MAX_INSTRUCTIONS {
                        break;
                    }
                    let i = decoder.decode();
                    if i.code() == Opcode::INVALID {
                        falls = false;
                        break;
                    }
                    found.push((at, i));
                    at = at.wrapping_add(i.len() as u32);
                    match self.next(&i) {
                        Next::Branches(target) => pending.extend([target, at]),
                        Next::Jumps(target) => pending.push(target),
                        Next::Falls | Next::Calls => {
                            falls = true;
                            continue;
                        }
                        _ => {}
                    }
                    falls = false;
                    break;
                }
            }
            if self.at.len() + found.len() >= MAX_INSTRUCTIONS {
                self.whole = false;
            }
            // The next instruction is already decoded, but may not start a block.
            self.at.extend(found);
            if self.at.contains_key(&at) {
                self.leaders.insert(at);
            } else if falls && self.contains(at) && self.at.len() < MAX_INSTRUCTIONS {
                // Continue in the next part of the function.
                pending.push(at);
            }
        }
    }

    /// Finds and decodes code to which no control flow was found.
    pub fn reach_rest(&mut self, known: Known) {
        if known == Known::Local {
            return;
        }
        let mut limit = 4096;
        for piece in 0..self.bytes.len() {
            let Some((start, bytes)) = self.bytes.get(piece) else {
                continue;
            };
            let (start, length) = (*start, bytes.len() as u32);
            let mut at = 0;
            while at < length && limit > 0 {
                let rva = start + at;
                if let Some(i) = self.at.get(&rva) {
                    at += i.len() as u32;
                    continue;
                }
                limit -= 1;
                let padding = self.padding(rva);
                if padding > 0 {
                    at += padding;
                    continue;
                }
                self.orphans.push(rva);
                self.reach(rva);
                at += self.at.get(&rva).map_or(1, |i| i.len() as u32);
            }
        }
    }

    /// Number of padding bytes at an RVA.
    fn padding(&self, rva: u32) -> u32 {
        let Some(bytes) = self.bytes_from(rva) else {
            return 1;
        };
        filler(bytes)
    }

    /// The control flow after an instruction.
    pub fn next(&self, i: &Instruction) -> Next {
        let target = || self.rva(i.near_branch64());
        let near = i.op0_kind() == OpKind::NearBranch64;
        match i.flow_control() {
            FlowControl::Next => Next::Falls,
            FlowControl::ConditionalBranch if near && self.contains(target()) => {
                Next::Branches(target())
            }
            // A branch out of the function: only the fall-through path stays in it.
            FlowControl::ConditionalBranch => Next::Falls,
            FlowControl::UnconditionalBranch if near && self.contains(target()) => {
                Next::Jumps(target())
            }
            FlowControl::UnconditionalBranch => Next::Leaves,
            FlowControl::IndirectBranch => Next::Anywhere,
            FlowControl::Call | FlowControl::IndirectCall => Next::Calls,
            // `int 3` within code is a breakpoint; `int 29h` (fast fail) does not return.
            FlowControl::Interrupt if i.mnemonic() == Mnemonic::Int3 => Next::Ends,
            FlowControl::Interrupt => Next::Ends,
            _ => Next::Ends,
        }
    }
}

/// Number of padding bytes at the start: breakpoints and no-operation instructions.
pub fn filler(bytes: &[u8]) -> u32 {
    match bytes.first() {
        Some(0xcc) => return 1,
        None => return 1,
        _ => {}
    }
    let mut decoder = Decoder::new(64, bytes, DecoderOptions::NONE);
    let i = decoder.decode();
    match i.mnemonic() {
        Mnemonic::Nop => i.len() as u32,
        _ => 0,
    }
}
