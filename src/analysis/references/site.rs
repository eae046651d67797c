//! Classifies the bytes of a tag in code.

use iced_x86::{ConstantOffsets, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};

use crate::memory::Va;
use crate::pool::Tag;
use crate::pool::tag::PROTECTED;

use super::api::{self, Pool, Role};
use super::callee::{Event, Source};
use super::code::{Code, Images, LONGEST, in_words};
use super::flow::Facts;
use super::flow::region::Known;
use super::follow::{Place, Taken, Taker, takers};
use super::{Call, Confidence, Verdict};

/// Maximum distance from an instruction's start to the last four bytes of its immediate.
const FURTHEST: u32 = 11;
/// WDF_DRIVER_CONFIG: its size, which is also the value of its first field, and the offset of the
/// tag.
const DRIVER_CONFIG: (u32, u32) = (0x20, 0x1c);
/// Maximum number of calls listed per reference.
const MAX_CALLS: usize = 8;

/// Classifies four bytes of an executable section.
pub fn judge(images: &Images, code: &Code, hit: u32, tag: Tag) -> Verdict {
    let facts = code.facts_at(hit);
    let mut verdict = match facts.as_deref().and_then(|facts| at(code, facts, hit)) {
        Some(found) if found.holds => with_instruction(images, code, &found, tag),
        Some(found) => straddles(&found.instruction),
        None => local(images, code, hit, tag),
    };
    if let Some(facts) = facts {
        in_function(&mut verdict, code, facts.region.start);
    }
    verdict
}

fn in_function(verdict: &mut Verdict, code: &Code, start: u32) {
    verdict.function = Some(code.name_of(start));
    verdict.start = Some(code.va(start));
}

/// Classifies four bytes that become the tag when an unknown value is added; `None` if no
/// function takes the sum.
pub fn computed(images: &Images, code: &Code, hit: u32, tag: Tag) -> Option<Verdict> {
    let facts = code.facts_at(hit)?;
    let found = at(code, &facts, hit).filter(|found| found.holds)?;
    let taken = found.takers(images, code, tag);
    let best = taken.first()?;
    let Taker::Api { api, .. } = &best.by else {
        return None;
    };
    if api.role == Role::ObjectReference {
        return None;
    }
    let mut verdict = by_calls(images, code, &taken);
    verdict.instruction = Some(in_words(&found.instruction));
    verdict.register = destination(&found.instruction);
    in_function(&mut verdict, code, facts.region.start);
    if !best.whole_value {
        verdict.confidence = Some(Confidence::Likely);
        verdict.reason = format!(
            "the code appends an unknown last character to these three: {}",
            verdict.reason
        );
    }
    Some(verdict)
}

/// The instruction that contains an address.
struct Found<'f> {
    instruction: Instruction,
    facts: &'f Facts,
    hit: u32,
    /// True if the four bytes are its immediate, or the displacement of a `lea` that is used as
    /// an addition.
    holds: bool,
}

fn at<'f>(code: &Code, facts: &'f Facts, hit: u32) -> Option<Found<'f>> {
    let start = facts.instruction_at(hit)?;
    let (instruction, offsets) = decoded(code, start)?;
    let inside = hit.wrapping_sub(start);
    (inside < instruction.len() as u32).then(|| Found {
        instruction,
        facts,
        hit,
        holds: holds(&instruction, &offsets, inside),
    })
}

fn decoded(code: &Code, rva: u32) -> Option<(Instruction, ConstantOffsets)> {
    let bytes = code.pages.bytes(rva, LONGEST as usize);
    let mut decoder = Decoder::with_ip(64, &bytes, code.va(rva).0, DecoderOptions::NONE);
    let i = decoder.decode();
    (!i.is_invalid()).then(|| (i, decoder.get_constant_offsets(&i)))
}

fn holds(i: &Instruction, offsets: &ConstantOffsets, at: u32) -> bool {
    let at = at as usize;
    let immediate = match (offsets.has_immediate(), offsets.immediate_size()) {
        (true, 4) => at == offsets.immediate_offset(),
        (true, 8) => at == offsets.immediate_offset() || at == offsets.immediate_offset() + 4,
        _ => false,
    };
    let sum = i.mnemonic() == Mnemonic::Lea
        && i.op0_register().size() == 4
        && !i.is_ip_rel_memory_operand()
        && offsets.displacement_size() == 4
        && at == offsets.displacement_offset();
    immediate || sum
}

impl Found<'_> {
    /// The functions that take the tag, the strongest evidence first.
    fn takers(&self, images: &Images, code: &Code, tag: Tag) -> Vec<Taken> {
        let is_tag = |event: &&Event| match event.value {
            Some((value, mask)) => (value ^ tag.value()) & mask & !PROTECTED == 0,
            None => true,
        };
        let events = self.facts.of(Source::Constant(self.hit));
        takers(images, code, events.iter().filter(is_tag))
    }
}

/// Finds an instruction that ends with the four bytes, without knowing the function: the one
/// whose tag a function takes, otherwise the longest.
fn local(images: &Images, code: &Code, hit: u32, tag: Tag) -> Verdict {
    let mut longest = None;
    for back in (1..=FURTHEST).rev() {
        let Some(start) = hit.checked_sub(back) else {
            continue;
        };
        let Some((i, offsets)) = decoded(code, start) else {
            continue;
        };
        let usual = matches!(
            i.mnemonic(),
            Mnemonic::Mov | Mnemonic::Cmp | Mnemonic::Push | Mnemonic::Sub
        );
        if i.len() as u32 != back + 4 || !usual || !holds(&i, &offsets, back) {
            continue;
        }
        let facts = super::flow::analyse(code, &code.local(start));
        let found = Found {
            instruction: i,
            facts: &facts,
            hit,
            holds: true,
        };
        let verdict = with_instruction(images, code, &found, tag);
        if verdict.api.is_some() {
            return verdict;
        }
        longest = longest.or(Some(verdict));
    }
    longest.unwrap_or_else(no_instruction)
}

fn with_instruction(images: &Images, code: &Code, found: &Found, tag: Tag) -> Verdict {
    let i = &found.instruction;
    let aligned = found.facts.region.known != Known::Local;
    let taken = found.takers(images, code, tag);
    let by_api = matches!(
        taken.first(),
        Some(Taken {
            by: Taker::Api { .. },
            ..
        })
    );
    let mut verdict = match i.mnemonic() {
        _ if by_api => by_calls(images, code, &taken),
        Mnemonic::Mov | Mnemonic::Push if !taken.is_empty() => by_calls(images, code, &taken),
        Mnemonic::Mov | Mnemonic::Push => not_taken(i, found.facts),
        Mnemonic::Cmp | Mnemonic::Sub => Verdict {
            role: Role::Comparison,
            confidence: Some(Confidence::Likely),
            reason: "compared with the tag: a signature check, not an allocation".into(),
            ..Verdict::default()
        },
        Mnemonic::Lea => straddles(i),
        _ => Verdict {
            confidence: Some(Confidence::Coincidence),
            reason: "a number that the code calculates with, not one that it passes on".into(),
            ..Verdict::default()
        },
    };
    if !aligned {
        verdict.reason += "; decoded from these bytes on, because no unwind data gives the start \
            of the function";
        if !by_api {
            verdict.confidence = Some(Confidence::Coincidence);
        }
    }
    if verdict.instruction.is_none() {
        verdict.instruction = Some(in_words(i));
        verdict.register = destination(i);
    }
    verdict
}

/// The destination of the tag: a register, or a memory location in brackets.
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

fn not_taken(i: &Instruction, facts: &Facts) -> Verdict {
    let put = match i.op0_kind() {
        OpKind::Memory => "stored on the stack",
        _ => "loaded into a register",
    };
    let (confidence, reason) = match facts.whole {
        true => (
            Some(Confidence::Coincidence),
            format!("{put}, but no call takes it: a number that looks like the tag"),
        ),
        false => (
            None,
            format!(
                "{put}; the function is not completely in the dump or is too large to analyse, so \
                    the call that takes it is unknown"
            ),
        ),
    };
    Verdict {
        role: Role::Unknown,
        confidence,
        reason,
        ..Verdict::default()
    }
}

const ORDINALS: [&str; 12] = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth",
];

fn ordinal(n: u8) -> &'static str {
    let at = usize::from(n).wrapping_sub(1);
    ORDINALS.get(at).copied().unwrap_or("last")
}

/// A function of an image by name, with the module if it is another one.
fn named(images: &Images, code: &Code, place: Place) -> String {
    let other = images.code(place.0).filter(|_| place.0 != code.index);
    match other {
        Some(other) => format!("the function at {}", other.name_of(place.1)),
        None => format!("the driver's own function at {}", code.name_of(place.1)),
    }
}

/// The classification by the calls that take the tag, the strongest evidence first.
pub fn by_calls(images: &Images, code: &Code, taken: &[Taken]) -> Verdict {
    let Some(best) = taken.first() else {
        return Verdict::default();
    };
    let argument = ordinal(best.argument);
    let mut verdict = Verdict {
        confidence: Some(Confidence::Likely),
        size: best.size.number(),
        ..Verdict::default()
    };
    match &best.by {
        Taker::Api { api, in_structure } => {
            verdict.api = Some(api.name.into());
            verdict.role = api.role;
            verdict.pool = match (api.pool, best.pool.number()) {
                (Some(Pool::Type(_)), Some(n)) => Some(api::pool_type(n)),
                (Some(Pool::Flags(_)), Some(n)) => Some(api::pool_flags(n)),
                _ => None,
            };
            verdict.reason = format!("passed to {} as its {argument} argument", api.name);
            if *in_structure {
                verdict.reason = format!(
                    "in the structure that {} takes as its {argument} argument",
                    api.name
                );
            }
            match best.through.first() {
                Some(jump) if best.only_jumps => {
                    verdict.reason += &format!(
                        ", through the driver's own jump at {}",
                        code.name_of(jump.1)
                    );
                }
                Some(function) => {
                    verdict.reason = format!(
                        "passed as the {argument} argument to {}, which passes it to {}",
                        named(images, code, *function),
                        api.name
                    );
                }
                None => {}
            }
            if best.only_jumps && best.whole_value {
                verdict.confidence = Some(Confidence::Certain);
            }
            if api.role == Role::ObjectReference {
                verdict.confidence = Some(Confidence::Coincidence);
                verdict.reason += ": the tag of an object or lock reference, not of pool";
            }
        }
        Taker::Function(place) => {
            verdict.reason = format!(
                "passed as the {argument} argument to {}, which may allocate with it",
                named(images, code, *place)
            );
        }
        Taker::InStructure { offset, first } => {
            verdict.role = Role::Structure;
            verdict.reason = match (*first, *offset) == (Some(DRIVER_CONFIG.0), DRIVER_CONFIG.1) {
                true => "the DriverPoolTag of a WDF_DRIVER_CONFIG on the stack: the driver framework allocates with it".into(),
                false => format!(
                    "stored at +{offset:#x} in a structure on the stack whose address is passed \
                        to a call: a tag to allocate with later, or a signature"
                ),
            };
        }
        Taker::Stored => {
            verdict.role = Role::Structure;
            verdict.reason =
                "stored in a structure or variable: a tag to allocate with later, or a signature"
                    .into();
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
    verdict.calls = calls(images, code, taken);
    verdict.reason += &others(taken);
    verdict
}

/// The calls without duplicates.
fn calls(images: &Images, code: &Code, taken: &[Taken]) -> Vec<Call> {
    let mut out: Vec<Call> = Vec::new();
    for one in taken {
        let (function, role) = match &one.by {
            Taker::Api { api, .. } => (Some(api.name.to_owned()), api.role),
            Taker::Named(name) => (Some(name.to_string()), Role::Unknown),
            Taker::Function(place) => {
                let name = images.code(place.0).map(|c| c.name_of(place.1));
                (name, Role::Unknown)
            }
            Taker::InStructure { .. } => (None, Role::Structure),
            Taker::Unknown => (None, Role::Unknown),
            Taker::Stored => continue,
        };
        let call = Call {
            function,
            role,
            argument: one.argument,
            va: code.va(one.at),
        };
        if out.len() < MAX_CALLS && !out.contains(&call) {
            out.push(call);
        }
    }
    out
}

/// The other functions that take the tag, as text.
fn others(taken: &[Taken]) -> String {
    let name = |t: &Taken| match &t.by {
        Taker::Api { api, .. } => Some(api.name),
        _ => None,
    };
    let Some(best) = taken.first().and_then(name) else {
        return String::new();
    };
    let mut names: Vec<&str> = Vec::new();
    for other in taken.iter().filter_map(name) {
        if other != best && !names.contains(&other) {
            names.push(other);
        }
    }
    match names.is_empty() {
        true => String::new(),
        false => format!("; also passed to {}", names.join(", ")),
    }
}

fn straddles(i: &Instruction) -> Verdict {
    Verdict {
        confidence: Some(Confidence::Coincidence),
        reason: format!(
            "no instruction has the tag as its constant: the bytes are part of `{}` at {} or \
                extend into the next",
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

/// Classifies an instruction that reads a variable with the tag.
pub fn read_by(images: &Images, code: &Code, at: u32, variable: u32) -> Option<Verdict> {
    let facts = code.facts_at(at)?;
    let i = code.instruction(facts.instruction_at(at)?)?;
    let taken = takers(images, code, facts.of(Source::Variable(variable)).iter());
    let best = taken.first()?;
    if matches!(best.by, Taker::Stored | Taker::Named(_)) {
        return None;
    }
    let mut verdict = by_calls(images, code, &taken);
    verdict.instruction = Some(in_words(&i));
    verdict.register = destination(&i);
    in_function(&mut verdict, code, facts.region.start);
    Some(verdict)
}
