//! Runs each command.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::analysis::census::{self, Question};
use crate::analysis::references::Standing;
use crate::command::request::{
    End, Find, Memory, Modules as ModulesWanted, PoolChoice, PoolMon, PoolUsed as WantedTags,
    Shape, address_of,
};
use crate::command::{self, Request, Target, table};
use crate::engine::{self, Machine, Selection, TagReferences};
use crate::evidence::Choices;
use crate::memory::Va;
use crate::pool::Pool;
use crate::pool::page::PageError;
use crate::pool::{Tag, TagPattern};
use crate::report::{
    self, Allocs, Answer, Contents, Diagnose, DriversReport, Info, ListingReport, Modules,
    ObjectsReport, Page, PoolUsed, Refs, Symbols, Vm,
};

use super::args::{Args, Command, PoolName};
use super::dataset::{self, Export};
use super::input::Input;
use super::logs;
use super::open;
use super::outcome::{CliError, Result, outside};
use super::start;
use super::typed;
use super::walk::{index, keeping};

/// Runs the command, or opens the terminal UI if there is none.
pub fn run(args: &Args) -> Result {
    match (&args.command, &args.dump) {
        (Some(_), Some(dump)) => Err(CliError::Usage(format!(
            "write the command before the dump: poolscope COMMAND {}",
            dump.display()
        ))),
        (Some(command), None) => answer(args, command),
        (None, Some(dump)) => start::browse(args, dump),
        (None, None) => Err(CliError::Usage("name a dump, or a command".into())),
    }
}

fn answer(args: &Args, command: &Command) -> Result {
    match command {
        Command::Demo { out } => start::demo(args, out.as_deref()),
        Command::Info { dump } => {
            let engine = open(args, dump)?;
            print(args, &*engine, &Info::of(&engine.info()))
        }
        Command::Vm {
            dump,
            arguments,
            sources,
        } => {
            command::parse_words("vm", arguments)?;
            let engine = open(args, dump)?;
            vm(args, &*engine, *sources)
        }
        Command::Poolused { dump, arguments } => {
            let Request::PoolUsed(wanted) = command::parse_words("poolused", arguments)? else {
                return Ok(());
            };
            let selection: Selection = (&wanted).into();
            match Input::open(args, dump)? {
                Input::Machine(engine) => pool_used(args, &*engine, &selection),
                Input::Log(log) => logs::pool_used(args, &log, &selection),
            }
        }
        Command::Allocs {
            dump,
            tag,
            arguments,
            heuristic,
        } => {
            let words = [std::slice::from_ref(tag), arguments].concat();
            let Request::Find(wanted) = command::parse_words("allocs", &words)? else {
                return Ok(());
            };
            let wanted = Find {
                heuristic: *heuristic || wanted.heuristic,
                ..wanted
            };
            let engine = open(args, dump)?;
            allocs(args, &*engine, wanted)
        }
        Command::Pool {
            dump,
            address,
            arguments,
        } => {
            let words = [std::slice::from_ref(address), arguments].concat();
            let request = command::parse_words("pool", &words)?;
            let engine = open(args, dump)?;
            run_one(args, &*engine, request)
        }
        Command::Run { dump, words } => {
            let requests = typed::requests(words)?;
            // Help, and refusals of commands that need the terminal UI, need no dump.
            let engine = match requests.iter().all(|r| matches!(r, Request::Help(_))) {
                true => None,
                false => Some(open(args, dump)?),
            };
            requests
                .into_iter()
                .try_for_each(|request| match (&engine, request) {
                    (_, Request::Help(about)) => help(about.as_deref()),
                    (Some(engine), request) => run_one(args, &**engine, request),
                    (None, _) => Ok(()),
                })
        }
        Command::Refs {
            dump,
            tag,
            disassemble,
        } => {
            exact(&parse_pattern(tag)?)?;
            let machine = open(args, dump)?;
            let mut answer = references_as_typed(&*machine, tag)?;
            if *disassemble {
                let engine = machine.engine().ok_or_else(|| {
                    CliError::Usage(
                        "--disassemble needs the dump: the code is not in an evidence file".into(),
                    )
                })?;
                answer.disassembly = engine.disassembly(&answer.found);
            }
            print(args, &*machine, &Refs::of(&answer))
        }
        Command::Stacks { dump, what } => {
            let words = std::slice::from_ref(what);
            let request = command::parse_words("stacks", words)?;
            let engine = open(args, dump)?;
            run_one(args, &*engine, request)
        }
        Command::Contents {
            dump,
            tag,
            pool,
            size,
            sample,
        } => {
            let pattern = parse_pattern(tag)?;
            let tag = exact(&pattern)?;
            let engine = open(args, dump)?;
            let question = Question {
                tag: engine.tag_as_typed(tag, &pattern),
                pool: pool.map(|pool| match pool {
                    PoolName::Nonpaged => Pool::Nonpaged,
                    PoolName::Paged => Pool::Paged,
                }),
                size: *size,
                sample: *sample,
            };
            contents(args, &*engine, question)
        }
        Command::Objects { dump, what, sample } => {
            let engine = open(args, dump)?;
            objects(args, &*engine, what, *sample)
        }
        Command::Drivers { dump } => {
            let engine = open(args, dump)?;
            drivers(args, &*engine)
        }
        Command::Diagnose { dump, exit_code } => match Input::open(args, dump)? {
            Input::Machine(engine) => diagnose(args, &*engine, *exit_code),
            Input::Log(log) => logs::diagnose(args, &log, *exit_code),
        },
        Command::Modules { dump, arguments } => {
            let wanted = typed::modules(arguments)?;
            let engine = open(args, dump)?;
            run_one(args, &*engine, Request::Modules(wanted))
        }
        Command::Diff { inputs } => super::diff::run(args, inputs),
        Command::Check {
            inputs,
            rules,
            baseline,
            junit,
        } => {
            let question = super::check::Question {
                inputs,
                rules,
                baseline: baseline.as_deref(),
                junit: junit.as_deref(),
            };
            super::check::run(args, question)
        }
        Command::Symbols {
            dump,
            all,
            download,
        } => symbols(args, dump, *all, *download),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            let mut command = super::help::command();
            clap_complete::generate(*shell, &mut command, "poolscope", &mut script);
            Ok(io::stdout().lock().write_all(&script)?)
        }
        Command::Evidence {
            dump,
            out,
            contents,
            redact,
            host,
        } => {
            let choices = Choices {
                contents: *contents,
                redact: *redact,
                host: host.clone(),
            };
            dataset::evidence(args, dump, out, &choices)
        }
        Command::Export {
            dumps,
            out,
            blocks,
            host,
        } => {
            let export = Export {
                dumps,
                out,
                blocks: *blocks,
                host: host.as_deref(),
            };
            dataset::export(args, &export)
        }
        Command::Fleet { paths } => dataset::fleet(args, paths),
        Command::Mcp { paths } => super::mcp::run(args, paths),
        Command::Keys => start::keys(args),
        Command::Man => Ok(io::stdout().lock().write_all(&super::man::page()?)?),
    }
}

fn print(args: &Args, engine: &dyn Machine, answer: &impl Answer) -> Result {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    report::write(engine, answer, args.common.format.into(), &mut out)?;
    // Most of the file is read after the warnings were printed, so a failure is reported here.
    if let Some(why) = engine.failure() {
        super::say("warning", &why);
    }
    Ok(())
}

/// Runs one request; refuses requests that need the terminal UI.
fn run_one(args: &Args, engine: &dyn Machine, request: Request) -> Result {
    let request =
        match engine.engine() {
            Some(dump) => request.resolve(dump).map_err(|why| {
                match command::expression::is_no_address(&why) {
                    true => CliError::Usage(why.0),
                    false => CliError::NotThere(why.0),
                }
            })?,
            None => request,
        };
    match request {
        Request::Info => print(args, engine, &Info::of(&engine.info())),
        Request::Vm => vm(args, engine, false),
        Request::PoolUsed(wanted) => pool_used(args, engine, &(&wanted).into()),
        Request::Tags => pool_used(args, engine, &(&WantedTags::default()).into()),
        Request::PoolMon(wanted) => pool_mon(args, engine, &wanted),
        Request::Find(wanted) => allocs(args, engine, wanted),
        Request::Page(wanted) => pool(args, engine, address_of(&wanted.at)?, wanted.only),
        Request::Modules(wanted) if !wanted.is_text() => modules(args, engine, &wanted),
        Request::References(tag) => refs(args, engine, &named(tag)?),
        Request::Search { tag, from, to } => {
            let range = address_of(&from)?..address_of(&to)?;
            let found = engine.tag_references(exact(&tag)?).within(&range);
            print(args, engine, &Refs::of(&found))
        }
        Request::Contents(tag) | Request::Families(tag) => {
            let pattern = named(tag)?;
            let tag = engine.tag_as_typed(exact(&pattern)?, &pattern);
            contents(
                args,
                engine,
                Question {
                    tag,
                    pool: None,
                    size: None,
                    sample: census::USUAL_SAMPLE,
                },
            )
        }
        Request::Sizes(tag) => {
            let pattern = as_typed(engine, named(tag)?);
            note_unknown(engine, &pattern);
            let index = index(args, engine)?;
            print(
                args,
                engine,
                &ListingReport::of(&engine::inspect::sizes_of(&index, &pattern)),
            )
        }
        Request::Objects(what) => {
            let what =
                what.ok_or_else(|| CliError::Usage("objects: name a tag or a type".into()))?;
            objects(args, engine, &what, engine::USUAL_LOOK)
        }
        Request::Stacks(target) => super::stacks::run(args, engine, target.as_ref()),
        Request::Drivers => drivers(args, engine),
        Request::Diagnose => diagnose(args, engine, false),
        Request::Help(about) => help(about.as_deref()),
        Request::Go(target) => go(args, engine, &target),
        other if other.needs_screen() => Err(CliError::Usage(
            "this command needs the terminal UI: poolscope DUMP, then : and the command".into(),
        )),
        other => match of_dump(engine)?.inspect(&other) {
            Some(Ok(listing)) => print(args, engine, &ListingReport::of(&listing)),
            Some(Err(why)) => Err(CliError::NotThere(why.0)),
            None => Err(CliError::Usage("this command is not available here".into())),
        },
    }
}

/// The dump behind the machine; an evidence file has none.
fn of_dump(engine: &dyn Machine) -> Result<&engine::Engine> {
    let why = "this is not in an evidence file: run the command on the dump";
    engine
        .engine()
        .ok_or_else(|| CliError::NotThere(why.into()))
}

/// An address, a tag or a module without a command: prints the page of the address, the
/// allocations of the tag, or the module.
fn go(args: &Args, engine: &dyn Machine, target: &Target) -> Result {
    if let Some(at) = target.address.as_ref().filter(|_| target.is_address()) {
        let va = address_of(at)?;
        if matches!(engine.page(va), Err(PageError::NotPool)) {
            let bytes = Request::Memory(Memory {
                shape: Shape::Bytes,
                at: at.clone(),
                end: End::Usual,
            });
            return run_one(args, engine, bytes);
        }
        return pool(args, engine, va, false);
    }
    let known = |pattern: &TagPattern| {
        engine
            .trackers()
            .rows
            .iter()
            .any(|r| pattern.matches(r.tag))
    };
    if let Some(pattern) = target.tag.clone().filter(known) {
        let wanted = Find {
            tag: Some(pattern),
            pool: PoolChoice::Both,
            heuristic: false,
        };
        return allocs(args, engine, wanted);
    }
    let wanted = ModulesWanted {
        pattern: Some(target.text.clone()),
        verbose: true,
        ..ModulesWanted::default()
    };
    match of_dump(engine)?.inspect(&Request::Modules(wanted)) {
        Some(Ok(listing)) => print(args, engine, &ListingReport::of(&listing)),
        _ => Err(CliError::NotThere(format!(
            "{}: no tag, module or address of this name in the dump",
            target.text
        ))),
    }
}

/// Lists the commands, or explains one of them.
fn help(about: Option<&str>) -> Result {
    let mut out = BufWriter::new(io::stdout().lock());
    match about {
        None => {
            for entry in table::ENTRIES {
                let place = if entry.screen_only {
                    "  (terminal UI)"
                } else {
                    ""
                };
                writeln!(out, "{:<44} {}{place}", entry.usage(), entry.help)?;
            }
        }
        Some(name) => {
            let entry = table::find(name).ok_or_else(|| command::unknown(name))?;
            writeln!(out, "{}\n    {}", entry.usage(), entry.help)?;
            if !entry.aliases.is_empty() {
                writeln!(out, "    also: {}", entry.aliases.join(", "))?;
            }
            match entry.windbg {
                Some(windbg) => writeln!(out, "    WinDbg: {windbg}")?,
                None => writeln!(out, "    no WinDbg equivalent")?,
            }
        }
    }
    Ok(out.flush()?)
}

fn contents(args: &Args, engine: &dyn Machine, question: Question) -> Result {
    note_unknown(engine, &TagPattern::of(question.tag));
    let index = index(args, engine)?;
    let progress = census::Progress::default();
    let census = engine.census(&index, question, &|| true, &progress);
    match census.map_err(CliError::NotThere)? {
        Some(census) => print(args, engine, &Contents::of(&census)),
        None => Ok(()),
    }
}

fn objects(args: &Args, engine: &dyn Machine, what: &str, sample: u64) -> Result {
    let tag = match engine.object_tag(what) {
        Some(tag) => tag,
        None => {
            let pattern = parse_pattern(what)?;
            engine.tag_as_typed(exact(&pattern)?, &pattern)
        }
    };
    let index = index(args, engine)?;
    let found = engine.objects_of(&index, tag, sample, &|| true);
    match found.map_err(CliError::NotThere)? {
        Some(found) => print(args, engine, &ObjectsReport::of(&found)),
        None => Ok(()),
    }
}

fn vm(args: &Args, engine: &dyn Machine, sources: bool) -> Result {
    let answer = Vm::of(engine.vm()).with_sources(sources);
    print(args, engine, &answer)
}

/// The tag list with PoolMon's switches.
fn pool_mon(args: &Args, engine: &dyn Machine, wanted: &PoolMon) -> Result {
    if wanted.by_change {
        return Err(CliError::Usage(
            "poolmon: -( needs an earlier point: `poolscope diff OLD NEW`, or `:baseline FILE` on the screen".into(),
        ));
    }
    let listing = engine::inspect::pool_mon(engine, wanted)?;
    print(args, engine, &ListingReport::of(&listing))
}

/// Says that a tag is not in use, which explains an empty answer, and which one may be meant.
fn note_unknown(engine: &dyn Machine, pattern: &TagPattern) {
    let used = engine.trackers().rows.iter().map(|row| row.tag);
    if let Some(why) = pattern.unused_among(used) {
        super::say("note", &why);
    }
}

/// The pattern, as the tag in use that a pattern without wildcards means.
fn as_typed(engine: &dyn Machine, pattern: TagPattern) -> TagPattern {
    match pattern.exact() {
        Some(tag) => TagPattern::of(engine.tag_as_typed(tag, &pattern)),
        None => pattern,
    }
}

/// The tag that a command has to have.
fn named(tag: command::request::Chosen) -> Result<TagPattern> {
    tag.ok_or_else(|| CliError::Usage("name a tag".into()))
}

fn exact(pattern: &TagPattern) -> Result<Tag> {
    pattern.exact().ok_or_else(|| {
        CliError::Usage("a tag with a wildcard stands for many: name one tag".into())
    })
}

fn refs(args: &Args, engine: &dyn Machine, pattern: &TagPattern) -> Result {
    let tag = engine.tag_as_typed(exact(pattern)?, pattern);
    let found = engine.tag_references(tag);
    if found.found.found.is_empty() {
        note_unknown(engine, pattern);
    }
    print(args, engine, &Refs::of(&found))
}

fn pool_used(args: &Args, engine: &dyn Machine, selection: &Selection) -> Result {
    let selection = &Selection {
        pattern: as_typed(engine, selection.pattern.clone()),
        ..selection.clone()
    };
    let used = engine.pool_used(selection)?;
    if used.rows.is_empty() {
        note_unknown(engine, &selection.pattern);
    }
    used.notes
        .iter()
        .for_each(|note| super::say("warning", note));
    print(args, engine, &PoolUsed::of(&used))
}

fn parse_pattern(text: &str) -> Result<TagPattern> {
    TagPattern::parse(text).map_err(|e| CliError::Usage(e.to_string()))
}

/// The references to a tag as typed. A tag with fewer than four characters may be padded
/// with spaces or with zero bytes, which are different tags: the one in use is shown, and
/// the other one is mentioned.
fn references_as_typed(machine: &dyn Machine, text: &str) -> Result<TagReferences> {
    let pattern = parse_pattern(text)?;
    let tag = exact(&pattern)?;
    let mut answer = machine.tag_references(tag);
    let plain = text.len() < 4 && !text.contains(['\\', ' ']);
    let mut bytes = [0; 4];
    if !plain || !text.is_ascii() {
        // `Pmn.`, as lists show a byte that is not printable.
        let meant = machine.tag_as_typed(tag, &pattern);
        if meant != tag {
            answer = machine.tag_references(meant);
            answer.found.notes.push(format!(
                "these are the references to `{}`, which is shown as {meant}",
                meant.typed()
            ));
        }
        return Ok(answer);
    }
    for (to, from) in bytes.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    let zeros = Tag::new(u32::from_le_bytes(bytes));
    let mut other = machine.tag_references(zeros);
    let is_used = |answer: &TagReferences| {
        let mut modules = answer.found.modules.iter();
        modules.any(|m| m.standing <= Standing::Frees)
    };
    let (typed, blanks) = (zeros.typed(), tag.typed());
    if is_used(&other) && !is_used(&answer) {
        other.found.notes.push(format!(
            "these are the references to `{typed}`, which ends in zeros; no module uses `{blanks}`"
        ));
        return Ok(other);
    }
    if is_used(&other) {
        answer.found.notes.push(format!(
            "`{typed}`, which ends in zeros, is a different tag that is also used: type it in \
                this form to see it"
        ));
    } else if !is_used(&answer) {
        answer.found.notes.push(format!(
            "a tag that ends in zeros instead of blanks is written `{typed}`; no module uses that \
                one either"
        ));
    }
    Ok(answer)
}

fn allocs(args: &Args, engine: &dyn Machine, wanted: Find) -> Result {
    let pattern = as_typed(engine, named(wanted.tag)?);
    note_unknown(engine, &pattern);
    let index = index(args, engine)?;
    keeping(args, engine, &index, || {
        let found = engine
            .allocs(&index, &pattern, wanted.heuristic)
            .only(wanted.pool);
        let answer = Allocs::of(&found);
        if args.common.format == super::args::FormatName::Csv {
            answer
                .notes()
                .iter()
                .for_each(|note| super::say("note", note));
        }
        print(args, engine, &answer)
    })
}

fn drivers(args: &Args, engine: &dyn Machine) -> Result {
    if engine.trackers().rows.is_empty() {
        let why = "the pool trackers were not found in this dump";
        return Err(CliError::NotThere(why.into()));
    }
    let index = index(args, engine)?;
    keeping(args, engine, &index, || {
        let drivers = engine.by_driver(Some(&index)).map_err(CliError::NotThere)?;
        print(args, engine, &DriversReport::of(&drivers))
    })
}

fn diagnose(args: &Args, engine: &dyn Machine, exit_code: bool) -> Result {
    let format = report::Format::from(args.common.format);
    if let Some(kept) = engine.kept_answer("diagnose", format.word()) {
        io::stdout().lock().write_all(kept.as_bytes())?;
        let is_leak = engine
            .kept_answer("diagnose", report::Format::Json.word())
            .is_some_and(Diagnose::is_leak_in);
        return outside(exit_code && is_leak);
    }
    let index = index(args, engine)?;
    let Some(dump) = engine.engine() else {
        let why = "the evidence file has no report; create it again from the dump";
        return Err(CliError::NotThere(why.into()));
    };
    keeping(args, engine, &index, || {
        let answer = Diagnose::of(dump, &dump.diagnose(&index));
        print(args, engine, &answer)?;
        outside(exit_code && answer.is_leak())
    })
}

fn pool(args: &Args, engine: &dyn Machine, va: Va, only: bool) -> Result {
    let mut page = engine.page(va).map_err(|e| {
        CliError::NotThere(match e {
            PageError::Unreadable(fault) => format!("{va} can't be read: {fault}"),
            PageError::NotPool => format!("{va} is not in a page of pool"),
            PageError::NotKept => {
                format!("the evidence file does not have the page of {va}; open the dump")
            }
        })
    })?;
    if only {
        page.blocks.retain(|block| block.holds_address);
    }
    print(args, engine, &Page::of(&page, engine.descriptions()))
}

fn modules(args: &Args, engine: &dyn Machine, wanted: &ModulesWanted) -> Result {
    let va = wanted.holding.as_ref().map(address_of).transpose()?;
    let mut found = engine.modules(va);
    found
        .rows
        .retain(|row| wanted.fits(&row.name) || row.file.as_ref().is_some_and(|f| wanted.fits(f)));
    match (found.rows.is_empty(), va, &wanted.pattern) {
        (true, Some(va), _) => Err(CliError::NotThere(format!(
            "{va} is not in a module of this dump"
        ))),
        (true, None, Some(pattern)) => Err(CliError::NotThere(format!(
            "no module matches {pattern}; `poolscope modules DUMP` lists all"
        ))),
        _ => print(args, engine, &Modules::of(&found)),
    }
}

fn symbols(args: &Args, dump: &Path, all: bool, download: bool) -> Result {
    let mut engine = super::open_offline(args, dump)?;
    let mut failed = None;
    if download {
        match super::download::all(args, &engine.pdbs(all)) {
            Err(CliError::NotThere(why)) => failed = Some(CliError::NotThere(why)),
            other => other?,
        }
        engine = super::open_offline(args, dump)?;
    }
    let pdbs = engine.pdbs(all);
    let notes = pdbs.iter().flat_map(|p| &p.located.notes);
    notes.for_each(|note| super::say("note", note));
    if pdbs.is_empty() {
        super::warn(&*engine);
    }
    print(args, &*engine, &Symbols::of(&engine.facts().symbols, &pdbs))?;
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Sort;

    fn select(arguments: &[&str]) -> Result<Selection> {
        let arguments: Vec<String> = arguments.iter().map(|a| a.to_string()).collect();
        match command::parse_words("poolused", &arguments)? {
            Request::PoolUsed(wanted) => Ok((&wanted).into()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn windbg_arguments_are_accepted() {
        let s = select(&["/t5", "2"]).unwrap();
        assert_eq!((s.top, s.sort, s.verbose), (Some(5), Sort::Nonpaged, false));
        let s = select(&["0x5", "Le*"]).unwrap();
        assert_eq!((s.sort, s.verbose), (Sort::Paged, true));
        assert!(s.pattern.matches(Tag::of("Leak").unwrap()));
        assert!(!s.pattern.matches(Tag::of("Mm").unwrap()));
    }

    #[test]
    fn a_number_after_the_flags_is_a_tag() {
        let s = select(&["2", "1394"]).unwrap();
        assert_eq!(s.pattern.exact(), Tag::of("1394"));
    }

    #[test]
    fn contradictory_arguments_are_usage_errors() {
        for wrong in [
            &["6"][..],
            &["16"],
            &["0", "Leaks"],
            &["0", "Leak", "Thre"],
            &["/tx"],
            &["0", ""],
        ] {
            let error = select(wrong).unwrap_err();
            assert_eq!(error.outcome(), super::super::Outcome::Usage, "{wrong:?}");
        }
    }
}
