//! Checks that no answer contains a control character of a terminal.

/// Fails on a character that a terminal might interpret. Independent of the crate's own
/// list: uses the Unicode categories Cc, Cf, Zl and Zp.
pub fn check(text: &str) {
    for c in text.chars() {
        let obeyed = matches!(c as u32,
            0..=0x1f | 0x7f..=0x9f | 0xad | 0x61c | 0x180e | 0x200b..=0x200f
            | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb
            | 0xe0000..=0xe007f);
        assert!(!obeyed, "{c:?} in {text:?}");
    }
}

/// The same for lines of output, which may contain tabs in WinDbg's layouts.
pub fn check_lines(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).expect("an answer is UTF-8");
    let lines = text.split('\n');
    lines.for_each(|line| check(&line.replace('\t', " ")));
}
