//! Commands for Driver Verifier and the stacks that it recorded.

use super::*;

pub(in crate::command) fn stacks(words: &mut Words) -> Result<Request> {
    let rest = words.rest.trim().to_owned();
    if rest.is_empty() {
        return Ok(Request::Stacks(None));
    }
    match Target::parse(&rest) {
        Some(target) => {
            words.remaining();
            Ok(Request::Stacks(Some(target)))
        }
        None => Err(expression::invalid(&rest)),
    }
}

pub(in crate::command) fn verifier(words: &mut Words) -> Result<Request> {
    let Some(word) = words.take().map(str::to_owned) else {
        words.end()?;
        let flags = Verifier::DRIVERS;
        let driver = None;
        return Ok(Request::Verifier(Verifier { flags, driver }));
    };
    if word.starts_with('/') {
        return Err(Refusal::new(
            "verifier /flags … sets Driver Verifier up: run it on the Windows machine; `!verifier` shows the state in the dump",
        ));
    }
    let bits = flags(words, &word)?;
    if bits & !(Verifier::DRIVERS | Verifier::BLOCKS | Verifier::LOG) != 0 {
        return Err(Refusal(format!(
            "!verifier: flags {word}: 1 lists the drivers, 2 their pool, 80 the log of allocations and frees; other logs are not available here"
        )));
    }
    let flags = bits;
    if bits & Verifier::LOG == 0 {
        let driver = words.take().map(str::to_owned);
        words.end()?;
        return Ok(Request::Verifier(Verifier { flags, driver }));
    }
    if words.peek().is_none() {
        let driver = None;
        return Ok(Request::Verifier(Verifier { flags, driver }));
    }
    let at = address(words)?;
    words.end()?;
    Ok(Request::Stacks(Some(Target {
        text: "ADDRESS".into(),
        tag: None,
        address: Some(at),
    })))
}
