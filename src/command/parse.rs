//! Arguments of each command.

use crate::pool::{Tag, TagPattern};

use super::expression::{self, Expression};
use super::line::Words;
use super::refusal::{Refusal, Result};
use super::request::{
    Chosen, End, File, Find, Handles, Memory, Modules, Page, PoolChoice, PoolUsed, Processes,
    Request, Shape, SortBy, Target, TypeAt, Verifier,
};

/// Flags of `!vm` that are documented. Bit 0 leaves the processes out, which are never
/// listed; the others ask for parts that a dump's summary does not have.
pub(super) fn vm(words: &mut Words) -> Result<Request> {
    if let Some(word) = words.take().map(str::to_owned) {
        let flags = flags(words, &word)?;
        if flags & !1 != 0 {
            return Err(Refusal(format!(
                "{}: flags {word}: only 0 and 1 are known here; `!poolused 8` has session pool, `!process 0 0` the processes",
                words.name()
            )));
        }
    }
    words.end()?;
    Ok(Request::Vm)
}

/// A number as the debugger reads flags: `0x` or hexadecimal digits alone.
fn flags(words: &Words, word: &str) -> Result<u64> {
    expression::number(word).ok_or_else(|| {
        Refusal(format!(
            "{}: {word} is not a number of flags (hexadecimal, for example 1 or 0x5)",
            words.name()
        ))
    })
}

fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    match digits {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()),
    }
}

pub(super) fn pool_used(words: &mut Words) -> Result<Request> {
    let mut out = PoolUsed::default();
    while let Some(peeked) = words.peek().map(str::to_owned) {
        let quoted = words.is_quoted();
        words.take();
        if let Some(count) = peeked.strip_prefix("/t").filter(|_| !quoted) {
            let count = match count {
                "" => words.take().unwrap_or_default().to_owned(),
                count => count.to_owned(),
            };
            out.top = Some(count.parse().map_err(|_| {
                Refusal(format!(
                    "{}: /t needs a number of rows, as /t5",
                    words.name()
                ))
            })?);
        } else if out.flags.is_none() && out.pattern.is_none() && !quoted && is_number(&peeked) {
            out.flags = Some(pool_used_flags(words, &peeked)?);
        } else if out.pattern.is_none() {
            out.pattern = Some(pattern(&peeked)?);
        } else {
            return Err(words.unexpected(&peeked));
        }
    }
    Ok(Request::PoolUsed(out))
}

fn pool_used_flags(words: &Words, word: &str) -> Result<u64> {
    // Decimal without 0x, as the command line always had it.
    let flags = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(_) => flags(words, word)?,
        None => word.parse().unwrap_or(u64::MAX),
    };
    if flags & !0xf != 0 {
        return Err(Refusal(format!(
            "{}: flags {word} have unknown bits: 1 is verbose, 2 by nonpaged, 4 by paged, 8 session",
            words.name()
        )));
    }
    if flags & 6 == 6 {
        return Err(Refusal(format!(
            "{}: flags 2 and 4 exclude each other: sort by nonpaged or by paged bytes",
            words.name()
        )));
    }
    Ok(flags)
}

/// A tag as it is typed: its characters, or `0x` and its value, as WinDbg's TagValue.
pub(super) fn pattern(text: &str) -> Result<TagPattern> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let value = match digits {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        // Eight digits are no four characters.
        None => (text.len() == 8)
            .then(|| u32::from_str_radix(text, 16).ok())
            .flatten(),
    };
    match value {
        Some(value) => Ok(TagPattern::of(Tag::new(value))),
        None => TagPattern::parse(text).map_err(|e| Refusal(e.to_string())),
    }
}

pub(super) fn find(words: &mut Words) -> Result<Request> {
    let mut out = Find {
        tag: None,
        pool: PoolChoice::Both,
        heuristic: false,
    };
    let mut chosen = false;
    while let Some(word) = words.peek().map(str::to_owned) {
        let quoted = words.is_quoted();
        words.take();
        match word.to_ascii_lowercase().as_str() {
            "-nonpaged" if !quoted => out.pool = PoolChoice::Nonpaged,
            "-paged" if !quoted => out.pool = PoolChoice::Paged,
            "-session" if !quoted => out.pool = PoolChoice::Session,
            "-global" if !quoted => out.pool = PoolChoice::Both,
            "--heuristic" if !quoted => out.heuristic = true,
            "-tag" if !quoted => {}
            other if !quoted && other.starts_with('-') && other.len() > 1 => {
                return Err(Refusal(format!(
                    "{}: {word} is not available here; the pools are -nonpaged, -paged and -session (or 0, 1 and 4)",
                    words.name()
                )));
            }
            _ if out.tag.is_none() => out.tag = Some(pattern(&word)?),
            number if !chosen => {
                chosen = true;
                out.pool = match number {
                    "0" | "0x0" => PoolChoice::Nonpaged,
                    "1" | "0x1" => PoolChoice::Paged,
                    "2" | "0x2" => PoolChoice::Special,
                    "4" | "0x4" => PoolChoice::Session,
                    _ => {
                        return Err(Refusal(format!(
                            "{}: pool {word}: 0 is nonpaged, 1 paged, 2 special, 4 session",
                            words.name()
                        )));
                    }
                };
            }
            _ => return Err(words.unexpected(&word)),
        }
    }
    Ok(Request::Find(out))
}

/// `!irpfind [-v] [POOL [ADDRESS [CRITERIA DATA]]]`: the allocations of requests.
pub(super) fn irp_find(words: &mut Words) -> Result<Request> {
    words.take_if(|w| w == "-v");
    let pool = match words.take() {
        None | Some("0") => PoolChoice::Nonpaged,
        Some("1") => PoolChoice::Paged,
        Some("2") => PoolChoice::Special,
        Some(other) => {
            return Err(Refusal(format!(
                "!irpfind: pool {other}: 0 is nonpaged, 1 paged, 2 special"
            )));
        }
    };
    if let Some(word) = words.peek() {
        return Err(Refusal(format!(
            "!irpfind: {word}: criteria are not available here; `!irpfind` lists all requests, `contents \"Irp \"` the modules they point to"
        )));
    }
    Ok(Request::Find(Find {
        tag: Some(TagPattern::parse("Irp*").map_err(|e| Refusal(e.to_string()))?),
        pool,
        heuristic: false,
    }))
}

fn address(words: &mut Words) -> Result<Expression> {
    let Some(first) = words.take().map(str::to_owned) else {
        return Err(words.missing("an address"));
    };
    let mut text = first;
    // A sum may be written with blanks.
    loop {
        let open = text.ends_with(['+', '-', '('])
            || text.matches('(').count() > text.matches(')').count();
        let goes_on = words
            .peek()
            .is_some_and(|w| open || w.starts_with(['+', ')']));
        match goes_on {
            true => text.push_str(words.take().unwrap_or_default()),
            false => break,
        }
    }
    Expression::parse(&text)
}

pub(super) fn page(words: &mut Words) -> Result<Request> {
    if matches!(words.peek(), Some("-1" | "-2")) {
        return Err(Refusal::new(
            "!pool -1 and -2 (all pages of a pool) are not available here; `!poolused` has all tags, `!poolfind TAG` all allocations of one",
        ));
    }
    let at = address(words)?;
    let only = match words.take().map(str::to_owned) {
        None => false,
        Some(word) => {
            let bits = flags(words, &word)?;
            if bits & !0x8000_0003 != 0 {
                return Err(Refusal(format!(
                    "!pool: flags {word}: 1 shows contents, 2 only the block that holds the address, 0x80000000 leaves the description out"
                )));
            }
            bits & 2 != 0
        }
    };
    words.end()?;
    Ok(Request::Page(Page { at, only }))
}

pub(super) fn memory(words: &mut Words) -> Result<Request> {
    let shape = match words.name().to_ascii_lowercase().as_str() {
        "dw" => Shape::Words,
        "dd" => Shape::DoubleWords { text: false },
        "dc" => Shape::DoubleWords { text: true },
        "dq" => Shape::QuadWords,
        "dps" | "dqs" | "dp" | "dds" => Shape::Pointers,
        "da" => Shape::Ascii,
        "du" => Shape::Unicode,
        _ => Shape::Bytes,
    };
    let at = address(words)?;
    let end = match words.take().map(str::to_owned) {
        None => End::Usual,
        Some(word) => match word.strip_prefix(['l', 'L']) {
            Some(count) => {
                let count = count.trim_start_matches('?');
                let count = match count {
                    "" => words.take().unwrap_or_default().to_owned(),
                    count => count.to_owned(),
                };
                End::Elements(elements(words, &count)?)
            }
            None => End::At(Expression::parse(&word)?),
        },
    };
    words.end()?;
    Ok(Request::Memory(Memory { shape, at, end }))
}

/// The elements that one command shows at most.
const MOST_ELEMENTS: u64 = 1 << 16;

fn elements(words: &Words, text: &str) -> Result<u64> {
    expression::number(text)
        .filter(|n| (1..=MOST_ELEMENTS).contains(n))
        .ok_or_else(|| {
            Refusal(format!(
                "{}: L{text}: write a number of elements from 1 to {MOST_ELEMENTS:x} (hexadecimal), as L20",
                words.name()
            ))
        })
}

pub(super) fn modules(words: &mut Words) -> Result<Request> {
    let mut out = Modules::default();
    // `lmvm`, `lmv`, `lmk` and the like: options without a blank.
    let glued = words
        .name()
        .get(2..)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let mut options = match words.name().to_ascii_lowercase().starts_with("lm") {
        true => glued,
        false => String::new(),
    };
    loop {
        let mut wants = None;
        let mut letters = options.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                'v' => out.verbose = true,
                // Loaded, kernel, with symbols, sorted by start or name: all of them are.
                'o' | 'l' | 'k' | 's' | 'n' | 'f' | 't' | 'i' | 'p' | 'e' | 'c' | 'd' => {}
                '1' if letters.peek() == Some(&'m') => {
                    letters.next();
                }
                'a' | 'm' => wants = Some(letter),
                'u' => {
                    return Err(Refusal::new(
                        "lm u (user-mode modules) is not available here; `lm` lists the kernel's",
                    ));
                }
                other => {
                    return Err(Refusal(format!(
                        "lm: unknown option {other}; usage: lm [v] [a ADDRESS] [m PATTERN]"
                    )));
                }
            }
        }
        match wants {
            Some('a') => out.holding = Some(address(words)?),
            Some(_) => {
                let Some(pattern) = words.take() else {
                    return Err(words.missing("a module name"));
                };
                out.pattern = Some(pattern.to_owned());
            }
            None => {}
        }
        let Some(word) = words.take().map(str::to_owned) else {
            break;
        };
        // `modules DUMP nt` names a module; the debugger's letters are for `lm`.
        let is_option = match words.name() {
            "modules" => matches!(word.as_str(), "a" | "m" | "v" | "vm"),
            _ => word.len() <= 3 && word.chars().all(|c| "vlkosnftipecuam1".contains(c)),
        };
        if is_option {
            options = word;
        } else if word == "M" {
            let Some(pattern) = words.take() else {
                return Err(words.missing("a path"));
            };
            out.pattern = Some(pattern.to_owned());
            options = String::new();
        } else if word == "D" {
            options = String::new();
        } else if out.pattern.is_none() && out.holding.is_none() {
            // `modules DUMP NAME`, `modules DUMP ADDRESS`.
            match expression::number(&word).filter(|n| *n > 0xffff_ffff) {
                Some(_) => out.holding = Some(Expression::parse(&word)?),
                None if word.contains(['!', '+']) => {
                    out.holding = Some(Expression::parse(&word)?);
                }
                None => out.pattern = Some(word),
            }
            options = String::new();
        } else {
            return Err(words.unexpected(&word));
        }
    }
    Ok(Request::Modules(out))
}

pub(super) fn nearest(words: &mut Words) -> Result<Request> {
    let at = address(words)?;
    words.end()?;
    Ok(Request::Nearest(at))
}

pub(super) fn symbols(words: &mut Words) -> Result<Request> {
    while let Some(option) = words.take_if(|w| w.starts_with('/')).map(str::to_owned) {
        // /n, /a, /z: the order; /0, /1, /2, /v, /t, /q: what is printed beside the name.
        if !matches!(
            option.as_str(),
            "/n" | "/a" | "/v" | "/0" | "/1" | "/2" | "/q" | "/t"
        ) {
            return Err(Refusal(format!(
                "x: {option} is not available here; usage: x MODULE!PATTERN"
            )));
        }
    }
    let Some(word) = words.take().map(str::to_owned) else {
        return Err(words.missing("MODULE!PATTERN"));
    };
    words.end()?;
    let (module, name) = word.split_once('!').unwrap_or(("nt", &word));
    let or_all = |text: &str| match text {
        "" => "*".to_owned(),
        text => text.to_owned(),
    };
    Ok(Request::Symbols {
        module: or_all(module),
        name: or_all(name),
    })
}

/// A tag, or none for the one on the screen.
fn chosen(words: &mut Words) -> Result<Chosen> {
    let Some(word) = words.take().map(str::to_owned) else {
        return Ok(None);
    };
    let pattern = pattern(&word)?;
    words.end()?;
    Ok(Some(pattern))
}

pub(super) fn references(words: &mut Words) -> Result<Request> {
    Ok(Request::References(chosen(words)?))
}

pub(super) fn sizes(words: &mut Words) -> Result<Request> {
    Ok(Request::Sizes(chosen(words)?))
}

pub(super) fn contents(words: &mut Words) -> Result<Request> {
    Ok(Request::Contents(chosen(words)?))
}

pub(super) fn families(words: &mut Words) -> Result<Request> {
    Ok(Request::Families(chosen(words)?))
}

/// `s -a @#Base @#End "Leak"`, `s -d fffff800`00000000 L?… 6b61654c`: in this tool the
/// search for a tag in images.
pub(super) fn search(words: &mut Words) -> Result<Request> {
    let all = words.remaining();
    let last = all.last().cloned().unwrap_or_default();
    let switch = all.iter().find(|w| w.starts_with('-')).cloned();
    let kind = switch.as_deref().map(|s| s.trim_start_matches('-'));
    // `[w]a`, `-[1]d`: flags in brackets.
    let kind = kind.map(|k| k.rsplit(']').next().unwrap_or(k));
    let tag = match kind {
        Some("a" | "sa") if all.len() > 1 => pattern(&last)?,
        Some("d") if all.len() > 1 => {
            let value = expression::number(&last).and_then(|v| u32::try_from(v).ok());
            let value = value.ok_or_else(|| {
                Refusal(format!("s -d: {last} is not a tag's value, as 6b61654c"))
            })?;
            TagPattern::of(Tag::new(value))
        }
        _ => {
            return Err(Refusal::new(
                "s: only searches for a tag are available: s -a ADDRESS L?LENGTH \"TAG\", s -d ADDRESS L?LENGTH 6b61654c, or `refs TAG`",
            ));
        }
    };
    Ok(Request::References(Some(tag)))
}

/// `!for_each_module s -a @#Base @#End "Leak"`.
pub(super) fn for_each_module(words: &mut Words) -> Result<Request> {
    match words.take() {
        Some("s") => search(words),
        Some(first) if first.starts_with("s ") => {
            let inner = first.to_owned();
            let rest = inner.get(2..).unwrap_or_default();
            search(&mut Words::parse("s", rest)?)
        }
        _ => Err(Refusal::new(
            "!for_each_module: only the search for a tag is available: !for_each_module s -a @#Base @#End \"TAG\"",
        )),
    }
}

pub(super) fn objects(words: &mut Words) -> Result<Request> {
    let what = words.take().map(str::to_owned);
    words.end()?;
    Ok(Request::Objects(what))
}

pub(super) fn handles(words: &mut Words) -> Result<Request> {
    let handle = words.take().map(str::to_owned);
    if let Some(handle) = handle.filter(|h| expression::number(h) != Some(0)) {
        return Err(Refusal(format!(
            "!handle {handle}: one handle of a process is not available here; `!handle 0 3 0 TYPE` shows the processes with handles to a type"
        )));
    }
    if let Some(bits) = words.take().map(str::to_owned) {
        flags(words, &bits)?;
    }
    let process = process(words)?;
    let kind = words.take().map(str::to_owned);
    words.end()?;
    Ok(Request::Handles(Handles { process, kind }))
}

/// A process; none for 0 (all), which may stand for all of them, or -1 (the current one).
fn process(words: &mut Words) -> Result<Option<Expression>> {
    match words.peek() {
        None => Ok(None),
        Some("-1") => Err(Refusal(format!(
            "{}: -1 (the current process) is not available here; write 0 for all, or an address or identifier",
            words.name()
        ))),
        Some(_) => {
            let at = address(words)?;
            Ok((at != Expression::Number(0)).then_some(at))
        }
    }
}

pub(super) fn processes(words: &mut Words) -> Result<Request> {
    if let Some(option) = words.take_if(|w| w.starts_with('/')).map(str::to_owned) {
        return Err(Refusal(format!(
            "!process: {option} is not available here; usage: !process PROCESS FLAGS [IMAGE]"
        )));
    }
    let process = process(words)?;
    if let Some(bits) = words.take().map(str::to_owned) {
        let flags = flags(words, &bits)?;
        if flags & !1 != 0 {
            return Err(Refusal(format!(
                "!process: flags {bits}: threads and stacks are not available here; write 0 or 1"
            )));
        }
    }
    let image = words.take().map(str::to_owned);
    words.end()?;
    Ok(Request::Processes(Processes { process, image }))
}

pub(super) fn object(words: &mut Words) -> Result<Request> {
    match words.peek() {
        Some(path) if path.starts_with('\\') => Err(Refusal(format!(
            "!object {path}: paths are not available here; `objects TYPE` lists the objects of a type by name"
        ))),
        // `!object 0 Type`: all objects of a type.
        Some("0") => {
            words.take();
            objects(words)
        }
        _ => {
            let at = address(words)?;
            words.end()?;
            Ok(Request::Object(at))
        }
    }
}

pub(super) fn type_at(words: &mut Words) -> Result<Request> {
    while let Some(option) = words.take_if(|w| w.starts_with('-')).map(str::to_owned) {
        // Depth and form of the listing; what is printed is one level, one field a line.
        let plain = option.trim_start_matches('-');
        let harmless = matches!(plain, "v" | "b" | "o" | "n" | "y" | "a" | "s");
        let depth = plain.starts_with('r')
            && plain
                .get(1..)
                .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        if !(harmless || depth) {
            return Err(Refusal(format!(
                "dt: {option} is not available here; usage: dt MODULE!TYPE [FIELD] [ADDRESS]"
            )));
        }
    }
    let Some(name) = words.take().map(str::to_owned) else {
        return Err(words.missing("a type"));
    };
    let (module, name) = name.split_once('!').unwrap_or(("nt", &name));
    if !matches!(
        module.to_ascii_lowercase().as_str(),
        "nt" | "ntkrnlmp" | "ntoskrnl"
    ) {
        return Err(Refusal(format!(
            "dt {module}!{name}: only types of the kernel (nt!) are known here"
        )));
    }
    let name = name.to_owned();
    let mut out = TypeAt {
        name,
        fields: Vec::new(),
        at: None,
    };
    while let Some(word) = words.peek().map(str::to_owned) {
        let looks_like_one = expression::number(&word).is_some_and(|n| n > 0xffff)
            || word.contains(['!', '+', '(', '`']);
        if looks_like_one && out.at.is_none() {
            out.at = Some(address(words)?);
        } else if out.at.is_none() && !word.starts_with('-') {
            words.take();
            out.fields.push(word.trim_end_matches('.').to_owned());
        } else if word.starts_with("-r") {
            words.take();
        } else {
            return Err(words.unexpected(&word));
        }
    }
    Ok(Request::Type(out))
}

pub(super) fn code(words: &mut Words) -> Result<Request> {
    let at = address(words)?;
    let count = match words.take().map(str::to_owned) {
        None => 8,
        Some(word) => match word.strip_prefix(['l', 'L']) {
            Some(count) => elements(words, count)?,
            None => {
                return Err(Refusal(format!(
                    "u: {word}: write L and a number of instructions, as L20"
                )));
            }
        },
    };
    words.end()?;
    Ok(Request::Code { at, count })
}

pub(super) fn stacks(words: &mut Words) -> Result<Request> {
    let rest = words.rest.trim().to_owned();
    if rest.is_empty() {
        return Ok(Request::Stacks(None));
    }
    match Target::parse(&rest) {
        Some(target) => {
            words.remaining();
            Ok(Request::Stacks(Some(target)))
        }
        None => Err(expression::invalid(&rest)),
    }
}

pub(super) fn verifier(words: &mut Words) -> Result<Request> {
    let Some(word) = words.take().map(str::to_owned) else {
        words.end()?;
        let flags = Verifier::DRIVERS;
        let driver = None;
        return Ok(Request::Verifier(Verifier { flags, driver }));
    };
    if word.starts_with('/') {
        return Err(Refusal::new(
            "verifier /flags … sets Driver Verifier up: run it on the Windows machine; `!verifier` shows the state in the dump",
        ));
    }
    let bits = flags(words, &word)?;
    if bits & !(Verifier::DRIVERS | Verifier::BLOCKS | Verifier::LOG) != 0 {
        return Err(Refusal(format!(
            "!verifier: flags {word}: 1 lists the drivers, 2 their pool, 80 the log of allocations and frees; other logs are not available here"
        )));
    }
    let flags = bits;
    if bits & Verifier::LOG == 0 {
        let driver = words.take().map(str::to_owned);
        words.end()?;
        return Ok(Request::Verifier(Verifier { flags, driver }));
    }
    if words.peek().is_none() {
        let driver = None;
        return Ok(Request::Verifier(Verifier { flags, driver }));
    }
    let at = address(words)?;
    words.end()?;
    Ok(Request::Stacks(Some(Target {
        text: "ADDRESS".into(),
        tag: None,
        address: Some(at),
    })))
}

pub(super) fn lookaside(words: &mut Words) -> Result<Request> {
    if let Some(word) = words.peek() {
        return Err(Refusal(format!(
            "!lookaside {word}: one list is not available here; `!lookaside` shows all that are known"
        )));
    }
    Ok(Request::Lookaside)
}

pub(super) fn file_cache(words: &mut Words) -> Result<Request> {
    if let Some(word) = words.take() {
        return Err(Refusal(format!(
            "!filecache {word}: the cache by file is not available here; `!filecache` has the totals"
        )));
    }
    Ok(Request::FileCache)
}

pub(super) fn note(words: &mut Words) -> Result<Request> {
    Ok(Request::Note(words.rest.trim().to_owned()))
}

pub(super) fn filter(words: &mut Words) -> Result<Request> {
    Ok(Request::Filter(words.rest.trim().to_owned()))
}

pub(super) fn sort(words: &mut Words) -> Result<Request> {
    let name = words.take().unwrap_or_default().to_ascii_lowercase();
    let sort = match name.as_str() {
        "bytes" | "b" => SortBy::Bytes,
        "allocs" | "a" => SortBy::Allocs,
        "frees" | "f" => SortBy::Frees,
        "diff" | "outstanding" | "d" => SortBy::Outstanding,
        "mean" | "each" | "size" | "m" => SortBy::PerAllocation,
        "tag" | "name" | "t" => SortBy::Tag,
        _ => {
            return Err(Refusal(format!(
                "sort: unknown column: {name}; sort by bytes, allocs, frees, diff, mean or tag"
            )));
        }
    };
    words.end()?;
    Ok(Request::Sort(sort))
}

fn file(words: &mut Words) -> File {
    let overwrite = words.name().ends_with('!');
    let typed = words.rest.clone();
    let rest = typed.trim();
    // `save FILE!`, `save! FILE`.
    let (name, marked) = match rest.strip_suffix('!') {
        Some(name) => (name.trim_end(), true),
        None => (rest, false),
    };
    words.remaining();
    File {
        name: name.trim_matches('"').to_owned(),
        overwrite: overwrite || marked,
    }
}

pub(super) fn save(words: &mut Words) -> Result<Request> {
    Ok(Request::Save(file(words)))
}

pub(super) fn report(words: &mut Words) -> Result<Request> {
    let file = file(words);
    Ok(match file.name.is_empty() {
        true => Request::Diagnose,
        false => Request::Report(file),
    })
}

pub(super) fn help(words: &mut Words) -> Result<Request> {
    let about = words.take().map(str::to_owned);
    words.end()?;
    Ok(Request::Help(about))
}

pub(super) fn goto(words: &mut Words) -> Result<Request> {
    match Target::parse(&words.rest) {
        Some(target) => {
            words.remaining();
            Ok(Request::Go(target))
        }
        None if words.rest.trim().is_empty() => Err(words.missing("an address, a tag or a module")),
        None => Err(expression::invalid(words.rest.trim())),
    }
}

macro_rules! without_arguments {
    ($($name:ident => $request:expr),* $(,)?) => {
        $(pub(super) fn $name(words: &mut Words) -> Result<Request> {
            words.end()?;
            Ok($request)
        })*
    };
}

without_arguments! {
    info => Request::Info,
    drivers => Request::Drivers,
    diagnose => Request::Diagnose,
    tags => Request::Tags,
    marks => Request::Marks,
    quit => Request::Quit,
}
