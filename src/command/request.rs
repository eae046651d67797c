//! What a line asks for.

use crate::addr::Va;
use crate::pool::{Tag, TagPattern};

use super::expression::{Expression, Resolver};
use super::refusal::{Refusal, Result};

/// A command with its arguments, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// What kind of dump (`vertarget`).
    Info,
    /// `!vm`.
    Vm,
    /// `!poolused`.
    PoolUsed(PoolUsed),
    /// `!poolfind`.
    Find(Find),
    /// `!pool`.
    Page(Page),
    /// `db`, `dps` and the like.
    Memory(Memory),
    /// `lm`.
    Modules(Modules),
    /// `ln`: the symbol or module an address is in.
    Nearest(Expression),
    /// `?`: an expression's value.
    Evaluate(Expression),
    /// `x`: symbols by pattern.
    Symbols {
        /// The module; `*` and `?` are wildcards.
        module: String,
        /// The symbol; `*` and `?` are wildcards.
        name: String,
    },
    /// Modules that reference a tag.
    References(Chosen),
    /// `s`: the same from one address to another.
    Search {
        /// The tag.
        tag: TagPattern,
        /// The first address.
        from: Expression,
        /// The address after the last.
        to: Expression,
    },
    /// The sizes of a tag's allocations.
    Sizes(Chosen),
    /// What a tag's allocations contain.
    Contents(Chosen),
    /// Groups of a tag's allocations with one layout.
    Families(Chosen),
    /// Kernel objects of a tag or a type.
    Objects(Option<String>),
    /// `!handle`.
    Handles(Handles),
    /// `!object`.
    Object(Expression),
    /// `!process`.
    Processes(Processes),
    /// `dt`.
    Type(TypeAt),
    /// `u`.
    Code {
        /// The first instruction.
        at: Expression,
        /// How many.
        count: u64,
    },
    /// Recorded call stacks of a tag or an address; of the tag on the screen when nothing
    /// is named.
    Stacks(Option<Target>),
    /// `ub`: the instructions before an address.
    CodeBefore {
        /// Where they end.
        at: Expression,
        /// How many.
        count: u64,
    },
    /// `uf`: the function that holds an address.
    Function(Expression),
    /// `!lmi`: the headers of a module, by its name or an address in it.
    Headers(String),
    /// `!pte`: the page table entries of an address.
    PageTables(Expression),
    /// `!verifier`.
    Verifier(Verifier),
    /// `!lookaside`.
    Lookaside,
    /// `!filecache`: its totals.
    FileCache,
    /// PoolMon's switches.
    PoolMon(PoolMon),
    /// Pool by driver.
    Drivers,
    /// The report on the screen.
    Diagnose,
    /// The tag list.
    Tags,
    /// All that is marked.
    Marks,
    /// Earlier points to compare with; `modules`, `off`, or nothing: the points.
    Baseline(Vec<String>),
    /// A tag or both pools over the points of the baseline.
    History(Option<String>),
    /// Columns of the tag list.
    Columns(Vec<String>),
    /// A note for the row.
    Note(String),
    /// A filter for the list.
    Filter(String),
    /// The tag list's order.
    Sort(SortBy),
    /// What is shown, to a file.
    Save(File),
    /// The report, to a file.
    Report(File),
    /// An address, a tag or a module, typed alone.
    Go(Target),
    /// Help, on a command where one is named.
    Help(Option<String>),
    /// Leave.
    Quit,
}

/// `!verifier [FLAGS [DRIVER]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verifier {
    /// The debugger's bits: 1 the drivers, 2 their blocks, 0x80 the log.
    pub flags: u64,
    /// The driver whose blocks are listed; all when none is named.
    pub driver: Option<String>,
}

impl Verifier {
    /// The drivers.
    pub const DRIVERS: u64 = 1;
    /// The blocks of the drivers.
    pub const BLOCKS: u64 = 2;
    /// The log of allocations and frees.
    pub const LOG: u64 = 0x80;
}

/// A tag that is named, or the one on the screen.
pub type Chosen = Option<TagPattern>;

/// The pools that are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoolChoice {
    /// Both.
    #[default]
    Both,
    /// Nonpaged.
    Nonpaged,
    /// Paged, with session pool.
    Paged,
    /// Session pool alone.
    Session,
    /// Special pool.
    Special,
}

/// `!poolused [FLAGS] [/tN] [TAG]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolUsed {
    /// The debugger's bits: 1 verbose, 2 by nonpaged, 4 by paged, 8 session. `None` when
    /// they were left out.
    pub flags: Option<u64>,
    /// The first rows alone.
    pub top: Option<usize>,
    /// The tags.
    pub pattern: Option<TagPattern>,
}

impl PoolUsed {
    /// True when the bit is set.
    pub fn has(&self, bit: u64) -> bool {
        self.flags.unwrap_or(0) & bit != 0
    }
}

/// `!poolfind TAG [POOL]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// The tags; the one on the screen when none is named.
    pub tag: Chosen,
    /// The pools.
    pub pool: PoolChoice,
    /// Blocks that were recognised by their headers alone, too.
    pub heuristic: bool,
}

/// `!pool ADDRESS [FLAGS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// An address in the page.
    pub at: Expression,
    /// Only the block that holds it (bit 1).
    pub only: bool,
}

/// How memory is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Bytes and text (`db`).
    Bytes,
    /// Words of two bytes (`dw`).
    Words,
    /// Words of four bytes (`dd`); `dc` with text.
    DoubleWords {
        /// With text beside them.
        text: bool,
    },
    /// Words of eight bytes (`dq`).
    QuadWords,
    /// Pointers with symbols (`dps`).
    Pointers,
    /// ASCII text (`da`).
    Ascii,
    /// UTF-16 text (`du`).
    Unicode,
}

impl Shape {
    /// Bytes of one element.
    pub fn width(self) -> u64 {
        match self {
            Shape::Bytes | Shape::Ascii => 1,
            Shape::Words | Shape::Unicode => 2,
            Shape::DoubleWords { .. } => 4,
            Shape::QuadWords | Shape::Pointers => 8,
        }
    }
}

/// Where a range ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The default of the command.
    Usual,
    /// After so many elements (`L20`).
    Elements(u64),
    /// At this address, which is in it.
    At(Expression),
}

/// `db ADDRESS [L COUNT | END]` and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// How.
    pub shape: Shape,
    /// From where.
    pub at: Expression,
    /// To where.
    pub end: End,
}

/// `lm [OPTIONS] [a ADDRESS] [m PATTERN]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    /// The module that holds it.
    pub holding: Option<Expression>,
    /// Names, in any case; `*` and `?` are wildcards.
    pub pattern: Option<String>,
    /// All that is known of each (`v`).
    pub verbose: bool,
    /// With time stamps (`t`).
    pub time: bool,
    /// With paths (`f`).
    pub path: bool,
    /// Names alone (`1m`).
    pub names: bool,
    /// By name instead of by address (`sm`).
    pub by_name: bool,
}

impl Modules {
    /// True for a form that the list on the screen does not have.
    pub fn is_text(&self) -> bool {
        self.verbose || self.time || self.path || self.names || self.by_name
    }

    /// The letters that ask for it.
    pub(super) fn letters(&self) -> String {
        let mut out = String::new();
        for (is, letters) in [
            (self.verbose, "v"),
            (self.path, "f"),
            (self.time, "t"),
            (self.names, "1m"),
            (self.by_name, "sm"),
        ] {
            out.push_str(if is { letters } else { "" });
        }
        out
    }

    /// True when the name fits the pattern, in any case; a name with its `.sys` fits too.
    pub fn fits(&self, name: &str) -> bool {
        let Some(pattern) = &self.pattern else {
            return true;
        };
        let strip = |text: &str| text.strip_suffix(".sys").unwrap_or(text).to_owned();
        let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
        wildcard(strip(&pattern).as_bytes(), strip(&name).as_bytes())
    }
}

/// True when the text fits a pattern with `*` and `?`.
pub fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    // The usual two pointers: linear but for the last star.
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), text.get(t)) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(a), Some(b)) if *a == b'?' || a == b => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == b'*')
}

/// `!handle HANDLE FLAGS PROCESS TYPE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handles {
    /// The process, by its address or its identifier; all when it is 0 or left out.
    pub process: Option<Expression>,
    /// Objects of this type alone.
    pub kind: Option<String>,
}

/// `!process PROCESS FLAGS [IMAGE]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// One process, by its address or its identifier; all when it is 0 or left out.
    pub process: Option<Expression>,
    /// Processes of this image alone, in any case.
    pub image: Option<String>,
}

/// `dt [MODULE!]TYPE [FIELD] [ADDRESS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeAt {
    /// The type's name.
    pub name: String,
    /// Fields whose names begin so; all when there are none.
    pub fields: Vec<String>,
    /// Where one is.
    pub at: Option<Expression>,
}

/// How PoolMon and the tag list sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// By name.
    Tag,
    /// By allocations.
    Allocs,
    /// By frees.
    Frees,
    /// By allocations that were not freed.
    Outstanding,
    /// By bytes.
    Bytes,
    /// By bytes of one allocation.
    PerAllocation,
}

/// PoolMon's switches, as its documentation has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolMon {
    /// Only these tags (`/i`), where there are any.
    pub only: Vec<TagPattern>,
    /// Not these tags (`/x`).
    pub except: Vec<TagPattern>,
    /// `/p`: nonpaged, twice: paged, thrice: both. `None` when it was not given.
    pub pool: Option<PoolChoice>,
    /// The order; by tag when none is given, as PoolMon has it.
    pub sort: Option<SortBy>,
    /// `/(` or `/)`: by how the figure changed.
    pub by_change: bool,
}

impl PoolMon {
    /// True when the tag is shown.
    pub fn shows(&self, tag: Tag) -> bool {
        let in_list = |list: &[TagPattern]| list.iter().any(|p| p.matches(tag));
        (self.only.is_empty() || in_list(&self.only)) && !in_list(&self.except)
    }
}

/// A file to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Its name; empty when none was typed.
    pub name: String,
    /// Write over one that is there.
    pub overwrite: bool,
}

/// Something typed alone, to go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As it was typed.
    pub text: String,
    /// The tag that it may be.
    pub tag: Option<TagPattern>,
    /// The address that it may be.
    pub address: Option<Expression>,
}

impl Target {
    /// Reads an address, a tag or a module's name. `None` for what can be none of them.
    pub fn parse(text: &str) -> Option<Target> {
        let text = text.trim();
        let bare = text.trim_matches(['"', '\'']);
        let tag = (bare.len() <= 16)
            .then(|| TagPattern::parse(bare).ok())
            .flatten();
        let address = match text.contains(char::is_whitespace) {
            true => None,
            false => Expression::parse(text).ok(),
        };
        (tag.is_some() || address.is_some()).then(|| Target {
            text: bare.to_owned(),
            tag,
            address,
        })
    }

    /// True for what can be nothing but an address: many digits, or an expression.
    pub fn is_address(&self) -> bool {
        match &self.address {
            Some(Expression::Number(_)) => self.text.len() > 4,
            Some(Expression::Name(name)) => name.contains('!'),
            Some(_) => true,
            None => false,
        }
    }
}

impl Request {
    /// The same with every address as a number.
    ///
    /// # Errors
    /// The name that is not known, or the pointer that can't be read.
    pub fn resolve(self, resolver: &dyn Resolver) -> Result<Request> {
        let number = |e: Expression| Ok::<_, Refusal>(Expression::Number(e.resolve(resolver)?.0));
        let maybe = |e: Option<Expression>| e.map(number).transpose();
        Ok(match self {
            Request::Page(p) => Request::Page(Page {
                at: number(p.at)?,
                ..p
            }),
            Request::Memory(m) => Request::Memory(Memory {
                at: number(m.at)?,
                end: match m.end {
                    End::At(end) => End::At(number(end)?),
                    end => end,
                },
                ..m
            }),
            Request::Modules(m) => Request::Modules(Modules {
                holding: maybe(m.holding)?,
                ..m
            }),
            Request::Nearest(at) => Request::Nearest(number(at)?),
            Request::Evaluate(at) => Request::Evaluate(number(at)?),
            Request::Search { tag, from, to } => Request::Search {
                tag,
                from: number(from)?,
                to: number(to)?,
            },
            Request::Object(at) => Request::Object(number(at)?),
            Request::Code { at, count } => Request::Code {
                at: number(at)?,
                count,
            },
            Request::CodeBefore { at, count } => Request::CodeBefore {
                at: number(at)?,
                count,
            },
            Request::Function(at) => Request::Function(number(at)?),
            Request::PageTables(at) => Request::PageTables(number(at)?),
            Request::Handles(h) => Request::Handles(Handles {
                process: maybe(h.process)?,
                ..h
            }),
            Request::Processes(p) => Request::Processes(Processes {
                process: maybe(p.process)?,
                ..p
            }),
            Request::Type(t) => Request::Type(TypeAt {
                at: maybe(t.at)?,
                ..t
            }),
            Request::Stacks(Some(t)) if t.is_address() => Request::Stacks(Some(Target {
                address: maybe(t.address)?,
                ..t
            })),
            Request::Go(t) if t.is_address() => Request::Go(Target {
                address: maybe(t.address)?,
                ..t
            }),
            other => other,
        })
    }

    /// The request as it is typed in WinDbg, for answers that are text.
    pub fn line(&self) -> String {
        let at = |e: &Expression| {
            e.literal()
                .map_or_else(|| "ADDRESS".to_owned(), |va| va.to_string())
        };
        let maybe = |e: &Option<Expression>| e.as_ref().map_or_else(|| "0".to_owned(), at);
        let words = match self {
            Request::Info => "vertarget".to_owned(),
            Request::Vm => "!vm 1".to_owned(),
            Request::PoolUsed(wanted) => {
                let flags = wanted.flags.map_or_else(String::new, |f| format!("{f}"));
                let top = wanted.top.map_or_else(String::new, |n| format!("/t{n}"));
                let tag = wanted
                    .pattern
                    .as_ref()
                    .map_or_else(String::new, TagPattern::typed);
                format!("!poolused {top} {flags} {tag}")
            }
            Request::Memory(memory) => {
                let name = match memory.shape {
                    Shape::Bytes => "db",
                    Shape::Words => "dw",
                    Shape::DoubleWords { text: false } => "dd",
                    Shape::DoubleWords { text: true } => "dc",
                    Shape::QuadWords => "dq",
                    Shape::Pointers => "dps",
                    Shape::Ascii => "da",
                    Shape::Unicode => "du",
                };
                let end = match &memory.end {
                    End::Usual => String::new(),
                    End::Elements(count) => format!("L{count:x}"),
                    End::At(end) => at(end),
                };
                format!("{name} {} {end}", at(&memory.at))
            }
            Request::Modules(m) => match (&m.holding, &m.pattern) {
                (Some(holding), _) => format!("lm {} a {}", m.letters(), at(holding)),
                (None, Some(pattern)) => format!("lm {} m {pattern}", m.letters()),
                (None, None) => format!("lm {}", m.letters()),
            },
            Request::Nearest(a) => format!("ln {}", at(a)),
            Request::Evaluate(a) => format!("? {}", at(a)),
            Request::Symbols { module, name } => format!("x {module}!{name}"),
            Request::Object(a) => format!("!object {}", at(a)),
            Request::Handles(h) => {
                let kind = h.kind.clone().unwrap_or_default();
                let kind = if kind.contains(' ') {
                    format!("\"{kind}\"")
                } else {
                    kind
                };
                format!("!handle 0 3 {} {kind}", maybe(&h.process))
            }
            Request::Processes(p) if p.process.is_none() && p.image.is_none() => {
                "!process".to_owned()
            }
            Request::Processes(p) => {
                let image = p.image.clone().unwrap_or_default();
                format!("!process {} 0 {image}", maybe(&p.process))
            }
            Request::Type(t) => {
                let place = t.at.as_ref().map_or_else(String::new, at);
                format!("dt nt!{} {} {place}", t.name, t.fields.join(" "))
            }
            Request::Code { at: a, count } => format!("u {} L{count:x}", at(a)),
            Request::Stacks(target) => match target {
                Some(t) if t.is_address() => format!("!verifier 80 {}", maybe(&t.address)),
                Some(t) => format!("stacks {}", t.text),
                None => "stacks".to_owned(),
            },
            Request::Verifier(wanted) => match &wanted.driver {
                Some(driver) => format!("!verifier {:x} {driver}", wanted.flags),
                None => format!("!verifier {:x}", wanted.flags),
            },
            Request::CodeBefore { at: a, count } => format!("ub {} L{count:x}", at(a)),
            Request::Function(a) => format!("uf {}", at(a)),
            Request::Headers(module) => format!("!lmi {module}"),
            Request::PageTables(a) => format!("!pte {}", at(a)),
            Request::Lookaside => "!lookaside".to_owned(),
            Request::FileCache => "!filecache".to_owned(),
            Request::PoolMon(_) => "poolmon -s".to_owned(),
            // Those have screens of their own, which name themselves.
            _ => String::new(),
        };
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// True for what is about the screen: marks, filters, files of what is shown.
    pub fn needs_screen(&self) -> bool {
        matches!(
            self,
            Request::Marks
                | Request::Baseline(_)
                | Request::History(_)
                | Request::Columns(_)
                | Request::Note(_)
                | Request::Filter(_)
                | Request::Sort(_)
                | Request::Save(_)
                | Request::Report(_)
                | Request::Quit
        )
    }

    /// False when an address in it needs a dump to be known.
    pub fn is_resolved(&self) -> bool {
        let known = |e: &Expression| matches!(e, Expression::Number(_));
        let maybe = |e: &Option<Expression>| e.as_ref().is_none_or(known);
        match self {
            Request::Page(p) => known(&p.at),
            Request::Memory(m) => known(&m.at) && !matches!(&m.end, End::At(end) if !known(end)),
            Request::Modules(m) => maybe(&m.holding),
            Request::Search { from, to, .. } => known(from) && known(to),
            Request::Nearest(at)
            | Request::Evaluate(at)
            | Request::Object(at)
            | Request::Code { at, .. }
            | Request::CodeBefore { at, .. }
            | Request::Function(at)
            | Request::PageTables(at) => known(at),
            Request::Handles(h) => maybe(&h.process),
            Request::Processes(p) => maybe(&p.process),
            Request::Type(t) => maybe(&t.at),
            Request::Go(t) | Request::Stacks(Some(t)) if t.is_address() => maybe(&t.address),
            _ => true,
        }
    }
}

/// The number of an address that has been resolved.
pub fn address_of(expression: &Expression) -> Result<Va> {
    expression
        .literal()
        .ok_or_else(|| Refusal::new("this address needs a dump to be resolved"))
}
