#!/usr/bin/env python3
"""Compares Volatility 3's output with a dump of poolscope's builder.

    python3 -m venv venv && venv/bin/pip install volatility3
    cargo run --example synth -- demo full demo.dmp truth.json
    tests/oracle/volatility.py venv/bin/vol SYMBOLS demo.dmp truth.json

SYMBOLS is a folder of Volatility symbol tables. It contains
windows/ntkrnlmp.pdb/339E74133576439CBCDF7E0229DA3773-1.json.xz for kernel 6.1.7601.24540, and
tables for the other versions (JPCERT/CC publishes them; `vol` can also make them from the
PDB). Volatility opens full dumps (type 1 or 5), and images: `-- demo vmware a.vmsn truth.json`
and then a.vmem, raw, elf, virtualbox. Prints a line per check; exit status 0 if all pass.
"""
import json
import subprocess
import sys


def plugin(vol, symbols, dump, name):
    command = [vol, "-q", "--offline", "-s", symbols, "-f", dump, "-r", "json", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def va(address):
    """Volatility uses only the 48 bits that are translated."""
    return address & 0xFFFF_FFFF_FFFF


def check(name, got, want):
    missing, surplus = len(want - got), len(got - want)
    holds = not missing and not surplus
    verdict = "ok  " if holds else "FAIL"
    print(f"{verdict} {name}: {len(got)} found, {missing} missing, {surplus} surplus")
    for item in sorted(want ^ got)[:3]:
        print("    ", item)
    return holds


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    vol, symbols, dump, truth_file = sys.argv[1:]
    with open(truth_file, encoding="utf-8") as file:
        truth = json.load(file)

    rows = plugin(vol, symbols, dump, "windows.modules.Modules")
    got = {(row["Name"], va(row["Base"]), row["Size"]) for row in rows}
    holds = check("modules", got, {(name, va(base), size) for name, base, size in truth["modules"]})

    # Volatility shows the tag as stored: the protected bit changes its last character.
    rows = plugin(vol, symbols, dump, "windows.bigpools.BigPools")
    got = {(va(row["Allocation"]), row["Tag"][:3], row["NumberOfBytes"]) for row in rows}
    want = {(va(at), tag[:3], size) for at, tag, size, _ in truth["big"]}
    holds &= check("big pool allocations", got, want)

    rows = plugin(vol, symbols, dump, "windows.pslist.PsList")
    print(f"     processes: {len(rows)}, the first {rows[0]['ImageFileName']} ({rows[0]['PID']})")
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
