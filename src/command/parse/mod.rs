//! The arguments of each command.

mod memory;
mod modules;
mod objects;
mod own;
mod verifier;

pub(in crate::command) use memory::*;
pub(in crate::command) use modules::*;
pub(in crate::command) use objects::*;
pub(in crate::command) use own::*;
pub(in crate::command) use verifier::*;

use crate::pool::{Tag, TagPattern};

use super::expression::{self, Expression};
use super::line::Words;
use super::refusal::{Refusal, Result};
use super::request::{
    Chosen, End, File, Find, Handles, Memory, Modules, Page, PoolChoice, PoolUsed, Processes,
    Request, Shape, SortBy, Target, TypeAt, Verifier,
};
use super::symbol_query::{SymbolColumns, SymbolQuery};

/// Checks the documented flags of `!vm`. Bit 0 omits processes, which are never listed; the
/// other bits request parts that the summary does not have.
pub(in crate::command) fn vm(words: &mut Words) -> Result<Request> {
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

/// A number as WinDbg parses flags: hexadecimal digits with or without `0x`.
fn flags(words: &Words, word: &str) -> Result<u64> {
    expression::number(word).ok_or_else(|| {
        Refusal(format!(
            "{}: {word} is not a flags value (hexadecimal, for example 1 or 0x5)",
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

pub(in crate::command) fn pool_used(words: &mut Words) -> Result<Request> {
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
                    "{}: /t needs a number of rows, for example /t5",
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
    // Decimal unless it starts with 0x, as on the command line.
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

/// Parses a tag: its characters, or its value with `0x`, as WinDbg's TagValue.
pub(in crate::command) fn pattern(text: &str) -> Result<TagPattern> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let value = match digits {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        // Eight digits cannot be four characters, so they are a value.
        None => (text.len() == 8)
            .then(|| u32::from_str_radix(text, 16).ok())
            .flatten(),
    };
    match value {
        Some(value) => Ok(TagPattern::of(Tag::new(value))),
        None => TagPattern::parse(text).map_err(|e| Refusal(e.to_string())),
    }
}

pub(in crate::command) fn find(words: &mut Words) -> Result<Request> {
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
pub(in crate::command) fn irp_find(words: &mut Words) -> Result<Request> {
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
    // A sum may contain spaces.
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

pub(in crate::command) fn page(words: &mut Words) -> Result<Request> {
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

/// The typed tag; none for the tag on screen.
fn chosen(words: &mut Words) -> Result<Chosen> {
    let Some(word) = words.take().map(str::to_owned) else {
        return Ok(None);
    };
    let pattern = pattern(&word)?;
    words.end()?;
    Ok(Some(pattern))
}

pub(in crate::command) fn references(words: &mut Words) -> Result<Request> {
    Ok(Request::References(chosen(words)?))
}

pub(in crate::command) fn sizes(words: &mut Words) -> Result<Request> {
    Ok(Request::Sizes(chosen(words)?))
}

pub(in crate::command) fn contents(words: &mut Words) -> Result<Request> {
    Ok(Request::Contents(chosen(words)?))
}

pub(in crate::command) fn families(words: &mut Words) -> Result<Request> {
    Ok(Request::Families(chosen(words)?))
}

pub(in crate::command) fn lookaside(words: &mut Words) -> Result<Request> {
    if let Some(word) = words.peek() {
        return Err(Refusal(format!(
            "!lookaside {word}: one list is not available here; `!lookaside` shows all that are known"
        )));
    }
    Ok(Request::Lookaside)
}

pub(in crate::command) fn file_cache(words: &mut Words) -> Result<Request> {
    if let Some(word) = words.take() {
        return Err(Refusal(format!(
            "!filecache {word}: the cache by file is not available here; `!filecache` has the totals"
        )));
    }
    Ok(Request::FileCache)
}
