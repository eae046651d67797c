//! Short descriptions of actions, for the help that fits on one screen. Related actions
//! have the same text, so that their keys share a line.

use super::binding::{Action, Context};

/// Maximum width of a description in cells.
pub const LONGEST: usize = 26;

/// The short description of an action.
pub fn brief(action: Action, context: Context) -> &'static str {
    match action {
        Action::Up | Action::Down => "move by a row",
        Action::PageUp | Action::PageDown => "move by a page",
        Action::Home | Action::End => "first, last row",
        Action::Open => match context {
            Context::Tags => "open the tag",
            Context::Bytes => "follow the pointer",
            Context::Report => "fold, or run the command",
            Context::Summary => "open all of !vm",
            _ => "open the row",
        },
        Action::Back => match context {
            Context::Tags => "clear the filter",
            _ => "clear filter, go back",
        },
        Action::NextPane => match context {
            Context::Bytes => "bytes, pointers, text",
            Context::Report => "next section",
            _ => "other pane",
        },
        Action::Summary => "!vm 1 and all warnings",
        Action::Modules => "loaded modules",
        Action::Goto => "go to an address",
        Action::PreviousBlock | Action::NextBlock => "previous, next row's bytes",
        Action::Pool => "both, nonpaged, paged pool",
        Action::SortBytes
        | Action::SortAllocs
        | Action::SortFrees
        | Action::SortDiff
        | Action::SortPerAlloc
        | Action::SortTag => "sort (PoolMon's letters)",
        Action::SortSize | Action::SortAddress => "sort by size, address",
        Action::SortChange => "sort by change or value",
        Action::Filter | Action::UnknownOnly if context == Context::Tags => {
            "filter; only unknown tags"
        }
        Action::Filter | Action::UnknownOnly => "filter: words or a query",
        Action::Search | Action::SearchNext | Action::SearchPrevious => "find, next, previous",
        Action::Copy | Action::CopyView => "copy, show as plain text",
        Action::Help => "help; again: next page",
        Action::Quit => "quit",
        Action::Interrupt => "stop the walk, else quit",
        Action::Suspend | Action::Redraw | Action::Mouse => "suspend, mouse, redraw",
        Action::Accept => "apply",
        Action::Cancel => "close",
        Action::Stacks => "recorded call stacks",
        Action::Disassembly => "code around the reference",
        Action::TagList => "tag list",
        Action::Drivers => "pool by driver",
        Action::Report => "report",
        Action::Marks => "list of marks",
        Action::LastPlace => "previous place",
        Action::Zoom => match context {
            Context::Report => "fold or unfold all",
            _ => "this pane alone",
        },
        Action::Sizes => "sizes",
        Action::Contents => "block contents by offset",
        Action::Families => "groups of equal layout",
        Action::Objects => "kernel objects, handles",
        Action::Page => "its page (!pool)",
        Action::ColumnLeft | Action::ColumnRight | Action::SortColumn => {
            "select column, sort by it"
        }
        Action::Frequency if context == Context::Bytes => "count values at the offset",
        Action::Like | Action::Frequency => "filter by value, count it",
        Action::Command => "command (WinDbg, PoolMon)",
        Action::Complete => "complete the word",
        Action::HistoryBack | Action::HistoryOn => "previous, next line",
        Action::Mark | Action::Note => "mark, mark with a note",
        Action::Save => "save to a file",
        Action::Columns => "choose columns",
        Action::ChangeColumn => "by width, always, never",
        Action::ResetColumns => "all columns by width",
        Action::Preview => "preview on or off",
        Action::History => "chart over the baseline",
        Action::HelpPage => "next page",
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::TABLE;
    use super::*;

    #[test]
    fn every_key_has_a_short_description() {
        for binding in TABLE.iter() {
            for context in binding.contexts {
                let words = brief(binding.action, *context);
                assert!(words.len() <= LONGEST, "{words}");
            }
        }
    }
}
