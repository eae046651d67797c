//! Pages of blocks with pool headers, as used up to Windows 10 1803.

use std::sync::OnceLock;

use poolscope::dump::PageBytes;
use poolscope::memory::PAGE_SIZE;
use poolscope::pool::legacy::{Encoding, Rules, UNIT, Verdict, walk_page};
use poolscope::pool::special;
use poolscope::synth::{Machine, era, small};

use super::input::Input;

/// Initial pages: complete chains of Windows 7 and of Server 2003.
fn pages() -> &'static [PageBytes] {
    static PAGES: OnceLock<Vec<PageBytes>> = OnceLock::new();
    PAGES.get_or_init(|| {
        let mut out = Vec::new();
        for spec in [small::spec(), small::of_era(&era::SERVER_2003)] {
            let machine = Machine::build(&spec).unwrap();
            let pool = machine.truth.blocks.iter().filter(|block| !block.big);
            let mut frames: Vec<_> = pool
                .filter_map(|block| machine.memory.frame(block.va))
                .collect();
            frames.dedup();
            let found = frames
                .iter()
                .filter_map(|frame| machine.memory.physical.page(*frame));
            out.extend(found.copied().step_by(3).take(8));
        }
        assert!(out.len() >= 8);
        out
    })
}

/// Input: page, first unit, rules, and headers to write into the page.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let Some([which, start, rules]) = input.array() else {
        return;
    };
    let mut page = pages()[usize::from(which) % pages().len()];
    while let Some([unit, part, value]) = input.array() {
        // A byte of a header, or after it.
        let at = usize::from(unit) * UNIT + usize::from(part % 16);
        page[at] = value;
        if part & 0x80 != 0 {
            page[at..].fill(value);
        }
    }
    let encoding = match rules & 1 {
        0 => Encoding::Vista,
        _ => Encoding::Nt52,
    };
    let paged = [None, Some(true), Some(false), None][usize::from(rules >> 1 & 3)];
    let start = match rules & 8 {
        0 => 0,
        _ => usize::from(start),
    };
    let mut blocks = Vec::new();
    let verdict = walk_page(&page, start, Rules { paged, encoding }, &mut blocks);
    let mut end = start;
    for block in &blocks {
        assert!(
            usize::from(block.unit) >= end,
            "{block:?} begins before {end}"
        );
        assert!(block.units > 0);
        end = usize::from(block.unit) + usize::from(block.units);
    }
    assert!(end * UNIT <= PAGE_SIZE as usize);
    match verdict {
        Verdict::Pool => assert_eq!(end * UNIT, PAGE_SIZE as usize),
        Verdict::NotPool => assert!(blocks.is_empty()),
        Verdict::Damaged(at) => assert!(u64::from(at) < PAGE_SIZE),
    }
    if let Some(found) = special::decode(&page) {
        let block = found.block(poolscope::memory::Va(0xffff_f900_0000_0000), None);
        assert!(block.va.offset() as u64 + block.bytes <= PAGE_SIZE);
    }
}

/// Each undamaged page, with the rules of its Windows version.
pub fn seeds() -> Vec<Vec<u8>> {
    let plain = (0..pages().len() as u8).flat_map(|page| [0, 1].map(|rules| vec![page, 0, rules]));
    let inside = [vec![0, 3, 9], vec![1, 255, 8]];
    plain.chain(inside).collect()
}
