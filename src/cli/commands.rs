//! What each command does.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::analysis::census::{self, Question};
use crate::engine::{self, IndexCache, Machine, Selection, Sort};
use crate::evidence::Choices;
use crate::memory::Va;
use crate::pool::Pool;
use crate::pool::index::Snapshot;
use crate::pool::page::PageError;
use crate::pool::{Tag, TagPattern};
use crate::report::text::{clean, parse_address};
use crate::report::{
    self, Allocs, Answer, Contents, Diagnose, DriversReport, Info, Modules, ObjectsReport, Page,
    PoolUsed, Refs, Symbols, Vm,
};
use crate::{synth, tui};

use super::args::{Args, Command, PoolName};
use super::dataset::{self, Export};
use super::index::{index, note};
use super::outcome::CliError;
use super::{open, say};

type Result<T = ()> = std::result::Result<T, CliError>;

/// Runs the command, or opens the terminal UI when there is none.
pub fn run(args: &Args) -> Result {
    match (&args.command, &args.dump) {
        (Some(_), Some(dump)) => Err(CliError::Usage(format!(
            "write the command before the dump: poolscope COMMAND {}",
            dump.display()
        ))),
        (Some(command), None) => answer(args, command),
        (None, Some(dump)) => browse(args, dump),
        (None, None) => Err(CliError::Usage("name a dump, or a command".into())),
    }
}

fn answer(args: &Args, command: &Command) -> Result {
    match command {
        Command::Demo { out } => demo(args, out.as_deref()),
        Command::Info { dump } => {
            let engine = open(args, dump)?;
            print(args, &*engine, &Info::of(&engine.info()))
        }
        Command::Vm {
            dump,
            flags,
            sources,
        } => vm(args, dump, flags.as_deref(), *sources),
        Command::Poolused { dump, arguments } => {
            let selection = selection(arguments)?;
            let engine = open(args, dump)?;
            pool_used(args, &*engine, &selection)
        }
        Command::Allocs {
            dump,
            tag,
            heuristic,
        } => allocs(args, dump, tag, *heuristic),
        Command::Pool { dump, address } => pool(args, dump, address),
        Command::Refs { dump, tag } => {
            let tag = exact_tag(tag)?;
            let engine = open(args, dump)?;
            print(args, &*engine, &Refs::of(&engine.tag_references(tag)))
        }
        Command::Contents {
            dump,
            tag,
            pool,
            size,
            sample,
        } => {
            let question = Question {
                tag: exact_tag(tag)?,
                pool: pool.map(|pool| match pool {
                    PoolName::Nonpaged => Pool::Nonpaged,
                    PoolName::Paged => Pool::Paged,
                }),
                size: *size,
                sample: *sample,
            };
            contents(args, dump, question)
        }
        Command::Objects { dump, what, sample } => objects(args, dump, what, *sample),
        Command::Drivers { dump } => drivers(args, dump),
        Command::Diagnose { dump } => diagnose(args, dump),
        Command::Modules { dump, address } => modules(args, dump, address.as_deref()),
        Command::Symbols {
            dump,
            all,
            download,
        } => symbols(args, dump, *all, *download),
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
        Command::Keys => keys(args),
        Command::Man => Ok(io::stdout().lock().write_all(&super::man::page()?)?),
    }
}

/// The keys as they are, or what is wrong with the file that should change them.
fn keys(args: &Args) -> Result {
    let options = tui::Options {
        keys: args.common.keys.clone(),
        ..tui::Options::default()
    };
    let read = options.read_keys();
    if let Some((path, read)) = &read {
        for warning in &read.warnings {
            say("warning", &warning.told(path));
        }
        if let Some((last, others)) = read.errors.split_last() {
            others
                .iter()
                .for_each(|error| say("error", &error.told(path)));
            return Err(CliError::NotThere(last.told(path)));
        }
    }
    let place = match &read {
        Some((path, _)) => format!("# {}\n", clean(&path.to_string_lossy())),
        None => String::new(),
    };
    let map = read.map_or_else(tui::input::keys::KeyMap::default, |(_, read)| read.map);
    let text = place + &tui::input::keys::file::print(&map);
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

fn print(args: &Args, engine: &dyn Machine, answer: &impl Answer) -> Result {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    report::write(engine, answer, args.common.format.into(), &mut out)?;
    // Most of the file is read after the warnings were said.
    if let Some(why) = engine.failure() {
        super::say("warning", &why);
    }
    Ok(())
}

fn contents(args: &Args, dump: &Path, question: Question) -> Result {
    let engine = open(args, dump)?;
    let index = index(args, &*engine)?;
    let progress = census::Progress::default();
    let census = engine.census(&index, question, &|| true, &progress);
    match census.map_err(CliError::NotThere)? {
        Some(census) => print(args, &*engine, &Contents::of(&census)),
        None => Ok(()),
    }
}

fn objects(args: &Args, dump: &Path, what: &str, sample: u64) -> Result {
    let engine = open(args, dump)?;
    let tag = match engine.object_tag(what) {
        Some(tag) => tag,
        None => exact_tag(what)?,
    };
    let index = index(args, &*engine)?;
    let found = engine.objects_of(&index, tag, sample, &|| true);
    match found.map_err(CliError::NotThere)? {
        Some(found) => print(args, &*engine, &ObjectsReport::of(&found)),
        None => Ok(()),
    }
}

fn vm(args: &Args, dump: &Path, flags: Option<&str>, sources: bool) -> Result {
    if let Some(flags) = flags.filter(|f| f.parse::<u8>().is_err()) {
        return Err(CliError::Usage(format!(
            "`{flags}` is no flag of !vm; leave it out or write 1"
        )));
    }
    let engine = open(args, dump)?;
    let answer = Vm::of(engine.vm()).with_sources(sources);
    print(args, &*engine, &answer)
}

/// Reads `[FLAGS] [/tN] [TAG]`, in any order but that flags come before a tag.
fn selection(arguments: &[String]) -> Result<Selection> {
    let mut flags = None;
    let mut top = None;
    let mut pattern = None;
    for argument in arguments {
        if let Some(count) = argument.strip_prefix("/t").and_then(|n| n.parse().ok()) {
            top = Some(count);
        } else if let (None, None, Some(bits)) = (flags, &pattern, number(argument)) {
            flags = Some(bits);
        } else if pattern.is_none() {
            pattern = Some(parse_pattern(argument)?);
        } else {
            return Err(CliError::Usage(format!(
                "`{argument}` is one argument too many: poolused takes [FLAGS] [/tN] [TAG]"
            )));
        }
    }
    let flags = flags.unwrap_or(0);
    Ok(Selection {
        sort: sort(flags)?,
        verbose: flags & 1 != 0,
        session: flags & 8 != 0,
        top,
        pattern: pattern.unwrap_or_else(TagPattern::any),
    })
}

/// A number as the debugger reads it: hexadecimal with 0x, decimal digits without.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse().ok())
            .flatten(),
    }
}

fn sort(flags: u64) -> Result<Sort> {
    if flags & !0xf != 0 {
        return Err(CliError::Usage(format!(
            "{flags:#x} has unknown bits: 1 is verbose, 2 by nonpaged, 4 by paged, 8 session"
        )));
    }
    match flags & 6 {
        2 => Ok(Sort::Nonpaged),
        4 => Ok(Sort::Paged),
        0 => Ok(Sort::Tag),
        _ => Err(CliError::Usage(
            "flags 2 and 4 exclude each other: sort by nonpaged or by paged bytes".into(),
        )),
    }
}

fn pool_used(args: &Args, engine: &dyn Machine, selection: &Selection) -> Result {
    let used = engine.pool_used(selection)?;
    used.notes
        .iter()
        .for_each(|note| super::say("warning", note));
    print(args, engine, &PoolUsed::of(&used))
}

fn parse_pattern(text: &str) -> Result<TagPattern> {
    TagPattern::parse(text).map_err(|e| CliError::Usage(e.to_string()))
}

fn exact_tag(text: &str) -> Result<Tag> {
    parse_pattern(text)?.exact().ok_or_else(|| {
        CliError::Usage(format!(
            "`{text}` has a wildcard; modules are searched for one tag"
        ))
    })
}

fn allocs(args: &Args, dump: &Path, tag: &str, heuristic: bool) -> Result {
    let pattern = parse_pattern(tag)?;
    let engine = open(args, dump)?;
    let index = index(args, &*engine)?;
    keeping(args, &*engine, &index, || {
        let found = engine.allocs(&index, &pattern, heuristic);
        let answer = Allocs::of(&found);
        if args.common.format == super::args::FormatName::Csv {
            answer
                .notes()
                .iter()
                .for_each(|note| super::say("note", note));
        }
        print(args, &*engine, &answer)
    })
}

/// Keeps the index for the next time while `answer` is worked out and printed.
fn keeping(
    args: &Args,
    engine: &dyn Machine,
    index: &Snapshot,
    answer: impl FnOnce() -> Result,
) -> Result {
    std::thread::scope(|scope| {
        let kept = scope.spawn(|| engine.keep_index(index));
        let answered = answer();
        if let Ok(Some(why)) = kept.join() {
            note(args, &why);
        }
        answered
    })
}

fn drivers(args: &Args, dump: &Path) -> Result {
    let engine = open(args, dump)?;
    if engine.trackers().rows.is_empty() {
        let why = "the pool trackers were not found in this dump";
        return Err(CliError::NotThere(why.into()));
    }
    let drivers = engine.by_driver().map_err(CliError::NotThere)?;
    print(args, &*engine, &DriversReport::of(&drivers))
}

fn diagnose(args: &Args, dump: &Path) -> Result {
    let engine = open(args, dump)?;
    let format = report::Format::from(args.common.format);
    if let Some(kept) = engine.kept_answer("diagnose", format.word()) {
        return Ok(io::stdout().lock().write_all(kept.as_bytes())?);
    }
    let index = index(args, &*engine)?;
    let Some(dump) = engine.engine() else {
        let why = "the evidence file has no report; make it again from the dump";
        return Err(CliError::NotThere(why.into()));
    };
    keeping(args, &*engine, &index, || {
        let diagnosis = dump.diagnose(&index);
        print(args, &*engine, &Diagnose::of(dump, &diagnosis))
    })
}

fn address(text: &str) -> Result<Va> {
    parse_address(text).ok_or_else(|| {
        CliError::Usage(format!(
            "`{text}` is no address: write it in hexadecimal, as fffff880`044b63aa"
        ))
    })
}

fn pool(args: &Args, dump: &Path, text: &str) -> Result {
    let va = address(text)?;
    let engine = open(args, dump)?;
    let page = engine.page(va).map_err(|e| {
        CliError::NotThere(match e {
            PageError::Unreadable(fault) => format!("{va} can't be read: {fault}"),
            PageError::NotPool => format!("{va} is in no page of pool"),
            PageError::NotKept => {
                format!("the evidence file does not hold the page of {va}: ask the dump")
            }
        })
    })?;
    print(args, &*engine, &Page::of(&page, engine.descriptions()))
}

fn modules(args: &Args, dump: &Path, text: Option<&str>) -> Result {
    let va = text.map(address).transpose()?;
    let engine = open(args, dump)?;
    let found = engine.modules(va);
    match va.filter(|_| found.rows.is_empty()) {
        Some(va) => Err(CliError::NotThere(format!(
            "{va} is in no module of this dump"
        ))),
        None => print(args, &*engine, &Modules::of(&found)),
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

fn browse(args: &Args, dump: &Path) -> Result {
    browse_with(args, dump, args.common.options())
}

fn browse_with(args: &Args, dump: &Path, options: engine::Options) -> Result {
    Ok(tui::run(
        (dump.to_owned(), options),
        tui::Options {
            ascii: args.common.ascii,
            theme: args.common.theme.into(),
            keys: args.common.keys.clone(),
            mouse: args.common.mouse,
            forget: args.common.no_cache,
        },
    )?)
}

/// Writes the sample to the file asked for, or to a temporary one that is shown and
/// removed afterwards.
fn demo(args: &Args, out: Option<&Path>) -> Result {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CliError::Demo { path, source }
    };
    if let Some(path) = out {
        synth::demo::write(path).map_err(failed(path))?;
        return Ok(());
    }
    let directory = std::env::temp_dir();
    let file = tempfile::Builder::new()
        .prefix("poolscope-demo-")
        .suffix(".dmp")
        .tempfile()
        .map_err(failed(&directory))?;
    synth::demo::write(file.path()).map_err(failed(file.path()))?;
    let options = engine::Options {
        // Nobody opens this file again.
        cache: IndexCache::Off,
        ..args.common.options()
    };
    browse_with(args, file.path(), options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(arguments: &[&str]) -> Result<Selection> {
        let arguments: Vec<String> = arguments.iter().map(|a| a.to_string()).collect();
        selection(&arguments)
    }

    #[test]
    fn the_debuggers_arguments_are_understood() {
        let s = select(&["/t5", "2"]).unwrap();
        assert_eq!((s.top, s.sort, s.verbose), (Some(5), Sort::Nonpaged, false));
        let s = select(&["0x5", "Le*"]).unwrap();
        assert_eq!((s.sort, s.verbose), (Sort::Paged, true));
        assert!(s.pattern.matches(Tag::of("Leak").unwrap()));
        assert!(!s.pattern.matches(Tag::of("Mm").unwrap()));
    }

    #[test]
    fn a_number_behind_the_flags_is_a_tag() {
        let s = select(&["2", "1394"]).unwrap();
        assert_eq!(s.pattern.exact(), Tag::of("1394"));
    }

    #[test]
    fn contradictions_are_refused_as_usage() {
        for wrong in [
            &["6"][..],
            &["16"],
            &["0", "Leaks"],
            &["0", "Leak", "Thre"],
            &["0", ""],
        ] {
            let error = select(wrong).unwrap_err();
            assert_eq!(error.outcome(), super::super::Outcome::Usage, "{wrong:?}");
        }
    }
}
