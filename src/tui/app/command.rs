//! The command line after `:`. [`crate::command`] parses it; this module executes it.

use crate::command::request::{
    Chosen, Find, Memory, Modules, PoolChoice, PoolMon, PoolUsed, Shape, SortBy as Order, Target,
    address_of,
};
use crate::command::{self, Request as Typed, table};
use crate::memory::Va;
use crate::pool::{Tag, TagPattern};

use crate::tui::app::{App, Screen};
use crate::tui::data::message::{Effect, Question};
use crate::tui::data::order::{PoolChoice as Pool, SortBy};
use crate::tui::data::table::TableKind;
use crate::tui::screens::bytes::{BytesFormat, BytesView};
use crate::tui::screens::report::ReportView;
use crate::tui::screens::tag::Pane;

type Done = Result<(), String>;

impl App {
    /// Executes a typed line.
    pub(in crate::tui) fn command_line(&mut self, line: &str) {
        match command::parse(line) {
            Ok(requests) if requests.iter().all(Typed::is_resolved) => self.run_all(requests),
            // Symbols and pointers need the dump: a worker resolves them and sends the
            // requests back here.
            Ok(requests) => {
                self.message = Some("resolving the address…".into());
                self.resolving = self.ask(Question::Resolve(requests));
            }
            Err(why) => self.message = Some(why.0),
        }
    }

    /// Executes requests whose addresses are resolved.
    pub(in crate::tui) fn run_all(&mut self, requests: Vec<Typed>) {
        for request in requests {
            if let Err(why) = self.run(request) {
                self.message = Some(why);
                return;
            }
        }
    }

    fn run(&mut self, request: Typed) -> Done {
        let doubt = self.unused(&request);
        self.run_known(request)?;
        if doubt.is_some() {
            self.message = doubt;
        }
        Ok(())
    }

    /// Why the lists of a tag will be empty, where it is not in use.
    fn unused(&self, request: &Typed) -> Option<String> {
        let pattern = match request {
            Typed::Find(find) => find.tag.as_ref(),
            Typed::References(tag)
            | Typed::Sizes(tag)
            | Typed::Contents(tag)
            | Typed::Families(tag) => tag.as_ref(),
            _ => None,
        };
        let exact = pattern?.exact()?;
        let tag = self.tag_named(pattern.cloned()).unwrap_or(exact);
        TagPattern::of(tag).unused_among(self.model.tags.iter().map(|row| row.usage.tag))
    }

    fn run_known(&mut self, request: Typed) -> Done {
        match request {
            Typed::Vm => self.go(Screen::Summary(0)),
            Typed::PoolUsed(wanted) => self.pool_used(wanted)?,
            Typed::Find(find) => self.pool_find(find)?,
            Typed::Page(page) => {
                let va = address_of(&page.at).map_err(|why| why.0)?;
                self.open_table(TableKind::Page { va, session: None });
            }
            Typed::Memory(memory) => self.memory(memory)?,
            Typed::Modules(modules) => self.modules_line(modules)?,
            Typed::References(tag) => {
                let tag = self.tag_named(tag)?;
                self.open_part(tag, String::new());
                if let Some(view) = self.tag_view() {
                    view.pane = Pane::References;
                }
            }
            Typed::Search { tag, .. } => {
                let tag = self.tag_named(Some(tag))?;
                self.open_part(tag, String::new());
                if let Some(view) = self.tag_view() {
                    view.pane = Pane::References;
                }
                self.message = Some(
                    "all loaded modules are searched, not only the range that was typed".into(),
                );
            }
            Typed::Sizes(tag) => {
                let tag = self.tag_named(tag)?;
                self.open_table(TableKind::Sizes(tag));
            }
            Typed::Contents(tag) => {
                let tag = self.tag_named(tag)?;
                self.open_table(TableKind::Contents(tag));
            }
            Typed::Families(tag) => {
                let tag = self.tag_named(tag)?;
                self.open_table(TableKind::Families(tag));
            }
            Typed::Stacks(target) => match target {
                Some(target) if target.is_address() => self.show_text(Typed::Stacks(Some(target))),
                target => {
                    let tag = self.tag_named(target.and_then(|t| t.tag))?;
                    self.open_table(TableKind::Stacks(tag));
                }
            },
            Typed::Objects(what) => {
                let tag = self.tag_of_objects(what)?;
                self.open_table(TableKind::Objects(tag));
            }
            Typed::PoolMon(wanted) => self.pool_mon(wanted)?,
            Typed::Drivers => self.show_drivers(),
            Typed::Diagnose => self.show_report(),
            Typed::Tags => self.show_tags(),
            Typed::Marks => self.open_table(TableKind::Marks),
            Typed::Baseline(words) => self.baseline_line(&words)?,
            Typed::History(what) => self.history_line(what)?,
            Typed::Columns(names) => self.choose_columns(&names)?,
            Typed::Note(text) => self.take_note(&text),
            Typed::Filter(text) => self.set_filter(&text)?,
            Typed::Sort(order) => self.sort_named(order),
            Typed::Save(file) => self.save(&file.name, file.overwrite),
            Typed::Report(file) => {
                self.show_report();
                self.save(&file.name, file.overwrite);
            }
            Typed::Go(target) => self.go_to_target(&target)?,
            Typed::Help(None) => self.help = Some(crate::tui::screens::help::HelpView::default()),
            Typed::Help(Some(about)) => {
                let entry = table::find(&about).ok_or_else(|| command::unknown(&about).0)?;
                self.message = Some(format!("{}: {}", entry.usage(), entry.help));
            }
            Typed::Quit => self.effects.push(Effect::Quit),
            other => self.show_text(other),
        }
        Ok(())
    }

    /// Shows a command's text output.
    fn show_text(&mut self, request: Typed) {
        self.go(Screen::Report(ReportView::of_command(request)));
    }

    fn pool_used(&mut self, wanted: PoolUsed) -> Done {
        // The tag list cannot show session pool or stop after N rows.
        if wanted.has(8) || wanted.top.is_some() {
            self.show_text(Typed::PoolUsed(wanted));
            return Ok(());
        }
        self.show_tags();
        if wanted.flags.is_some() {
            self.tags.pool = match (wanted.has(2), wanted.has(4)) {
                (true, _) => Pool::Nonpaged,
                (_, true) => Pool::Paged,
                _ => Pool::Both,
            };
            self.tags.sort = SortBy::Bytes;
            self.tags.reversed = false;
        }
        let Some(pattern) = &wanted.pattern else {
            return self.tags.set_filter(&self.model, "");
        };
        let known = self.model.tags.iter().map(|row| row.usage.tag);
        let meant = pattern.meant_among(known).map(TagPattern::of);
        let pattern = meant.as_ref().unwrap_or(pattern);
        let filter = format!("tag = \"{}\"", pattern.shown());
        self.tags.set_filter(&self.model, &filter)?;
        // WinDbg sorts by one pool but shows both, so a tag that is named stays visible
        // even if it is not in that pool.
        let mut asked = self
            .model
            .tags
            .iter()
            .filter(|r| pattern.matches(r.usage.tag));
        let here = |r: &crate::tui::data::model::TagRow| match self.tags.pool {
            Pool::Nonpaged => !r.usage.nonpaged.is_empty(),
            Pool::Paged => !r.usage.paged.is_empty(),
            Pool::Both => true,
        };
        if !asked.any(here) {
            self.tags.pool = Pool::Both;
            self.tags.set_filter(&self.model, &filter)?;
        }
        if self.tags.is_empty() {
            return Err(format!("no tag matches {}", pattern.typed()));
        }
        Ok(())
    }

    fn pool_find(&mut self, find: Find) -> Done {
        let (pool, part) = match find.pool {
            PoolChoice::Both => (Pool::Both, ""),
            PoolChoice::Nonpaged => (Pool::Nonpaged, ""),
            PoolChoice::Paged => (Pool::Paged, ""),
            PoolChoice::Session => (Pool::Paged, "pool = session"),
            PoolChoice::Special => (Pool::Both, "backend = special"),
        };
        // There is no combined list of allocations for several tags: show the tag list instead.
        if let Some(pattern) = find.tag.as_ref().filter(|p| p.exact().is_none())
            && self.matching(pattern).len() != 1
        {
            let typed = pattern.typed();
            let count = self.matching(pattern).len();
            let flags = match find.pool {
                PoolChoice::Nonpaged => Some(2),
                PoolChoice::Paged => Some(4),
                _ => Some(0),
            };
            self.pool_used(PoolUsed {
                flags,
                pattern: find.tag,
                ..PoolUsed::default()
            })?;
            self.message = Some(format!(
                "{count} tags match {typed}: Enter shows the allocations of one; `poolscope allocs DUMP '{typed}'` lists all"
            ));
            return Ok(());
        }
        let tag = self.tag_named(find.tag)?;
        self.open_part(tag, part.to_owned());
        if let Some(view) = self.tag_view() {
            view.pool = pool;
        }
        self.ask_blocks();
        Ok(())
    }

    /// Tags of the list that match a pattern.
    fn matching(&self, pattern: &TagPattern) -> Vec<Tag> {
        let tags = self.model.tags.iter().map(|row| row.usage.tag);
        tags.filter(|tag| pattern.matches(*tag)).collect()
    }

    /// The named tag, or the tag on screen.
    pub(in crate::tui) fn tag_named(&self, chosen: Chosen) -> Result<Tag, String> {
        let Some(pattern) = chosen else {
            return match self.stack.last() {
                None => self.tags.current(&self.model).map(|row| row.usage.tag),
                _ => self.stack.iter().rev().find_map(|s| match s {
                    Screen::Tag(view) => Some(view.tag),
                    _ => None,
                }),
            }
            .ok_or_else(|| "name a tag".into());
        };
        let Some(tag) = pattern.exact() else {
            return match self.matching(&pattern).as_slice() {
                [one] => Ok(*one),
                [] => Err(format!("no tag matches {}", pattern.typed())),
                all => Err(format!(
                    "{} tags match {}: name one of them",
                    all.len(),
                    pattern.typed()
                )),
            };
        };
        let known = self.model.tags.iter().map(|row| row.usage.tag);
        Ok(pattern.meant_among(known).unwrap_or(tag))
    }

    /// The tag of an object type: given as a tag, or as a type name that starts with the
    /// tag's four letters.
    fn tag_of_objects(&self, what: Option<String>) -> Result<Tag, String> {
        let Some(what) = what else {
            return self.tag_named(None);
        };
        let known = |tag: &Tag| self.model.tags.iter().any(|row| row.usage.tag == *tag);
        let of_type: String = what.chars().take(4).collect();
        let exact = TagPattern::parse(&what).ok().and_then(|p| p.exact());
        exact
            .filter(known)
            .or_else(|| Tag::of(&of_type).filter(known))
            .ok_or_else(|| format!("{what}: no such tag or object type in this dump"))
    }

    fn memory(&mut self, memory: Memory) -> Done {
        let shape = match memory.shape {
            Shape::Bytes | Shape::Words | Shape::DoubleWords { .. } | Shape::QuadWords => {
                // The memory screen has no view for words and larger numbers.
                if memory.shape != Shape::Bytes {
                    self.show_text(Typed::Memory(memory));
                    return Ok(());
                }
                BytesFormat::Bytes
            }
            Shape::Pointers => BytesFormat::Pointers,
            Shape::Ascii | Shape::Unicode => BytesFormat::Text,
        };
        let va = address_of(&memory.at).map_err(|why| why.0)?;
        self.open_memory(va, shape);
        Ok(())
    }

    fn open_memory(&mut self, va: Va, shape: BytesFormat) {
        let mut view = BytesView::new(va.to_string(), "memory at this address".into(), va, None);
        view.shape = shape;
        self.go(Screen::Bytes(Box::new(view)));
    }

    fn modules_line(&mut self, wanted: Modules) -> Done {
        if wanted.is_text() {
            self.show_text(Typed::Modules(wanted));
            return Ok(());
        }
        let asked = wanted.holding.as_ref().map(address_of).transpose();
        let asked = asked.map_err(|why| why.0)?;
        if let Some(pattern) = &wanted.pattern
            && !self.model.modules.iter().any(|m| wanted.fits(&m.name))
        {
            return Err(format!("no module matches {pattern}; lm lists all modules"));
        }
        self.show_modules();
        let Some(Screen::Modules(view)) = self.stack.last_mut() else {
            return Ok(());
        };
        if let Some(va) = asked {
            if !view.select_holder(&self.model, va) {
                return Err(format!("no loaded module holds {va}"));
            }
        } else if let Some(pattern) = wanted.pattern {
            let name = pattern.strip_suffix(".sys").unwrap_or(&pattern);
            view.set_filter(&self.model, &format!("module = \"{name}\""))?;
        }
        Ok(())
    }

    fn pool_mon(&mut self, wanted: PoolMon) -> Done {
        if wanted.by_change && self.model.baseline.is_none() {
            return Err("poolmon: -( needs a baseline: `baseline FILE` compares with an earlier dump or log".into());
        }
        if wanted.pool == Some(PoolChoice::Session) {
            self.show_text(Typed::PoolMon(wanted));
            return Ok(());
        }
        self.show_tags();
        // As in PoolMon: without -p, both pools.
        self.tags.pool = match wanted.pool {
            Some(PoolChoice::Nonpaged) => Pool::Nonpaged,
            Some(PoolChoice::Paged) => Pool::Paged,
            _ => Pool::Both,
        };
        let one = |p: &TagPattern| format!("tag = \"{}\"", p.shown());
        let only: Vec<String> = wanted.only.iter().map(one).collect();
        let mut filter = match only.as_slice() {
            [] => String::new(),
            _ => format!("({})", only.join(" or ")),
        };
        for except in &wanted.except {
            let and = if filter.is_empty() { "" } else { " and " };
            filter += &format!("{and}tag != \"{}\"", except.shown());
        }
        self.tags.set_filter(&self.model, &filter)?;
        if let Some(order) = wanted.sort {
            self.sort_named(order);
        }
        self.tags.by_change = wanted.by_change;
        self.tags.rearrange(&self.model);
        if self.tags.is_empty() {
            return Err("poolmon: no tag matches the switches; Esc clears the filter".into());
        }
        Ok(())
    }

    fn sort_named(&mut self, order: Order) {
        if !self.stack.is_empty() {
            self.show_tags();
        }
        // As in PoolMon, typing the same order twice does not reverse it.
        self.tags.sort = match order {
            Order::Tag => SortBy::Tag,
            Order::Allocs => SortBy::Allocs,
            Order::Frees => SortBy::Frees,
            Order::Outstanding => SortBy::Diff,
            Order::Bytes => SortBy::Bytes,
            Order::PerAllocation => SortBy::PerAlloc,
        };
        self.tags.reversed = false;
        self.tags.by_change = false;
        self.tags.sort_pool = None;
        self.tags.rearrange(&self.model);
    }

    /// Opens an address, a tag or a module that was typed without a command.
    fn go_to_target(&mut self, target: &Target) -> Done {
        if let Some(at) = target.address.as_ref().filter(|_| target.is_address()) {
            let va = address_of(at).map_err(|why| why.0)?;
            self.open_memory(va, BytesFormat::Bytes);
            return Ok(());
        }
        if let Some(pattern) = &target.tag
            && let Ok(tag) = self.tag_named(Some(pattern.clone()))
            && self.model.tags.iter().any(|row| row.usage.tag == tag)
        {
            self.open_part(tag, String::new());
            return Ok(());
        }
        let wanted = Modules {
            pattern: Some(target.text.clone()),
            ..Modules::default()
        };
        if self.model.modules.iter().any(|m| wanted.fits(&m.name)) {
            return self.modules_line(wanted);
        }
        if let Some(va) = target.address.as_ref().and_then(|at| at.literal())
            && target.text.len() > 4
        {
            self.open_memory(va, BytesFormat::Bytes);
            return Ok(());
        }
        Err(command::unknown(&target.text).0)
    }

    /// Completions of the word before the cursor.
    pub(in crate::tui) fn completions(&self, line: &str) -> Vec<String> {
        let start = line.rfind(' ').map_or(0, |at| at + 1);
        let (before, word) = line.split_at(start);
        let whole = |word: &str| format!("{before}{word}");
        if before.trim().is_empty() {
            let bare = word.trim_start_matches('!');
            return table::ENTRIES
                .iter()
                .map(|entry| entry.name)
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
