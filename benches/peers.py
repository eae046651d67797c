#!/usr/bin/env python3
"""Times poolscope against its peers: same dump, same machine, same run.

    cargo build --release --examples --bins
    benches/peers.py [--megabytes 1024] [--runs 5] [--ntoseye PROGRAM --symbols DIRECTORY]
        [--memprocfs PYTHON] [--volatility PROGRAM --tables DIRECTORY]

The dump is a full dump of Windows 10 2004 (kernel 10.0.19041.329) with segment heaps, pages
in random order. The builder writes it in TMPDIR; it is removed afterwards. Peers without an
option are left out.

ntoseye: `cargo install ntoseye --no-default-features --features cli`; DIRECTORY contains
ntkrnlmp.pdb of that kernel. MemProcFS: PYTHON is an interpreter with `memprocfs` and
`leechcorepyc`; their folders and libusb-1.0 must be on LD_LIBRARY_PATH. Volatility 3: DIRECTORY
contains windows/ntkrnlmp.pdb/BBED7C2955FBE4522AAA23F4B8677AD9-1.json.xz.

The programs do different work: poolscope finds all blocks of all tags and compares them with
the kernel's counters; MemProcFS maps all blocks; ntoseye searches for one tag that does not
exist, so that it searches everything; Volatility lists only large allocations.
"""
import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time

MAP = """
import sys, leechcorepyc, memprocfs
vmm = memprocfs.Vmm(["-device", sys.argv[1], "-disable-symbolserver", "-disable-python"])
print(len(vmm.maps.pool()["va"]))
"""


def timed(command):
    """Wall-clock and processor seconds; exits if the command fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    if done.returncode != 0:
        raise SystemExit(f"{command[0]}: {done.stdout.decode(errors='replace')[-1000:]}")
    return wall, cpu


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=5)
    for name in ("ntoseye", "symbols", "memprocfs", "volatility", "tables"):
        parser.add_argument("--" + name)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dump = os.path.join(folder, "MEMORY.DMP")
        # Subsegments are a bit more than half full.
        blocks = args.megabytes * 9 // 16 << 20
        subprocess.run(
            ["target/release/examples/synth", f"heaps:{blocks}", "full", dump], check=True
        )
        commands = {
            "dd bs=1M": ["dd", f"if={dump}", "of=/dev/null", "bs=1M"],
            "poolscope, every block": [
                "target/release/poolscope", "allocs", dump, "Zzzz", "--no-cache", "--quiet",
            ],
        }
        if args.memprocfs:
            commands["MemProcFS, pool map"] = [args.memprocfs, "-c", MAP, dump]
        if args.ntoseye:
            commands["ntoseye, !poolfind of one tag"] = [
                args.ntoseye, "--dump", dump, "--sympath-append", args.symbols,
                "--batch", "-c", "!poolfind Zzzz",
            ]
        if args.volatility:
            commands["Volatility 3, bigpools"] = [
                args.volatility, "-q", "-s", args.tables, "-f", dump, "windows.bigpools",
            ]
        size = os.path.getsize(dump)
        print(f"{size >> 20} MB dump, {args.runs} runs in turn, medians\n")
        times = {name: [] for name in commands}
        for number in range(args.runs + 1):
            for name, command in commands.items():
                result = timed(command)
                if number > 0:  # the first run warms the file
                    times[name].append(result)
        own = statistics.median(t[0] for t in times["poolscope, every block"])
        print("| what | seconds | of processors | times poolscope's |")
        print("| --- | --- | --- | --- |")
        for name, all_of in times.items():
            wall = statistics.median(t[0] for t in all_of)
            cpu = statistics.median(t[1] for t in all_of)
            print(f"| {name} | {wall:.2f} | {cpu:.2f} | {wall / own:.1f} |")


if __name__ == "__main__":
    main()
