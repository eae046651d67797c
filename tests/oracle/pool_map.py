#!/usr/bin/env python3
"""Compares the pool map of MemProcFS with a dump of poolscope's builder.

    python3 -m venv venv && venv/bin/pip install memprocfs leechcorepyc
    cargo run --example synth -- 2004-plain full plain.dmp truth.json
    LD_LIBRARY_PATH=… venv/bin/python tests/oracle/pool_map.py plain.dmp truth.json

The folders of both packages (vmm.so, leechcore.so) must be on LD_LIBRARY_PATH, and libusb-1.0
must be installed. Symbols come from the package's info.db, which knows many kernels by
identity.

Compares address, tag, pool and backend of every block in use. Known differences of MemProcFS
are ignored: it counts blocks on lookaside lists as in use; it lists free entries of the big
page table (bit 0 of the address); the unused rest of a chunk is part of the block; blocks of
0xff0 bytes (requests of 0xfd1 to 0xfe0) are read as whole pages without a header. Exit status
0 if nothing else differs. Without `-plain` it also misses subsegments with the FullCommit bit,
slots whose two bits are 3, and blocks that cross a page boundary by up to 0x40 bytes.
"""
import json
import sys

import leechcorepyc  # loads leechcore.so
import memprocfs

POOLS = {("NonPaged", False): 1, ("NonPaged", True): 2, ("Paged", False): 3}
IN_USE = ("Allocated", "Lookaside")


def ours(path):
    """Blocks by the address after the pool header."""
    with open(path, encoding="utf-8") as file:
        truth = json.load(file)
    blocks = {}
    for at, tag, size, pool, nx, big, state, protected in truth["all"]:
        stored = tag[:3] + (chr(ord(tag[3]) | 0x80) if protected else tag[3])
        body = at if big else at + 0x10
        blocks[body] = (stored, POOLS[pool, nx and pool == "NonPaged"], size, big, state)
    return blocks, truth["build"]


def theirs(dump):
    vmm = memprocfs.Vmm(["-device", dump, "-disable-symbolserver", "-disable-python"])
    return vmm.maps.pool()["va"], vmm.kernel.build


def tag_of(entry):
    return "".join(map(chr, entry["dwTag"].to_bytes(4, "little")))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    want, build = ours(sys.argv[2])
    got, their_build = theirs(sys.argv[1])
    print(f"build {their_build}, made as {build}: {len(got)} of theirs, {len(want)} of ours")
    got = {va: entry for va, entry in got.items() if entry["alloc"]}
    wanted = {va: block for va, block in want.items() if block[4] in IN_USE}
    largest = {va for va, block in want.items() if block[2] == 0xFF0}
    missing = [va for va in wanted if va not in got and va not in largest]
    surplus = [va for va in got if va not in want and va + 0x10 not in largest]
    free = [va for va in surplus if got[va]["tpSS"] == 2]
    surplus = [va for va in surplus if got[va]["tpSS"] != 2]
    differ = []
    for va in wanted.keys() & got.keys():
        tag, pool, size, big, _ = wanted[va]
        entry = got[va]
        if (tag_of(entry), entry["tpPool"]) != (tag, pool):
            differ.append(va)
        slack = entry["cb"] - (size if big else size - 0x10)
        if slack not in (0, 0x10):
            differ.append(va)
    same = len(wanted.keys() & got.keys()) - len(set(differ))
    print(f"{same} the same, {len(missing)} missing, {len(surplus)} surplus, {len(differ)} differ")
    print(f"{len(free)} free entries of the big page table are listed")
    for name, places in (("missing", missing), ("surplus", surplus), ("differ", differ)):
        for va in sorted(places)[:8]:
            print(f"  {name} {va:#x} ours {want.get(va)} theirs {got.get(va)}")
    sys.exit(1 if missing or surplus or differ else 0)


if __name__ == "__main__":
    main()
