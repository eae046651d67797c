//! Parses comma-separated values, one record per line.
//!
//! Records never span lines: no cell of these tools contains a line break, and an unterminated
//! quote would otherwise consume the rest of the file.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::limits;

/// Splits lines into cells (RFC 4180).
#[derive(Debug)]
pub struct Splitter {
    reader: Reader,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Splitter {
    /// A splitter for this delimiter.
    pub fn new(delimiter: u8) -> Splitter {
        Splitter {
            reader: ReaderBuilder::new().delimiter(delimiter).build(),
            bytes: Vec::new(),
            ends: vec![0; limits::CELLS],
        }
    }

    /// The cells of a line; `None` if there are too many, or one is too long.
    pub fn cells(&mut self, line: &str) -> Option<Vec<String>> {
        self.reader.reset();
        self.bytes.resize(line.len() + 1, 0);
        let mut input = line.as_bytes();
        let (mut written, mut ended) = (0, 0);
        loop {
            let output = self.bytes.get_mut(written..)?;
            let ends = self.ends.get_mut(ended..)?;
            let (result, _, wrote, closed) = self.reader.read_record(input, output, ends);
            written += wrote;
            ended += closed;
            match result {
                // After the line, empty input marks the end of the record.
                ReadRecordResult::InputEmpty => input = &[],
                ReadRecordResult::Record | ReadRecordResult::End => break,
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => return None,
            }
        }
        let mut start = 0;
        let mut cells = Vec::with_capacity(ended);
        for &end in self.ends.get(..ended)? {
            let cell = self.bytes.get(start..end)?;
            if cell.len() > limits::CELL_BYTES {
                return None;
            }
            cells.push(String::from_utf8_lossy(cell).into_owned());
            start = end;
        }
        Some(cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unterminated_quote_ends_with_its_line() {
        let mut splitter = Splitter::new(b',');
        assert_eq!(
            splitter.cells("a,\"b,c\",,\"d\"\"e\"").unwrap(),
            ["a", "b,c", "", "d\"e"]
        );
        assert_eq!(splitter.cells("a,\"open,b").unwrap(), ["a", "open,b"]);
        assert_eq!(splitter.cells("\"Io  \",5").unwrap(), ["Io  ", "5"]);
        assert_eq!(splitter.cells(&",".repeat(limits::CELLS)), None);
        assert_eq!(splitter.cells(&"x".repeat(limits::CELL_BYTES + 1)), None);
        assert_eq!(Splitter::new(b';').cells("a;b,c").unwrap(), ["a", "b,c"]);
    }
}
