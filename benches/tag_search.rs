//! Searching all tags in all bytes of images: our filter compared with an automaton
//! (Aho-Corasick). The input is real code: the benchmark's own executable, repeated.
//!
//! `cargo bench --bench tag_search`
#![allow(clippy::unwrap_used)]

use aho_corasick::AhoCorasick;
use divan::Bencher;
use divan::counter::BytesCount;
use rayon::prelude::*;

use poolscope::analysis::Descriptions;
use poolscope::analysis::tag_search::Needles;
use poolscope::pool::Tag;

/// Bytes of images to search.
const IMAGES: usize = 400 << 20;
const PAGE: usize = 4096;

fn main() {
    divan::main();
}

fn tags(count: usize) -> Vec<Tag> {
    let mut tags: Vec<Tag> = Descriptions::built_in().tags().collect();
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut seed = 1u64;
    while tags.len() < count {
        let mut letter = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            letters[(seed >> 33) as usize % letters.len()]
        };
        let text = [letter(), letter(), letter(), letter()];
        tags.push(Tag::new(u32::from_le_bytes(text)));
    }
    // The built-in list is longer than the smaller count.
    tags.truncate(count);
    tags
}

fn images() -> Vec<u8> {
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    own.iter().copied().cycle().take(IMAGES).collect()
}

fn threads() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .unwrap()
}

#[divan::bench(args = [1000, 10_000], sample_count = 3)]
fn filter(bencher: Bencher, count: usize) {
    let (needles, images, workers) = (Needles::new(tags(count)), images(), threads());
    bencher.counter(BytesCount::new(IMAGES)).bench_local(|| {
        workers.install(|| {
            let hits = images.par_chunks(64 * PAGE).map(|chunk| {
                let mut hits = 0u64;
                for page in chunk.chunks(PAGE) {
                    needles.find(page, |_, _| hits += 1);
                }
                hits
            });
            hits.sum::<u64>()
        })
    });
}

#[divan::bench(args = [1000, 10_000], sample_count = 3)]
fn automaton(bencher: Bencher, count: usize) {
    let both = |form: u32| [form.to_le_bytes(), (form | 1 << 31).to_le_bytes()];
    let needles: Vec<[u8; 4]> = tags(count)
        .into_iter()
        .map(|tag| tag.value())
        .flat_map(both)
        .collect();
    let automaton = AhoCorasick::new(needles).unwrap();
    let (images, workers) = (images(), threads());
    bencher.counter(BytesCount::new(IMAGES)).bench_local(|| {
        workers.install(|| {
            let hits = images.par_chunks(64 * PAGE).map(|chunk| {
                let pages = chunk.chunks(PAGE);
                pages
                    .map(|page| automaton.find_overlapping_iter(page).count() as u64)
                    .sum::<u64>()
            });
            hits.sum::<u64>()
        })
    });
}
