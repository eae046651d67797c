//! Writes a made-up dump and what is in it, for other programs to be held against.
//!
//! `cargo run --example synth -- demo|small|ERA|BYTES full|kernel|bitmap-full|bitmap-kernel FILE [TRUTH.json]`
//! (a number of bytes of pool makes a bitmap-kernel dump of that size, for timing, and
//! `heaps:BYTES` one with segment heaps, its pages in no order; ERA is
//! one of 2003, 8.1, 1607, 1809, 1809-chains, 1903, 2004, 2004-rtm, 2022, 11, 24h2; those from 1903 on may end in -plain).
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use poolscope::synth::era::{
    Era, SERVER_2003, SERVER_2022, WIN7, WIN10_1607, WIN10_1809, WIN10_1903, WIN10_2004,
    WIN10_2004_RTM, WIN11, WIN11_24H2, WIN81,
};
use poolscope::synth::{Container, Machine, Truth, demo, large, large_heaps, small};
use serde_json::json;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (machine, container, file, truth) = match args.as_slice() {
        [machine, container, file] => (machine, container, file, None),
        [machine, container, file, truth] => (machine, container, file, Some(truth)),
        _ => {
            eprintln!(
                "usage: synth demo|small|ERA|BYTES full|kernel|bitmap-full|bitmap-kernel FILE [TRUTH.json]"
            );
            return ExitCode::from(2);
        }
    };
    match write(machine, container, Path::new(file)) {
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

fn write(machine: &str, container: &str, file: &Path) -> std::io::Result<Truth> {
    let container = match container {
        "full" => Container::Full,
        "kernel" => Container::WIN7_KERNEL,
        "bitmap-full" => Container::BitmapFull,
        _ => Container::BitmapKernel,
    };
    let start = Instant::now();
    let made: Machine = match machine {
        "demo" => demo::build()?,
        "small" => small()?,
        name if era(name).is_some() => {
            let mut spec = small::of_era(era(name).unwrap_or(&WIN7));
            if let Some(heaps) = &mut spec.heaps {
                heaps.plain = name.ends_with("-plain");
            }
            if name == "1809-chains" {
                spec.heaps = None;
                spec.demands = small::demands(&spec);
            }
            // Readers that look for the kernel want all of its pages, and no bits beside
            // the address of the page tables.
            spec.options.whole_images = true;
            spec.options.root_low_bits = 0;
            Machine::build(&spec)?
        }
        bytes => {
            let heaps = bytes.strip_prefix("heaps:");
            let amount = heaps.unwrap_or(bytes);
            let amount = amount.parse().map_err(std::io::Error::other)?;
            let truth = match heaps {
                Some(_) => large_heaps(file, &WIN10_2004_RTM, amount, true)?,
                None => large(file, amount)?,
            };
            eprintln!("{:?}", start.elapsed());
            return Ok(truth);
        }
    };
    let built = start.elapsed();
    made.write(file, container)?;
    eprintln!(
        "built in {built:?}, written in {:?}",
        start.elapsed() - built
    );
    Ok(made.truth)
}

fn era(name: &str) -> Option<&'static Era> {
    Some(match name {
        "2003" => &SERVER_2003,
        "8.1" => &WIN81,
        "1607" => &WIN10_1607,
        "1809" | "1809-chains" => &WIN10_1809,
        "1903" | "1903-plain" => &WIN10_1903,
        "2022" | "2022-plain" => &SERVER_2022,
        "2004" | "2004-plain" => &WIN10_2004,
        "2004-rtm" | "2004-rtm-plain" => &WIN10_2004_RTM,
        "11" | "11-plain" => &WIN11,
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
