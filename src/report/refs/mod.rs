//! References to a tag: the debugger's dump line for each, what the code does with it, and the
//! modules in the order of their likelihood to own it.

mod csv;
mod markdown;
mod text;

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::attribution::kmdf::Candidate;
use crate::analysis::references::{Call, Line, ModuleRank, Reference, References};
use crate::engine::TagReferences;
use crate::memory::Va;
use crate::pool::Tag;

use super::identity::IdentityRecord;
use super::text::{clean, grouped, json_address};
use super::{Answer, tag_hex};

/// The answer of `refs`.
#[derive(Debug, Serialize)]
pub struct Refs<'a> {
    tag: String,
    tag_hex: String,
    /// The owner with its confidence, as in every other answer.
    owner: Option<String>,
    /// The module that calls the allocation functions with the tag.
    allocator: Option<String>,
    /// True if block contents were used for the owner.
    contents_read: bool,
    references: Vec<Row>,
    modules: Vec<ModuleRow>,
    default_tag_of: Vec<DefaultRow>,
    notes: Vec<String>,
    pages_searched: u64,
    pages_missing: u64,
    modules_missing: Vec<String>,
    #[serde(skip)]
    found: &'a References,
    #[serde(skip)]
    search: String,
}

#[derive(Debug, Serialize)]
struct Row {
    module: String,
    address: String,
    offset: String,
    section: Option<String>,
    symbol: Option<String>,
    kind: &'static str,
    bytes: String,
    instruction: Option<String>,
    api: Option<String>,
    confidence: Option<&'static str>,
    role: &'static str,
    function: Option<String>,
    register: Option<String>,
    pool: Option<String>,
    size: Option<u64>,
    reason: String,
    calls: Vec<CallRow>,
    library: Option<String>,
    source: Option<SourceRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disassembly: Option<Vec<LineRow>>,
}

/// The source line of the call that takes the tag.
#[derive(Debug, Serialize)]
struct SourceRow {
    file: String,
    line: u32,
}

/// A call that takes the tag.
#[derive(Debug, Serialize)]
struct CallRow {
    address: String,
    function: Option<String>,
    role: &'static str,
    argument: u8,
}

/// An instruction around a reference.
#[derive(Debug, Serialize)]
struct LineRow {
    address: String,
    bytes: String,
    text: String,
    /// True if the tag is its constant, or it reads the variable with the tag.
    tag: bool,
    /// True for a call that takes the tag.
    takes_tag: bool,
    function: Option<String>,
    #[serde(skip)]
    va: Va,
    #[serde(skip)]
    gap: bool,
}

/// A module that references the tag.
#[derive(Debug, Serialize)]
struct ModuleRow {
    module: String,
    role: &'static str,
    confidence: Option<&'static str>,
    sites: u64,
    pages_readable: u64,
    pages: u64,
    note: Option<String>,
    #[serde(flatten)]
    identity: IdentityRecord,
    #[serde(skip)]
    range: (Va, Va),
}

/// A driver whose default tag this may be.
#[derive(Debug, Serialize)]
struct DefaultRow {
    module: String,
    confidence: Option<&'static str>,
    reason: String,
}

impl<'a> Refs<'a> {
    /// A report of the engine's answer.
    pub fn of(answer: &'a TagReferences) -> Refs<'a> {
        let found = &answer.found;
        let missing = found.modules_missing.iter();
        Refs {
            tag: answer.tag.to_string(),
            tag_hex: tag_hex(answer.tag),
            owner: answer
                .attribution
                .as_ref()
                .and_then(|made| Some(clean(&made.owner_words()?).into())),
            allocator: answer
                .attribution
                .as_ref()
                .and_then(|made| Some(clean(made.allocator()?).into())),
            contents_read: answer
                .attribution
                .as_ref()
                .is_some_and(|made| made.by_contents),
            references: found
                .found
                .iter()
                .enumerate()
                .map(|(n, r)| Row {
                    disassembly: answer
                        .disassembly
                        .get(n)
                        .map(|lines| lines.iter().map(LineRow::of).collect()),
                    ..Row::of(answer, r)
                })
                .collect(),
            modules: found
                .modules
                .iter()
                .map(|m| ModuleRow::of(answer, m))
                .collect(),
            default_tag_of: found.default_of.iter().map(DefaultRow::of).collect(),
            notes: found.notes.iter().map(|n| clean(n).into()).collect(),
            pages_searched: found.pages_searched,
            pages_missing: found.pages_missing,
            modules_missing: missing.map(|m| clean(m).into()).collect(),
            found,
            search: search_command(answer.tag),
        }
    }

    /// The owner, with a note if block contents were not read.
    fn owner_line(&self) -> Option<String> {
        match (&self.owner, self.contents_read) {
            (Some(owner), true) => Some(format!("owner: {owner}")),
            (Some(owner), false) => Some(format!("owner: {owner}, {NO_CONTENTS}")),
            (None, true) => None,
            (None, false) => Some(format!("owner: unknown, {NO_CONTENTS}")),
        }
    }

    /// The coverage of the images, as a sentence.
    pub fn coverage(&self) -> String {
        coverage(self.found)
    }
}

/// The note on an owner without block contents.
pub(super) const NO_CONTENTS: &str =
    "from code and the tag list; block contents were not read (diagnose reads them)";

/// The debugger command that searches all modules: for text, or for bytes if the tag is not text.
pub fn search_command(tag: Tag) -> String {
    const ALL: &str = "!for_each_module s";
    let text = tag.to_string();
    match tag.is_printable() && !text.contains(['"', '\\']) {
        true => format!("{ALL} -a @#Base @#End \"{text}\""),
        false => {
            let [a, b, c, d] = tag.bytes();
            format!("{ALL} -b @#Base @#End {a:02x} {b:02x} {c:02x} {d:02x}")
        }
    }
}

/// The coverage of the images, as a sentence.
pub fn coverage(found: &References) -> String {
    let mut out = format!(
        "searched {} of {} image pages",
        grouped(found.pages_searched),
        grouped(found.pages_searched + found.pages_missing)
    );
    if found.pages_missing > 0 {
        out +=
            "; the others are not in the dump (discarded or paged out): absence is not conclusive";
    }
    if !found.modules_missing.is_empty() {
        let names: Vec<_> = found.modules_missing.iter().map(|m| clean(m)).collect();
        out += &format!("; no page of {} is in it", names.join(", "));
    }
    out
}

impl Row {
    fn of(answer: &TagReferences, r: &Reference) -> Row {
        let base = answer.image(r.module).map_or(0, |(base, _)| base.0);
        let verdict = &r.verdict;
        Row {
            module: clean(&r.module_name).into(),
            address: json_address(r.va),
            offset: format!("{:#x}", r.va.0.wrapping_sub(base)),
            section: r.section.as_deref().map(|s| clean(s).into()),
            symbol: symbol(r),
            kind: if r.in_code { "code" } else { "data" },
            bytes: r.bytes.iter().map(|b| format!("{b:02x}")).collect(),
            instruction: verdict.instruction.clone(),
            api: owned(&verdict.api),
            confidence: verdict.confidence.map(|c| c.word()),
            role: verdict.role.word(),
            function: owned(&verdict.function),
            register: verdict.register.clone(),
            pool: verdict.pool.clone(),
            size: verdict.size,
            reason: clean(&verdict.reason).into(),
            calls: verdict.calls.iter().map(CallRow::of).collect(),
            library: owned(&r.library),
            source: r.source.as_ref().map(|(file, line)| SourceRow {
                file: clean(file).into(),
                line: *line,
            }),
            disassembly: None,
        }
    }
}

impl CallRow {
    fn of(call: &Call) -> CallRow {
        CallRow {
            address: json_address(call.va),
            function: owned(&call.function),
            role: call.role.word(),
            argument: call.argument,
        }
    }
}

impl LineRow {
    fn of(line: &Line) -> LineRow {
        LineRow {
            address: json_address(line.va),
            bytes: line.bytes.iter().map(|b| format!("{b:02x}")).collect(),
            text: clean(&line.text).into(),
            tag: line.is_tag,
            takes_tag: line.takes_tag,
            function: owned(&line.function),
            va: line.va,
            gap: line.gap,
        }
    }

    /// The line of the debugger's `u`, with a mark at the instruction with the tag.
    fn line(&self) -> String {
        let mark = match (self.tag, self.takes_tag) {
            (true, _) => "tag >",
            (false, true) => "call>",
            (false, false) => "     ",
        };
        let mut out = format!("{mark} {} {:<16} {}", self.va, self.bytes, self.text);
        if let Some(function) = &self.function {
            out += &format!(" ; {function}");
        }
        out
    }
}

fn owned(text: &Option<String>) -> Option<String> {
    text.as_deref().map(|t| clean(t).into())
}

impl ModuleRow {
    fn of(answer: &TagReferences, m: &ModuleRank) -> ModuleRow {
        ModuleRow {
            module: clean(&m.module_name).into(),
            role: m.role.word(),
            confidence: m.confidence.map(|c| c.word()),
            sites: m.sites,
            pages_readable: m.pages_readable,
            pages: m.pages,
            note: owned(&m.note),
            identity: IdentityRecord::of(answer.identities.get(m.module)),
            range: answer.image(m.module).unwrap_or_default(),
        }
    }

    /// The line of `lm a`, with the references in place of the symbols.
    fn line(&self) -> String {
        let places = match self.sites {
            1 => "1 place".to_owned(),
            n => format!("{} places", grouped(n)),
        };
        format!(
            "{} {}   {:<8}   {} ({}), {places}; {} of {} pages searched",
            self.range.0,
            self.range.1,
            self.module,
            self.role.replace('_', " "),
            self.confidence.unwrap_or("unknown"),
            grouped(self.pages_readable),
            grouped(self.pages)
        )
    }
}

impl DefaultRow {
    fn of(c: &Candidate) -> DefaultRow {
        DefaultRow {
            module: clean(&c.name).into(),
            confidence: c.is_framework_driver.then_some("likely"),
            reason: clean(&c.sentence()).into(),
        }
    }
}

/// `module!name+0x12`, as in debuggers.
fn symbol(r: &Reference) -> Option<String> {
    let (name, distance) = r.symbol.as_ref()?;
    let (module, name) = (clean(&r.module_name), clean(name));
    Some(match distance {
        0 => format!("{module}!{name}"),
        _ => format!("{module}!{name}+{distance:#x}"),
    })
}

/// The use of the tag as one line: `certain: mov r8d, 6B61654Ch in myfault+0x1390`.
pub fn verdict_line(r: &Reference) -> String {
    let verdict = &r.verdict;
    let mut out = verdict
        .confidence
        .map_or("unknown", |c| c.word())
        .to_owned();
    if let Some(instruction) = &verdict.instruction {
        out += &format!(": {instruction}");
    }
    if let Some(api) = &verdict.api {
        out += &format!(" -> {}", clean(api));
    }
    let asked: Vec<String> = [
        verdict.pool.clone(),
        verdict.size.map(|size| format!("{size:#x} bytes")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !asked.is_empty() {
        out += &format!(" ({})", asked.join(", "));
    }
    if let Some(function) = &verdict.function {
        out += &format!(", in {}", clean(function));
    }
    out
}

impl Answer for Refs<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        text::write(self, out)
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        csv::write(self, out)
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        markdown::write(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_command_has_bytes_for_a_tag_that_is_not_text() {
        let command = |raw: &[u8; 4]| search_command(Tag::new(u32::from_le_bytes(*raw)));
        let all = "!for_each_module s";
        assert_eq!(command(b"Irp "), format!("{all} -a @#Base @#End \"Irp \""));
        assert_eq!(
            command(b"MZ\0\0"),
            format!("{all} -b @#Base @#End 4d 5a 00 00")
        );
        assert_eq!(
            command(b"a\"*b"),
            format!("{all} -b @#Base @#End 61 22 2a 62")
        );
    }
}
