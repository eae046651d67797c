//! Replaces names by keyed hashes: names of the machine, of users, of files, of objects, and text
//! in block contents.
//!
//! The key is random and never stored, so names can't be recovered by trial. Within a file equal
//! names have equal hashes. Names of drivers, of PDBs and of Windows' own processes are not
//! replaced: the evidence needs them.

use std::io;

use aho_corasick::{AhoCorasick, MatchKind};
use ring::hmac;
use ring::rand::SystemRandom;
use rustc_hash::FxHashMap;

use crate::report::text::{clean, markdown};

use super::answers::Answers;
use super::rows::file_name;

/// Minimum length of a name to replace: a shorter one would match parts of other text.
const SHORTEST: usize = 3;
/// Maximum number of names.
const MOST_NAMES: usize = 1 << 16;
/// Processes that belong to Windows.
const WINDOWS_OWN: [&str; 12] = [
    "system",
    "registry",
    "smss.exe",
    "csrss.exe",
    "wininit.exe",
    "winlogon.exe",
    "services.exe",
    "lsass.exe",
    "svchost.exe",
    "explorer.exe",
    "memory compression",
    "idle",
];

/// Replaces names.
pub struct Redactor {
    names: AhoCorasick,
    /// The replacements, by pattern index.
    hashes: Vec<String>,
}

impl Redactor {
    /// A redactor for the names in these answers.
    ///
    /// # Errors
    /// If the system provides no random bytes, or there are too many names.
    pub fn of(answers: &Answers<'_>) -> io::Result<Redactor> {
        Redactor::new(names(answers))
    }

    /// A redactor for these names.
    ///
    /// # Errors
    /// If the system provides no random bytes, or there are too many names.
    pub fn new(names: impl IntoIterator<Item = String>) -> io::Result<Redactor> {
        let random = SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random);
        let key = key.map_err(|_| io::Error::other("the system provides no random numbers"))?;
        let mut patterns: FxHashMap<String, String> = FxHashMap::default();
        for (count, name) in names.into_iter().enumerate() {
            // Leaving a name in the file would be worse than writing no file.
            if count >= MOST_NAMES {
                return Err(io::Error::other("there are too many names to replace"));
            }
            let lower = name.to_lowercase();
            if name.chars().count() < SHORTEST || WINDOWS_OWN.contains(&lower.as_str()) {
                continue;
            }
            let digest = hmac::sign(&key, lower.as_bytes());
            let hex = digest.as_ref().iter().take(6).map(|b| format!("{b:02x}"));
            let hash = format!("redacted-{}", hex.collect::<String>());
            for form in forms(&name) {
                patterns.insert(form, hash.clone());
            }
        }
        let (texts, hashes): (Vec<String>, Vec<String>) = patterns.into_iter().unzip();
        let names = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .ascii_case_insensitive(true)
            .build(&texts)
            .map_err(io::Error::other)?;
        Ok(Redactor { names, hashes })
    }

    /// The redacted text; `None` if it contains no name.
    pub fn replaced(&self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut from = 0;
        for found in self.names.find_iter(text) {
            if !is_whole(text, found.start(), found.end()) {
                continue;
            }
            out += text.get(from..found.start())?;
            out += self.hashes.get(found.pattern().as_usize())?;
            from = found.end();
        }
        if from == 0 {
            return None;
        }
        out += text.get(from..)?;
        Some(out)
    }
}

/// True if the match starts and ends at word boundaries.
fn is_whole(text: &str, start: usize, end: usize) -> bool {
    let inside = |a: Option<char>, b: Option<char>| {
        a.is_some_and(char::is_alphanumeric) && b.is_some_and(char::is_alphanumeric)
    };
    let before = text.get(..start).and_then(|t| t.chars().next_back());
    let first = text.get(start..).and_then(|t| t.chars().next());
    let last = text.get(..end).and_then(|t| t.chars().next_back());
    let after = text.get(end..).and_then(|t| t.chars().next());
    !inside(before, first) && !inside(last, after)
}

/// All spellings of a name: verbatim, sanitized, escaped for Markdown, and each of them escaped
/// as JSON once and twice (JSON inside JSON).
fn forms(name: &str) -> Vec<String> {
    let escaped = |text: &str| {
        let json = serde_json::to_string(text).unwrap_or_default();
        json.trim_matches('"').to_owned()
    };
    let cleaned = clean(name).into_owned();
    let mut out = vec![name.to_owned(), markdown(&cleaned), cleaned];
    for at in 0..3 {
        let once = escaped(&out[at]);
        out.push(escaped(&once));
        out.push(once);
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// The names to replace.
fn names(answers: &Answers<'_>) -> Vec<String> {
    let mut out = Vec::new();
    let path = &answers.info.dump.path;
    out.push(path.clone());
    out.push(file_name(path).to_owned());
    out.push(answers.keys.machine.clone());
    // Folders on the analyst's machine: of the dump and of the PDB.
    out.extend(folders(path));
    out.extend(folders(&answers.info.dump.symbols.detail));
    for module in &answers.modules {
        out.extend(module.path.as_deref().into_iter().flat_map(private_folders));
        if let crate::engine::ModuleSymbols::Pdb(path) = &module.symbols {
            out.push(path.clone());
            out.extend(folders(path));
        }
    }
    for file in answers.machine.vm().page_files.iter().flatten() {
        out.extend(file.path.clone());
    }
    for (_, found) in &answers.references {
        let sources = found.found.iter().filter_map(|r| r.source.as_ref());
        out.extend(sources.flat_map(|(file, _)| folders(file)));
    }
    for (_, objects) in &answers.objects {
        out.extend(objects.names.iter().map(|n| n.name.clone()));
        out.extend(objects.names.iter().flat_map(|n| private_folders(&n.name)));
        out.extend(objects.ended_by_image.iter().map(|n| n.name.clone()));
        out.extend(objects.holders.iter().map(|h| h.process.image.clone()));
    }
    for (_, census) in &answers.censuses {
        out.extend(census.families.iter().filter_map(|f| f.text.clone()));
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// The folders of a path, except common ones and very short ones.
fn folders(path: &str) -> Vec<String> {
    const COMMON: [&str; 12] = [
        "home",
        "users",
        "tmp",
        "var",
        "mnt",
        "usr",
        "work",
        "windows",
        "system32",
        "drivers",
        "systemroot",
        "symbols",
    ];
    let parts: Vec<&str> = path.split(['/', '\\']).collect();
    let all = parts.split_last().map_or(&[][..], |(_, folders)| folders);
    let own = all.iter().filter(|p| p.len() > 3);
    own.filter(|p| !COMMON.contains(&p.to_lowercase().as_str()))
        .map(|p| (*p).to_owned())
        .collect()
}

/// The folders of a path, unless the path is in a Windows folder.
fn private_folders(path: &str) -> Vec<String> {
    let lower = path.to_lowercase();
    match lower.contains("\\systemroot\\") || lower.contains("\\windows\\") {
        true => Vec::new(),
        false => folders(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_name_are_redacted_to_comparable_hashes() {
        let name = "C:\\Users\\b_ob\\x.dmp";
        let redactor = Redactor::new([name.to_owned(), "b_ob".to_owned()]).unwrap();
        let json = serde_json::to_string(name).unwrap();
        let twice = serde_json::to_string(&json).unwrap();
        let mark = markdown(name);
        let out: Vec<String> = [name, &json, &twice, &mark, "by B_OB, twice"]
            .iter()
            .map(|text| redactor.replaced(text).unwrap())
            .collect();
        for text in &out {
            assert!(!text.to_lowercase().contains("ob\\"), "{text}");
            assert!(text.contains("redacted-"), "{text}");
        }
        assert_eq!(out[1].trim_matches('"'), out[0]);
        assert_eq!(redactor.replaced("b_obby and nothing else"), None);
    }

    #[test]
    fn names_of_windows_are_not_redacted() {
        let redactor = Redactor::new(["System".to_owned(), "ab".to_owned()]).unwrap();
        assert_eq!(redactor.replaced("Free System PTEs ab"), None);
    }

    #[test]
    fn too_many_names_are_an_error() {
        let names = (0..=MOST_NAMES).map(|n| format!("name{n}"));
        assert!(Redactor::new(names).is_err());
    }
}
