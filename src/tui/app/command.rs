//! The line after `:`, in the debugger's words, PoolMon's, and poolscope's own.

use crate::memory::Va;
use crate::pool::Tag;
use crate::report::text::parse_address;

use crate::tui::app::{App, Screen};
use crate::tui::data::message::Effect;
use crate::tui::data::order::{PoolChoice, SortBy};
use crate::tui::data::table::TableKind;
use crate::tui::screens::bytes::{BytesFormat, BytesView};
use crate::tui::screens::tag::Pane;

/// What can be typed, as completion and help show it.
pub const COMMANDS: &[(&str, &str)] = &[
    ("!vm", "all of !vm 1"),
    (
        "!poolused",
        "[2|4] [TAG]: the tag list, by nonpaged or paged bytes",
    ),
    ("!poolfind", "TAG [-nonpaged|-paged]: its allocations"),
    ("!pool", "ADDRESS: the page around it"),
    ("db", "ADDRESS: memory as bytes"),
    ("dps", "ADDRESS: memory as pointers"),
    ("da", "ADDRESS: memory as text"),
    ("lm", "[a ADDRESS | m NAME]: the loaded modules"),
    (
        "!for_each_module",
        "s -a @#Base @#End \"TAG\": who mentions it",
    ),
    (
        "poolmon",
        "[-b|-d|-a|-f|-m|-t] [-p|-n] [-iTAG]: PoolMon's switches",
    ),
    ("refs", "TAG: who mentions it"),
    ("sizes", "TAG: the sizes of its allocations"),
    ("contents", "TAG: what its allocations hold"),
    ("families", "TAG: which of them are alike"),
    ("objects", "TAG: its kernel objects, and who has handles"),
    ("drivers", "pool by driver"),
    ("diagnose", "the report"),
    ("tags", "the tag list"),
    ("marks", "all that is marked"),
    ("note", "TEXT: mark the row with a note"),
    ("filter", "QUERY: as &"),
    (
        "sort",
        "bytes|allocs|frees|diff|mean|tag: the tag list's order",
    ),
    (
        "save",
        "FILE: what is shown, as text, .csv, .json or .md; save! replaces",
    ),
    ("report", "FILE: the report to a file; report! replaces"),
    ("help", "the keys"),
    ("quit", "leave"),
];

impl App {
    /// Does what was typed.
    pub(in crate::tui) fn command_line(&mut self, line: &str) {
        let line = line.trim().trim_start_matches(':').trim();
        if line.is_empty() {
            return;
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if let Err(why) = self.run(word, rest.trim()) {
            self.message = Some(why);
        }
    }

    fn run(&mut self, word: &str, rest: &str) -> Result<(), String> {
        let (word, forced) = match word.strip_suffix('!') {
            Some(word) if !word.is_empty() => (word, true),
            _ => (word, false),
        };
        match word
            .trim_start_matches(['!', '.'])
            .to_ascii_lowercase()
            .as_str()
        {
            "vm" => self.go(Screen::Summary(0)),
            "poolused" => self.pool_used(rest)?,
            "poolfind" => self.pool_find(rest)?,
            "pool" => {
                let va = address(rest)?;
                self.open_table(TableKind::Page { va, session: None });
            }
            "db" | "dc" | "dd" | "dq" | "d" => self.memory(rest, BytesFormat::Bytes)?,
            "dps" | "dqs" | "dp" => self.memory(rest, BytesFormat::Pointers)?,
            "da" | "du" => self.memory(rest, BytesFormat::Text)?,
            "lm" | "modules" => self.modules_line(rest)?,
            "for_each_module" | "s" | "refs" => self.mentions_line(rest)?,
            "poolmon" => self.pool_mon(rest)?,
            "sizes" => {
                let tag = self.tag_named(rest)?;
                self.open_table(TableKind::Sizes(tag));
            }
            "contents" => self.open_table(TableKind::Contents(self.tag_named(rest)?)),
            "families" => self.open_table(TableKind::Families(self.tag_named(rest)?)),
            "objects" | "handle" => self.open_table(TableKind::Objects(self.tag_named(rest)?)),
            "drivers" => self.show_drivers(),
            "diagnose" | "analyze" => self.show_report(),
            "tags" => self.show_tags(),
            "marks" => self.open_table(TableKind::Marks),
            "note" => self.take_note(rest),
            "filter" => self.set_filter(rest)?,
            "sort" => self.sort_named(rest)?,
            "save" | "w" | "write" => self.save(rest, forced),
            "report" if rest.is_empty() => self.show_report(),
            "report" => {
                self.show_report();
                self.save(rest, forced);
            }
            "help" | "h" | "?" => self.help = Some(0),
            "quit" | "q" | "exit" => self.effects.push(Effect::Quit),
            _ => {
                return Err(format!(
                    "`{word}` is no command; Tab after : shows what there is"
                ));
            }
        }
        Ok(())
    }

    fn pool_used(&mut self, rest: &str) -> Result<(), String> {
        let mut pool = None;
        let mut pattern = "";
        for argument in rest.split_whitespace() {
            match argument
                .strip_prefix("0x")
                .unwrap_or(argument)
                .parse::<u8>()
            {
                Ok(flags) => {
                    pool = Some(match flags & 6 {
                        2 => PoolChoice::Nonpaged,
                        4 => PoolChoice::Paged,
                        _ => PoolChoice::Both,
                    });
                }
                Err(_) => pattern = argument,
            }
        }
        self.show_tags();
        if let Some(pool) = pool {
            self.tags.pool = pool;
            self.tags.sort = SortBy::Bytes;
            self.tags.reversed = false;
        }
        if pattern.is_empty() {
            return self.tags.set_filter(&self.model, "");
        }
        let wanted = crate::pool::TagPattern::parse(pattern).map_err(|e| e.to_string())?;
        self.tags
            .set_filter(&self.model, &format!("tag = {pattern}"))?;
        // The debugger sorts by a pool and shows both: a tag that is asked for is shown.
        let mut asked = self
            .model
            .tags
            .iter()
            .filter(|r| wanted.matches(r.usage.tag));
        let here = |r: &crate::tui::data::model::TagRow| match self.tags.pool {
            PoolChoice::Nonpaged => !r.usage.nonpaged.is_empty(),
            PoolChoice::Paged => !r.usage.paged.is_empty(),
            PoolChoice::Both => true,
        };
        if !asked.any(here) {
            self.tags.pool = PoolChoice::Both;
            self.tags
                .set_filter(&self.model, &format!("tag = {pattern}"))?;
        }
        Ok(())
    }

    fn pool_find(&mut self, rest: &str) -> Result<(), String> {
        let (name, switches) = tag_and_rest(rest);
        let pool = match () {
            () if switches.contains("-nonpaged") => PoolChoice::Nonpaged,
            () if switches.contains("-paged") => PoolChoice::Paged,
            () => PoolChoice::Both,
        };
        let tag = self.tag_named(&name)?;
        self.open_part(tag, String::new());
        if let Some(view) = self.tag_view() {
            view.pool = pool;
        }
        self.ask_blocks();
        Ok(())
    }

    fn mentions_line(&mut self, rest: &str) -> Result<(), String> {
        // `s -a @#Base @#End "Leak"`, or the tag alone.
        let name = match rest.find('"') {
            Some(at) => rest.get(at..).unwrap_or_default(),
            None => rest.rsplit(' ').next().unwrap_or_default(),
        };
        let tag = self.tag_named(name)?;
        self.open_part(tag, String::new());
        if let Some(view) = self.tag_view() {
            view.pane = Pane::References;
        }
        Ok(())
    }

    /// A tag by its letters; blanks at the end may be left out.
    fn tag_named(&self, text: &str) -> Result<Tag, String> {
        let (name, _) = tag_and_rest(text);
        if name.is_empty() {
            return match self.stack.last() {
                None => self.tags.current(&self.model).map(|row| row.usage.tag),
                _ => self.stack.iter().rev().find_map(|s| match s {
                    Screen::Tag(view) => Some(view.tag),
                    _ => None,
                }),
            }
            .ok_or_else(|| "name a tag".into());
        }
        let pattern = crate::pool::TagPattern::parse(&name).map_err(|e| e.to_string())?;
        let known = || self.model.tags.iter().map(|row| row.usage.tag);
        let exact = pattern.exact().filter(|tag| known().any(|t| t == *tag));
        exact
            .or_else(|| known().find(|t| t.to_string().trim_end() == name.trim_end()))
            .or_else(|| pattern.exact())
            .or_else(|| known().find(|t| pattern.matches(*t)))
            .ok_or_else(|| format!("there is no tag `{name}`"))
    }

    fn memory(&mut self, rest: &str, shape: BytesFormat) -> Result<(), String> {
        let va = address(rest)?;
        let mut view = BytesView::new(va.to_string(), "by its address".into(), va, None);
        view.shape = shape;
        self.go(Screen::Bytes(Box::new(view)));
        Ok(())
    }

    fn modules_line(&mut self, rest: &str) -> Result<(), String> {
        let rest = rest.trim();
        let after = |sign: &str| Some(rest.strip_prefix(sign)?.trim());
        let asked = after("a ").map(address).transpose()?;
        let name = after("m ").map(ToOwned::to_owned);
        self.show_modules();
        let Some(Screen::Modules(view)) = self.stack.last_mut() else {
            return Ok(());
        };
        if let Some(va) = asked {
            if !view.select_holder(&self.model, va) {
                return Err(format!("no loaded module holds {va}"));
            }
        } else if let Some(name) = name {
            let query = format!("module = \"{name}\"");
            view.set_filter(&self.model, &query)?;
        }
        Ok(())
    }

    fn pool_mon(&mut self, rest: &str) -> Result<(), String> {
        self.show_tags();
        for switch in rest.split_whitespace() {
            let letters = switch.trim_start_matches(['-', '/']);
            if let Some(tag) = letters.strip_prefix('i').filter(|t| !t.is_empty()) {
                self.tags.set_filter(&self.model, tag)?;
                continue;
            }
            match letters {
                "p" => self.tags.pool = PoolChoice::Paged,
                "n" => self.tags.pool = PoolChoice::Nonpaged,
                "b" | "d" | "a" | "f" | "m" | "t" => self.sort_named(letters)?,
                _ => return Err(format!("PoolMon's switch `{switch}` means nothing here")),
            }
        }
        self.tags.rearrange(&self.model);
        Ok(())
    }

    fn sort_named(&mut self, name: &str) -> Result<(), String> {
        let sort = match name.to_ascii_lowercase().as_str() {
            "bytes" | "b" => SortBy::Bytes,
            "allocs" | "a" => SortBy::Allocs,
            "frees" | "f" => SortBy::Frees,
            "diff" | "d" => SortBy::Diff,
            "mean" | "m" => SortBy::PerAlloc,
            "tag" | "t" => SortBy::Tag,
            _ => {
                return Err(format!(
                    "`{name}`: sort by bytes, allocs, frees, diff, mean or tag"
                ));
            }
        };
        if !self.stack.is_empty() {
            self.show_tags();
        }
        self.tags.sort_by(&self.model, sort);
        Ok(())
    }

    /// What the word before the cursor can become.
    pub(in crate::tui) fn completions(&self, line: &str) -> Vec<String> {
        let start = line.rfind(' ').map_or(0, |at| at + 1);
        let (before, word) = line.split_at(start);
        let whole = |word: &str| format!("{before}{word}");
        if before.trim().is_empty() {
            let bare = word.trim_start_matches('!');
            return COMMANDS
                .iter()
                .map(|c| c.0)
                .filter(|c| c.starts_with(word) || c.trim_start_matches('!').starts_with(bare))
                .map(|c| whole(c) + " ")
                .collect();
        }
        let takes_modules = before.trim_start().starts_with("lm");
        if takes_modules {
            let names = self.model.modules.iter().map(|m| m.name.as_str());
            return names
                .filter(|n| n.starts_with(word))
                .take(64)
                .map(whole)
                .collect();
        }
        let tags = self.model.tags.iter().map(|row| row.usage.tag.typed());
        tags.filter(|t| !word.is_empty() && t.starts_with(word))
            .take(64)
            .map(|t| whole(&t))
            .collect()
    }
}

fn address(text: &str) -> Result<Va, String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    parse_address(first).ok_or_else(|| format!("`{first}` is no address: type hexadecimal digits"))
}

/// A tag in quotes or as a word, and what follows.
fn tag_and_rest(text: &str) -> (String, &str) {
    let text = text.trim_start();
    if let Some(inside) = text.strip_prefix('"')
        && let Some((name, rest)) = inside.split_once('"')
    {
        return (name.to_owned(), rest);
    }
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    (name.to_owned(), rest)
}
