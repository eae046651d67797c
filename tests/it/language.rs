//! The language of messages, help and documents: plain technical English. Phrases that
//! confused readers must not return.

use std::fs;
use std::path::{Path, PathBuf};

/// Phrases that were replaced; compared case-insensitively, as whole words.
const BANNED: &[&str] = &[
    "all the same",
    "anew",
    "are told apart",
    "as far as can be told",
    "as it stands in the file",
    "ask the dump itself",
    "being worked out",
    "by its headers alone",
    "by their headers alone",
    "cut off the file",
    "drop the filter",
    "drops the filter",
    "for want of",
    "found all the same",
    "given back under pressure",
    "hands the tag on",
    "held against",
    "in no list",
    "in no page of",
    "in no sum",
    "is no address",
    "is no dump",
    "is no file",
    "is no kernel address",
    "is no plain",
    "is no state of",
    "is no tag",
    "is not believed",
    "is told apart",
    "kept index",
    "looks as leaks do",
    "made anew",
    "make it again from",
    "mention it",
    "nobody",
    "nothing in windbg",
    "of it certain",
    "read anew",
    "says nothing",
    "somebody",
    "take some away",
    "what could not be known",
    "what is behind",
    "what is no",
    "what the numbers cover",
    "which is not believed",
    "whoever",
    "within the noise",
];

fn files(under: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(under).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, out);
        } else {
            out.push(path);
        }
    }
}

/// The string literals of a source file that users can see: those before its tests.
fn literals(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap();
    let mut out = Vec::new();
    let mut rest = source.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '/' if rest.peek() == Some(&'/') => {
                rest.by_ref().find(|c| *c == '\n');
            }
            // A character literal can be a quotation mark; a lifetime has no second quote.
            '\'' => {
                let escaped = rest.peek() == Some(&'\\');
                if escaped {
                    rest.next();
                }
                let quote = rest.peek() == Some(&'"');
                if escaped || quote {
                    rest.next();
                }
            }
            '"' => {
                let mut text = String::new();
                while let Some(c) = rest.next() {
                    match c {
                        '"' => break,
                        // The literal continues after the next line's indentation.
                        '\\' if rest.peek() == Some(&'\n') => {
                            while rest.peek().is_some_and(|c| c.is_whitespace()) {
                                rest.next();
                            }
                        }
                        '\\' => {
                            rest.next();
                            text.push(' ');
                        }
                        c => text.push(c),
                    }
                }
                out.push(text);
            }
            _ => {}
        }
    }
    out
}

fn banned(text: &str) -> Option<&'static str> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = format!(" {} ", words.join(" ").to_lowercase());
    let text = text.replace(|c: char| ",;:.!?()`\"'*|".contains(c), " ");
    BANNED
        .iter()
        .copied()
        .find(|phrase| text.contains(&format!(" {phrase} ")))
}

#[test]
fn messages_and_documents_contain_no_banned_phrase() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut seen = 0;
    let mut sources = Vec::new();
    files(&root.join("src"), &mut sources);
    for path in sources {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let name = name.replace('\\', "/");
        let of_tests = name.contains("/tests") || name.contains("/synth/");
        if of_tests || !name.ends_with(".rs") || name.ends_with("fixture.rs") {
            continue;
        }
        for text in literals(&fs::read_to_string(&path).unwrap()) {
            seen += 1;
            if let Some(phrase) = banned(&text) {
                found.push(format!("{name}: \"{phrase}\" in \"{text}\""));
            }
        }
    }
    let mut documents = vec![
        root.join("README.md"),
        root.join("CONTRIBUTING.md"),
        root.join("SECURITY.md"),
        root.join("fuzz/README.md"),
        root.join("assets/guidance.txt"),
        root.join("assets/pooltags.txt"),
        root.join("assets/poolscope.1"),
    ];
    files(&root.join("docs"), &mut documents);
    for path in documents {
        if path.extension().is_some_and(|e| e == "cast") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for paragraph in text.split("\n\n").flat_map(|p| p.split("\n- ")) {
            seen += 1;
            if let Some(phrase) = banned(paragraph) {
                found.push(format!(
                    "{}: \"{phrase}\" in \"{paragraph}\"",
                    path.display()
                ));
            }
        }
    }
    assert!(seen > 5_000, "only {seen} texts were read");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_literal_parser_finds_user_visible_text() {
    let source =
        "fn f() { // \"no\"\n let a = '\"'; g(\"one \\\n      two\"); h(b'\\'', \"x\\\"y\") }";
    assert_eq!(literals(source), ["one two", "x y"]);
    assert_eq!(banned("The file is no dump."), Some("is no dump"));
    assert_eq!(banned("there is no dumpling"), None);
}
