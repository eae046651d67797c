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
    let mut all = words.remaining();
    let last = all.last().cloned().unwrap_or_default();
    let switch = all.iter().find(|w| w.starts_with('-')).cloned();
    let kind = switch.as_deref().map(|s| s.trim_start_matches('-'));
    // `[w]a`, `-[1]d`: flags in brackets.
    let kind = kind.map(|k| k.rsplit(']').next().unwrap_or(k));
    let tag = match kind {
        Some("a" | "sa") if all.len() > 1 => pattern(&last)?,
        // Four bytes are a tag: `s -b … 4c 65 61 6b`.
        None | Some("b") if bytes_of(&all).is_some() => {
            let bytes = bytes_of(&all).unwrap_or_default();
            all.truncate(all.len() - bytes.len() + 1);
            TagPattern::of(Tag::new(u32::from_le_bytes(bytes)))
        }
        Some("d") if all.len() > 1 => {
            let value = expression::number(&last).and_then(|v| u32::try_from(v).ok());
            // `s -d … 'Leak'`.
            let value = value.or_else(|| Some(Tag::of(&last).filter(|_| last.len() == 4)?.value()));
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

/// The four bytes at the end of the arguments, where they are two digits each.
fn bytes_of(words: &[String]) -> Option<[u8; 4]> {
    let from = words.len().checked_sub(4).filter(|from| *from >= 2)?;
    let mut out = [0; 4];
    for (to, word) in out.iter_mut().zip(words.get(from..)?) {
        let digits = Some(word.strip_prefix("0x").unwrap_or(word)).filter(|w| w.len() == 2)?;
        *to = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(out)
}

pub(in crate::command) fn type_at(words: &mut Words) -> Result<Request> {
    let mut deep = false;
    options(words, &mut deep)?;
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
    // `dt nt!_EPROCESS.ImageFileName`.
    let (name, field) = match name.split_once('.') {
        Some((name, field)) => (name, Some(field.to_owned())),
        None => (name, None),
    };
    let mut out = TypeAt {
        name: name.to_owned(),
        fields: field.into_iter().filter(|f| !f.is_empty()).collect(),
        at: None,
        deep: false,
    };
    // Fields and the address in any order.
    loop {
        options(words, &mut deep)?;
        let Some(word) = words.peek().map(str::to_owned) else {
            break;
        };
        let looks_like_one = expression::number(&word).is_some_and(|n| n > 0xffff)
            || word.contains(['!', '+', '(', '`']);
        if looks_like_one && out.at.is_none() {
            out.at = Some(address(words)?);
        } else if looks_like_one {
            return Err(words.unexpected(&word));
        } else {
            words.take();
            out.fields
                .push(word.trim_end_matches(['.', '*']).to_owned());
        }
    }
    out.deep = deep;
    Ok(Request::Type(out))
}

/// Options of `dt`. `-v` asks for sizes, which are always shown; `-n` and `-y` for names and
/// starts of names, which all are; `-r` and `-b` for the fields of fields.
fn options(words: &mut Words, deep: &mut bool) -> Result<()> {
    while let Some(option) = words.take_if(|w| w.starts_with('-')).map(str::to_owned) {
        let letters = option.trim_start_matches('-');
        let is_depth = letters
            .strip_prefix('r')
            .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        match letters {
            "v" | "n" | "y" => {}
            "b" => *deep = true,
            _ if is_depth => *deep = true,
            _ => {
                return Err(Refusal(format!(
                    "dt: {option} is not available here; usage: dt [nt!]TYPE [FIELD] [ADDRESS]"
                )));
            }
        }
    }
    Ok(())
}

pub(in crate::command) fn code(words: &mut Words) -> Result<Request> {
    let at = address(words)?;
    let mut to = None;
    let count = match words.take().map(str::to_owned) {
        None => 8,
        Some(word) => match word.strip_prefix(['l', 'L']) {
            Some("") => {
                let count = words.take().unwrap_or_default().to_owned();
                elements(words, &count)?
            }
            Some(count) => elements(words, count)?,
            // `u FROM TO`.
            None => {
                to = Some(Expression::parse(&word)?);
                0
            }
        },
    };
    words.end()?;
    Ok(Request::Code { at, count, to })
}
