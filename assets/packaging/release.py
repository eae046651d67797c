#!/usr/bin/env python3
"""Makes a release on one Linux machine: archives, packages, manifests and checksums.

    assets/packaging/release.py --out DIR [TARGET ...]
    assets/packaging/release.py --out DIR --profile quick --twice x86_64-unknown-linux-gnu

Needs cargo with the standard library of each target (`rustup target add`), and
`pip install ziglang cargo-zigbuild`; for the packages cargo-deb and cargo-generate-rpm; for
the dependency data inside the program cargo-auditable. What is missing is said, and ends
the run unless --without names it. What --without names is not used.

The bytes depend on the source, the compiler and the tools alone: paths are mapped away,
times are those of the commit, orders are sorted. --twice builds all in two places and
compares.

macOS programs are linked without Apple's SDK. A folder of stubs replaces it: zig's list of the
symbols of libSystem, and the symbols of CoreFoundation that a dependency uses. To link with a
real SDK, set SDKROOT.

--std-source DIR builds the standard library from its source (`library` of a rust-src of the
same version), for targets that this machine's toolchain does not have.
"""

import argparse
import gzip
import hashlib
import importlib.util
import io
import json
import os
import shlex
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import uuid
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
# The oldest glibc of a distribution that is still in service: that of RHEL 7.
GLIBC = "2.17"
# What one Linux machine can link, with zig as the linker. x86_64-pc-windows-msvc is not
# among them: its import libraries are Microsoft's.
TARGETS = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-musl",
    "x86_64-pc-windows-gnu",
    "x86_64-apple-darwin",
    "aarch64-apple-darwin",
    "x86_64-unknown-freebsd",
]
SHELLS = {"bash": "poolscope.bash", "zsh": "_poolscope", "fish": "poolscope.fish"}
# The symbols of CoreFoundation that the crate `iana-time-zone` uses. If one is missing here,
# linking fails.
CORE_FOUNDATION = """\
--- !tapi-tbd
tbd-version:     4
targets:         [ x86_64-macos, arm64-macos ]
install-name:    '/System/Library/Frameworks/CoreFoundation.framework/Versions/A/CoreFoundation'
exports:
  - targets:         [ x86_64-macos, arm64-macos ]
    symbols:         [ _CFRelease, _CFStringGetBytes, _CFStringGetCStringPtr, _CFStringGetLength,
                       _CFTimeZoneCopySystem, _CFTimeZoneGetName, _CFTimeZoneResetSystem ]
...
"""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def run(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, cwd=ROOT, **options)


def output(*command):
    return run(*command, stdout=subprocess.PIPE).stdout


def say(text):
    print(f"release: {text}", file=sys.stderr, flush=True)


def macos_stubs(place):
    """Makes the folder of stubs that replaces Apple's SDK."""
    zig = importlib.util.find_spec("ziglang")
    if not zig:
        sys.exit("release: this Python has no ziglang, which macOS programs need for the symbols of libSystem; install it, or set SDKROOT")
    framework = place / "System/Library/Frameworks/CoreFoundation.framework"
    framework.mkdir(parents=True, exist_ok=True)
    (framework / "CoreFoundation.tbd").write_text(CORE_FOUNDATION)
    (place / "usr/lib").mkdir(parents=True, exist_ok=True)
    system = Path(zig.origin).parent / "lib/libc/darwin"
    shutil.copy(system / "libSystem.tbd", place / "usr/lib")
    shutil.copy(system / "SDKSettings.json", place)


def independent_of_place(program, name):
    """A macOS program without what zig takes from the build folder: its UUID, which is a hash
    that includes paths of object files, becomes a hash of the program; `name` becomes the
    identifier in the ad-hoc signature, which is the name of zig's output file. The signature has
    a hash of each page of the program, so the page with the UUID gets a new one; the identifier
    is not part of any hash. zig signs programs for ARM64 only; Intel machines run programs
    without a signature."""
    program = bytearray(program)
    places, at = {}, 32
    for _ in range(struct.unpack_from("<I", program, 16)[0]):
        command, size = struct.unpack_from("<II", program, at)
        places[command] = at + 8
        at += size
    identity, signature = places[0x1B], None  # LC_UUID, LC_CODE_SIGNATURE
    if 0x1D in places:
        signature = struct.unpack_from("<I", program, places[0x1D])[0]
    program[identity:identity + 16] = bytes(16)
    digest = hashlib.sha256(program[:signature]).hexdigest()
    program[identity:identity + 16] = uuid.uuid5(uuid.NAMESPACE_OID, digest).bytes
    if not signature:
        return bytes(program)
    for blob in range(struct.unpack_from(">I", program, signature + 8)[0]):
        directory = signature + struct.unpack_from(">I", program, signature + 16 + 8 * blob)[0]
        magic, _, _, _, hashes, identifier = struct.unpack_from(">6I", program, directory)
        if magic != 0xFADE0C02:  # the code directory
            continue
        start = directory + identifier
        end = program.index(0, start)
        if len(name) > end - start:
            sys.exit("release: the signature has no room for the program's name")
        program[start:end] = name.encode().ljust(end - start, b"\0")
        width, kind, _, bits = program[directory + 36:directory + 40]
        if (width, kind) != (32, 2):
            sys.exit("release: the signature's hashes are not SHA-256")
        page = identity >> bits << bits
        slot = directory + hashes + 32 * (page >> bits)
        limit = min(page + (1 << bits), signature)
        program[slot:slot + 32] = hashlib.sha256(program[page:limit]).digest()
    return bytes(program)


class Release:
    def __init__(self, options):
        self.options = options
        package = json.loads(output("cargo", "metadata", "--locked", "--no-deps", "--format-version=1"))
        [self.package] = package["packages"]
        self.version = self.package["version"]
        self.epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or output("git", "log", "-1", "--format=%ct"))
        self.has = {tool: tool not in options.without and shutil.which(tool) is not None
                    for tool in ["cargo-zigbuild", "cargo-auditable", "cargo-deb", "cargo-generate-rpm"]}
        for tool, there in self.has.items():
            if not there and tool not in options.without:
                sys.exit(f"release: {tool} is not installed; install it, or give --without {tool}")

    def environment(self, target, build):
        cargo_home = os.environ.get("CARGO_HOME", str(Path.home() / ".cargo"))
        sysroot = output("rustc", "--print", "sysroot").decode().strip()
        maps = {str(ROOT): "/poolscope", cargo_home: "/cargo", str(build): "/build", sysroot: "/rust"}
        if self.options.std_source:
            maps[str(Path(self.options.std_source).resolve())] = "/rust/library"
        flags = os.environ.get("RUSTFLAGS", "").split()
        flags += [f"--remap-path-prefix={path}={name}" for path, name in maps.items()]
        if self.options.std_source and target.endswith("-musl"):
            # The start files (crt1.o) of the compiler come with the installed target; zig has its own.
            flags.append("-Clink-self-contained=no")
        # C files of crates name their own paths in assertions.
        c_flags = shlex.join(f"-ffile-prefix-map={path}={name}" for path, name in maps.items())
        env = dict(os.environ)
        env.update(
            CARGO_TARGET_DIR=str(build),
            CARGO_INCREMENTAL="0",
            CARGO_ENCODED_RUSTFLAGS="\x1f".join(flags),
            SOURCE_DATE_EPOCH=str(self.epoch),
        )
        if target.endswith("-apple-darwin") and "SDKROOT" not in env:
            env["SDKROOT"] = str(build / "macos-stubs")
            macos_stubs(build / "macos-stubs")
        env["CC_SHELL_ESCAPED_FLAGS"] = "1"
        env[f"CFLAGS_{target.replace('-', '_')}"] = c_flags
        if self.options.std_source:
            env["__CARGO_TESTS_ONLY_SRC_ROOT"] = str(Path(self.options.std_source).resolve())
            env["RUSTC_BOOTSTRAP"] = "1"
        return env

    def build(self, target, build):
        """The program for one target."""
        command = ["cargo"]
        if self.has["cargo-auditable"]:
            command.append("auditable")
        wanted = f"{target}.{GLIBC}" if target.endswith("-gnu") and "linux" in target else target
        command += ["zigbuild", "--locked", "--bin", "poolscope",
                    "--profile", self.options.profile, "--target", wanted]
        if self.options.std_source:
            command += ["-Zbuild-std=std,panic_unwind"]
        run(*command, env=self.environment(target, build))
        name = "poolscope.exe" if "windows" in target else "poolscope"
        return build / target / self.options.profile / name

    def dependencies(self, target):
        """The crates inside the program, without those that only build or test it, and what
        each needs; by name and version."""
        metadata = json.loads(output("cargo", "metadata", "--locked", "--format-version=1"))
        packages = {(p["name"], p["version"]): p for p in metadata["packages"]}
        tree = output("cargo", "tree", "--locked", "--edges", "normal,no-proc-macro", "--target", target,
                      "--prefix", "depth", "--format", "|{p}|")
        edges, above = {}, []
        for line in tree.decode().splitlines():
            depth, about = line.split("|")[:2]
            name, version = about.split()[:2]
            crate = (name, version.removeprefix("v"))
            edges.setdefault(crate, set())
            del above[int(depth):]
            if above:
                edges[above[-1]].add(crate)
            above.append(crate)
        root = (self.package["name"], self.version)
        return packages[root], [packages[c] for c in sorted(set(edges) - {root})], edges

    def checksums(self):
        """The registry's checksums, by name and version."""
        sums, entry = {}, {}
        for line in (ROOT / "Cargo.lock").read_text().splitlines():
            key, _, value = line.partition(" = ")
            if line == "[[package]]":
                entry = {}
            entry[key] = value.strip('"')
            if key == "checksum":
                sums[entry["name"], entry["version"]] = entry["checksum"]
        return sums

    def bill(self, target):
        """The bill of materials, CycloneDX 1.5."""
        root, crates, edges = self.dependencies(target)
        sums = self.checksums()
        name = {key: f"pkg:cargo/{key[0]}@{key[1]}" for key in edges}

        def component(crate, kind):
            key = (crate["name"], crate["version"])
            out = {
                "type": kind,
                "bom-ref": name[key],
                "name": crate["name"],
                "version": crate["version"],
                "purl": name[key],
                "licenses": [{"expression": (crate["license"] or "NOASSERTION").replace("/", " OR ")}],
            }
            digest = sums.get(key)
            if digest:
                out["hashes"] = [{"alg": "SHA-256", "content": digest}]
            if crate.get("description"):
                out["description"] = " ".join(crate["description"].split())
            return out

        stamp = f"{self.version} {target} {self.epoch}"
        return {
            "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, stamp)}",
            "version": 1,
            "metadata": {
                "timestamp": self.time("%Y-%m-%dT%H:%M:%SZ"),
                "component": component(root, "application"),
                "properties": [{"name": "cargo:target", "value": target}],
            },
            "components": [component(crate, "library") for crate in crates],
            "dependencies": [
                {"ref": name[key], "dependsOn": sorted(name[d] for d in edges[key])}
                for key in sorted(edges)
            ],
        }

    def time(self, form):
        import datetime
        return datetime.datetime.fromtimestamp(self.epoch, datetime.timezone.utc).strftime(form)

    def third_party(self, target):
        """The licences of all crates in the program, with their texts."""
        _, crates, _ = self.dependencies(target)
        out = [f"poolscope {self.version} contains these crates.\n"]
        for crate in crates:
            out.append(f"\n{'=' * 72}\n{crate['name']} {crate['version']}: {crate['license']}\n")
            folder = Path(crate["manifest_path"]).parent
            texts = sorted(p for p in folder.iterdir()
                           if p.is_file() and p.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "UNLICENSE", "NOTICE")))
            for path in texts:
                out.append(f"\n--- {path.name}\n\n{path.read_text(errors='replace').strip()}\n")
        return "".join(out)

    def contents(self, target, program, completions):
        """What is in an archive: name, bytes, mode."""
        name = program.name
        content = program.read_bytes()
        if target.endswith("-apple-darwin"):
            content = independent_of_place(content, name)
        files = [(name, content, 0o755)]
        files.append(("man/poolscope.1", (ROOT / "assets/poolscope.1").read_bytes(), 0o644))
        for shell, text in completions.items():
            files.append((f"completions/{shell}", text, 0o644))
        for doc in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"]:
            files.append((f"doc/{doc}", (ROOT / doc).read_bytes(), 0o644))
        files.append(("doc/THIRD-PARTY.txt", self.third_party(target).encode(), 0o644))
        bill = json.dumps(self.bill(target), indent=1, ensure_ascii=False) + "\n"
        files.append(("doc/poolscope.cdx.json", bill.encode(), 0o644))
        return files

    def archive(self, target, files, out):
        stem = f"poolscope-{self.version}-{target}"
        if "windows" in target:
            path = out / f"{stem}.zip"
            stamp = tuple(int(part) for part in self.time("%Y %m %d %H %M %S").split())
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
                for name, content, mode in files:
                    about = zipfile.ZipInfo(f"{stem}/{name}", stamp)
                    about.external_attr = (0o100000 | mode) << 16
                    about.create_system = 3
                    about.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(about, content)
            return path
        path = out / f"{stem}.tar.gz"
        with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=self.epoch) as packed:
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
                for name, content, mode in files:
                    about = tarfile.TarInfo(f"{stem}/{name}")
                    about.size, about.mode, about.mtime = len(content), mode, self.epoch
                    about.uname = about.gname = "root"
                    archive.addfile(about, io.BytesIO(content))
        return path

    def stage(self, files, place):
        """A crate of nothing but what goes into a package, for the tools that make one: they
        read its Cargo.toml, and some have not kept up with the edition of ours."""
        for name, content, mode in files:
            path = place / "files" / ("bin/" + name if "/" not in name else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(mode)
            os.utime(path, (self.epoch, self.epoch))
        fields = {key: self.package[key] for key in ["name", "version", "license", "description", "repository"]}
        lines = ["[package]", 'edition = "2021"', *(f"{key} = {json.dumps(value)}" for key, value in fields.items())]
        # Text, not values: there is no writer of TOML in Python itself.
        manifest = (ROOT / "Cargo.toml").read_text()
        start, end = manifest.index("[package.metadata.deb]"), manifest.index("[dependencies]")
        lines += ["", manifest[start:end].replace('"target/package/', '"'), "[workspace]", ""]
        (place / "Cargo.toml").write_text("\n".join(lines))
        (place / "src").mkdir()
        (place / "src/main.rs").write_text("fn main() {}\n")

    def packages(self, target, files, out):
        """.deb and .rpm of what is in the archive."""
        arch = target.split("-")[0]
        made = []
        with tempfile.TemporaryDirectory(prefix="poolscope-package-") as place:
            place = Path(place)
            self.stage(files, place)
            env = dict(os.environ, SOURCE_DATE_EPOCH=str(self.epoch))

            def package(tool, path, *arguments):
                if self.has[tool]:
                    command = [tool, *arguments, "--target", target, "--output", str(path)]
                    subprocess.run(command, check=True, cwd=place, env=env)
                    made.append(path)

            deb = out / f"poolscope_{self.version}-1_{ARCHITECTURES[arch]}.deb"
            package("cargo-deb", deb, "--no-build", "--no-strip", "--quiet", "--deb-revision", "1")
            rpm = out / f"poolscope-{self.version}-1.{arch}.rpm"
            package("cargo-generate-rpm", rpm, "--auto-req", "no")
        return made

    def manifests(self, sums, out):
        """Homebrew, Scoop and winget, filled with this version and these sums."""
        values = {"VERSION": self.version, "DATE": self.time("%Y-%m-%d"),
                  "DESCRIPTION": self.package["description"], "REPOSITORY": self.package["repository"]}
        for name, digest in sums.items():
            for target in TARGETS:
                if name in (f"poolscope-{self.version}-{target}.tar.gz", f"poolscope-{self.version}-{target}.zip"):
                    values["SHA256 " + target] = digest
        for template in sorted((HERE / "manifests").rglob("*.in")):
            text = template.read_text()
            for key, value in values.items():
                text = text.replace("{{" + key + "}}", value)
            place = out / "manifests" / template.relative_to(HERE / "manifests").with_suffix("")
            if "{{" in text:
                left = sorted({part.split("}}")[0] for part in text.split("{{")[1:]})
                say(f"no {place.name}: this release has no {', '.join(left)}")
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    def make(self, build, out):
        out.mkdir(parents=True, exist_ok=True)
        completions = None
        made = []
        # The machine's own target first: its program writes the completions of all.
        host = next(l.split()[1] for l in output("rustc", "-vV").decode().splitlines() if l.startswith("host:"))
        for target in sorted(self.options.targets, key=lambda t: (t != host, t)):
            say(f"{target} ({self.options.profile})")
            program = self.build(target, build)
            if completions is None:
                runner = program if target == host else shutil.which("poolscope")
                if not runner:
                    sys.exit(f"release: {host} is not among the targets, and no poolscope is installed: nothing writes the completions")
                completions = {name: output(runner, "completions", shell) for shell, name in SHELLS.items()}
            files = self.contents(target, program, completions)
            made.append(self.archive(target, files, out))
            bill = next(content for name, content, _ in files if name.endswith(".cdx.json"))
            path = out / f"poolscope-{self.version}-{target}.cdx.json"
            path.write_bytes(bill)
            made.append(path)
            # The static program depends on no library; the packages have the dynamic one.
            if target.endswith("-linux-gnu"):
                made += self.packages(target, files, out)
        sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made}
        lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.items())]
        (out / "SHA256SUMS").write_text("".join(lines))
        self.manifests(sums, out)
        return sums


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--list-targets", action="store_true", help="print the targets and end")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--build", type=Path, help="folder of the build; a temporary one by default")
    parser.add_argument("--profile", default="release")
    parser.add_argument("--twice", action="store_true", help="build again elsewhere and compare")
    parser.add_argument("--std-source", metavar="DIR")
    parser.add_argument("--without", action="append", default=[], metavar="TOOL")
    options = parser.parse_args()
    if options.list_targets:
        print("\n".join(TARGETS))
        return
    if not options.out:
        parser.error("--out is missing")
    options.targets = options.targets or TARGETS
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        sys.exit(f"release: not linked here: {', '.join(sorted(unknown))}")
    release = Release(options)
    with tempfile.TemporaryDirectory(prefix="poolscope-release-") as scratch:
        scratch = Path(scratch)
        build = options.build.resolve() if options.build else scratch / "build"
        sums = release.make(build, options.out.resolve())
        if options.twice:
            again = release.make(scratch / "another-place-of-the-second-build", scratch / "again")
            differing = sorted(name for name in sums if sums[name] != again.get(name))
            if differing:
                sys.exit(f"release: not the same when built again: {', '.join(differing)}")
            say(f"built twice: {len(sums)} files are the same, byte for byte")
    print((options.out / "SHA256SUMS").read_text(), end="")


if __name__ == "__main__":
    main()
