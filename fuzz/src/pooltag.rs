//! pooltag.txt, and the tag guidance.

use std::sync::{Mutex, OnceLock};

use tempfile::NamedTempFile;

use poolscope::analysis::{Descriptions, judgement::guidance};
use poolscope::pool::Tag;
use poolscope::report::text::clean;

use super::input::Input;
use super::shown;

/// The first byte chooses one of the two formats for the rest.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.u8() {
        Some(0) => guide(&String::from_utf8_lossy(input.0)),
        Some(_) => list(input.0),
        None => {}
    }
}

fn list(bytes: &[u8]) {
    static FILE: OnceLock<Mutex<NamedTempFile>> = OnceLock::new();
    let file = FILE.get_or_init(|| Mutex::new(NamedTempFile::new().unwrap()));
    let file = file.lock().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    // A file without entries is rejected.
    let Ok(all) = Descriptions::with_file(file.path()) else {
        return;
    };
    let (entries, ignored) = all.counts();
    let lines = bytes.split(|byte| *byte == b'\n' || *byte == b'\r').count();
    assert!(
        entries + ignored <= lines,
        "{entries} and {ignored} of {lines}"
    );
    let first = bytes.chunks(5).map(|c| c.first_chunk::<4>().copied());
    let asked = first.flatten().map(|tag| Tag::new(u32::from_le_bytes(tag)));
    for tag in asked.take(64).chain(all.tags().take(64)) {
        if let Some(found) = all.get(tag) {
            shown::check(&clean(&format!("{found:?}")));
        }
    }
}

fn guide(text: &str) {
    match guidance::parse(text) {
        Ok(entries) => {
            std::hint::black_box(format!("{entries:?}"));
        }
        Err(mistake) => {
            std::hint::black_box(mistake.to_string());
        }
    }
}

/// Lines as in the WDK's list, and the built-in guidance.
pub fn seeds() -> Vec<Vec<u8>> {
    let list = b"rem a comment\r\n8042 - i8042prt.sys - PS/2 keyboard and mouse\r\n\
        Ab* - <unknown> - with a star\n  Cd - nt!ex    - blanks\nLeak-myfault.sys-close\n\
        ?x?? - a.sys\n-\n\xef\xbb\xbfAAAA - b - \xe4\x1b[2J\n";
    let guidance = include_bytes!("../../assets/guidance.txt");
    let start = &guidance[..guidance.len().min(4096)];
    vec![
        [&[1], list.as_slice()].concat(),
        [&[0], start].concat(),
        vec![1],
        [&[1], [b'\n'; 4000].as_slice()].concat(),
        [&[1], [b'*'; 4000].as_slice()].concat(),
    ]
}
