//! poolscope's own commands: lists, files, help.

use super::*;

pub(in crate::command) fn note(words: &mut Words) -> Result<Request> {
    Ok(Request::Note(words.rest.trim().to_owned()))
}

pub(in crate::command) fn filter(words: &mut Words) -> Result<Request> {
    Ok(Request::Filter(words.rest.trim().to_owned()))
}

pub(in crate::command) fn sort(words: &mut Words) -> Result<Request> {
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

pub(in crate::command) fn save(words: &mut Words) -> Result<Request> {
    Ok(Request::Save(file(words)))
}

pub(in crate::command) fn report(words: &mut Words) -> Result<Request> {
    let file = file(words);
    Ok(match file.name.is_empty() {
        true => Request::Diagnose,
        false => Request::Report(file),
    })
}

pub(in crate::command) fn help(words: &mut Words) -> Result<Request> {
    let about = words.take().map(str::to_owned);
    words.end()?;
    Ok(Request::Help(about))
}

pub(in crate::command) fn goto(words: &mut Words) -> Result<Request> {
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
        $(pub(in crate::command) fn $name(words: &mut Words) -> Result<Request> {
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
