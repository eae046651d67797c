//! Images of a running machine compared with its crash dump: first screen and index for
//! each container; compressed ones relative to the decompression speed of all cores; the
//! first screen of a sparse image of 128 GB, with and without the CPU state.
//!
//! `cargo bench --bench images [-- MEGABYTES] [METHOD]`: size of the pool, 512 by default;
//! METHOD (zlib, snappy, zstd, vmrs) times only the image with this compression. Files are
//! warm. Pages are compressed by Rust crates, in the same formats as QEMU uses.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use poolscope::dump::{Dump, PageBytes};
use poolscope::engine::{Engine, Options};
use poolscope::memory::{PAGE_SIZE, Pfn};
use poolscope::pool::index::Progress;
use poolscope::synth::era::WIN7;
use poolscope::synth::snapshot::{self, Image, Mode, Qemu, Running, Vmware};
use poolscope::synth::{self, Container, Machine, small};
use rayon::prelude::*;

const RUNS: usize = 5;
/// Rounds over containers that are compared.
const TURNS: usize = 21;

fn median(mut run: impl FnMut() -> Duration) -> Duration {
    let mut all: Vec<Duration> = (0..RUNS).map(|_| run()).collect();
    all.sort();
    all[RUNS / 2]
}

/// Opens and indexes; closing is not measured.
fn index(file: &Path) -> Duration {
    let start = Instant::now();
    let engine = Engine::open(file, &Options::default()).unwrap();
    let snapshot = engine.index(Arc::new(Progress::default())).unwrap();
    let elapsed = start.elapsed();
    assert!(snapshot.totals.listed > 1000);
    elapsed
}

/// Time of the summary in a new process.
fn first_screen(file: &Path) -> Duration {
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_poolscope"))
        .args(["poolused".as_ref(), file.as_os_str(), "2".as_ref()])
        .env_remove("_NT_SYMBOL_PATH")
        .output()
        .unwrap();
    let elapsed = start.elapsed();
    assert!(output.status.success());
    elapsed
}

/// Decompresses all pages on all cores without storing them; returns the time and the bytes.
fn decompression(file: &Path) -> (Duration, u64) {
    let dump = Dump::open(file).unwrap();
    let start = Instant::now();
    let pages: u64 = (0..dump.frames_end())
        .into_par_iter()
        .map(|pfn| {
            dump.peek(Pfn(pfn), |page| u64::from(page[8] > 0))
                .unwrap_or(0)
        })
        .sum();
    (start.elapsed(), pages)
}

fn row(name: &str, file: &Path) -> Duration {
    index(file);
    let whole = median(|| index(file));
    let first = median(|| first_screen(file));
    let size = std::fs::metadata(file).unwrap().len() >> 20;
    println!(
        "{name:<28} {size:>6} MB  first screen {:>7.1} ms  index {:>8.1} ms",
        first.as_secs_f64() * 1e3,
        whole.as_secs_f64() * 1e3
    );
    whole
}

/// Writes a file again in large pieces. The size of the writes decides the size of the pieces
/// in which the system caches a file, and so the cost of its page faults.
fn rewrite(file: &Path) {
    let copy = file.with_extension("copy");
    let mut from = File::open(file).unwrap();
    let mut to = File::create(&copy).unwrap();
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = from.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        to.write_all(&piece[..read]).unwrap();
    }
    std::fs::rename(copy, file).unwrap();
}

/// Times containers of one machine by turns, so that a busy moment meets all of them. Prints
/// medians, and the ratio of the index to that of the first.
fn alternate(files: &[(&str, PathBuf)]) {
    let mut times = vec![Vec::new(); files.len()];
    for (_, file) in files {
        rewrite(file);
        // The memory of a VMware snapshot is beside its state.
        let memory = file.with_extension("vmem");
        if memory.exists() {
            rewrite(&memory);
        }
        index(file);
    }
    for _ in 0..TURNS {
        for ((_, file), times) in files.iter().zip(&mut times) {
            times.push((index(file), first_screen(file)));
        }
    }
    let middle = |mut all: Vec<Duration>| {
        all.sort();
        all[all.len() / 2].as_secs_f64() * 1e3
    };
    let mut of_first = None;
    for ((name, _), times) in files.iter().zip(times) {
        let (whole, first): (Vec<Duration>, Vec<Duration>) = times.into_iter().unzip();
        let (whole, first) = (middle(whole), middle(first));
        let ratio = whole / *of_first.get_or_insert(whole);
        println!(
            "{name:<28} first screen {first:>7.1} ms  index {whole:>8.1} ms  ratio {ratio:.2}"
        );
    }
}

type Compress<'a> = &'a mut dyn FnMut(&PageBytes) -> Vec<u8>;

/// Replaces the random bytes of synthetic blocks, which no method compresses, by what memory
/// typically has: zeros, small numbers, pointers and text. Headers, tags and pointers stay, and
/// so do pages that are not mostly random.
fn typical(page: &PageBytes) -> PageBytes {
    let is_random = |word: &[u8]| {
        let has_tag = word[4..].iter().all(|byte| (b' '..=b'~').contains(byte));
        let value = u64::from_le_bytes(word.try_into().unwrap());
        !has_tag && !matches!(value >> 48, 0 | 0x8000 | 0xffff)
    };
    let mut out = *page;
    if page.chunks_exact(8).filter(|word| is_random(word)).count() < 256 {
        return out;
    }
    for word in out.chunks_exact_mut(8).filter(|word| is_random(word)) {
        let value = u64::from_le_bytes((&*word).try_into().unwrap());
        let new = match value % 8 {
            0..3 => 0,
            3 => value >> 56,
            4..6 => 0xffff_fa80_0000_0000 | (value >> 36) << 4,
            6 => u64::from_le_bytes(*b"D\0e\0v\0i\0"),
            _ => continue,
        };
        word.copy_from_slice(&new.to_le_bytes());
    }
    out
}

/// Writes a raw image as a kdump file without notes; `flag` is the flag of the compression
/// method.
fn kdump(raw: &Path, to: &Path, flag: u32, compress: Compress<'_>) {
    let dump = Dump::open(raw).unwrap();
    let frames = dump.frames_end();
    let half = frames.div_ceil(8).next_multiple_of(PAGE_SIZE);
    let mut head = vec![0u8; 2 * PAGE_SIZE as usize];
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"KDUMP   ");
    put(8, &6u32.to_le_bytes());
    put(0x1a8, &flag.to_le_bytes());
    put(0x1ac, &4096u32.to_le_bytes());
    put(0x1b0, &1u32.to_le_bytes());
    put(0x1b4, &((2 * half / PAGE_SIZE) as u32).to_le_bytes());
    put(0x1060, &frames.to_le_bytes());
    let mut data = Vec::new();
    let mut table = Vec::new();
    let first = 2 * PAGE_SIZE + 2 * half + frames * 24;
    let mut zeros = None;
    for pfn in 0..frames {
        let page = &typical(dump.page(Pfn(pfn)).unwrap());
        let is_zero = page.iter().all(|&byte| byte == 0);
        let place = zeros.filter(|_| is_zero).unwrap_or_else(|| {
            let packed = compress(page);
            let (bytes, flag) = match packed.len() < 4096 {
                true => (&packed[..], flag),
                false => (&page[..], 0),
            };
            let place = (first + data.len() as u64, bytes.len() as u32, flag);
            data.extend(bytes);
            if is_zero {
                zeros = Some(place);
            }
            place
        });
        table.extend(place.0.to_le_bytes());
        table.extend(place.1.to_le_bytes());
        table.extend(place.2.to_le_bytes());
        table.extend(0u64.to_le_bytes());
    }
    let mut bitmap = vec![0u8; half as usize];
    (0..frames).for_each(|pfn| bitmap[pfn as usize / 8] |= 1 << (pfn % 8));
    let mut out = BufWriter::new(File::create(to).unwrap());
    for part in [&head, &bitmap, &bitmap, &table, &data] {
        out.write_all(part).unwrap();
    }
}

fn zlib(page: &PageBytes) -> Vec<u8> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
    out.write_all(page).unwrap();
    out.finish().unwrap()
}

fn zstd(page: &PageBytes) -> Vec<u8> {
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    ruzstd::encoding::compress_to_vec(&page[..], level)
}

/// Moves the top page table to a frame where Windows does not put it.
fn move_root(running: &mut Running) {
    const SELF: usize = 0x1ed * 8;
    let memory = &mut running.machine.memory;
    let old = memory.root().pfn();
    let new = memory.physical.allocate(1);
    assert!(new.0 > 0x1000, "{new:?}");
    let mut page = *memory.physical.page(old).unwrap();
    page[SELF..SELF + 8].copy_from_slice(&(new.0 << 12 | 0x63).to_le_bytes());
    *memory.physical.page_mut(new) = page;
    memory.physical.page_mut(old)[SELF..SELF + 8].fill(0);
}

/// A small machine with 128 GB of memory, its pages in random order.
fn sparse(folder: &Path) {
    let mut spec = small::of_era(&WIN7);
    spec.runs = vec![(1, 0x9e), (0x100, (128 << 18) - 0x100)];
    spec.vm.physical_memory = 128 << 18;
    spec.options.shuffle = true;
    spec.options.gigabyte_page = false;
    spec.options.whole_images = false;
    spec.allocations = small::allocations(&spec);
    let machine = Machine::build(&spec).unwrap();
    let mut running = snapshot::run(&machine, &WIN7, &[Mode::Kernel, Mode::Kernel]).unwrap();
    for (name, image) in [
        ("128 GB elf, CPU state", Image::Qemu(Qemu::default())),
        ("128 GB vmem and vmsn", Image::Vmware(Vmware::default())),
        ("128 GB raw, usual place", Image::Raw),
        ("128 GB raw, by search", Image::Raw),
    ] {
        if name.ends_with("search") {
            move_root(&mut running);
        }
        // The file name matters: memory without a signature must not look like a VMware
        // state file.
        let file = folder.join(match image {
            Image::Raw => "sparse.raw",
            _ => "sparse.vmsn",
        });
        running.write(&file, image).unwrap();
        let first = median(|| first_screen(&file));
        println!(
            "{name:<28} first screen {:>7.1} ms",
            first.as_secs_f64() * 1e3
        );
        std::fs::remove_file(file).unwrap();
    }
}

fn main() {
    let asked = std::env::args().skip(1).find_map(|a| a.parse().ok());
    let megabytes: u64 = asked.unwrap_or(512);
    let method = std::env::args()
        .skip(1)
        .find(|a| ["zlib", "snappy", "zstd", "vmrs"].contains(&a.as_str()));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    println!("{RUNS} runs, medians, {megabytes} MB of pool\n");
    if method.is_none() {
        sparse(folder);
    }

    let machine = synth::large_machine(megabytes << 20).unwrap();
    let running = snapshot::run(&machine, &WIN7, &[Mode::Kernel, Mode::Kernel]).unwrap();
    let crash = folder.join("full.dmp");
    machine.write(&crash, Container::Full).unwrap();
    let raw = folder.join("raw.img");
    running.write(&raw, Image::Raw).unwrap();
    let mut files = vec![("crash dump (type 1)", crash)];
    for (name, image) in [
        ("vmem and vmsn", Image::Vmware(Vmware::default())),
        ("elf", Image::Qemu(Qemu::default())),
        ("virtualbox", Image::VirtualBox),
        ("vmrs, plain blocks", Image::HyperV(false)),
        ("lime", Image::Lime),
        ("raw", Image::Raw),
    ] {
        let file = match image {
            Image::Raw => raw.clone(),
            _ => folder.join(format!("{}.vmsn", files.len())),
        };
        if method.is_none() {
            running.write(&file, image).unwrap();
        }
        files.push((name, file));
    }
    if method.is_none() {
        alternate(&files);
    }
    for (_, file) in files.iter().filter(|(_, file)| *file != raw) {
        let _ = std::fs::remove_file(file);
    }
    let mut snappy = snap::raw::Encoder::new();
    let packed = folder.join("it.packed");
    for (name, flag, compress) in [
        ("kdump, zlib", 1, Some(&mut zlib as Compress<'_>)),
        (
            "kdump, snappy",
            4,
            Some(&mut |page: &PageBytes| snappy.compress_vec(page).unwrap()),
        ),
        ("kdump, zstd", 0x20, Some(&mut zstd)),
        ("vmrs, compressed", 0, None),
    ] {
        if method
            .as_ref()
            .is_some_and(|method| !name.contains(method.as_str()))
        {
            continue;
        }
        match compress {
            Some(compress) => kdump(&raw, &packed, flag, compress),
            None => running.write(&packed, Image::HyperV(true)).unwrap(),
        }
        let whole = row(name, &packed);
        let (alone, pages) = decompression(&packed);
        let alone = (0..2)
            .map(|_| decompression(&packed).0)
            .min()
            .unwrap()
            .min(alone);
        let pool = (megabytes << 20) as f64 / whole.as_secs_f64() / 1e9;
        let all = (pages * PAGE_SIZE) as f64 / alone.as_secs_f64() / 1e9;
        println!(
            "{:<28} {pool:.2} GB/s of pool indexed, {all:.2} GB/s decompressed by all cores: {:.2}",
            "",
            pool / all
        );
        std::fs::remove_file(&packed).unwrap();
    }
}
