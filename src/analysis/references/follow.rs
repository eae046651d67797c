//! Follows an argument to the function that finally takes it: through the driver's own
//! functions, and through unnamed functions of other images.

use rustc_hash::FxHashSet;

use super::api::{Api, Role};
use super::callee::{Argument, Callee, Event, Source, What};
use super::code::{Code, Images};

/// Functions that are gone into, one from another.
const DEPTH: usize = 3;
/// Events that are looked at for one place.
const MAX_EVENTS: usize = 512;
/// Takers of one place that are kept.
const MAX_TAKERS: usize = 32;

/// A function of an image: the module's index, and an RVA.
pub type Place = (usize, u32);

/// A call that takes something.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// Who takes it.
    pub by: Taker,
    /// In which argument of the first call, from 1.
    pub argument: u8,
    /// RVA of the first call.
    pub at: u32,
    /// POOL_TYPE or POOL_FLAGS.
    pub pool: Argument,
    /// Bytes that are asked for.
    pub size: Argument,
    /// The functions on the way to it.
    pub through: Vec<Place>,
    /// They do nothing but jump on.
    pub only_jumps: bool,
    /// All bytes of the value are certain.
    pub whole_value: bool,
}

/// Who takes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Taker {
    /// A function that is known to take a tag there.
    Api {
        /// The function.
        api: &'static Api,
        /// It is in the structure that an argument points at.
        in_structure: bool,
    },
    /// A function of an image, which does something with it that is not known.
    Function(Place),
    /// It is in a structure on the stack that a call has the address of.
    InStructure {
        /// Bytes from the structure's start.
        offset: u32,
        /// The structure's first four bytes.
        first: Option<u32>,
    },
    /// It is stored where others see it.
    Stored,
    /// A call with an unknown target.
    Unknown,
    /// A function with a name that is not known to take a tag.
    Named(Box<str>),
}

impl Taken {
    /// The most telling first.
    pub fn rank(&self) -> (u8, Role, bool) {
        let (weight, role) = match &self.by {
            Taker::Api { api, .. } => (0, api.role),
            Taker::InStructure { .. } => (1, Role::Structure),
            Taker::Stored => (2, Role::Structure),
            Taker::Function(_) => (3, Role::Unknown),
            Taker::Unknown => (4, Role::Unknown),
            Taker::Named(_) => (5, Role::Unknown),
        };
        (weight, role, !self.only_jumps)
    }
}

/// Who takes what a function does these things with; the most telling first.
pub fn takers<'e>(
    images: &Images,
    code: &Code,
    events: impl Iterator<Item = &'e Event>,
) -> Vec<Taken> {
    let mut walk = Walk {
        images,
        left: MAX_EVENTS,
        path: FxHashSet::default(),
    };
    let mut out = Vec::new();
    for event in events {
        out.extend(walk.event(code, event, 0));
        if out.len() >= MAX_TAKERS {
            break;
        }
    }
    out.sort_by_key(Taken::rank);
    out
}

struct Walk<'a, 'i> {
    images: &'a Images<'i>,
    left: usize,
    /// The arguments that are being followed.
    path: FxHashSet<(Place, u8)>,
}

impl Walk<'_, '_> {
    fn event(&mut self, code: &Code, event: &Event, depth: usize) -> Vec<Taken> {
        if self.left == 0 {
            return Vec::new();
        }
        self.left -= 1;
        let simple = |by| Taken {
            by,
            argument: event.argument,
            at: event.at,
            pool: event.pool,
            size: event.size,
            through: event
                .jump
                .map(|rva| (code.index, rva))
                .into_iter()
                .collect(),
            only_jumps: true,
            whole_value: event.value.is_none_or(|v| v.1 == u32::MAX),
        };
        match &event.what {
            What::Taken { api, in_structure } => vec![simple(Taker::Api {
                api,
                in_structure: *in_structure,
            })],
            What::Stored => vec![simple(Taker::Stored)],
            What::InStructure { offset, first, .. } => vec![simple(Taker::InStructure {
                offset: *offset,
                first: *first,
            })],
            What::Passed { callee, arguments } => match callee {
                Callee::Named(name) => vec![simple(Taker::Named(name.clone()))],
                Callee::Unknown => vec![simple(Taker::Unknown)],
                Callee::Own(rva) => {
                    let place = (code.index, *rva);
                    self.inside(place, event, arguments, depth, &simple)
                }
                Callee::Foreign(module, rva) => {
                    let place = (*module, *rva);
                    self.inside(place, event, arguments, depth, &simple)
                }
            },
        }
    }

    /// What a function does with its argument.
    fn inside(
        &mut self,
        place: Place,
        event: &Event,
        arguments: &[Argument],
        depth: usize,
        simple: &dyn Fn(Taker) -> Taken,
    ) -> Vec<Taken> {
        let unresolved = || vec![simple(Taker::Function(place))];
        if depth == DEPTH || !self.path.insert((place, event.argument)) {
            return unresolved();
        }
        let found = self.arguments_of(place, event, arguments, depth, simple);
        // That another image's function does nothing with it is not for this one to say.
        let foreign = matches!(
            &event.what,
            What::Passed {
                callee: Callee::Foreign(..),
                ..
            }
        );
        let found = found.filter(|taken| !foreign || !taken.is_empty());
        self.path.remove(&(place, event.argument));
        found.unwrap_or_else(unresolved)
    }

    fn arguments_of(
        &mut self,
        place: Place,
        event: &Event,
        arguments: &[Argument],
        depth: usize,
        simple: &dyn Fn(Taker) -> Taken,
    ) -> Option<Vec<Taken>> {
        let images = self.images;
        let code = images.code(place.0)?;
        let facts = code.facts_of(place.1);
        let events = facts.of(Source::Parameter(event.argument));
        if events.is_empty() {
            // It is not used; unknown if the function was not completely analysed.
            let seen = facts.whole && !facts.starts.is_empty();
            return seen.then(Vec::new);
        }
        let mut out = Vec::new();
        let mut unresolved = false;
        for inner in events {
            for taken in self.event(code, inner, depth + 1) {
                if !matches!(taken.by, Taker::Api { .. }) {
                    unresolved |= !matches!(taken.by, Taker::Named(_));
                    continue;
                }
                let given = |argument| match argument {
                    Argument::Parameter(n) => arguments
                        .get(usize::from(n).wrapping_sub(1))
                        .copied()
                        .unwrap_or_default(),
                    other => other,
                };
                let mut through = vec![place];
                through.extend(&taken.through);
                out.push(Taken {
                    pool: given(taken.pool),
                    size: given(taken.size),
                    through,
                    only_jumps: false,
                    ..simple(taken.by)
                });
            }
        }
        if out.is_empty() && unresolved {
            return None;
        }
        out.sort_by_key(Taken::rank);
        out.dedup();
        Some(out)
    }
}
