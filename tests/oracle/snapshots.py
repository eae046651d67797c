#!/usr/bin/env python3
"""Reads the memory images of poolscope's builder with other programs.

    python3 -m venv venv && venv/bin/pip install volatility3 memprocfs leechcorepyc dissect.hypervisor
    cargo build --example synth
    tests/oracle/snapshots.py target/debug/examples/synth venv SYMBOLS FOLDER

SYMBOLS is a folder of Volatility symbol tables (see volatility.py). MemProcFS needs
libusb-1.0. If they are installed, libkdumpfile (python3-libkdumpfile, for the system's
python3), makedumpfile and readelf are used too. The images are written to FOLDER.

Every reader must see the same memory, byte by byte, as in the raw image, or the build and
the modules that the builder wrote. Prints a line per check; exit status 0 if all pass.
"""
import json
import os
import shutil
import subprocess
import sys

MACHINE = "2004-plain"
BUILD = 19041
# The builder's container, the file, and its readers.
IMAGES = [
    ("raw", "a.raw", ["volatility", "memprocfs"]),
    ("vmware", "b.vmsn", ["volatility", "memprocfs"]),
    ("elf", "d.elf", ["volatility", "memprocfs", "kdumpfile", "readelf"]),
    ("virtualbox", "e.elf", ["volatility", "memprocfs", "readelf"]),
    ("lime", "f.lime", ["volatility", "memprocfs"]),
    ("kdump", "g.kdump", ["kdumpfile"]),
    ("kdump-lzo", "h.kdump", ["kdumpfile"]),
    ("kdump-snappy", "i.kdump", ["kdumpfile"]),
    ("kdump-zstd", "j.kdump", ["kdumpfile"]),
    ("kdump-flat", "k.kdump", ["makedumpfile"]),
    ("hyper-v", "l.vmrs", ["dissect"]),
]

MEMPROCFS = """
import json, sys
import leechcorepyc, memprocfs
vmm = memprocfs.Vmm(["-device", sys.argv[1], "-disable-symbolserver", "-disable-python"])
rows = vmm.process(4).module_list()
print(json.dumps([vmm.kernel.build, [[m.name, m.base, m.image_size] for m in rows]]))
"""

KDUMPFILE = """
import sys
import kdumpfile
raw, path = sys.argv[1:]
dump = kdumpfile.kdumpfile(file=path)
stored = differ = 0
with open(raw, "rb") as file:
    frame = 0
    while page := file.read(4096):
        try:
            found = dump.read(kdumpfile.KDUMP_MACHPHYSADDR, frame * 4096, 4096)
        except Exception:
            found = None
        if found is not None:
            stored += 1
            differ += bytes(found) != page
        elif any(page):
            differ += 1
        frame += 1
print(stored, differ)
"""


# Only for uncompressed blocks: dissect returns compressed data as stored.
DISSECT = """
import struct, sys
from dissect.hypervisor.descriptor.hyperv import HyperVFile
raw, path = (open(name, "rb") for name in sys.argv[1:])
saved = HyperVFile(path)["savedstate"].as_dict()
pages = differ = nth = 0
while about := saved.get(f"RamMemoryBlock{nth}"):
    count, data, first = struct.unpack_from("<QQQ", bytes(about), 8)
    for page in range(count):
        block = saved[f"RamBlock{(data + page) // 256}"]
        at = (data + page) % 256 * 4096
        raw.seek((first + page) * 4096)
        pages += 1
        differ += bytes(block[at:at + 4096]) != raw.read(4096)
    nth += 1
print(pages, differ)
"""


class Checks:
    """Prints the results, and records whether all passed."""

    def __init__(self):
        self.holds = True

    def say(self, holds, what):
        self.holds &= holds
        print("ok  " if holds else "FAIL", what, flush=True)


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, **options)
    return done.returncode, done.stdout, done.stderr


def va(address):
    """Readers use only the 48 bits that are translated."""
    return address & 0xFFFF_FFFF_FFFF


def modules(truth):
    return {(va(base), size) for _, base, size in truth["modules"]}


def memory_of(path):
    """The file to read; for VMware, the memory file."""
    return path.removesuffix(".vmsn") + ".vmem" if path.endswith(".vmsn") else path


def volatility(checks, venv, symbols, path, truth):
    path = memory_of(path)
    found = {}
    for plugin in ("windows.info.Info", "windows.modules.Modules"):
        command = [f"{venv}/bin/vol", "-q", "--offline", "-s", symbols, "-f", path, "-r", "json", plugin]
        code, out, err = run(command)
        if code != 0:
            return checks.say(False, f"Volatility 3 {plugin} {path}: {err.strip()[-300:]}")
        found[plugin] = json.loads(out)
    about = {row["Variable"]: row["Value"] for row in found["windows.info.Info"]}
    layers = [name for name in about if "layer" in name.lower() or name.startswith("memory_layer")]
    checks.say(int(about["NtMajorVersion"]) == 10, f"Volatility 3 info {path}: {about['Major/Minor']}, {about['SystemTime']}, {len(layers)} layers")
    got = {(va(row["Base"]), row["Size"]) for row in found["windows.modules.Modules"]}
    checks.say(got == modules(truth), f"Volatility 3 modules {path}: {len(got)}")


def memprocfs(checks, venv, path, truth):
    path = memory_of(path)
    site = run([f"{venv}/bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])[1].strip()
    libraries = ":".join(f"{site}/{name}" for name in ("memprocfs", "leechcorepyc"))
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    code, out, err = run([f"{venv}/bin/python", "-c", MEMPROCFS, path], env=environment)
    if code != 0:
        return checks.say(False, f"MemProcFS {path}: {(out + err).strip()[-300:]}")
    build, rows = json.loads(out.splitlines()[-1])
    got = {(va(base), size) for _, base, size in rows}
    checks.say(build == BUILD, f"MemProcFS build {path}: {build}")
    checks.say(modules(truth) <= got, f"MemProcFS modules {path}: {len(got)}")


def kdumpfile(checks, raw, path):
    code, out, err = run(["/usr/bin/python3", "-c", KDUMPFILE, raw, path])
    if code != 0:
        return checks.say(False, f"libkdumpfile {path}: {err.strip()[-300:]}")
    stored, differ = map(int, out.split())
    checks.say(stored > 0 and differ == 0, f"libkdumpfile {path}: {stored} pages, {differ} differ")


def makedumpfile(checks, raw, path):
    joined = path + ".joined"
    with open(path, "rb") as file:
        code, _, err = run(["makedumpfile", "-R", joined], stdin=file)
    checks.say(code == 0, f"makedumpfile -R {path}: {err.strip()[-200:] or 'written'}")
    if code == 0:
        kdumpfile(checks, raw, joined)


def dissect(checks, venv, raw, path):
    code, out, err = run([f"{venv}/bin/python", "-c", DISSECT, raw, path])
    if code != 0:
        return checks.say(False, f"dissect.hypervisor {path}: {err.strip()[-300:]}")
    pages, differ = map(int, out.split())
    checks.say(pages > 0 and differ == 0, f"dissect.hypervisor {path}: {pages} pages, {differ} differ")


def readelf(checks, path):
    code, out, err = run(["readelf", "-l", "-n", path])
    loads = sum(line.split()[:1] == ["LOAD"] for line in out.splitlines())
    checks.say(code == 0 and loads > 0 and not err, f"readelf {path}: {loads} segments {err.strip()[:200]}")


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    synth, venv, symbols, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    checks = Checks()
    raw = os.path.join(folder, IMAGES[0][1])
    for kind, name, readers in IMAGES:
        path = os.path.join(folder, name)
        code, _, err = run([synth, MACHINE, kind, path, path + ".json", "start-block"])
        if code != 0:
            sys.exit(f"{kind}: {err}")
        with open(path + ".json", encoding="utf-8") as file:
            truth = json.load(file)
        for reader in readers:
            if reader in ("makedumpfile", "readelf") and not shutil.which(reader):
                print("     no", reader)
            elif reader == "volatility":
                volatility(checks, venv, symbols, path, truth)
            elif reader == "memprocfs":
                memprocfs(checks, venv, path, truth)
            elif reader == "kdumpfile":
                kdumpfile(checks, raw, path)
            elif reader == "dissect":
                dissect(checks, venv, raw, path)
            elif reader == "makedumpfile":
                makedumpfile(checks, raw, path)
            else:
                readelf(checks, path)
    sys.exit(0 if checks.holds else 1)


if __name__ == "__main__":
    main()
