//! Characters that are invisible or that a terminal interprets, and digits in groups.
//!
//! Control characters are those of C0, C1 and DEL. Invisible characters are those with the
//! Unicode property Default_Ignorable_Code_Point, separators, interlinear annotation marks, and
//! the control characters of bidirectional text (UAX #9, UAX #44).

/// True for a character that a terminal might interpret, that changes the order of the text
/// around it, or that is invisible.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}'
            | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Digits in groups of three: `615,424,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_characters_pass() {
        for c in "aZ09 ~\u{a0}ÄßЖ中ก\u{301}€\u{fffd}\u{2500}😀".chars() {
            assert!(!is_hidden(c), "{c:?}");
        }
        for c in "\0\x07\x08\t\n\r\x1b\x7f\u{80}\u{9b}\u{9f}\u{ad}\u{200b}\u{200d}\u{200e}\u{202a}\u{202e}\u{2028}\u{2066}\u{2069}\u{feff}\u{fe0f}\u{fff9}\u{3164}\u{e0041}".chars() {
            assert!(is_hidden(c), "{c:?}");
        }
    }
}
