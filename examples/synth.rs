//! Writes a synthetic dump and a list of its contents, for comparison with other programs.
//!
//! `cargo run --example synth -- demo|small|ERA|BYTES CONTAINER FILE [TRUTH.json] [OPTION…]`
//!
//! ERA is one of 2003, 7, 8.1, 1607, 1803, 1809, 1809-chains, 1903, 2004, 2004-rtm, 2022,
//! 11, 22h2, 24h2; those from 1903 on may end in -plain. A number of bytes of pool makes a
//! bitmap-kernel dump of that size, for timing; `heaps:BYTES` makes one with segment heaps,
//! its pages in random order; with `leak:BYTES`, all nonpaged pool has one tag.
//!
//! CONTAINER is full, kernel, bitmap-full, bitmap-kernel, ranges-kernel, ranges-user or
//! ranges-full: types 1, 2, 5, 6, 8, 9 and 0xA; or an image of the running machine: raw,
//! lime, vmware (FILE is the state, memory is written beside it), vmware-inside, elf,
//! virtualbox, kdump, kdump-flat, kdump-lzo, kdump-snappy, kdump-zstd, hyper-v,
//! hyper-v-packed. Options for eras: `live` (the dump of a machine that keeps running),
//! `unknown` (an unknown PDB of nt), `nodes` (two pool nodes), `start-block` (images: with
//! the real-mode start block of further processors, which MemProcFS searches for).
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use poolscope::memory::Pfn;
use poolscope::synth::era::{
    Era, SERVER_2003, SERVER_2022, WIN7, WIN10_1607, WIN10_1803, WIN10_1809, WIN10_1903,
    WIN10_2004, WIN10_2004_RTM, WIN11, WIN11_22H2, WIN11_24H2, WIN81,
};
use poolscope::synth::snapshot::{self, Image, Method, Mode, Qemu, Running, Vmware};
use poolscope::synth::{Container, Machine, Truth, demo, large, large_heaps, large_leak, small};
use serde_json::json;

const USAGE: &str = "usage: synth demo|small|ERA|BYTES CONTAINER FILE [TRUTH.json] [live] [unknown] [nodes] [start-block]";

const OPTIONS: [&str; 4] = ["live", "unknown", "nodes", "start-block"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (options, args): (Vec<_>, Vec<_>) = args
        .into_iter()
        .partition(|a| OPTIONS.contains(&a.as_str()));
    let (machine, container, file, truth) = match args.as_slice() {
        [machine, container, file] => (machine, container, file, None),
        [machine, container, file, truth] => (machine, container, file, Some(truth)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match write(machine, container, Path::new(file), &options) {
        Ok(made) => {
            if let Some(path) = truth {
                std::fs::write(path, describe(&made).to_string()).unwrap();
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn container(name: &str) -> Option<Container> {
    Some(match name {
        "full" => Container::Full,
        "kernel" => Container::WIN7_KERNEL,
        "bitmap-full" => Container::BitmapFull,
        "bitmap-kernel" => Container::BitmapKernel,
        "ranges-kernel" => Container::RangesKernel,
        "ranges-user" => Container::RangesKernelAndUser,
        "ranges-full" => Container::RangesFull,
        _ => return None,
    })
}

fn image(name: &str) -> Option<Image> {
    let inside = |inside| {
        Image::Vmware(Vmware {
            inside,
            ..Vmware::default()
        })
    };
    Some(match name {
        "raw" => Image::Raw,
        "lime" => Image::Lime,
        "vmware" => inside(false),
        "vmware-inside" => inside(true),
        "elf" => Image::Qemu(Qemu::default()),
        "virtualbox" => Image::VirtualBox,
        "kdump" => Image::Kdump(Method::Zlib, false),
        "kdump-flat" => Image::Kdump(Method::Zlib, true),
        "kdump-lzo" => Image::Kdump(Method::Lzo, false),
        "kdump-snappy" => Image::Kdump(Method::Snappy, false),
        "kdump-zstd" => Image::Kdump(Method::Zstd, false),
        "hyper-v" => Image::HyperV(false),
        "hyper-v-packed" => Image::HyperV(true),
        _ => return None,
    })
}

fn write(machine: &str, kind: &str, file: &Path, options: &[String]) -> std::io::Result<Truth> {
    let image = image(kind);
    let container = match (container(kind), image) {
        (Some(container), _) => container,
        (None, Some(_)) => Container::Full,
        (None, None) => {
            let why = format!("{kind} is no container\n{USAGE}");
            return Err(std::io::Error::other(why));
        }
    };
    let has = |option: &str| options.iter().any(|o| o == option);
    let start = Instant::now();
    let made: Machine = match machine {
        "demo" => demo::build()?,
        "small" => small()?,
        name if era(name).is_some() => {
            let mut spec = small::of_era(era(name).unwrap_or(&WIN7));
            if let Some(heaps) = &mut spec.heaps {
                heaps.plain = name.ends_with("-plain");
                heaps.nodes = if has("nodes") { 2 } else { heaps.nodes };
            }
            if name == "1809-chains" {
                spec.heaps = None;
                spec.allocations = small::allocations(&spec);
            }
            if name == "7" {
                // Memory for all of its images.
                spec.runs = vec![(1, 0x9e), (0x100, 0x2000)];
                spec.vm.physical_memory = 0x9e + 0x2000;
            }
            // Readers that search for the kernel need all of its pages, and no extra bits
            // in the address of the page tables.
            spec.options.whole_images = true;
            spec.options.root_low_bits = 0;
            spec.options.live = has("live");
            spec.options.unknown_kernel = has("unknown");
            Machine::build(&spec)?
        }
        bytes => {
            let (kind, amount) = bytes.split_once(':').unwrap_or(("", bytes));
            let amount = amount.parse().map_err(std::io::Error::other)?;
            let truth = match kind {
                "heaps" => large_heaps(file, &WIN10_2004_RTM, amount, true)?,
                "leak" => large_leak(file, amount)?,
                _ => large(file, amount)?,
            };
            eprintln!("{:?}", start.elapsed());
            return Ok(truth);
        }
    };
    let built = start.elapsed();
    match image {
        Some(image) => {
            let era = era(machine).unwrap_or(&WIN7);
            let mut running = snapshot::run(&made, era, &[Mode::Kernel, Mode::Kernel])?;
            if has("start-block") {
                start_block(&mut running)?;
            }
            running.write(file, image)?;
        }
        None => {
            made.write(file, container)?;
        }
    }
    eprintln!(
        "built in {built:?}, written in {:?}",
        start.elapsed() - built
    );
    Ok(made.truth)
}

/// Puts a real-mode start block below 1 MB: a jump, its target in long mode, and the page
/// tables that it loads.
fn start_block(running: &mut Running) -> std::io::Result<()> {
    const FRAME: Pfn = Pfn(8);
    let memory = &mut running.machine.memory;
    if memory.physical.page(FRAME).is_some() {
        return Err(std::io::Error::other(
            "the frame of the start block is in use",
        ));
    }
    let entry = running.machine.truth.kernel_base.0 + 0x1_0000;
    let root = memory.root().0;
    let block = memory.physical.page_mut(FRAME);
    for (at, value) in [(0, 0x0000_0001_0006_00e9), (0x70, entry), (0xa0, root)] {
        block[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    Ok(())
}

fn era(name: &str) -> Option<&'static Era> {
    Some(match name {
        "2003" => &SERVER_2003,
        "7" => &WIN7,
        "8.1" => &WIN81,
        "1607" => &WIN10_1607,
        "1803" => &WIN10_1803,
        "1809" | "1809-chains" => &WIN10_1809,
        "1903" | "1903-plain" => &WIN10_1903,
        "2022" | "2022-plain" => &SERVER_2022,
        "2004" | "2004-plain" => &WIN10_2004,
        "2004-rtm" | "2004-rtm-plain" => &WIN10_2004_RTM,
        "11" | "11-plain" => &WIN11,
        "22h2" | "22h2-plain" => &WIN11_22H2,
        "24h2" | "24h2-plain" => &WIN11_24H2,
        _ => return None,
    })
}

fn describe(truth: &Truth) -> serde_json::Value {
    let modules = truth.modules.iter().filter(|m| !m.unloaded);
    let big = truth.blocks.iter().filter(|b| b.big);
    json!({
        "build": truth.build,
        "kernel_base": truth.kernel_base.0,
        "modules": modules.map(|m| json!([m.file, m.base.0, m.size])).collect::<Vec<_>>(),
        "big": big
            .map(|b| {
                let tag: String = b.tag.iter().map(|&c| char::from(c)).collect();
                json!([b.va.0, tag, b.bytes, b.protected])
            })
            .collect::<Vec<_>>(),
        "blocks": truth.blocks.len(),
        "accounts": truth
            .tags
            .iter()
            .map(|(tag, account)| {
                let tag: String = tag.iter().map(|&c| char::from(c)).collect();
                (tag, json!([account.nonpaged.bytes, account.paged.bytes]))
            })
            .collect::<serde_json::Map<_, _>>(),
        "all": truth
            .blocks
            .iter()
            .map(|b| {
                let tag: String = b.tag.iter().map(|&c| char::from(c)).collect();
                let pool = format!("{:?}", b.pool);
                json!([b.va.0, tag, b.bytes, pool, b.nx, b.big, format!("{:?}", b.state), b.protected])
            })
            .collect::<Vec<_>>(),
    })
}
