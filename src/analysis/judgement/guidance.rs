//! Guidance for a large tag: its purpose, its usual meaning, the question to answer, and the next
//! debugger command. The text is in `assets/guidance.txt`; its header describes the format.

use std::fmt;
use std::sync::OnceLock;

use crate::pool::Tag;

/// The built-in text.
const BUILT_IN: &str = include_str!("../../../assets/guidance.txt");

/// A part of the diagnosis that answers the question of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The count compared with the objects that it belongs to.
    Population,
    /// Tags with equal outstanding counts.
    Lockstep,
    /// Sizes of the blocks.
    Sizes,
    /// Modules that reference the tag.
    References,
    /// Targets of pointers in the blocks.
    Contents,
    /// Handles and references of objects.
    Objects,
    /// The number of frees.
    Frees,
}

impl Answer {
    fn parse(word: &str) -> Option<Option<Answer>> {
        Some(match word {
            "none" => None,
            "population" => Some(Answer::Population),
            "lockstep" => Some(Answer::Lockstep),
            "sizes" => Some(Answer::Sizes),
            "references" => Some(Answer::References),
            "contents" => Some(Answer::Contents),
            "objects" => Some(Answer::Objects),
            "frees" => Some(Answer::Frees),
            _ => return None,
        })
    }
}

/// A debugger command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The command line.
    pub command: String,
    /// What its output shows.
    pub why: String,
}

/// Guidance for a group of tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    tags: Vec<[u8; 4]>,
    /// The contents of the blocks.
    pub is: String,
    /// The usual meaning of a large number of blocks.
    pub large: String,
    /// The question to answer.
    pub ask: String,
    /// The parts of the diagnosis that answer the question.
    pub answers: Vec<Answer>,
    /// The next steps, in order.
    pub next: Vec<Step>,
}

/// A line with a format error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line number, from 1.
    pub line: usize,
    /// The error.
    pub why: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// The guidance for a tag; an exact entry wins over one with wildcards.
pub fn of(tag: Tag) -> Option<&'static Entry> {
    static ENTRIES: OnceLock<Vec<Entry>> = OnceLock::new();
    // A test checks the file, so an error can't occur; it would disable the guidance only.
    let entries = ENTRIES.get_or_init(|| parse(BUILT_IN).unwrap_or_default());
    find(entries, tag)
}

fn find(entries: &[Entry], tag: Tag) -> Option<&Entry> {
    let bytes = tag.bytes();
    let literals = |entry: &Entry| {
        let fitting = entry.tags.iter().filter(|pattern| fits(pattern, bytes));
        fitting
            .map(|p| p.iter().filter(|b| !matches!(b, b'?' | b'*')).count())
            .max()
    };
    let rated = entries
        .iter()
        .filter_map(|e| literals(e).map(|literals| (literals, e)));
    // The first of equal entries wins.
    rated
        .rev()
        .max_by_key(|(literals, _)| *literals)
        .map(|(_, entry)| entry)
}

fn fits(pattern: &[u8; 4], tag: [u8; 4]) -> bool {
    for (p, b) in pattern.iter().zip(tag) {
        match p {
            b'*' => return true,
            b'?' => {}
            _ if *p != b => return false,
            _ => {}
        }
    }
    true
}

/// Parses the text.
///
/// # Errors
/// The first line with a format error.
pub fn parse(text: &str) -> Result<Vec<Entry>, Mistake> {
    let mut entries: Vec<Entry> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let fail = |why: String| Mistake {
            line: number + 1,
            why,
        };
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(tags) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let tags = tags.split('|').map(|tag| {
                let bytes = <[u8; 4]>::try_from(tag.as_bytes());
                bytes.map_err(|_| fail(format!("`{tag}` is not a four-byte tag")))
            });
            entries.push(Entry {
                tags: tags.collect::<Result<_, _>>()?,
                ..Entry::default()
            });
            continue;
        }
        let entry = entries
            .last_mut()
            .ok_or_else(|| fail("a line before the first [TAGS]".into()))?;
        entry.take(line).map_err(fail)?;
    }
    Ok(entries)
}

impl Entry {
    /// Parses a `field: value` line.
    fn take(&mut self, line: &str) -> Result<(), String> {
        let (field, value) = line
            .split_once(": ")
            .ok_or_else(|| format!("`{line}` is not in the form `field: value`"))?;
        let text = match field {
            "is" => &mut self.is,
            "large" => &mut self.large,
            "ask" => &mut self.ask,
            "answer" => return self.take_answers(value),
            "next" => {
                let (command, why) = value
                    .split_once(" - ")
                    .ok_or_else(|| format!("`{value}` is not in the form `command - purpose`"))?;
                self.next.push(Step {
                    command: command.trim().into(),
                    why: why.trim().into(),
                });
                return Ok(());
            }
            _ => return Err(format!("unknown field `{field}`")),
        };
        if !text.is_empty() {
            return Err(format!("duplicate field `{field}`"));
        }
        *text = value.trim().into();
        Ok(())
    }

    fn take_answers(&mut self, value: &str) -> Result<(), String> {
        for word in value.split(", ") {
            let answer = Answer::parse(word.trim())
                .ok_or_else(|| format!("`{word}` is not a part of the diagnosis"))?;
            self.answers.extend(answer);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_built_in_text_is_valid() {
        let entries = parse(BUILT_IN).unwrap();
        assert!(entries.len() > 30);
        let mut seen = BTreeSet::new();
        for entry in &entries {
            for tag in &entry.tags {
                let text = String::from_utf8_lossy(tag).into_owned();
                assert!(seen.insert(*tag), "{text} is there twice");
            }
            let tags = String::from_utf8_lossy(&entry.tags[0]).into_owned();
            for text in [&entry.is, &entry.large, &entry.ask] {
                assert!(!text.is_empty(), "{tags} lacks a sentence");
                assert!(!text.ends_with('.'), "{tags}: {text}");
            }
            assert!(!entry.next.is_empty(), "{tags} has no next step");
        }
    }

    #[test]
    fn common_tags_have_guidance() {
        for tag in [
            "Toke", "File", "Ntfx", "FMfn", "Proc", "Thre", "Even", "AlMs", "EtwR", "EtwD", "Etwr",
            "EtwB", "VadS", "MmSt", "CM31", "CM25", "Irp ", "IoWI", "FxDr", "AfdC", "NDnd", "Ndis",
            "Fecf", "smSt", "Ddk ", "None", "Se  ", "Leak", "Pool", "Cont", "Mdl ", "Strg", "SysR",
            "MFeS", "ebpf", "Pp  ", "NtFC", "WCsc", "NpFc", "UlHT", "Qc1A", "NVRM", "NxRx", "Mmdi",
            "BLFP", "Drsd", "ismc",
        ] {
            assert!(of(Tag::of(tag).unwrap()).is_some(), "{tag}");
        }
        assert_eq!(of(Tag::of("zzzz").unwrap()), None);
    }

    #[test]
    fn an_exact_tag_wins_over_a_wildcard() {
        let of = |tag| of(Tag::of(tag).unwrap()).unwrap().is.as_str();
        assert_ne!(of("EtwD"), of("EtwX"));
        assert_ne!(of("MmSt"), of("MmCa"));
    }

    /// Files that the container filter pins first appear under the tags of NTFS.
    #[test]
    fn both_ends_of_the_container_filters_chain_refer_to_each_other() {
        let large = |tag| of(Tag::of(tag).unwrap()).unwrap().large.as_str();
        assert!(large("NtFC").contains("wcifs"), "{}", large("NtFC"));
        assert!(large("WCsc").contains("NtFC"), "{}", large("WCsc"));
        assert!(large("WCsc").contains("Toke"), "{}", large("WCsc"));
    }

    #[test]
    fn format_errors_have_a_line_number() {
        for (text, line, part) in [
            ("is: before", 1, "before the first"),
            ("\n[Toolong]", 2, "four-byte"),
            ("[Abcd]\nis: a\nis: b", 3, "duplicate"),
            ("[Abcd]\nwhat: a", 2, "unknown field `what`"),
            ("[Abcd]\nnext: !vm 1", 2, "command - purpose"),
            ("[Abcd]\nanswer: lockstep, moon", 2, "`moon`"),
            ("[Abcd]\nnothing", 2, "field: value"),
        ] {
            let mistake = parse(text).unwrap_err();
            assert_eq!(mistake.line, line, "{text}");
            assert!(mistake.to_string().contains(part), "{mistake}");
        }
    }
}
