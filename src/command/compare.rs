//! Arguments of the UI commands for baselines and columns.

use super::line::Words;
use super::refusal::Result;
use super::request::Request;

/// `baseline [FILE …]`, `baseline modules`, `baseline off`.
pub(super) fn baseline(words: &mut Words) -> Result<Request> {
    Ok(Request::Baseline(words.remaining()))
}

/// `columns [NAME | -NAME | auto] …`.
pub(super) fn columns(words: &mut Words) -> Result<Request> {
    Ok(Request::Columns(words.remaining()))
}

/// `history [TAG]`, `history pools`.
pub(super) fn history(words: &mut Words) -> Result<Request> {
    let what = words.take().map(str::to_owned);
    words.end()?;
    Ok(Request::History(what))
}
