//! The user's key file.

use std::path::Path;

use poolscope::tui::input::keys::file;

use super::shown;

/// The bytes are the file.
pub fn run(data: &[u8]) {
    let read = file::parse(data);
    let path = Path::new("keys");
    if let Some(message) = read.message(path) {
        shown::check(&message);
    }
    for remark in read.warnings.iter().chain(&read.errors) {
        shown::check(&remark.told(path));
    }
    // The result can be printed and parsed again.
    let printed = file::print(&read.map);
    shown::check_lines(printed.as_bytes());
    let again = file::parse(printed.as_bytes());
    let told: Vec<_> = again.errors.iter().map(|error| error.told(path)).collect();
    assert!(told.is_empty(), "{told:?} in\n{printed}");
    assert_eq!(file::print(&again.map), printed);
}

/// The built-in keys as a file, changes, and mistakes.
pub fn seeds() -> Vec<Vec<u8>> {
    let usual = file::print(&Default::default());
    let changes = "# mine\nquit = Ctrl-q\n[tags]\nhelp = F2, ?\nunbind q\n";
    let mistakes = "quit q\n[nowhere]\nquiet = q\nhelp = Hyper-x\n= \n\x1b[2J = q\n\u{202e}\n";
    [usual.as_str(), changes, mistakes, ""]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}
