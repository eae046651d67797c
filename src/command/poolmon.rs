//! PoolMon's switches, as documented.

use crate::pool::TagPattern;

use super::line::Words;
use super::refusal::{Refusal, Result};
use super::request::{PoolChoice, PoolMon, Request, SortBy};

/// Parses `poolmon -b -p -p -iTAG …`. As in PoolMon, the last order wins and switches are
/// case-insensitive; an unsupported switch is refused by name.
pub(super) fn parse(words: &mut Words) -> Result<Request> {
    let mut out = PoolMon::default();
    let mut pools = 0;
    while let Some(word) = words.take().map(str::to_owned) {
        let Some(switch) = word.strip_prefix(['-', '/']) else {
            return Err(Refusal(format!(
                "poolmon: {word} is not a switch; a tag is written -iTAG, without a blank"
            )));
        };
        let mut letters = switch.chars();
        let letter = letters.next().map(|c| c.to_ascii_lowercase());
        let value = letters.as_str();
        match (letter, value) {
            (Some('i'), _) => out.only.push(tag('i', value, words)?),
            (Some('x'), _) => out.except.push(tag('x', value, words)?),
            (Some('s'), "") => out.pool = Some(PoolChoice::Session),
            (Some('s'), _) => {
                return Err(refuse(
                    &word,
                    "sessions are shown together: write -s without a number",
                ));
            }
            (Some('p'), "") => pools += 1,
            (Some('t'), "") => out.sort = Some(SortBy::Tag),
            (Some('a'), "") => out.sort = Some(SortBy::Allocs),
            (Some('f'), "") => out.sort = Some(SortBy::Frees),
            (Some('d'), "") => out.sort = Some(SortBy::Outstanding),
            (Some('b'), "") => out.sort = Some(SortBy::Bytes),
            (Some('m'), "") => out.sort = Some(SortBy::PerAllocation),
            // Totals and drivers are always shown.
            (Some('e'), "") => {}
            (Some('g'), "") => {
                // An optional file name may follow.
                if let Some(file) = words.take_if(|w| !w.starts_with(['-', '/'])) {
                    return Err(refuse(
                        &format!("{word} {file}"),
                        "start poolscope with --pooltag FILE; the built-in list is always used",
                    ));
                }
            }
            (Some('g'), file) => {
                return Err(refuse(
                    &word,
                    &format!(
                        "start poolscope with --pooltag {file}; the built-in list is always used"
                    ),
                ));
            }
            (Some('c'), _) => {
                return Err(refuse(
                    &word,
                    "there is no local tag file: `refs TAG` searches the images in the dump for a tag",
                ));
            }
            (Some('n'), _) => {
                return Err(refuse(
                    &word,
                    "it writes a snapshot to a file: `save FILE.csv` writes the list",
                ));
            }
            // Needs the UI with a baseline; other front ends refuse it when they run it.
            (Some('(' | ')'), "") => out.by_change = true,
            (Some('l'), "") => {
                return Err(refuse(
                    &word,
                    "changed lines are not highlighted: `poolscope diff OLD NEW` lists the changes",
                ));
            }
            (Some('r'), "") => {
                return Err(refuse(&word, "it adds a memory summary: `!vm 1` has it"));
            }
            (Some('u'), "") => {
                return Err(refuse(&word, "use -b, which sorts by bytes"));
            }
            (Some('?' | 'h'), "") => return Ok(Request::Help(Some("poolmon".into()))),
            _ => {
                return Err(refuse(
                    &word,
                    "the switches are -i -x -p -s -t -a -f -d -b -m -e -g -(",
                ));
            }
        }
    }
    let choice = [PoolChoice::Both, PoolChoice::Nonpaged, PoolChoice::Paged];
    match (pools, out.pool) {
        (0, _) => {}
        (_, Some(PoolChoice::Session)) => {
            return Err(refuse(
                "-p with -s",
                "session pool is paged pool: write -s without -p",
            ));
        }
        (n, _) => out.pool = choice.get(n % 3).copied(),
    }
    Ok(Request::PoolMon(out))
}

/// The tag after a switch. PoolMon accepts no space between them, but people type one.
fn tag(switch: char, value: &str, words: &mut Words) -> Result<TagPattern> {
    let text = match value {
        "" => words
            .take_if(|w| !w.starts_with(['-', '/']))
            .unwrap_or_default()
            .to_owned(),
        value => value.trim_matches('"').to_owned(),
    };
    if text.is_empty() {
        return Err(Refusal(format!(
            "poolmon: -{switch} needs a tag: -{switch}TAG"
        )));
    }
    TagPattern::parse(&text).map_err(|e| Refusal(format!("poolmon: -{switch}: {e}")))
}

fn refuse(switch: &str, instead: &str) -> Refusal {
    Refusal(format!(
        "poolmon: {switch} is not available here; {instead}"
    ))
}
