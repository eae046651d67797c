//! Memory as bytes, numbers, pointers, text and instructions.

use iced_x86::{Decoder, DecoderOptions, Formatter, MasmFormatter};

use crate::command::Refusal;
use crate::command::request::{End, Memory, Shape, address_of};
use crate::memory::Va;

use super::listing::{Listing, Value};
use crate::engine::Engine;

/// Maximum number of bytes that a command shows.
const MOST_BYTES: u64 = 1 << 18;
/// Maximum length of an x64 instruction, in bytes.
const LONGEST: u64 = 15;

impl Engine {
    pub(super) fn memory_at(&self, memory: &Memory, at: Va) -> Result<Listing, Refusal> {
        let width = memory.shape.width();
        let length = match &memory.end {
            End::Usual => match memory.shape {
                Shape::Ascii | Shape::Unicode => 256 * width,
                _ => 128,
            },
            End::Elements(count) => count.saturating_mul(width),
            End::At(end) => {
                let end = address_of(end)?;
                if end < at {
                    return Err(Refusal(format!("the range ends at {end}, before {at}")));
                }
                (end.0 - at.0).saturating_add(1).next_multiple_of(width)
            }
        };
        if length > MOST_BYTES {
            return Err(Refusal(format!(
                "{length} bytes are too many for one listing: at most {MOST_BYTES}"
            )));
        }
        let bytes = self.bytes_at(at, length);
        if bytes.iter().all(Option::is_none) {
            let why = self.space_of(at).u8(at).err();
            let why = why.map_or_else(|| "not in the dump".to_owned(), |fault| fault.to_string());
            return Err(Refusal(format!("{at} can't be read: {why}")));
        }
        Ok(match memory.shape {
            Shape::Bytes => hex_lines(at, &bytes),
            Shape::Ascii | Shape::Unicode => text_at(at, &bytes, width as usize),
            Shape::Pointers => self.pointers_at(at, &bytes),
            Shape::Words | Shape::DoubleWords { .. } | Shape::QuadWords => {
                numbers_at(at, &bytes, memory.shape)
            }
        })
    }

    fn bytes_at(&self, at: Va, length: u64) -> Vec<Option<u8>> {
        let mut out = Vec::new();
        for (start, piece) in self.space_of(at).pieces(at, length) {
            match piece {
                Ok(bytes) => out.extend(bytes.iter().map(|b| Some(*b))),
                Err(_) => {
                    let done = start.0 - at.0;
                    let room = (4096 - start.0 % 4096).min(length.saturating_sub(done));
                    out.extend((0..room).map(|_| None));
                }
            }
        }
        out
    }

    fn pointers_at(&self, at: Va, bytes: &[Option<u8>]) -> Listing {
        let mut out = Listing::new(format!("pointers at {at}"), &["address", "value", "symbol"]);
        let mut lines = Vec::new();
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let here = at.add(i as u64 * 8);
            let value = number(chunk, 8).map(Va);
            let symbol = value.and_then(|va| self.symbol_at(va));
            lines.push(match (value, &symbol) {
                (None, _) => format!("{here}  ????????`????????"),
                (Some(value), None) => format!("{here}  {value}"),
                (Some(value), Some(symbol)) => format!("{here}  {value} {symbol}"),
            });
            out.push(vec![here.into(), value.into(), symbol.into()]);
        }
        out.lines = Some(lines);
        out
    }

    /// Instructions from an address, as far as the bytes are in the dump.
    pub(super) fn code_at(&self, at: Va, count: u64, to: Option<Va>) -> Result<Listing, Refusal> {
        if let Some(to) = to {
            // The instruction at the end address is the last one.
            let length = to.0.checked_sub(at.0).and_then(|n| n.checked_add(1));
            let length = length.filter(|n| *n <= MOST_BYTES).ok_or_else(|| {
                Refusal(format!(
                    "u: the end {to} is not within {MOST_BYTES:x} bytes of {at}"
                ))
            })?;
            let (mut out, _) = self.decoded(at, length + LONGEST - 1, u64::MAX)?;
            let inside =
                |row: &Vec<Value>| matches!(row.first(), Some(Value::Address(va)) if *va <= to);
            let kept = out.rows.iter().take_while(|row| inside(row)).count();
            out.rows.truncate(kept);
            if let Some(lines) = &mut out.lines {
                // The first line is the symbol.
                lines.truncate(kept + 1);
            }
            return Ok(out);
        }
        let length = count.saturating_mul(LONGEST).min(MOST_BYTES);
        let (mut out, _) = self.decoded(at, length, count)?;
        if (out.rows.len() as u64) < count {
            out.notes.push("the rest is not in the dump".into());
        }
        Ok(out)
    }

    /// The instructions in a range of bytes, and the address after the last one.
    ///
    /// # Errors
    /// If the first byte is not in the dump.
    pub(super) fn code_within(&self, at: Va, length: u64) -> Result<(Listing, Va), Refusal> {
        let (mut out, end) = self.decoded(at, length.min(MOST_BYTES), u64::MAX)?;
        if end.0.saturating_sub(at.0) < length {
            out.notes
                .push(format!("the bytes from {end} on are not in the dump"));
        }
        Ok((out, end))
    }

    fn decoded(&self, at: Va, length: u64, count: u64) -> Result<(Listing, Va), Refusal> {
        let mut out = Listing::new(
            format!("instructions at {at}"),
            &["address", "bytes", "instruction"],
        );
        let bytes = self.bytes_at(at, length);
        let known: Vec<u8> = bytes.iter().map_while(|b| *b).collect();
        if known.is_empty() {
            return Err(Refusal(format!(
                "{at} can't be read: it is not in the dump"
            )));
        }
        let mut decoder = Decoder::with_ip(64, &known, at.0, DecoderOptions::NONE);
        let mut formatter = MasmFormatter::new();
        let mut lines = vec![format!(
            "{}:",
            self.symbol_at(at).unwrap_or_else(|| at.to_string())
        )];
        let mut end = at;
        while decoder.can_decode() && (out.rows.len() as u64) < count {
            let instruction = decoder.decode();
            let start = (instruction.ip() - at.0) as usize;
            let code = known
                .get(start..start + instruction.len())
                .unwrap_or_default();
            let code: String = code.iter().map(|b| format!("{b:02x}")).collect();
            let here = Va(instruction.ip());
            end = Va(instruction.next_ip());
            let mut text = String::new();
            if instruction.is_invalid() {
                text.push_str("???");
            } else {
                formatter.format(&instruction, &mut text);
                let target = Va(instruction.near_branch_target());
                let symbol = (target.0 != 0).then(|| self.symbol_at(target)).flatten();
                if let Some(symbol) = symbol {
                    text += &format!("  ({symbol})");
                }
            }
            lines.push(format!("{here} {code:<22} {text}"));
            out.push(vec![here.into(), code.into(), text.into()]);
        }
        out.lines = Some(lines);
        Ok((out, end))
    }
}

fn number(chunk: &[Option<u8>], width: usize) -> Option<u64> {
    if chunk.len() < width {
        return None;
    }
    let bytes = chunk.iter().take(width).rev();
    bytes
        .copied()
        .try_fold(0u64, |n, b| Some(n << 8 | u64::from(b?)))
}

fn hex_lines(at: Va, bytes: &[Option<u8>]) -> Listing {
    let mut out = Listing::new(format!("memory at {at}"), &["address", "bytes", "text"]);
    let mut lines = Vec::new();
    for (i, chunk) in bytes.chunks(16).enumerate() {
        let here = at.add(i as u64 * 16);
        let hex: String = chunk
            .iter()
            .map(|b| b.map_or_else(|| "??".to_owned(), |b| format!("{b:02x}")))
            .collect();
        let text = shown(chunk);
        let parts: Vec<String> = chunk
            .iter()
            .map(|b| b.map_or_else(|| "??".to_owned(), |b| format!("{b:02x}")))
            .collect();
        let (first, last) = parts.split_at(parts.len().min(8));
        let dash = if last.is_empty() { " " } else { "-" };
        let both = format!("{}{dash}{}", first.join(" "), last.join(" "));
        lines.push(format!("{here}  {both:<47}  {text}"));
        out.push(vec![here.into(), hex.into(), text.into()]);
    }
    out.lines = Some(lines);
    out
}

fn numbers_at(at: Va, bytes: &[Option<u8>], shape: Shape) -> Listing {
    let width = shape.width() as usize;
    let mut out = Listing::new(format!("memory at {at}"), &["address", "values", "text"]);
    let with_text = shape == Shape::DoubleWords { text: true };
    let mut lines = Vec::new();
    for (i, chunk) in bytes.chunks(16).enumerate() {
        let here = at.add(i as u64 * 16);
        let value = |part: &[Option<u8>]| match (number(part, width), width) {
            (None, 8) => "????????`????????".to_owned(),
            (None, _) => "?".repeat(width * 2),
            (Some(n), 8) => Va(n).to_string(),
            (Some(n), _) => format!("{n:0digits$x}", digits = width * 2),
        };
        let values: Vec<String> = chunk.chunks(width).map(value).collect();
        let (values, text) = (values.join(" "), shown(chunk));
        lines.push(match with_text {
            true => format!("{here}  {values:<35}  {text}"),
            false => format!("{here}  {values}"),
        });
        out.push(vec![here.into(), values.into(), text.into()]);
    }
    out.lines = Some(lines);
    out
}

/// Text up to its terminating zero, as `da` and `du` show it.
fn text_at(at: Va, bytes: &[Option<u8>], width: usize) -> Listing {
    let units = bytes.chunks(width).map(|unit| number(unit, width));
    let text: String = units
        .map_while(|unit| unit.filter(|n| *n != 0))
        .map(|n| {
            u32::try_from(n)
                .ok()
                .and_then(char::from_u32)
                .unwrap_or('.')
        })
        .map(|c| if c.is_control() { '.' } else { c })
        .collect();
    let mut out = Listing::new(format!("text at {at}"), &["address", "text"]);
    out.lines = Some(vec![format!("{at}  \"{text}\"")]);
    out.push(vec![at.into(), text.into()]);
    out
}

fn shown(chunk: &[Option<u8>]) -> String {
    let one = |b: &Option<u8>| match b {
        Some(b @ 0x20..0x7f) => char::from(*b),
        Some(_) => '.',
        None => '?',
    };
    chunk.iter().map(one).collect()
}
