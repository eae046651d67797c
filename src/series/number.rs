//! Parses numbers as tools print them: digits of other scripts, thousands separators,
//! hexadecimal.

/// An unsigned number. `None` for anything else and for more than 64 bits.
pub fn unsigned(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let valid = !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
        return valid.then(|| u64::from_str_radix(hex, 16).ok()).flatten();
    }
    let mut separator = None;
    let mut value: u64 = 0;
    let mut in_group = 0usize;
    let mut groups = 0usize;
    for c in text.chars() {
        match digit(c) {
            Some(digit) => {
                value = value.checked_mul(10)?.checked_add(digit)?;
                in_group += 1;
            }
            None if is_separator(c) && separator.is_none_or(|s| s == c) => {
                // The first group has one to three digits, the others have three.
                if in_group == 0 || in_group > 3 || (groups > 0 && in_group != 3) {
                    return None;
                }
                separator = Some(c);
                groups += 1;
                in_group = 0;
            }
            None => return None,
        }
    }
    let whole = in_group > 0 && (groups == 0 || in_group == 3);
    whole.then_some(value)
}

/// A number that may have a minus sign.
pub fn signed(text: &str) -> Option<i128> {
    let text = text.trim();
    match text.strip_prefix(['-', '\u{2212}']) {
        Some(rest) => unsigned(rest).map(|n| -i128::from(n)),
        None => unsigned(text).map(i128::from),
    }
}

/// The integer part of a number with optional decimals after a point, as in performance logs.
pub fn decimal(text: &str) -> Option<u64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        // For example 1.5e+09.
        let value: f64 = text.parse().ok()?;
        let exact = (0.0..9_007_199_254_740_992.0).contains(&value);
        return exact.then_some(value as u64);
    }
    whole
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| whole.parse().ok())
        .flatten()
}

/// The value of a decimal digit in the scripts that Windows uses for numbers.
pub fn digit(c: char) -> Option<u64> {
    const ZEROS: [u32; 8] = [0x30, 0x660, 0x6f0, 0x966, 0x9e6, 0xe50, 0x1040, 0xff10];
    let code = u32::from(c);
    let zero = ZEROS
        .iter()
        .find(|&&zero| (zero..zero + 10).contains(&code))?;
    Some(u64::from(code - zero))
}

/// True for a thousands separator of any language.
pub fn is_separator(c: char) -> bool {
    matches!(
        c,
        ',' | '.' | ' ' | '\'' | '\u{a0}' | '\u{202f}' | '\u{2009}' | '\u{2019}' | '\u{66c}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_language_are_parsed() {
        for text in [
            "1234567",
            "1,234,567",
            "1.234.567",
            "1 234 567",
            "1\u{a0}234\u{a0}567",
            "1\u{202f}234\u{202f}567",
            "1'234'567",
            "1\u{2019}234\u{2019}567",
            "0x12D687",
            "\u{661}\u{662}\u{663}\u{664}\u{665}\u{666}\u{667}",
            " 1234567 ",
        ] {
            assert_eq!(unsigned(text), Some(1_234_567), "{text}");
        }
        assert_eq!(unsigned("18446744073709551615"), Some(u64::MAX));
        assert_eq!(signed("-5"), Some(-5));
        assert_eq!(signed("\u{2212}1,000"), Some(-1000));
        assert_eq!(decimal("734003200.75"), Some(734_003_200));
        assert_eq!(decimal("1.5e+03"), Some(1500));
    }

    #[test]
    fn text_that_only_resembles_a_number_is_none() {
        for text in [
            "",
            "-",
            "1,23",
            "1,2345",
            ",123",
            "1,,234",
            "1,234.567",
            "1234,567",
            "12a",
            "0x",
            "0xg",
            "18446744073709551616",
            "+5",
            "-5",
            "1.5",
            "1e5",
        ] {
            assert_eq!(unsigned(text), None, "{text}");
        }
        for text in ["-1.5", "nan", "inf", "1e300", "x", "1.2.3", "-1"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }
}
