//! The table of commands, shared by completion, help, the manual page and the parser.

use super::line::Words;
use super::refusal::Result;
use super::request::Request;
use super::{compare, machine_code, parse, poolmon};

/// A command.
pub struct Entry {
    /// The name to show.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// Its arguments.
    pub arguments: &'static str,
    /// What it shows.
    pub help: &'static str,
    /// The equivalent WinDbg command; `None` if there is none.
    pub windbg: Option<&'static str>,
    /// True for commands that need the UI: lists, marks, saving the screen.
    pub screen_only: bool,
    pub(super) parse: fn(&mut Words) -> Result<Request>,
}

impl Entry {
    /// The name and the arguments.
    pub fn usage(&self) -> String {
        match self.arguments {
            "" => self.name.to_owned(),
            arguments => format!("{} {arguments}", self.name),
        }
    }
}

type Parse = fn(&mut Words) -> Result<Request>;

const fn of_windbg(
    name: &'static str,
    aliases: &'static [&'static str],
    arguments: &'static str,
    help: &'static str,
    parse: Parse,
) -> Entry {
    Entry {
        name,
        aliases,
        arguments,
        help,
        windbg: Some(name),
        screen_only: false,
        parse,
    }
}

const fn own(
    name: &'static str,
    aliases: &'static [&'static str],
    arguments: &'static str,
    help: &'static str,
    windbg: Option<&'static str>,
    parse: Parse,
) -> Entry {
    Entry {
        name,
        aliases,
        arguments,
        help,
        windbg,
        screen_only: false,
        parse,
    }
}

const fn screen(
    name: &'static str,
    aliases: &'static [&'static str],
    arguments: &'static str,
    help: &'static str,
    parse: Parse,
) -> Entry {
    Entry {
        name,
        aliases,
        arguments,
        help,
        windbg: None,
        screen_only: true,
        parse,
    }
}

/// All commands, in the order of help.
pub const ENTRIES: &[Entry] = &[
    of_windbg("!vm", &[], "[1]", "memory and pool totals", parse::vm),
    of_windbg(
        "!poolused",
        &[],
        "[FLAGS] [/tN] [TAG]",
        "tags with their allocations and bytes; flags: 1 verbose, 2 by nonpaged, 4 by paged, 8 session",
        parse::pool_used,
    ),
    of_windbg(
        "!poolfind",
        &["allocs"],
        "TAG [0|1|2|4|-nonpaged|-paged|-session]",
        "allocations with a tag",
        parse::find,
    ),
    of_windbg(
        "!pool",
        &[],
        "ADDRESS [FLAGS]",
        "the pool page that holds an address",
        parse::page,
    ),
    of_windbg(
        "!irpfind",
        &[],
        "[POOL]",
        "allocations of I/O requests",
        parse::irp_find,
    ),
    of_windbg(
        "!handle",
        &["handles"],
        "0 FLAGS PROCESS [TYPE]",
        "processes with handles, to objects of a type",
        parse::handles,
    ),
    of_windbg(
        "!process",
        &["processes"],
        "[PROCESS [FLAGS [IMAGE]]]",
        "processes with their handle counts",
        parse::processes,
    ),
    of_windbg(
        "!object",
        &[],
        "ADDRESS",
        "an object: type, name and counts",
        parse::object,
    ),
    of_windbg(
        "!verifier",
        &[],
        "[FLAGS [DRIVER|ADDRESS]]",
        "Driver Verifier: state and drivers (1), their blocks (2), the log of allocations (80)",
        parse::verifier,
    ),
    of_windbg("!lookaside", &[], "", "lookaside lists", parse::lookaside),
    of_windbg(
        "!filecache",
        &[],
        "",
        "totals of the file cache",
        parse::file_cache,
    ),
    of_windbg(
        "db",
        &["d", "dc", "dd", "dw", "dq"],
        "ADDRESS [L COUNT]",
        "memory as bytes; dw, dd, dq: as numbers",
        parse::memory,
    ),
    of_windbg(
        "dps",
        &["dqs", "dp", "dds"],
        "ADDRESS [L COUNT]",
        "memory as pointers with symbols",
        parse::memory,
    ),
    of_windbg(
        "da",
        &["du"],
        "ADDRESS [L COUNT]",
        "memory as text",
        parse::memory,
    ),
    of_windbg(
        "dt",
        &[],
        "[nt!]TYPE [FIELD] [ADDRESS]",
        "a structure of the kernel, and its values at an address",
        parse::type_at,
    ),
    of_windbg(
        "u",
        &[],
        "ADDRESS [L COUNT|TO]",
        "instructions",
        parse::code,
    ),
    of_windbg(
        "ub",
        &[],
        "ADDRESS [L COUNT]",
        "the instructions before an address",
        machine_code::before,
    ),
    of_windbg(
        "uf",
        &[],
        "ADDRESS",
        "the function that holds an address",
        machine_code::function,
    ),
    of_windbg(
        "!lmi",
        &[],
        "MODULE|ADDRESS",
        "the headers of a module",
        machine_code::headers,
    ),
    of_windbg(
        "!pte",
        &[],
        "ADDRESS",
        "the page table entries that translate an address",
        machine_code::page_tables,
    ),
    of_windbg(
        "ln",
        &[],
        "ADDRESS",
        "the symbol or module an address is in",
        parse::nearest,
    ),
    of_windbg(
        "?",
        &["formats"],
        "EXPRESSION",
        "the value of an expression: hexadecimal, decimal, as a tag, as a symbol",
        parse::evaluate,
    ),
    of_windbg(
        "x",
        &[],
        "[/n|/a] [/0|/1|/2] MODULE!PATTERN",
        "symbols that match a pattern",
        parse::symbols,
    ),
    of_windbg(
        "lm",
        // Its letters may follow without a blank; `find` knows all of them.
        &["lmvm", "lmv", "lm1m", "modules"],
        "[v|t|f|1m|sm] [a ADDRESS] [m PATTERN]",
        "loaded modules",
        parse::modules,
    ),
    of_windbg(
        "!for_each_module",
        &[],
        "s -a @#Base @#End \"TAG\"",
        "modules that reference a tag",
        parse::for_each_module,
    ),
    of_windbg(
        "s",
        &[],
        "-a|-b|-d ADDRESS L?LENGTH TAG",
        "modules that reference a tag",
        parse::search,
    ),
    own(
        "refs",
        &["references"],
        "TAG",
        "modules that reference a tag, with the calls that take it",
        Some("!for_each_module s -a @#Base @#End \"TAG\""),
        parse::references,
    ),
    own(
        "stacks",
        &[],
        "TAG|ADDRESS",
        "recorded call stacks of a tag's allocations, or of the block at an address",
        Some("!verifier 80 ADDRESS"),
        parse::stacks,
    ),
    own(
        "sizes",
        &[],
        "TAG",
        "sizes of a tag's allocations",
        Some("!poolfind TAG"),
        parse::sizes,
    ),
    own(
        "contents",
        &[],
        "TAG",
        "block contents: modules, objects and text that a tag's allocations point to",
        None,
        parse::contents,
    ),
    own(
        "families",
        &[],
        "TAG",
        "groups of a tag's allocations with one layout",
        None,
        parse::families,
    ),
    own(
        "objects",
        &[],
        "TAG|TYPE",
        "kernel objects of a tag or type, and the processes with handles",
        Some("!handle 0 3 0 TYPE"),
        parse::objects,
    ),
    own(
        "drivers",
        &[],
        "",
        "pool bytes by driver",
        None,
        parse::drivers,
    ),
    own("diagnose", &[], "", "the report", None, parse::diagnose),
    own(
        "poolmon",
        &[],
        "[-p [-p]] [-s] [-iTAG] [-xTAG] [-b|-d|-a|-f|-m|-t] [-e] [-g]",
        "the tag list by PoolMon's switches",
        None,
        poolmon::parse,
    ),
    own(
        "info",
        &["vertarget", "version"],
        "",
        "the dump: Windows, symbols, limitations",
        Some("vertarget"),
        parse::info,
    ),
    screen("tags", &[], "", "the tag list", parse::tags),
    screen("marks", &[], "", "marked rows", parse::marks),
    screen(
        "note",
        &[],
        "TEXT",
        "a note for the selected row",
        parse::note,
    ),
    screen(
        "baseline",
        &[],
        "FILE...|modules|off",
        "compare with earlier dumps, evidence files or logs, the earliest first",
        compare::baseline,
    ),
    screen(
        "history",
        &["chart"],
        "[TAG|pools]",
        "a tag, or both pools, over the points of the baseline",
        compare::history,
    ),
    screen(
        "columns",
        &[],
        "[NAME|-NAME|auto]...",
        "the columns of the tag list: NAME always, -NAME never, auto by width",
        compare::columns,
    ),
    screen(
        "filter",
        &[],
        "QUERY",
        "a filter for the list",
        parse::filter,
    ),
    screen(
        "sort",
        &[],
        "bytes|allocs|frees|diff|mean|tag",
        "the order of the tag list",
        parse::sort,
    ),
    screen(
        "goto",
        &["go"],
        "ADDRESS|TAG|MODULE",
        "an address, a tag or a module; typed alone, each does the same",
        parse::goto,
    ),
    screen(
        "save",
        &["save!", "w", "w!", "write", "write!"],
        "FILE",
        "the list to a file: .txt, .csv, .json or .md; save! overwrites",
        parse::save,
    ),
    screen(
        "report",
        &["report!"],
        "FILE",
        "the report to a file; report! overwrites",
        parse::report,
    ),
    screen(
        "help",
        &["h", "hh"],
        "[COMMAND]",
        "keys and commands",
        parse::help,
    ),
    screen(
        "quit",
        &["q", "q!", "qq", "qd", "exit"],
        "",
        "leave",
        parse::quit,
    ),
];

/// The command with this name, with or without `!` or `.` before it, ignoring case.
pub fn find(name: &str) -> Option<&'static Entry> {
    let bare = |text: &str| text.trim_start_matches(['!', '.']).to_ascii_lowercase();
    let wanted = bare(name);
    let fits = |known: &str| bare(known) == wanted;
    let mut all = ENTRIES.iter();
    all.find(|entry| fits(entry.name) || entry.aliases.iter().any(|alias| fits(alias)))
        .or_else(|| {
            let lm = ENTRIES.iter().find(|entry| entry.name == "lm");
            lm.filter(|_| parse::glued(name).is_some())
        })
}

/// The command that a misspelt name probably means: at most two edits away.
pub fn nearest(name: &str) -> Option<&'static str> {
    let names = ENTRIES
        .iter()
        .flat_map(|e| [e.name].into_iter().chain(e.aliases.iter().copied()));
    nearest_in(name, names)
}

/// The same for other names.
pub fn nearest_of(name: &str, names: &[&'static str]) -> Option<&'static str> {
    nearest_in(name, names.iter().copied())
}

fn nearest_in(name: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let rated = names.filter(|known| known.len() > 2).map(|known| {
        let bare = known.trim_start_matches('!');
        (distance(&name, bare), known)
    });
    let allowed = match name.len() {
        0..=2 => 0,
        3..=4 => 1,
        _ => 2,
    };
    rated
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Edit distance: letters to change, add, remove or swap with the next one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(24).collect(), b.chars().take(24).collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, x) in a.iter().enumerate() {
        let above = rows.last().cloned().unwrap_or_default();
        let before = rows
            .len()
            .checked_sub(2)
            .and_then(|at| rows.get(at))
            .cloned();
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&above, j) + usize::from(x != y))
                .min(at(&above, j + 1) + 1)
                .min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if let (true, Some(before)) = (swapped, &before) {
                best = best.min(at(before, j - 1) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
}
