//! The file of a cached index. Damages the description and the data, and then corrects the
//! checksums, so that the checks behind them are tested too.

use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::xxh3_64;

use poolscope::memory::Va;
use poolscope::pool::TagPattern;
use poolscope::pool::index::Snapshot;
use poolscope::pool::index::file::{self, Stamp, Terms};
use poolscope::synth::{Container, Machine, small};

use super::input::Input;
use super::locate::Whole;
use super::shown;

const KEY: u128 = 0x1234_5678_9abc_def0;
const PREFIX: usize = 64;

/// The parts of a written index file.
struct Kept {
    meta: Vec<u8>,
    words: Vec<u8>,
    /// Ranges of the words, one per segment, with the range of the description that
    /// contains the checksum.
    sums: Vec<(std::ops::Range<usize>, std::ops::Range<usize>)>,
}

fn kept() -> &'static Kept {
    static KEPT: OnceLock<Kept> = OnceLock::new();
    KEPT.get_or_init(|| {
        let dump = tempfile::NamedTempFile::new().unwrap();
        let mut spec = small::spec();
        spec.vm.session_commit.clear();
        let machine = Machine::build(&spec).unwrap();
        machine.write(dump.path(), Container::BitmapKernel).unwrap();
        let index = Whole::open(dump.path()).engine.index(Default::default());
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_273_651_200);
        let stamp = Stamp {
            key: KEY,
            modified: time,
            opened: time,
        };
        let mut bytes = Vec::new();
        file::write(&index.unwrap(), &stamp, &mut bytes).unwrap();
        Kept::of(&bytes)
    })
}

impl Kept {
    fn of(bytes: &[u8]) -> Kept {
        let length = u64::from_le_bytes(bytes[32..40].try_into().unwrap()) as usize;
        let (meta, words) = bytes[PREFIX..].split_at(length);
        let mut out = Kept {
            meta: meta.to_vec(),
            words: words.to_vec(),
            sums: Vec::new(),
        };
        // A segment ends where its checksum appears in the description.
        let mut start = 0;
        for end in (8..=words.len()).step_by(8) {
            let sum = varint(xxh3_64(&words[start..end]));
            let found = meta.windows(sum.len()).position(|w| w == sum);
            if let Some(at) = found {
                out.sums.push((start..end, at..at + sum.len()));
                start = end;
            }
        }
        assert!(start == words.len() && !out.sums.is_empty());
        out
    }
}

/// A number as encoded in the description.
fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

/// First byte of inputs that are a complete file.
const AS_IT_IS: u8 = 0xff;

/// Edits the description and the words. Corrects the checksums unless the first byte is odd.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let Some(kind) = input.u8() else { return };
    if kind == AS_IT_IS {
        return ask(input.0);
    }
    let kept = kept();
    let (mut meta, mut words) = (kept.meta.clone(), kept.words.clone());
    let mut edits = Vec::new();
    while let Some([what, low, high]) = input.array() {
        let at = usize::from(u16::from_le_bytes([low, high]));
        match what % 4 {
            0 => {
                let Some(value) = input.u64() else { break };
                let at = at * 8 % words.len();
                words[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            _ => match input.run() {
                Some(bytes) => edits.push((what, at % meta.len(), bytes)),
                None => break,
            },
        }
    }
    if kind & 1 == 0 {
        // From the end, because the length of a checksum can change.
        for (stretch, place) in kept.sums.iter().rev() {
            meta.splice(place.clone(), varint(xxh3_64(&words[stretch.clone()])));
        }
    }
    for (what, at, bytes) in edits {
        let at = at.min(meta.len());
        let end = match what % 4 {
            1 => (at + bytes.len()).min(meta.len()),
            2 => at,
            _ => (at + 2).min(meta.len()),
        };
        meta.splice(at..end, bytes.iter().copied());
    }
    ask(&whole(&meta, &words));
}

/// Joins a description and words into a file.
fn whole(meta: &[u8], words: &[u8]) -> Vec<u8> {
    let mut out = b"poolidx\n".to_vec();
    out.extend_from_slice(&1u32.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&KEY.to_le_bytes());
    out.extend_from_slice(&(meta.len() as u64).to_le_bytes());
    out.extend_from_slice(&(words.len() as u64 / 8).to_le_bytes());
    out.extend_from_slice(&xxh3_64(meta).to_le_bytes());
    let sum = xxh3_64(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    [out.as_slice(), meta, words].concat()
}

/// Reads the file, and calls everything that uses a binary search.
fn ask(bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let terms = Terms {
        key: KEY,
        limit: 64 << 20,
        is_current: &|_, _| true,
        wanted: &|| true,
    };
    let read = file::read(&File::open(file.path()).unwrap(), &terms);
    let index: Snapshot = match read {
        Ok(index) => index,
        Err(why) => return shown::check(&why.to_string()),
    };
    let any = TagPattern::any();
    let blocks: Vec<_> = index.matching(&any).take(1 << 16).collect();
    assert!(blocks.len() as u64 <= index.totals.listed);
    for block in blocks.iter().step_by(blocks.len() / 64 + 1) {
        let list = index.blocks(block.tag);
        let at = list.position_in(block.session, block.va);
        std::hint::black_box((list.get(at), list.iter().count()));
        std::hint::black_box(list.position(Va(block.va.0 ^ 0xfff)));
    }
    std::hint::black_box(index.sizes(&any));
    std::hint::black_box(index.allocated(&any).count());
    std::hint::black_box(index.page_use(&|| true));
    std::hint::black_box((index.footprint(), index.totals.failed_pages()));
}

/// The file as a complete input, with and without corrected checksums.
pub fn seeds() -> Vec<Vec<u8>> {
    let kept = kept();
    let mut cut = whole(&kept.meta, &kept.words);
    cut.truncate(PREFIX + 8);
    let first = |what: u8| vec![0, what, 0, 0, 1, 0xff];
    vec![
        vec![0],
        vec![1],
        [&[AS_IT_IS], cut.as_slice()].concat(),
        [&[AS_IT_IS], whole(b"", b"").as_slice()].concat(),
        first(1),
        first(2),
        vec![0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ]
}
