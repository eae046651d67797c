//! The flattened form of kdump files, used for writing to a pipe: records of bytes with their
//! position in the original file. Numbers are big-endian; later records win (`makedumpfile -R`,
//! and QEMU's `dump/dump.c`).

use std::borrow::Cow;
use std::collections::BinaryHeap;

use super::error::DumpError;

/// The signature; the file pads it with zeros to sixteen bytes.
pub(super) const MAGIC: &[u8] = b"makedumpfile\0\0\0\0";
const HEADER: usize = 4096;
const RECORD: usize = 16;

/// The layout of a file: stored directly, or as records.
#[derive(Debug)]
pub(super) enum Layout {
    /// Stored directly.
    Plain,
    /// Sorted, disjoint pieces.
    Records(Vec<Piece>),
}

/// A part of the original file inside the flattened one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// First offset in the original file.
    start: u64,
    length: u64,
    /// Offset in the real file.
    at: u64,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.length
    }
}

impl Layout {
    /// Reads the records of a flattened file. The second value is true when the end record is
    /// there; otherwise the file was truncated.
    ///
    /// # Errors
    /// [`DumpError::Damaged`].
    pub fn flattened(file: &[u8]) -> Result<(Layout, bool), DumpError> {
        let damaged = |what: String| Err(DumpError::Damaged { what });
        let number = |at: usize| {
            let bytes = file.get(at..at.checked_add(8)?)?;
            Some(u64::from_be_bytes(bytes.try_into().ok()?))
        };
        if (number(16), number(24)) != (Some(1), Some(1)) {
            return damaged("a flattened kdump file of an unknown type or version".into());
        }
        let mut records = Vec::new();
        let mut at = HEADER;
        let mut whole = false;
        // Each record takes at least 17 bytes, so the size of the file limits their number.
        while let (Some(start), Some(length)) = (number(at), at.checked_add(8).and_then(number)) {
            if start == u64::MAX && length == u64::MAX {
                whole = true;
                break;
            }
            let data = at + RECORD;
            let fits = start.checked_add(length).is_some_and(|end| end >> 62 == 0);
            if length == 0 || !fits {
                return damaged(format!(
                    "a flattened kdump file has a record of {length:#x} bytes for {start:#x}"
                ));
            }
            // A record beyond the end of the file means that the file was truncated.
            let here = length.min((file.len() - data.min(file.len())) as u64);
            if here > 0 {
                records.push(Piece {
                    start,
                    length: here,
                    at: data as u64,
                });
            }
            match usize::try_from(length)
                .ok()
                .and_then(|n| data.checked_add(n))
            {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok((Layout::Records(disjoint(records)), whole))
    }

    /// The offset of a byte in the real file.
    pub fn place(&self, offset: u64) -> Option<u64> {
        match self {
            Layout::Plain => Some(offset),
            Layout::Records(pieces) => {
                let piece = pieces.get(find(pieces, offset)?)?;
                Some(piece.at + (offset - piece.start))
            }
        }
    }

    /// Bytes of the original file; `None` if some of them are missing.
    pub fn bytes<'a>(&self, file: &'a [u8], offset: u64, length: usize) -> Option<Cow<'a, [u8]>> {
        let Layout::Records(pieces) = self else {
            let at = usize::try_from(offset).ok()?;
            return file.get(at..at.checked_add(length)?).map(Cow::Borrowed);
        };
        let mut out = Vec::new();
        let (mut at, mut left) = (offset, length);
        for piece in pieces.get(find(pieces, offset)?..)? {
            if piece.start > at {
                return None;
            }
            let inside = at - piece.start;
            let n = left.min(usize::try_from(piece.length - inside).ok()?);
            let from = usize::try_from(piece.at + inside).ok()?;
            let bytes = file.get(from..from.checked_add(n)?)?;
            if n == length {
                return Some(Cow::Borrowed(bytes));
            }
            out.extend_from_slice(bytes);
            (at, left) = (at + n as u64, left - n);
            if left == 0 {
                return Some(Cow::Owned(out));
            }
        }
        None
    }
}

/// The piece that covers an offset.
fn find(pieces: &[Piece], offset: u64) -> Option<usize> {
    let index = pieces.partition_point(|piece| piece.end() <= offset);
    pieces.get(index).filter(|p| p.start <= offset)?;
    Some(index)
}

/// Resolves overlaps between records in file order: where two cover a byte, the later one wins.
fn disjoint(records: Vec<Piece>) -> Vec<Piece> {
    if records.windows(2).all(|w| w[0].end() <= w[1].start) {
        return records;
    }
    // Sorted by start; a record's number is its position in file order.
    let mut order: Vec<(u64, usize)> = records
        .iter()
        .enumerate()
        .map(|(i, r)| (r.start, i))
        .collect();
    order.sort_unstable();
    let mut out: Vec<Piece> = Vec::with_capacity(records.len());
    // Records that cover the current position, the latest on top.
    let mut open: BinaryHeap<usize> = BinaryHeap::new();
    let mut next = order.into_iter().peekable();
    let mut at = 0u64;
    loop {
        while open
            .peek()
            .is_some_and(|&top| records.get(top).is_none_or(|r| r.end() <= at))
        {
            open.pop();
        }
        let upcoming = next.peek().map(|&(start, _)| start);
        let Some(&top) = open.peek() else {
            let Some(start) = upcoming else { break };
            at = start;
            while let Some(&(start, index)) = next.peek() {
                if start > at {
                    break;
                }
                open.push(index);
                next.next();
            }
            continue;
        };
        let Some(record) = records.get(top) else {
            break;
        };
        let end = upcoming.map_or(record.end(), |start| record.end().min(start));
        if end > at {
            let piece = Piece {
                start: at,
                length: end - at,
                at: record.at + (at - record.start),
            };
            match out.last_mut() {
                Some(last) if last.end() == piece.start && last.at + last.length == piece.at => {
                    last.length += piece.length;
                }
                _ => out.push(piece),
            }
            at = end;
        }
        while let Some(&(start, index)) = next.peek() {
            if start > at {
                break;
            }
            open.push(index);
            next.next();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn later_records_win(records in proptest::collection::vec((0u64..64, 1u64..20), 0..12)) {
            let mut meant = vec![None; 100];
            let mut pieces = Vec::new();
            let mut at = 0;
            for (start, length) in records {
                for i in 0..length {
                    meant[(start + i) as usize] = Some(at + i);
                }
                pieces.push(Piece { start, length, at });
                at += length + 16;
            }
            let layout = Layout::Records(disjoint(pieces));
            for (offset, want) in meant.iter().enumerate() {
                prop_assert_eq!(layout.place(offset as u64), *want);
            }
        }
    }
}
