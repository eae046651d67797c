//! Makes the preview of a tag: sizes, owner, references, texts of sample blocks.

use crate::engine::Machine;
use crate::memory::Va;
use crate::pool::index::Snapshot;
use crate::pool::{Block, Tag, TagPattern};
use crate::report::text::clean;

use crate::tui::data::model::ReferenceRow;
use crate::tui::data::preview::Preview;

/// Maximum sizes, references and texts in a preview.
const MOST: usize = 3;
/// Number of blocks to search for text.
const SAMPLE: u64 = 16;
/// Bytes to read of each block.
const READ: usize = 512;
/// Minimum length of a text, and maximum length shown.
const SHORTEST: usize = 6;
const LONGEST: usize = 60;

/// Makes the preview. `None` if cancelled.
pub fn make(
    engine: &dyn Machine,
    index: &Snapshot,
    tag: Tag,
    wanted: &(dyn Fn() -> bool + Sync),
) -> Option<Preview> {
    let sizes = index.sizes(&TagPattern::of(tag));
    let bytes = sizes
        .iter()
        .fold(0u64, |sum, s| sum.saturating_add(s.bytes()));
    let whole = index.is_complete();
    let mut preview = Preview {
        tag,
        whole,
        size_count: sizes.len() as u64,
        sizes: sizes
            .iter()
            .take(MOST)
            .map(|s| (s.size, s.count, s.bytes() as f64 / bytes.max(1) as f64))
            .collect(),
        ..Preview::default()
    };
    read_texts(engine, index, tag, &mut preview);
    // During the walk, processor time is better spent on the walk than on the search of images.
    if !whole {
        return wanted().then_some(preview);
    }
    let found = engine.references_while(tag, wanted)?;
    let modules = engine.module_list();
    let ranked = found.ranked();
    preview.reference_count = Some(ranked.len() as u64);
    preview.references = ranked
        .iter()
        .take(MOST)
        .map(|r| {
            let row = ReferenceRow::new(r, modules.get(r.module));
            let by = match row.api.is_empty() {
                true => String::new(),
                false => format!(", {}", row.api),
            };
            format!("{} ({}){by}", row.place(), row.confidence)
        })
        .collect();
    let attribution = match engine.engine() {
        Some(dump) => Some(dump.attribution(tag, Some(index))),
        None => engine.attribution_made(tag),
    };
    if let Some(attribution) = attribution {
        let safe = |text: &String| clean(text).into_owned();
        preview.owner = attribution.owner_words().map(|o| safe(&o));
        let owner = attribution.owners.ranked.first();
        preview.reasons = owner.map_or_else(Vec::new, |o| o.reasons.iter().map(safe).collect());
    }
    wanted().then_some(preview)
}

/// Reads the longest text of each sample block; the longest of all comes first.
fn read_texts(engine: &dyn Machine, index: &Snapshot, tag: Tag, preview: &mut Preview) {
    let blocks = index.blocks(tag);
    let looked = blocks.len().min(SAMPLE);
    let mut texts: Vec<(Va, String)> = Vec::new();
    for i in 0..looked {
        // Cannot overflow: both are far below 2^32.
        let at = (u128::from(i) * u128::from(blocks.len()) / u128::from(looked)) as u64;
        let Some(block) = blocks.get(at) else {
            continue;
        };
        match body_of(engine, &block) {
            Some(bytes) => {
                preview.read.0 += 1;
                let text = longest_text(&bytes).filter(|t| texts.iter().all(|(_, old)| old != t));
                texts.extend(text.map(|text| (block.va, text)));
            }
            None => preview.read.1 += 1,
        }
    }
    texts.sort_by_key(|(_, text)| std::cmp::Reverse(text.chars().count()));
    preview.texts = texts
        .into_iter()
        .take(MOST)
        .map(|(va, text)| {
            let shown: String = text.chars().take(LONGEST).collect();
            (va, format!("\"{}\"", clean(&shown)))
        })
        .collect();
}

/// The first bytes of a block after its pool header, as far as its first page can be read.
fn body_of(engine: &dyn Machine, block: &Block) -> Option<Vec<u8>> {
    let start = block.body();
    let own = block.bytes.saturating_sub(block.header_bytes());
    let in_page = 0x1000 - (start.0 & 0xfff);
    let length = own.min(in_page).min(READ as u64);
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    engine.read(block.session, start, &mut bytes).ok()?;
    Some(bytes)
}

/// The longest run of printable ASCII, as bytes or as UTF-16.
fn longest_text(bytes: &[u8]) -> Option<String> {
    let printable = |b: u8| (0x20..0x7f).contains(&b);
    let narrow = bytes
        .split(|b| !printable(*b))
        .max_by_key(|run| run.len())
        .unwrap_or_default();
    let units: Vec<u16> = bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| u16::from_le_bytes(*pair))
        .collect();
    let wide = units
        .split(|u| !u8::try_from(*u).is_ok_and(printable))
        .max_by_key(|run| run.len())
        .unwrap_or_default();
    let text: String = match wide.len() >= narrow.len() {
        true => wide
            .iter()
            .filter_map(|u| char::from_u32((*u).into()))
            .collect(),
        false => narrow.iter().map(|b| char::from(*b)).collect(),
    };
    let letters = text.chars().filter(|c| c.is_ascii_alphanumeric()).count();
    (text.len() >= SHORTEST && letters * 2 > text.len()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_text_is_found_in_bytes_and_in_utf16() {
        let wide: Vec<u8> = "\\Device\\Harddisk"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let mut bytes = vec![0u8; 16];
        bytes.extend_from_slice(b"short text\0");
        bytes.push(0);
        bytes.extend(&wide);
        assert_eq!(longest_text(&bytes).as_deref(), Some("\\Device\\Harddisk"));
        assert_eq!(
            longest_text(b"\x01\x02Hello world\x03").as_deref(),
            Some("Hello world")
        );
        for none in [&b""[..], b"\0\0\0", b"ab\0cd\0", b"........"] {
            assert_eq!(longest_text(none), None, "{none:?}");
        }
    }
}
