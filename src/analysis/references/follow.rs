//! Follows an argument to the function that takes it: through the driver's own functions, and
//! through unnamed functions of other images.

use rustc_hash::FxHashSet;

use super::api::{Api, Role};
use super::callee::{Argument, Callee, Event, Source, What};
use super::code::{Code, Images};

/// Maximum call depth.
const DEPTH: usize = 3;
/// Maximum number of events per reference.
const MAX_EVENTS: usize = 512;
/// Maximum number of takers per reference.
const MAX_TAKERS: usize = 32;

/// A function: the module's index, and the RVA.
pub type Place = (usize, u32);

/// A call that takes a tracked value.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// The function or location that takes it.
    pub by: Taker,
    /// The number of the argument in the first call, from 1.
    pub argument: u8,
    /// RVA of the first call.
    pub at: u32,
    /// The argument with POOL_TYPE or POOL_FLAGS.
    pub pool: Argument,
    /// The requested size, in bytes.
    pub size: Argument,
    /// The intermediate functions.
    pub through: Vec<Place>,
    /// True if the intermediate functions are only jump thunks.
    pub only_jumps: bool,
    /// True if all bytes of the value are certain.
    pub whole_value: bool,
}

/// The function or location that takes a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Taker {
    /// A function that is known to take a tag in this position.
    Api {
        /// The function.
        api: &'static Api,
        /// True if the tag is in the structure that an argument points to.
        in_structure: bool,
    },
    /// A function of an image whose use of the value is unknown.
    Function(Place),
    /// The value is in a structure on the stack whose address is passed to a call.
    InStructure {
        /// Offset in the structure, in bytes.
        offset: u32,
        /// The first four bytes of the structure, if known.
        first: Option<u32>,
    },
    /// The value is stored in memory outside the stack frame.
    Stored,
    /// A call with an unknown target.
    Unknown,
    /// A named function that is not known to take a tag.
    Named(Box<str>),
}

impl Taken {
    /// The sort key: the strongest evidence first.
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

/// The takers of the values of these events, the strongest evidence first.
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
    /// The arguments that are currently being followed, to detect recursion.
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

    /// Follows an argument into a function.
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
        // A function of another image may use the argument indirectly, so "no use found" is not
        // conclusive.
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
            // The function does not use the argument; unknown if it was not analysed completely.
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
