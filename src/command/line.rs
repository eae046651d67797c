//! Splits a line into commands, and a command into words.

use super::refusal::{Refusal, Result};

/// Removes a debugger's prompt: `0: kd> `, `lkd> `, `16.0: kd:x86> `, `0:000> `.
pub(super) fn without_prompt(line: &str) -> &str {
    let line = line.trim().trim_start_matches(':').trim_start();
    let Some((before, after)) = line.split_once('>') else {
        return line;
    };
    // Of a process: `0:000> `, `1:003:x86> `.
    let of_process = before.split_once(':').is_some_and(|(process, thread)| {
        let thread = thread.split(':').next().unwrap_or_default();
        [process, thread]
            .iter()
            .all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    });
    if of_process {
        return after.trim_start();
    }
    let word = before.rsplit(' ').next().unwrap_or(before);
    let word = word.split(':').next().unwrap_or(word);
    let number = before.split(' ').next().unwrap_or_default();
    let numbered = before == word
        || before.starts_with("kd:")
        || number
            .strip_suffix(':')
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    match matches!(word, "kd" | "lkd") && numbered {
        true => after.trim_start(),
        false => line,
    }
}

/// The commands between semicolons; a quoted `;` is an ordinary character.
pub(super) fn split(line: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut quoted = None;
    for (at, c) in line.char_indices() {
        match (quoted, c) {
            (None, '"') => quoted = Some(c),
            (Some(mark), c) if mark == c => quoted = None,
            (None, ';') => {
                out.extend(line.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    out.extend(line.get(start..));
    out.retain(|command| !command.trim().is_empty());
    out.iter().map(|command| command.trim()).collect()
}

/// Splits a command into its name and its arguments. The name ends at a space, or where
/// WinDbg allows arguments without one (`/t5` of `!poolused/t5`).
pub(super) fn name_and_rest(command: &str) -> (&str, &str) {
    // `?` needs no blank behind it.
    if let Some(rest) = command.strip_prefix('?')
        && !rest.starts_with('?')
    {
        return ("?", rest.trim());
    }
    let end = command
        .char_indices()
        .skip(1)
        .find(|(_, c)| c.is_whitespace() || matches!(c, '/' | '"'))
        .map_or(command.len(), |(at, _)| at);
    let (name, rest) = command.split_at(end);
    (name, rest.trim())
}

/// The name without `!` or `.` and without an extension's name: `!kdexts.vm` becomes `vm`.
pub(super) fn bare_name(name: &str) -> &str {
    let Some(command) = name.strip_prefix('!') else {
        return name.strip_prefix('.').unwrap_or(name);
    };
    const OF_THE_KERNEL: [&str; 4] = ["kdexts.", "exts.", "ext.", "kdex2x86."];
    let known = OF_THE_KERNEL.iter().find_map(|e| {
        let head = command.get(..e.len())?;
        head.eq_ignore_ascii_case(e)
            .then(|| command.get(e.len()..))?
    });
    known.unwrap_or(command)
}

/// The words of a command.
#[derive(Clone, Debug)]
pub struct Words {
    name: String,
    words: Vec<Word>,
    next: usize,
    usage: String,
    /// The arguments as typed.
    pub rest: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    text: String,
    quoted: bool,
}

impl Words {
    /// Words that the shell has split. Removes quotation marks that reached the program.
    pub fn of(name: &str, arguments: &[String]) -> Words {
        let words = arguments.iter().map(|argument| {
            let text = unquoted(argument);
            Word {
                quoted: text.len() != argument.len(),
                text,
            }
        });
        Words {
            name: name.to_owned(),
            words: words.collect(),
            next: 0,
            usage: name.to_owned(),
            rest: arguments.join(" "),
        }
    }

    /// Splits arguments at spaces outside of quotation marks.
    pub(super) fn parse(name: &str, rest: &str) -> Result<Words> {
        let mut words = Vec::new();
        let mut left = rest.trim_start();
        while !left.is_empty() {
            // A tag copied from C source or from a shell may have escaped quotation marks.
            let (mark, inside) = match left {
                l if l.starts_with("\\\"") => ("\\\"", l.get(2..)),
                l if l.starts_with('"') => ("\"", l.get(1..)),
                l if l.starts_with('\'') => ("'", l.get(1..)),
                _ => ("", None),
            };
            if let Some(inside) = inside {
                // `"s -a … \"Leak\""`: marks inside of marks are written with a backslash.
                let escaped = inside
                    .match_indices(mark)
                    .find(|(at, _)| !inside.get(..*at).is_some_and(|b| b.ends_with('\\')));
                let Some((at, _)) = escaped else {
                    return Err(Refusal::new(format!(
                        "{left}: the closing {mark} is missing"
                    )));
                };
                let (text, after) = inside.split_at(at);
                let after = after.get(mark.len()..).unwrap_or_default();
                words.push(Word {
                    text: text.replace("\\\"", "\""),
                    quoted: true,
                });
                left = after.trim_start();
                continue;
            }
            let end = left.find(char::is_whitespace).unwrap_or(left.len());
            let (word, after) = left.split_at(end);
            words.push(Word {
                text: word.to_owned(),
                quoted: false,
            });
            left = after.trim_start();
        }
        Ok(Words {
            name: name.to_owned(),
            words,
            next: 0,
            usage: name.to_owned(),
            rest: rest.to_owned(),
        })
    }

    /// Adds the usage text for error messages.
    pub(super) fn with_usage(self, usage: String) -> Words {
        Words { usage, ..self }
    }

    /// The command as typed.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes the next word.
    pub(super) fn take(&mut self) -> Option<&str> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(&word.text)
    }

    /// Takes the next word if `wanted` returns true.
    pub(super) fn take_if(&mut self, wanted: impl FnOnce(&str) -> bool) -> Option<&str> {
        match self.peek().is_some_and(wanted) {
            true => self.take(),
            false => None,
        }
    }

    /// The next word, without taking it.
    pub(super) fn peek(&self) -> Option<&str> {
        self.words.get(self.next).map(|w| w.text.as_str())
    }

    /// True if the next word is quoted.
    pub(super) fn is_quoted(&self) -> bool {
        self.words.get(self.next).is_some_and(|w| w.quoted)
    }

    /// Takes all remaining words.
    pub(super) fn remaining(&mut self) -> Vec<String> {
        let left = self.words.get(self.next..).unwrap_or_default();
        self.next = self.words.len();
        left.iter().map(|w| w.text.clone()).collect()
    }

    /// Checks that no word is left.
    ///
    /// # Errors
    /// Names the word that is left.
    pub(super) fn end(&self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(word) => Err(self.unexpected(word)),
        }
    }

    /// The error for a word that has no meaning for this command.
    pub(super) fn unexpected(&self, word: &str) -> Refusal {
        let usage = &self.usage;
        Refusal(format!(
            "{}: unexpected argument: {word}; usage: {usage}",
            self.name
        ))
    }

    /// The error for a missing argument.
    pub(super) fn missing(&self, what: &str) -> Refusal {
        let usage = &self.usage;
        Refusal(format!("{}: {what} is missing; usage: {usage}", self.name))
    }
}

/// Removes the surrounding quotation marks.
fn unquoted(text: &str) -> String {
    for (start, end) in [("\\\"", "\\\""), ("\"", "\""), ("'", "'")] {
        let inside = text.strip_prefix(start).and_then(|t| t.strip_suffix(end));
        if let Some(inside) = inside {
            return inside.to_owned();
        }
    }
    text.to_owned()
}
