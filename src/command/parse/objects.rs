//! Commands for processes, handles and objects.

use super::*;

pub(in crate::command) fn objects(words: &mut Words) -> Result<Request> {
    let what = words.take().map(str::to_owned);
    words.end()?;
    Ok(Request::Objects(what))
}

pub(in crate::command) fn handles(words: &mut Words) -> Result<Request> {
    let handle = words.take().map(str::to_owned);
    if let Some(handle) = handle.filter(|h| expression::number(h) != Some(0)) {
        return Err(Refusal(format!(
            "!handle {handle}: one handle of a process is not available here; `!handle 0 3 0 TYPE` shows the processes with handles to a type"
        )));
    }
    if let Some(bits) = words.take().map(str::to_owned) {
        flags(words, &bits)?;
    }
    let process = process(words)?;
    let kind = words.take().map(str::to_owned);
    words.end()?;
    Ok(Request::Handles(Handles { process, kind }))
}

/// A process; `None` for 0 (all processes) or -1 (the current one).
fn process(words: &mut Words) -> Result<Option<Expression>> {
    match words.peek() {
        None => Ok(None),
        Some("-1") => Err(Refusal(format!(
            "{}: -1 (the current process) is not available here; write 0 for all, or an address or identifier",
            words.name()
        ))),
        Some(_) => {
            let at = address(words)?;
            Ok((at != Expression::Number(0)).then_some(at))
        }
    }
}

pub(in crate::command) fn processes(words: &mut Words) -> Result<Request> {
    if let Some(option) = words.take_if(|w| w.starts_with('/')).map(str::to_owned) {
        return Err(Refusal(format!(
            "!process: {option} is not available here; usage: !process PROCESS FLAGS [IMAGE]"
        )));
    }
    let process = process(words)?;
    if let Some(bits) = words.take().map(str::to_owned) {
        let flags = flags(words, &bits)?;
        if flags & !1 != 0 {
            return Err(Refusal(format!(
                "!process: flags {bits}: threads and stacks are not available here; write 0 or 1"
            )));
        }
    }
    let image = words.take().map(str::to_owned);
    words.end()?;
    Ok(Request::Processes(Processes { process, image }))
}

pub(in crate::command) fn object(words: &mut Words) -> Result<Request> {
    match words.peek() {
        Some(path) if path.starts_with('\\') => Err(Refusal(format!(
            "!object {path}: paths are not available here; `objects TYPE` lists the objects of a type by name"
        ))),
        // `!object 0 Type`: all objects of a type.
        Some("0") => {
            words.take();
            objects(words)
        }
        _ => {
            let at = address(words)?;
            words.end()?;
            Ok(Request::Object(at))
        }
    }
}
