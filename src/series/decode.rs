//! Decodes the bytes of a log: encodings, escape sequences, line ends.

use std::borrow::Cow;

use super::error::SeriesError;

/// The prefix of each UTF-16 string written by the Microsoft Foundation Classes.
const MFC_STRING: [u8; 3] = [0xff, 0xfe, 0xff];

/// The text of a file, with `\n` line ends and without terminal escape sequences. Bytes in an
/// unknown encoding become the characters with the same numbers, so that the bytes of tags are
/// preserved.
///
/// # Errors
/// [`SeriesError::Empty`], and [`SeriesError::NotText`] if the file contains NUL bytes and is not
/// UTF-16.
pub fn decode(bytes: &[u8]) -> Result<String, SeriesError> {
    let text = raw_text(bytes)?;
    if text.contains('\0') {
        return Err(SeriesError::NotText);
    }
    let text = plain(&text);
    match text.trim().is_empty() {
        true => Err(SeriesError::Empty),
        false => Ok(text),
    }
}

fn raw_text(bytes: &[u8]) -> Result<Cow<'_, str>, SeriesError> {
    let start = bytes.get(..64).unwrap_or(bytes);
    if memchr::memmem::find(start, &MFC_STRING).is_some() {
        return Ok(Cow::Owned(mfc_strings(bytes)));
    }
    Ok(match bytes {
        [] => return Err(SeriesError::Empty),
        [0xff, 0xfe, rest @ ..] => Cow::Owned(utf16(rest, u16::from_le_bytes)),
        [0xfe, 0xff, rest @ ..] => Cow::Owned(utf16(rest, u16::from_be_bytes)),
        [0xef, 0xbb, 0xbf, rest @ ..] => Cow::Owned(String::from_utf8_lossy(rest).into_owned()),
        _ if mostly_zero(start, 1) => Cow::Owned(utf16(bytes, u16::from_le_bytes)),
        _ if mostly_zero(start, 0) => Cow::Owned(utf16(bytes, u16::from_be_bytes)),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(bytes.iter().map(|&b| char::from(b)).collect()),
        },
    })
}

/// True if nearly every second byte is zero and the others are not: Latin text in UTF-16.
fn mostly_zero(start: &[u8], offset: usize) -> bool {
    let pairs = start.chunks_exact(2);
    let all = pairs.len();
    let fits = |pair: &[u8]| pair.get(offset) == Some(&0) && pair.get(1 - offset) != Some(&0);
    all >= 2 && pairs.filter(|pair| fits(pair)).count() * 8 >= all * 7
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).map(|p| unit([p[0], p[1]]));
    char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// The strings of a Microsoft Foundation Classes archive, each as a cell. The format: FF FE FF,
/// the length in characters (a byte, or FF and a word), UTF-16 text; a byte 01 between rows.
fn mfc_strings(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = bytes;
    while let Some(at) = memchr::memmem::find(rest, &MFC_STRING) {
        let (between, found) = rest.split_at(at);
        if between.contains(&1) {
            out.push('\n');
        }
        let (length, text) = match found.get(3..) {
            Some([0xff, low, high, text @ ..]) => (u16::from_le_bytes([*low, *high]).into(), text),
            Some([length, text @ ..]) => (usize::from(*length), text),
            _ => break,
        };
        let (cell, after) = text.split_at((length * 2).min(text.len()));
        let cell = utf16(cell, u16::from_le_bytes);
        out.push_str(&cell);
        if !cell.ends_with([',', '\n']) {
            out.push(',');
        }
        rest = after;
    }
    out
}

/// Removes escape sequences and byte order marks at line starts, and normalises line ends.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {
                chars.next_if_eq(&'\n');
                out.push('\n');
            }
            '\u{c}' => out.push('\n'),
            '\u{feff}' if out.is_empty() || out.ends_with('\n') => {}
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                chars.next_if(|c| matches!(c, '@'..='~'));
            }
            '\u{1b}' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn all_encodings_give_the_same_text() {
        let text = "Tag,Type,Allocs\nLeak,Nonp,5\n";
        let le = wide(text, u16::to_le_bytes);
        let be = wide(text, u16::to_be_bytes);
        let with = |mark: &[u8], rest: &[u8]| [mark, rest].concat();
        for bytes in [
            text.as_bytes().to_vec(),
            text.replace('\n', "\r\n").into_bytes(),
            text.replace('\n', "\r").into_bytes(),
            with(b"\xef\xbb\xbf", text.as_bytes()),
            with(b"\xff\xfe", &le),
            with(b"\xfe\xff", &be),
            le.clone(),
            be,
            text.replace("Leak", "\x1b[31mLeak\x1b[0m").into_bytes(),
        ] {
            assert_eq!(decode(&bytes).unwrap(), text, "{bytes:02x?}");
        }
    }

    #[test]
    fn bytes_of_a_code_page_are_preserved() {
        assert_eq!(decode(b"Le\xe9k").unwrap(), "Le\u{e9}k");
    }

    #[test]
    fn serialised_strings_become_cells() {
        let mut bytes = vec![1];
        for (text, end) in [("Tag", 0), ("Type", 1), ("Leak", 0), ("Paged", 1)] {
            bytes.extend(MFC_STRING);
            bytes.push(text.len() as u8);
            bytes.extend(wide(text, u16::to_le_bytes));
            bytes.extend(vec![1; end]);
        }
        assert_eq!(decode(&bytes).unwrap().trim(), "Tag,Type,\nLeak,Paged,");
    }

    #[test]
    fn empty_and_binary_files_are_rejected() {
        assert!(matches!(decode(b""), Err(SeriesError::Empty)));
        assert!(matches!(decode(b" \r\n\t"), Err(SeriesError::Empty)));
        assert!(matches!(
            decode(b"Leak\0\0\0\0Nonp"),
            Err(SeriesError::NotText)
        ));
        assert!(matches!(decode(&[0; 100]), Err(SeriesError::NotText)));
    }
}
