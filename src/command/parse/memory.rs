//! Commands for memory, code and types at an address.

use super::*;

pub(in crate::command) fn memory(words: &mut Words) -> Result<Request> {
    let shape = match words.name().to_ascii_lowercase().as_str() {
        "dw" => Shape::Words,
        "dd" => Shape::DoubleWords { text: false },
        "dc" => Shape::DoubleWords { text: true },
        "dq" => Shape::QuadWords,
        "dps" | "dqs" | "dp" | "dds" => Shape::Pointers,
        "da" => Shape::Ascii,
        "du" => Shape::Unicode,
        _ => Shape::Bytes,
    };
    let at = address(words)?;
    let end = match words.take().map(str::to_owned) {
        None => End::Usual,
        Some(word) => match word.strip_prefix(['l', 'L']) {
            Some(count) => {
                let count = count.trim_start_matches('?');
                let count = match count {
                    "" => words.take().unwrap_or_default().to_owned(),
                    count => count.to_owned(),
                };
                End::Elements(elements(words, &count)?)
            }
            None => End::At(Expression::parse(&word)?),
        },
    };
    words.end()?;
    Ok(Request::Memory(Memory { shape, at, end }))
}

/// Maximum number of elements that one command shows.
const MOST_ELEMENTS: u64 = 1 << 16;

fn elements(words: &Words, text: &str) -> Result<u64> {
    expression::number(text)
        .filter(|n| (1..=MOST_ELEMENTS).contains(n))
        .ok_or_else(|| {
            Refusal(format!(
                "{}: L{text}: write a number of elements from 1 to {MOST_ELEMENTS:x} \
                    (hexadecimal), for example L20",
                words.name()
            ))
        })
}

/// Treated as a search of the images for a tag: `s -a @#Base @#End "Leak"`,
/// `s -d fffff800`00000000 L?… 6b61654c`.
pub(in crate::command) fn search(words: &mut Words) -> Result<Request> {
    let all = words.remaining();
    let last = all.last().cloned().unwrap_or_default();
    let switch = all.iter().find(|w| w.starts_with('-')).cloned();
    let kind = switch.as_deref().map(|s| s.trim_start_matches('-'));
    // `[w]a`, `-[1]d`: flags in brackets.
    let kind = kind.map(|k| k.rsplit(']').next().unwrap_or(k));
    let tag = match kind {
        Some("a" | "sa") if all.len() > 1 => pattern(&last)?,
        Some("d") if all.len() > 1 => {
            let value = expression::number(&last).and_then(|v| u32::try_from(v).ok());
            let value = value.ok_or_else(|| {
                Refusal(format!(
                    "s -d: {last} is not the value of a tag, for example 6b61654c"
                ))
            })?;
            TagPattern::of(Tag::new(value))
        }
        _ => {
            return Err(Refusal::new(
                "s: only searches for a tag are available: s -a ADDRESS L?LENGTH \"TAG\", s -d ADDRESS L?LENGTH 6b61654c, or `refs TAG`",
            ));
        }
    };
    let width = if kind == Some("d") { 4 } else { 1 };
    let range: Vec<&String> = all
        .iter()
        .filter(|w| !w.starts_with('-') && !w.starts_with("@#"))
        .collect();
    match range.as_slice() {
        [from, rest @ .., _] if !rest.is_empty() => {
            let from = Expression::parse(from)?;
            let rest = rest.iter().map(|w| w.as_str()).collect::<String>();
            let to = match rest.strip_prefix(['l', 'L']) {
                Some(count) => {
                    let count = expression::number(count.trim_start_matches('?'));
                    let bytes = count.ok_or_else(|| {
                        Refusal(format!(
                            "s: {rest}: write the length in hexadecimal, for example L?1000000"
                        ))
                    })?;
                    let bytes = Expression::Number(bytes.saturating_mul(width));
                    Expression::Sum(Box::new(from.clone()), Box::new(bytes))
                }
                None => Expression::parse(&rest)?,
            };
            Ok(Request::Search { tag, from, to })
        }
        _ => Ok(Request::References(Some(tag))),
    }
}

pub(in crate::command) fn type_at(words: &mut Words) -> Result<Request> {
    while let Some(option) = words.take_if(|w| w.starts_with('-')).map(str::to_owned) {
        // Depth and format options are accepted but have no effect: the output is always
        // one level, one field per line.
        let plain = option.trim_start_matches('-');
        let harmless = matches!(plain, "v" | "b" | "o" | "n" | "y" | "a" | "s");
        let depth = plain.starts_with('r')
            && plain
                .get(1..)
                .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        if !(harmless || depth) {
            return Err(Refusal(format!(
                "dt: {option} is not available here; usage: dt MODULE!TYPE [FIELD] [ADDRESS]"
            )));
        }
    }
    let Some(name) = words.take().map(str::to_owned) else {
        return Err(words.missing("a type"));
    };
    let (module, name) = name.split_once('!').unwrap_or(("nt", &name));
    if !matches!(
        module.to_ascii_lowercase().as_str(),
        "nt" | "ntkrnlmp" | "ntoskrnl"
    ) {
        return Err(Refusal(format!(
            "dt {module}!{name}: only types of the kernel (nt!) are known here"
        )));
    }
    let name = name.to_owned();
    let mut out = TypeAt {
        name,
        fields: Vec::new(),
        at: None,
    };
    while let Some(word) = words.peek().map(str::to_owned) {
        let looks_like_one = expression::number(&word).is_some_and(|n| n > 0xffff)
            || word.contains(['!', '+', '(', '`']);
        if looks_like_one && out.at.is_none() {
            out.at = Some(address(words)?);
        } else if out.at.is_none() && !word.starts_with('-') {
            words.take();
            out.fields.push(word.trim_end_matches('.').to_owned());
        } else if word.starts_with("-r") {
            words.take();
        } else {
            return Err(words.unexpected(&word));
        }
    }
    Ok(Request::Type(out))
}

pub(in crate::command) fn code(words: &mut Words) -> Result<Request> {
    let at = address(words)?;
    let count = match words.take().map(str::to_owned) {
        None => 8,
        Some(word) => match word.strip_prefix(['l', 'L']) {
            Some(count) => elements(words, count)?,
            None => {
                return Err(Refusal(format!(
                    "u: {word}: write L and a number of instructions, for example L20"
                )));
            }
        },
    };
    words.end()?;
    Ok(Request::Code { at, count })
}
