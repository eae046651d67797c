//! The demo: the machine of Microsoft's article "Troubleshooting Pool Leaks Part 3"
//! (ntdebugging blog, 2012), with all its figures as real structures.
//!
//! Physical memory, page file, counters and the five largest tags come from the article, and so
//! do the address of `myfault.sys` and the two code addresses with the tag `Leak`. All other
//! data is invented to resemble such a server.

pub mod drivers;
pub mod tags;

use std::io;
use std::path::Path;

use super::container::Container;
use super::legacy::allocation::{Share, partition};
use super::legacy::{Allocation, Outcome, Role};
use super::machine::Machine;
use super::rng::Rng;
use super::spec::{Options, Spec};
use super::truth::{Account, PageFileTruth, Pool, Tag, Truth, VmTruth};

/// The leaked blocks: number, and size of each in bytes.
pub const LEAKED: (u32, u64) = (601, 1_024_000);
/// Their tag.
pub const LEAK: Tag = *b"Leak";
/// Pages of memory, and of the two pools.
const MEMORY: u64 = 403_854;
const NONPAGED: u64 = 155_371;
const PAGED: [u64; 5] = [27_618, 3_848, 299, 283, 344];

const HOUR: u64 = 3600 * 10_000_000;
/// 2012-10-16 14:27:09 UTC.
const CRASHED: u64 = 129_948_712_290_000_000;

/// Writes the demo as a kernel dump of Windows 7.
///
/// # Errors
/// The error of the file system.
pub fn write(path: &Path) -> io::Result<Truth> {
    let machine = build()?;
    machine.write(path, Container::WIN7_KERNEL)?;
    Ok(machine.truth)
}

/// Builds the demo's machine.
///
/// # Errors
/// Does not depend on the environment; fails only if the demo itself is wrong.
pub fn build() -> io::Result<Machine> {
    Machine::build(&spec()?)
}

/// The specification of the demo's machine.
///
/// # Errors
/// Does not depend on the environment; fails only if the demo itself is wrong.
pub fn spec() -> io::Result<Spec> {
    let mut spec = Spec {
        runs: vec![(1, 0x9e), (0x100, MEMORY - 0x9e)],
        processors: 2,
        seed: 0x4c65_616b,
        system_time: CRASHED,
        uptime: 9 * HOUR + 1_934 * 10_000_000,
        vm: counters(),
        modules: drivers::modules(),
        unloaded: drivers::unloaded(),
        processes: PROCESSES.iter().map(|name| (*name).into()).collect(),
        options: options(),
        ..Spec::default()
    };
    spec.nonpaged.pages = Some(NONPAGED);
    spec.nonpaged.large = 8;
    spec.paged.pages = Some(PAGED.iter().sum());
    spec.paged.transition = 190;
    spec.allocations = allocations(&spec)?;
    Ok(spec)
}

const PROCESSES: [&str; 24] = [
    "System",
    "smss.exe",
    "csrss.exe",
    "csrss.exe",
    "wininit.exe",
    "winlogon.exe",
    "services.exe",
    "lsass.exe",
    "lsm.exe",
    "svchost.exe",
    "svchost.exe",
    "vmicsvc.exe",
    "LogonUI.exe",
    "svchost.exe",
    "svchost.exe",
    "spoolsv.exe",
    "svchost.exe",
    "msdtc.exe",
    "taskhost.exe",
    "dwm.exe",
    "explorer.exe",
    "mmc.exe",
    "cmd.exe",
    "NotMyfault.exe",
];

/// The article's `!vm 1`, in pages.
fn counters() -> VmTruth {
    let kb = |kb: u64| kb / 4;
    VmTruth {
        physical_memory: MEMORY,
        page_files: vec![PageFileTruth {
            path: "\\??\\C:\\pagefile.sys".into(),
            current: kb(1_048_576),
            free: kb(1_015_644),
            minimum: kb(1_048_576),
            maximum: kb(4_194_304),
        }],
        available: 106_778,
        resident_available: 225_678,
        free_system_ptes: 33_533_355,
        modified: 4_844,
        modified_pf: 4_838,
        nonpaged_usage: NONPAGED,
        nonpaged_max: 191_078,
        paged_usage: PAGED.to_vec(),
        paged_max: 33_554_432,
        session_commit: vec![2_409, 5_355],
        shared_commit: 6_371,
        special_pool: 0,
        shared_process: 5_471,
        paged_commit: 32_394,
        driver_commit: 2_458,
        committed: 326_464,
        commit_limit: 665_998,
    }
}

/// Tables of 1,025 trackers per processor and of 65,536 big allocations.
fn options() -> Options {
    Options {
        tracker_entries: 1025,
        expansion_entries: 1331,
        expanded: vec![*b"I8pd", *b"Luaf"],
        idle_tags: IDLE.iter().map(|tag| **tag).collect(),
        big_entries: 65_536,
        tombstones: 900,
        root_low_bits: 0,
        ..Options::default()
    }
}

/// Tags that were in use before but are not any more.
const IDLE: [&Tag; 12] = [
    b"Prcr", b"Hcac", b"FatV", b"UdfS", b"CdRo", b"USBH", b"Sdbu", b"Thrm", b"Batt", b"1394",
    b"8042", b"hSVD",
];

/// Blocks on lookaside lists and deferred frees: tag, pool, bytes, number.
const PARKED: [(&Tag, Pool, u64, u64); 6] = [
    (b"Irp ", Pool::NonPaged, 0x1f0, 44),
    (b"Mdl ", Pool::NonPaged, 0x90, 60),
    (b"File", Pool::NonPaged, 0x150, 38),
    (b"IoNm", Pool::Paged, 0xd0, 52),
    (b"ObNm", Pool::Paged, 0x60, 40),
    (b"SeAt", Pool::Paged, 0x60, 31),
];

/// All blocks: those with a role first, then the remainder of each row.
fn allocations(spec: &Spec) -> io::Result<Vec<Allocation>> {
    let mut rng = Rng::new(spec.seed);
    let mut out = spec.own_demands();
    // Besides its tables, the pool has two small blocks of its own.
    for bytes in [816, 800] {
        out.push(Allocation::new(*b"Pool", Pool::NonPaged, bytes));
    }
    for number in 0..LEAKED.0 {
        out.push(Allocation::new(LEAK, Pool::NonPaged, LEAKED.1).role(Role::Leak(number)));
    }
    for (tag, pool, blocks, bytes, (least, most)) in tags::BIG {
        let account = Account {
            blocks: *blocks,
            bytes: *bytes,
        };
        let sizes = partition(account, Share::Between(*least, *most), &mut rng);
        let sizes = sizes.ok_or_else(|| impossible(tag))?;
        out.extend(sizes.into_iter().map(|b| Allocation::new(*tag, *pool, b)));
    }
    for (tag, protected, nonpaged, paged) in tags::ROWS {
        for (pool, row) in [(Pool::NonPaged, nonpaged), (Pool::Paged, paged)] {
            let rest = remainder(&out, tag, pool, *row).ok_or_else(|| impossible(tag))?;
            let sizes = partition(rest, spread(tag, rest), &mut rng);
            let sizes = sizes.ok_or_else(|| impossible(tag))?;
            let allocation = |bytes| Allocation::new(*tag, pool, bytes).protected(*protected);
            out.extend(sizes.into_iter().map(allocation));
        }
    }
    for (tag, pool, bytes, count) in PARKED {
        for i in 0..count {
            let outcome = Outcome::Lookaside((i % 2) as u16);
            out.push(Allocation::new(*tag, pool, bytes).outcome(outcome));
        }
    }
    for i in 0..14 {
        let pool = if i % 2 == 0 {
            Pool::NonPaged
        } else {
            Pool::Paged
        };
        out.push(Allocation::new(*b"FMsl", pool, 0xa0).outcome(Outcome::Pending));
    }
    Ok(out)
}

/// The part of a row that the existing blocks do not cover.
fn remainder(have: &[Allocation], tag: &Tag, pool: Pool, row: (u64, u64)) -> Option<Account> {
    let mut rest = Account {
        blocks: row.0,
        bytes: row.1,
    };
    for allocation in have.iter().filter(|d| d.tag == *tag && d.pool == pool) {
        rest.blocks = rest.blocks.checked_sub(1)?;
        rest.bytes = rest.bytes.checked_sub(allocation.bytes)?;
    }
    Some(rest)
}

/// Objects of one type have one size; others vary.
fn spread(tag: &Tag, account: Account) -> Share {
    let mean = account.bytes.checked_div(account.blocks).unwrap_or(0);
    let objects: [&Tag; 16] = [
        b"Thre", b"File", b"Even", b"Sema", b"Muta", b"Proc", b"Vad ", b"VadS", b"MmCa", b"nVsC",
        b"Ntfx", b"Toke", b"CcSc", b"FMsl", b"Driv", b"VadF",
    ];
    match objects.contains(&tag) {
        true => Share::Even,
        false => Share::Between(32.max(mean / 3), (mean * 3).min(0xff0)),
    }
}

fn impossible(tag: &Tag) -> io::Error {
    io::Error::other(format!(
        "the blocks of {} do not add up",
        tag.escape_ascii()
    ))
}
