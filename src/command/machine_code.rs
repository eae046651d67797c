//! Arguments of commands for instructions, image headers and page tables.

use super::expression::{self, Expression};
use super::line::Words;
use super::refusal::{Refusal, Result};
use super::request::Request;

/// Number of instructions that `ub` shows by default, as in WinDbg.
const USUAL: u64 = 8;
/// Maximum number of instructions in a listing.
const MOST: u64 = 4096;

/// Takes an address; a sum may contain spaces. Leaves the words after it.
fn address(words: &mut Words) -> Result<Expression> {
    let Some(mut text) = words.take().map(str::to_owned) else {
        return Err(words.missing("an address"));
    };
    loop {
        let open = text.ends_with(['+', '-', '('])
            || text.matches('(').count() > text.matches(')').count();
        let goes_on = |word: &str| open || word.starts_with(['+', ')']);
        match words.take_if(goes_on) {
            Some(word) => text.push_str(word),
            None => return Expression::parse(&text),
        }
    }
}

/// `ub ADDRESS [L COUNT]`: the instructions before an address.
pub(super) fn before(words: &mut Words) -> Result<Request> {
    let at = address(words)?;
    let count = match words.take().map(str::to_owned) {
        None => USUAL,
        Some(word) => {
            let digits = match word.strip_prefix(['l', 'L']) {
                Some("") => words.take().map(str::to_owned),
                digits => digits.map(str::to_owned),
            };
            let count = digits.and_then(|digits| expression::number(&digits));
            count.filter(|n| (1..=MOST).contains(n)).ok_or_else(|| {
                Refusal(format!(
                    "ub: {word}: write L and a number of instructions, for example L10"
                ))
            })?
        }
    };
    words.end()?;
    Ok(Request::CodeBefore { at, count })
}

/// `uf ADDRESS`: the function that contains an address.
pub(super) fn function(words: &mut Words) -> Result<Request> {
    if let Some(option) = words.take_if(|w| w.starts_with('/')).map(str::to_owned) {
        return Err(Refusal(format!(
            "uf: {option} is not available here; `uf ADDRESS` lists the function by address"
        )));
    }
    let at = address(words)?;
    words.end()?;
    Ok(Request::Function(at))
}

/// `!lmi MODULE`: the headers of an image, by name or by an address in it.
pub(super) fn headers(words: &mut Words) -> Result<Request> {
    let Some(text) = words.take().map(str::to_owned) else {
        return Err(words.missing("a module or an address"));
    };
    words.end()?;
    Ok(Request::Headers(text))
}

/// `!pte ADDRESS`: the page table entries that translate an address.
pub(super) fn page_tables(words: &mut Words) -> Result<Request> {
    let at = address(words)?;
    words.end()?;
    Ok(Request::PageTables(at))
}
