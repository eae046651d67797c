#!/usr/bin/env python3
"""Compares Volatility 2's output with the builder's dump of Server 2003 x64.

    git clone https://github.com/volatilityfoundation/volatility
    cargo run --example synth -- 2003 full 2003.dmp truth.json
    tests/oracle/volatility2.py "python2.7 volatility/vol.py" 2003.dmp truth.json

Volatility 2 is the only public reader with the types of build 3790 for x64 (profile
Win2003SP2x64). It needs Python 2.7; plugins that need further packages are not used here.
Volatility 3 has no symbol table for this kernel without the PDB, and kdmp-parser has no types.

Volatility 2 reads the header, page tables, the debugger data block (by its size of 0x318),
loaded and unloaded modules, processes from their list and from a scan for blocks of nonpaged
pool (PoolType odd), and the keys of the big page table. It does not read kernel dumps (type
2), the trackers ("does not track pool tags"), the pages of large allocations, blocks on
lookaside lists, and the trackers of other processors. Prints a line per check; exit status 0
if all pass.
"""
import json
import subprocess
import sys

PROTECTED = 0x8000_0000


def plugin(vol, dump, name):
    command = [*vol.split(), "-f", dump, "--profile=Win2003SP2x64", "--output=json", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # Warnings about plugins that cannot be loaded are on the same stream.
    answers = [line for line in done.stdout.splitlines() if line.startswith('{"rows"')]
    if not answers:
        sys.exit(f"{name}: {(done.stderr or done.stdout)[-2000:]}")
    table = json.loads(answers[-1])
    return [dict(zip(table["columns"], row)) for row in table["rows"]]


def check(name, got, want):
    missing, surplus = len(want - got), len(got - want)
    holds = not missing and not surplus
    verdict = "ok  " if holds else "FAIL"
    print(f"{verdict} {name}: {len(got)} found, {missing} missing, {surplus} surplus")
    for item in sorted(want ^ got)[:3]:
        print("    ", item)
    return holds


def key(tag, protected):
    number = int.from_bytes(tag.encode("latin-1"), "little")
    return number | (PROTECTED if protected else 0)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    vol, dump, truth_file = sys.argv[1:]
    with open(truth_file, encoding="utf-8") as file:
        truth = json.load(file)

    rows = plugin(vol, dump, "modules")
    got = {(row["Name"], row["Base"], row["Size"]) for row in rows}
    holds = check("modules", got, {tuple(module) for module in truth["modules"]})

    rows = plugin(vol, dump, "bigpools")
    got = {(row["Allocation"], int(row["Tag"])) for row in rows}
    listed = [b for b in truth["all"] if b[5] and b[6] != "Unlisted"]
    want = {(b[0], key(b[1], b[7])) for b in listed}
    # It omits blocks whose first page is unreadable: here, one is in the page file.
    gone = want - got if len(want - got) == 1 else set()
    holds &= check("big page table", got, want - gone)

    by_list = {(row["Offset(V)"], row["PID"]) for row in plugin(vol, dump, "pslist")}
    blocks = sum(1 for b in truth["all"] if b[1] == "Proc")
    holds &= check("processes", {len(by_list)}, {blocks})
    by_scan = {row["PID"] for row in plugin(vol, dump, "psscan")}
    holds &= check("processes by their pool blocks", by_scan, {pid for _, pid in by_list})
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
