#!/usr/bin/env python3
"""Compares ntoseye's output with a dump of poolscope's builder.

    cargo install ntoseye --no-default-features --features cli
    cargo run --example synth -- 2004-rtm-plain bitmap-full plain.dmp truth.json
    tests/oracle/ntoseye.py ntoseye SYMBOLS plain.dmp truth.json

SYMBOLS is a directory with ntkrnlmp.pdb of kernel 10.0.19041.329 (`poolscope symbols
plain.dmp` prints its URL). ntoseye cannot open a kernel without its PDB, or with a
DirectoryTableBase that has extra bits in the address, as real ones can.

Compares the loaded modules, the bytes of each tag from `!poolused`, and the address and size
of each tag's blocks from `!poolfind`. Exit status 0 if there are only known differences:
ntoseye recognises blocks by their headers, so it lists freed blocks that still look
allocated; it stops at 1,024 blocks of a tag and at 256 tags; it lacks blocks of paged-out
pages; it reports whole pages for a large block; and it calls some blocks of paged heaps
"NonPagedPool", for an unknown reason.
"""
import json
import re
import subprocess
import sys

PAGE = 4096


def run(program, symbols, dump, command):
    arguments = [program, "--dump", dump, "--sympath-append", symbols, "--batch", "-c", command]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    return done.stdout


def modules(text):
    row = re.compile(r"^([0-9a-f]{16})\s+([0-9a-f]{16})\s+\S+.*?(\S+)$")
    found = filter(None, map(row.match, text.splitlines()))
    return {(m[3], int(m[1], 16), int(m[2], 16) - int(m[1], 16)) for m in found}


def used(text):
    row = re.compile(r"^'.{4}' \(0x([0-9a-f]{8})\)\s+(\d+)\s+(\d+)")
    found = filter(None, map(row.match, text.splitlines()))
    return {int(m[1], 16): (int(m[2]), int(m[3])) for m in found}


def blocks(text):
    row = re.compile(r"^([0-9a-f]{16})\s+'.{4}' \(0x[0-9a-f]{8}\)\s+0x([0-9a-f]+)\s+(\w+)\s+(\w+)")
    found = filter(None, map(row.match, text.splitlines()))
    return {int(m[1], 16): (int(m[2], 16), m[3], m[4]) for m in found}


def value(tag):
    return int.from_bytes(tag.encode("latin-1"), "little")


def main():
    program, symbols, dump, truth_path = sys.argv[1:5]
    with open(truth_path, encoding="utf-8") as file:
        truth = json.load(file)
    failed = 0

    def check(what, holds, detail=""):
        nonlocal failed
        failed += not holds
        print(("ok  " if holds else "BAD ") + what + (f": {detail}" if not holds else ""))

    ours = {(file, base, size) for file, base, size in truth["modules"]}
    theirs = modules(run(program, symbols, dump, "lm"))
    check(f"{len(ours)} modules", ours == theirs, ours ^ theirs)

    table = used(run(program, symbols, dump, "!poolused"))
    accounts = {value(tag): tuple(sums) for tag, sums in truth["accounts"].items()}
    # ntoseye ignores the second tracker table, for tags without a slot in the first one.
    left_out = [tag for tag in accounts if tag not in table]
    wrong = {f"{t:#x}": (a, table[t]) for t, a in accounts.items() if t in table and table[t] != a}
    check(f"bytes of {len(accounts) - len(left_out)} tags, {len(left_out)} left out", not wrong, wrong)

    compared = missed = extra = 0
    for tag in sorted({row[1] for row in truth["all"]}):
        if not re.fullmatch(r"[A-Za-z0-9]{4}", tag):
            continue
        # ntoseye reports the address after the pool header.
        own = {row[0] + (0 if row[5] else 16): row for row in truth["all"] if row[1] == tag}
        if len(own) > 1000:
            continue
        found = blocks(run(program, symbols, dump, f"!poolfind {tag}"))
        for va, (size, _, _) in found.items():
            row = own.get(va)
            if row is None:
                extra += 1
                check(f"{tag} at {va:#x}", False, "no such block")
                continue
            whole = -(-row[2] // PAGE) * PAGE if row[5] else row[2]
            if size not in (row[2], whole):
                check(f"{tag} at {va:#x}", False, (size, row))
            compared += 1
        lost = [va for va, row in own.items() if row[6] == "Allocated" and va not in found]
        missed += len(lost)
        for va in lost:
            print(f"     {tag} at {va:#x} is not found by ntoseye: {own[va]}")
    check(f"{compared} blocks", compared > 0)
    print(f"{missed} blocks that it does not find, {extra} that are none")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
