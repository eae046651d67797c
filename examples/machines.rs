//! Writes the dumps of a made-up fleet for testing datasets: each machine is dumped twice
//! in one boot. All of them have a filter driver of the vendor "Acme": build 1 frees its
//! allocations, builds 2 and 3, which are on two of seven machines, do not.
//!
//! `cargo run --example machines -- FOLDER COUNT`
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::ExitCode;

use poolscope::addr::Va;
use poolscope::synth::code::{Site, Use};
use poolscope::synth::era::{SERVER_2003, WIN7, WIN10_1607, WIN10_2004, WIN81};
use poolscope::synth::legacy::Allocation;
use poolscope::synth::truth::Pool;
use poolscope::synth::{Container, Machine, ModuleSpec, Spec, small};

/// 100 ns intervals in an hour.
const HOUR: u64 = 36_000_000_000;
/// The filter's file, tag and block size.
const FILTER: &str = "acmefilt.sys";
const TAG: [u8; 4] = *b"AcmF";
const BLOCK: u64 = 0xff0;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count] = args.as_slice() else {
        eprintln!("usage: machines FOLDER COUNT");
        return ExitCode::from(2);
    };
    let folder = Path::new(folder);
    std::fs::create_dir_all(folder).unwrap();
    for nth in 0..count.parse::<u64>().unwrap() {
        let path = folder.join(format!("machine-{:03}-{}.dmp", nth / 2, nth % 2));
        let spec = spec(nth / 2, nth % 2);
        let mut machine = Machine::build(&spec).unwrap();
        let boot = spec.system_time - spec.uptime;
        let of_filter = machine.truth.blocks.iter().filter(|b| b.tag == TAG);
        let bodies: Vec<Va> = of_filter.map(|b| b.body()).collect();
        // Each block contains the time of its allocation.
        for (at, body) in (0..).zip(&bodies) {
            let age = spec.uptime / bodies.len() as u64 * at;
            machine.memory.u64(body.add(0x28), boot + age);
        }
        machine.write(&path, Container::BitmapKernel).unwrap();
    }
    ExitCode::SUCCESS
}

/// A host some hours after boot: six for dump 0, twelve for dump 1.
fn spec(host: u64, dump: u64) -> Spec {
    let eras = [&WIN7, &WIN10_2004, &WIN81, &SERVER_2003, &WIN10_1607];
    let mut spec = small::of_era(eras[(host % eras.len() as u64) as usize]);
    spec.seed = host;
    // Each host has a different amount of memory, which identifies it.
    let more = 0x800 + host * 8;
    spec.runs.last_mut().unwrap().1 += more;
    spec.vm.physical_memory += more;
    let hours = (dump + 1) * 6;
    spec.system_time += (host * 24 + hours) * HOUR;
    spec.uptime = hours * HOUR;

    let build = match host % 7 {
        2 => 2,
        5 => 3,
        _ => 1,
    };
    spec.options.builds = vec![(FILTER.into(), build)];
    let leaks = build > 1;
    let driver = filter(&spec, leaks);
    spec.modules.push(driver);
    spec.allocations = small::allocations(&spec);
    let blocks = match leaks {
        true => hours * 120 + host % 7,
        false => 12,
    };
    for _ in 0..blocks {
        spec.allocations
            .push(Allocation::new(TAG, Pool::NonPaged, BLOCK));
    }
    spec
}

/// The filter, loaded after the last driver.
fn filter(spec: &Spec, leaks: bool) -> ModuleSpec {
    let last = spec.modules.last().unwrap().clone();
    let base = Va((last.base.0 + u64::from(last.size)).next_multiple_of(0x1_0000));
    let allocate = Use::Allocate {
        pool_type: 0,
        bytes: BLOCK as u32,
    };
    let mut sites = vec![Site::new(TAG, allocate)];
    if !leaks {
        sites.push(Site::new(TAG, Use::Free));
    }
    ModuleSpec {
        file: FILTER.into(),
        base,
        size: 0x9000,
        sites,
        ..last
    }
}
