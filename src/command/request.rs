//! The requests that a line can make.

use crate::addr::Va;
use crate::pool::{Tag, TagPattern};

use super::expression::{Expression, Resolver};
use super::refusal::{Refusal, Result};
use super::symbol_query::SymbolQuery;

/// A command with its arguments, parsed and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Facts about the dump (`vertarget`).
    Info,
    /// `!vm`.
    Vm,
    /// `!poolused`.
    PoolUsed(PoolUsed),
    /// `!poolfind`.
    Find(Find),
    /// `!pool`.
    Page(Page),
    /// `db`, `dps` and similar.
    Memory(Memory),
    /// `lm`.
    Modules(Modules),
    /// `ln`: the symbol or module that contains an address.
    Nearest(Expression),
    /// `?`: an expression's value.
    Evaluate(Expression),
    /// `x`: symbols by pattern.
    Symbols(SymbolQuery),
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
    /// Block contents of a tag.
    Contents(Chosen),
    /// Groups of a tag's allocations with the same layout.
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
        /// The number of instructions.
        count: u64,
        /// The address of the last one, in place of a number.
        to: Option<Expression>,
    },
    /// Recorded call stacks of a tag or an address; `None` for the tag on screen.
    Stacks(Option<Target>),
    /// `ub`: the instructions before an address.
    CodeBefore {
        /// The address where they end.
        at: Expression,
        /// The number of instructions.
        count: u64,
    },
    /// `uf`: the function that contains an address.
    Function(Expression),
    /// `!lmi`: the headers of a module, by its name or an address in it.
    Headers(String),
    /// `!pte`: the page table entries of an address.
    PageTables(Expression),
    /// `!verifier`.
    Verifier(Verifier),
    /// `!lookaside`.
    Lookaside,
    /// `!filecache`: only its totals.
    FileCache,
    /// PoolMon's switches.
    PoolMon(PoolMon),
    /// Pool by driver.
    Drivers,
    /// The report on the screen.
    Diagnose,
    /// The tag list.
    Tags,
    /// All marks.
    Marks,
    /// Earlier points to compare with; `modules`, `off`, or empty to list the points.
    Baseline(Vec<String>),
    /// The history of a tag or of both pools over the points of the baseline.
    History(Option<String>),
    /// Columns of the tag list.
    Columns(Vec<String>),
    /// A note for the selected row.
    Note(String),
    /// A filter for the list.
    Filter(String),
    /// The order of the tag list.
    Sort(SortBy),
    /// Save the contents of the screen to a file.
    Save(File),
    /// Save the report to a file.
    Report(File),
    /// An address, a tag or a module without a command.
    Go(Target),
    /// Help, for a command if one is named.
    Help(Option<String>),
    /// Quit.
    Quit,
}

/// `!verifier [FLAGS [DRIVER]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verifier {
    /// WinDbg's bits: 1 the drivers, 2 their blocks, 0x80 the log.
    pub flags: u64,
    /// The driver whose blocks to list; `None` for all.
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

/// A named tag; `None` for the tag on screen.
pub type Chosen = Option<TagPattern>;

/// The pools to include.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoolChoice {
    /// Both.
    #[default]
    Both,
    /// Nonpaged.
    Nonpaged,
    /// Paged, including session pool.
    Paged,
    /// Session pool only.
    Session,
    /// Special pool.
    Special,
}

/// `!poolused [FLAGS] [/tN] [TAG]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolUsed {
    /// WinDbg's bits: 1 verbose, 2 by nonpaged, 4 by paged, 8 session. `None` if omitted.
    pub flags: Option<u64>,
    /// Only the first rows.
    pub top: Option<usize>,
    /// The tags.
    pub pattern: Option<TagPattern>,
}

impl PoolUsed {
    /// True if the bit is set.
    pub fn has(&self, bit: u64) -> bool {
        self.flags.unwrap_or(0) & bit != 0
    }
}

/// `!poolfind TAG [POOL]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// The tags; `None` for the tag on screen.
    pub tag: Chosen,
    /// The pools.
    pub pool: PoolChoice,
    /// Include blocks recognised by their headers only.
    pub heuristic: bool,
}

/// `!pool ADDRESS [FLAGS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// An address in the page.
    pub at: Expression,
    /// Only the block that contains the address (bit 1).
    pub only: bool,
}

/// The display format of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Bytes with text (`db`).
    Bytes,
    /// Two-byte words (`dw`).
    Words,
    /// Four-byte words (`dd`); `dc` with text.
    DoubleWords {
        /// With text beside the words.
        text: bool,
    },
    /// Eight-byte words (`dq`).
    QuadWords,
    /// Pointers with symbols (`dps`).
    Pointers,
    /// ASCII text (`da`).
    Ascii,
    /// UTF-16 text (`du`).
    Unicode,
}

impl Shape {
    /// The size of one element in bytes.
    pub fn width(self) -> u64 {
        match self {
            Shape::Bytes | Shape::Ascii => 1,
            Shape::Words | Shape::Unicode => 2,
            Shape::DoubleWords { .. } => 4,
            Shape::QuadWords | Shape::Pointers => 8,
        }
    }
}

/// The end of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The default of the command.
    Usual,
    /// A number of elements (`L20`).
    Elements(u64),
    /// An end address, inclusive.
    At(Expression),
}

/// `db ADDRESS [L COUNT | END]` and similar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The format.
    pub shape: Shape,
    /// The start address.
    pub at: Expression,
    /// The end.
    pub end: End,
}

/// `lm [OPTIONS] [a ADDRESS] [m PATTERN]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    /// Only the module that contains this address.
    pub holding: Option<Expression>,
    /// Case-insensitive names; `*` and `?` are wildcards.
    pub pattern: Option<String>,
    /// All details of each module (`v`).
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

/// True if the text matches a pattern with `*` and `?`.
pub fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    // The usual two pointers with backtracking to the last star: no exponential time.
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
    /// The process, by its address or its ID; `None` for all (0 or omitted).
    pub process: Option<Expression>,
    /// Only objects of this type.
    pub kind: Option<String>,
}

/// `!process PROCESS FLAGS [IMAGE]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// The process, by its address or its ID; `None` for all (0 or omitted).
    pub process: Option<Expression>,
    /// Only processes of this image, ignoring case.
    pub image: Option<String>,
}

/// `dt [MODULE!]TYPE [FIELD] [ADDRESS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeAt {
    /// The name of the type.
    pub name: String,
    /// Only fields whose names start with one of these; empty for all.
    pub fields: Vec<String>,
    /// Asked for the fields of its fields too (`-r`), which the answer does not have.
    pub deep: bool,
    /// The address of an instance.
    pub at: Option<Expression>,
}

/// The sort keys of PoolMon and of the tag list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// By name.
    Tag,
    /// By allocations.
    Allocs,
    /// By allocations since boot.
    Frees,
    /// By outstanding allocations.
    Outstanding,
    /// By bytes.
    Bytes,
    /// By bytes per allocation.
    PerAllocation,
}

/// PoolMon's switches, as documented.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolMon {
    /// Only these tags (`/i`), unless empty.
    pub only: Vec<TagPattern>,
    /// Without these tags (`/x`).
    pub except: Vec<TagPattern>,
    /// `/p`: once nonpaged, twice paged, three times both. `None` if omitted.
    pub pool: Option<PoolChoice>,
    /// The order; by tag if omitted, as in PoolMon.
    pub sort: Option<SortBy>,
    /// `/(` or `/)`: by the change of the number.
    pub by_change: bool,
}

impl PoolMon {
    /// True if the tag is included.
    pub fn shows(&self, tag: Tag) -> bool {
        let in_list = |list: &[TagPattern]| list.iter().any(|p| p.matches(tag));
        (self.only.is_empty() || in_list(&self.only)) && !in_list(&self.except)
    }
}

/// A file to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Its name; empty if none was typed.
    pub name: String,
    /// Overwrite an existing file.
    pub overwrite: bool,
}

/// A destination typed without a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The text as typed.
    pub text: String,
    /// The tag, if the text can be one.
    pub tag: Option<TagPattern>,
    /// The address, if the text can be one.
    pub address: Option<Expression>,
}

impl Target {
    /// Parses an address, a tag or a module's name. `None` if the text can be none of them.
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

    /// True if the text can only be an address: many digits, or an expression.
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
    /// The same request with every address resolved to a number.
    ///
    /// # Errors
    /// The unknown name, or the pointer that cannot be read.
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
            Request::Code { at, count, to } => Request::Code {
                at: number(at)?,
                count,
                to: maybe(to)?,
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

    /// The request as typed in WinDbg, for requests with text output.
    pub fn line(&self) -> String {
        let at = |e: &Expression| {
            e.literal()
                .map_or_else(|| "ADDRESS".to_owned(), |va| va.to_string())
        };
        // A process by its identifier stays as short as it was typed.
        let maybe = |e: &Option<Expression>| match e.as_ref().map(|e| (e, e.literal())) {
            None => "0".to_owned(),
            Some((_, Some(Va(id)))) if id <= 0xffff_ffff => format!("{id:x}"),
            Some((e, _)) => at(e),
        };
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
            Request::Symbols(query) => {
                format!("x {}{}!{}", query.options(), query.module, query.name)
            }
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
            Request::Code {
                at: a,
                to: Some(to),
                ..
            } => format!("u {} {}", at(a), at(to)),
            Request::Code { at: a, count, .. } => format!("u {} L{count:x}", at(a)),
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
            // The others have screens of their own, with their own titles.
            _ => String::new(),
        };
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// True for requests that need the UI: marks, filters, saving the screen.
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

    /// False if an address in it needs a dump to resolve.
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
            | Request::CodeBefore { at, .. }
            | Request::Function(at)
            | Request::PageTables(at) => known(at),
            Request::Code { at, to, .. } => known(at) && maybe(to),
            Request::Handles(h) => maybe(&h.process),
            Request::Processes(p) => maybe(&p.process),
            Request::Type(t) => maybe(&t.at),
            Request::Go(t) | Request::Stacks(Some(t)) if t.is_address() => maybe(&t.address),
            _ => true,
        }
    }
}

/// The value of a resolved address.
pub fn address_of(expression: &Expression) -> Result<Va> {
    expression
        .literal()
        .ok_or_else(|| Refusal::new("this address needs a dump to be resolved"))
}
