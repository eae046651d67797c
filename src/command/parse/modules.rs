//! Commands for modules and symbols.

use super::*;

/// The letters of `lm`, without those that are refused below.
const LETTERS: &str = "vlkosnftipecuamD1";

/// What stands behind `lm` without a blank: letters (`lmkv`, `lmtn`), and the pattern that
/// WinDbg's links write behind `lmDvm`.
pub(in crate::command) fn glued(name: &str) -> Option<(&str, Option<&str>)> {
    let rest = name.strip_prefix("lm")?;
    for linked in ["Dvm", "vm"] {
        if let Some(pattern) = rest.strip_prefix(linked).filter(|p| !p.is_empty()) {
            return Some((linked, Some(pattern)));
        }
    }
    (rest.len() <= 5 && rest.chars().all(|c| LETTERS.contains(c))).then_some((rest, None))
}

pub(in crate::command) fn modules(words: &mut Words) -> Result<Request> {
    let mut out = Modules::default();
    let name = words.name().to_owned();
    let (mut options, mut pattern) = match glued(&name) {
        Some((letters, pattern)) => (letters.to_owned(), pattern.map(str::to_owned)),
        None => (String::new(), None),
    };
    loop {
        let mut wants = None;
        let mut letters = options.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                'v' => out.verbose = true,
                't' => out.time = true,
                'f' | 'i' | 'n' | 'p' => out.path = true,
                's' if letters.peek() == Some(&'m') => {
                    letters.next();
                    out.by_name = true;
                }
                // The kernel's modules, links, the order of addresses: as it is in any case.
                'o' | 'k' | 'D' => {}
                '1' if letters.peek() == Some(&'m') => {
                    letters.next();
                    out.names = true;
                }
                'a' | 'm' => wants = Some(letter),
                'u' => {
                    return Err(Refusal::new(
                        "lm u (user-mode modules) is not available here; `lm` lists the kernel's",
                    ));
                }
                'l' | 'e' => {
                    return Err(Refusal(format!(
                        "lm {letter} (modules by the state of their symbols) is not available here; `lm` shows the symbols of each module"
                    )));
                }
                'c' => {
                    return Err(Refusal::new(
                        "lm c (checksums) is not available here; `lm v` shows time stamps, sizes and PDBs",
                    ));
                }
                other => {
                    return Err(Refusal(format!(
                        "lm: unknown option {other}; usage: lm [v|t|f|1m|sm] [a ADDRESS] [m PATTERN]"
                    )));
                }
            }
        }
        match wants {
            Some('a') => out.holding = Some(address(words)?),
            Some(_) => {
                let linked = pattern.take();
                let Some(pattern) = linked.or_else(|| words.take().map(str::to_owned)) else {
                    return Err(words.missing("a module name"));
                };
                out.pattern = Some(pattern);
            }
            None => {}
        }
        let Some(word) = words.take().map(str::to_owned) else {
            break;
        };
        // `modules DUMP nt` names a module; the debugger's letters are for `lm`.
        let is_option = match name.as_str() {
            "modules" => matches!(word.as_str(), "a" | "m" | "v" | "vm"),
            _ => word.len() <= 3 && word.chars().all(|c| LETTERS.contains(c)),
        };
        if is_option {
            options = word;
        } else if word == "M" {
            let Some(pattern) = words.take() else {
                return Err(words.missing("a path"));
            };
            out.pattern = Some(pattern.to_owned());
            options = String::new();
        } else if out.pattern.is_none() && out.holding.is_none() {
            // `modules DUMP NAME`, `modules DUMP ADDRESS`.
            match expression::number(&word).filter(|n| *n > 0xffff_ffff) {
                Some(_) => out.holding = Some(Expression::parse(&word)?),
                None if word.contains(['!', '+']) => {
                    out.holding = Some(Expression::parse(&word)?);
                }
                None => out.pattern = Some(word),
            }
            options = String::new();
        } else {
            return Err(words.unexpected(&word));
        }
    }
    Ok(Request::Modules(out))
}

pub(in crate::command) fn nearest(words: &mut Words) -> Result<Request> {
    let at = address(words)?;
    words.end()?;
    Ok(Request::Nearest(at))
}

/// `? EXPRESSION`, `.formats EXPRESSION`.
pub(in crate::command) fn evaluate(words: &mut Words) -> Result<Request> {
    let at = address(words)?;
    words.end()?;
    Ok(Request::Evaluate(at))
}

pub(in crate::command) fn symbols(words: &mut Words) -> Result<Request> {
    let mut by_name = false;
    let mut columns = SymbolColumns::default();
    while let Some(option) = words.take_if(|w| w.starts_with('/')).map(str::to_owned) {
        match option.as_str() {
            "/n" => by_name = true,
            "/a" => by_name = false,
            "/0" => columns = SymbolColumns::Address,
            "/1" => columns = SymbolColumns::Name,
            "/2" => columns = SymbolColumns::Both,
            _ => {
                return Err(Refusal(format!(
                    "x {option} is not available here: public symbols have no sizes and types; usage: x [/n|/a] [/0|/1|/2] MODULE!PATTERN"
                )));
            }
        }
    }
    let Some(word) = words.take().map(str::to_owned) else {
        return Err(words.missing("MODULE!PATTERN"));
    };
    words.end()?;
    let (module, name) = word.split_once('!').unwrap_or(("nt", &word));
    let or_all = |text: &str| match text {
        "" => "*".to_owned(),
        text => text.to_owned(),
    };
    Ok(Request::Symbols(SymbolQuery {
        module: or_all(module),
        name: or_all(name),
        by_name,
        columns,
    }))
}

/// `!for_each_module s -a @#Base @#End "Leak"`.
pub(in crate::command) fn for_each_module(words: &mut Words) -> Result<Request> {
    match words.take() {
        Some("s") => search(words),
        Some(first) if first.starts_with("s ") => {
            let inner = first.to_owned();
            let rest = inner.get(2..).unwrap_or_default();
            search(&mut Words::parse("s", rest)?)
        }
        _ => Err(Refusal::new(
            "!for_each_module: only the search for a tag is available: !for_each_module s -a @#Base @#End \"TAG\"",
        )),
    }
}
