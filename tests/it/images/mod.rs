//! Images of a running machine give the same answers as its crash dump.

mod alike;
mod finding;
mod partners;

use std::path::Path;

use poolscope::synth::era::{
    Era, WIN7, WIN10_1607, WIN10_1809, WIN10_2004, WIN11, WIN11_24H2, WIN81,
};
use poolscope::synth::snapshot::{self, Image, Method, Mode, Qemu, Running, Vmware};
use poolscope::synth::{Container, Machine, small};
use serde_json::Value;

use crate::demo::{directory, json, poolscope};

const VMWARE: Vmware = Vmware {
    inside: false,
    old: false,
    one_by_one: false,
    padding: 0,
};
const QEMU: Qemu = Qemu {
    old: false,
    many: false,
    sections_last: false,
};

/// A machine with all pages resident, so that an image and a full dump have the same contents.
fn machine(era: &'static Era) -> Machine {
    let mut spec = small::of_era(era);
    spec.processors = 2;
    spec.options.whole_images = false;
    spec.allocations = small::allocations(&spec);
    Machine::build(&spec).unwrap()
}

/// The folder of a test's files; the program runs in its parent directory.
fn folder(name: &str) -> std::path::PathBuf {
    let folder = directory().join("images").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Answers without details that identify the file.
fn answers(path: &Path) -> Vec<Value> {
    let path = path.to_str().unwrap();
    [
        vec!["vm", path],
        vec!["poolused", path],
        vec!["allocs", path, "*"],
        vec!["modules", path],
    ]
    .iter()
    .map(|arguments| asked(arguments))
    .collect()
}

/// An answer without details that identify the file.
fn asked(arguments: &[&str]) -> Value {
    let mut answer = json(arguments);
    let object = answer.as_object_mut().unwrap();
    object.remove("dump");
    object.remove("warnings");
    forget_holes(&mut answer);
    answer
}

/// The differences between two answers.
fn difference(found: &Value, wanted: &Value) -> String {
    let [found, wanted] = [found, wanted].map(|v| serde_json::to_string_pretty(v).unwrap());
    let lines = found.lines().zip(wanted.lines());
    let first = lines.enumerate().find(|(_, (a, b))| a != b);
    first.map_or_else(
        || "one is longer".into(),
        |(n, (a, b))| format!("line {n}: {a} for {b}"),
    )
}

/// Removes notes on holes, which differ by container.
fn forget_holes(answer: &mut Value) {
    match answer {
        Value::Array(items) => {
            items.retain(|item| !item.as_str().is_some_and(|text| text.contains("has holes")));
            items.iter_mut().for_each(forget_holes);
        }
        Value::Object(fields) => fields.values_mut().for_each(forget_holes),
        _ => {}
    }
}

/// The answers of the machine's complete crash dump.
fn of_dump(machine: &Machine, folder: &Path) -> (Vec<Value>, Value) {
    let path = folder.join("full.dmp");
    machine.write(&path, Container::Full).unwrap();
    let out = (answers(&path), json(&["info", path.to_str().unwrap()]));
    std::fs::remove_file(path).unwrap();
    out
}

/// Compares `info` of an image with that of the dump.
fn check_info(path: &Path, dump: &Value, format: &str) -> Value {
    let image = json(&["info", path.to_str().unwrap()]);
    let (here, there) = (&image["dump"], &dump["dump"]);
    assert_eq!(here["format"], format);
    assert_eq!(here["bugcheck"], Value::Null);
    for same in [
        "build",
        "version",
        "processors",
        "kernel_base",
        "physical_pages",
        "system_time",
        "uptime_seconds",
        "symbols",
    ] {
        assert_eq!(here[same], there[same], "{same} of {format}");
    }
    assert_eq!(image["info"]["build_lab"], dump["info"]["build_lab"]);
    let consistency = &image["info"]["image"]["consistency"];
    assert_eq!(consistency["broken"], 0, "{consistency}");
    assert!(consistency["links"].as_u64().unwrap() > 4, "{consistency}");
    image
}

fn same_answers(
    folder: &Path,
    running: &Running,
    image: Image,
    name: &str,
    wanted: &(Vec<Value>, Value),
    format: &str,
) -> Value {
    let path = folder.join(name);
    running.write(&path, image).unwrap();
    let info = check_info(&path, &wanted.1, format);
    let found = answers(&path);
    for (found, wanted) in found.iter().zip(&wanted.0) {
        assert!(found == wanted, "{image:?}: {}", difference(found, wanted));
    }
    info
}

#[test]
fn every_format_gives_the_answers_of_the_crash_dump() {
    let folder = folder("formats");
    let machine = machine(&WIN10_2004);
    let wanted = of_dump(&machine, &folder);
    let running = snapshot::run(&machine, &WIN10_2004, &[Mode::Shadow, Mode::Kernel]).unwrap();
    let all = [
        (Image::Raw, "raw.img", "raw"),
        (Image::Lime, "it.lime", "lime"),
        (Image::Vmware(VMWARE), "a.vmsn", "vmware"),
        (
            Image::Vmware(Vmware {
                inside: true,
                padding: 5,
                ..VMWARE
            }),
            "b.vmss",
            "vmware",
        ),
        (
            Image::Vmware(Vmware {
                inside: true,
                old: true,
                one_by_one: true,
                padding: 0,
            }),
            "c.vmss",
            "vmware",
        ),
        (Image::Qemu(QEMU), "d.elf", "elf"),
        (
            Image::Qemu(Qemu {
                old: true,
                many: true,
                sections_last: true,
            }),
            "e.elf",
            "elf",
        ),
        (Image::VirtualBox, "f.elf", "virtualbox"),
        (Image::Kdump(Method::Zlib, false), "g.kdump", "kdump"),
        (Image::Kdump(Method::Lzo, true), "h.kdump", "kdump"),
        (Image::Kdump(Method::Snappy, true), "i.kdump", "kdump"),
        (Image::Kdump(Method::Zstd, false), "j.kdump", "kdump"),
        (Image::HyperV(false), "k.vmrs", "hyper-v"),
        (Image::HyperV(true), "l.vmrs", "hyper-v"),
    ];
    for (image, name, format) in all {
        let info = same_answers(&folder, &running, image, name, &wanted, format);
        let about = &info["info"]["image"];
        let root = about["root_source"].as_str().unwrap();
        match image {
            Image::Raw | Image::Lime => assert!(root.contains("search"), "{root}"),
            _ => {
                assert!(root.contains("CR3 of a processor"), "{name}: {root}");
                assert_eq!(about["cpus"].as_array().unwrap().len(), 2);
                assert_eq!(about["cpus"][0]["mode"], "user");
                assert_eq!(about["cpus"][1]["mode"], "kernel");
            }
        }
        let _ = std::fs::remove_file(folder.join(name));
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn every_windows_version_is_found_without_a_header() {
    for (era, image, name, format) in [
        (&WIN7, Image::Vmware(VMWARE), "a.vmss", "vmware"),
        (&WIN81, Image::Raw, "b.raw", "raw"),
        (&WIN10_1607, Image::HyperV(true), "c.vmrs", "hyper-v"),
        (&WIN10_1809, Image::Qemu(QEMU), "d.elf", "elf"),
        (&WIN11, Image::Kdump(Method::Snappy, false), "e.kd", "kdump"),
        (&WIN11_24H2, Image::VirtualBox, "f.elf", "virtualbox"),
        (&WIN11_24H2, Image::Lime, "g.lime", "lime"),
    ] {
        let folder = folder(&format!("era-{}-{name}", era.build));
        let machine = machine(era);
        let wanted = of_dump(&machine, &folder);
        let running = snapshot::run(&machine, era, &[Mode::Kernel, Mode::Off]).unwrap();
        let info = same_answers(&folder, &running, image, name, &wanted, format);
        let block = &info["info"]["image"]["debugger_data_source"];
        assert!(block.as_str().unwrap().contains("decoded"), "{block}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}

fn refusal(path: &Path) -> String {
    let output = poolscope(&["vm", path.to_str().unwrap()]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{}: {error}", path.display());
    error
}

#[test]
fn unsupported_images_are_named_with_a_conversion() {
    let folder = folder("named");
    let big = |start: &[u8]| {
        let mut bytes = start.to_vec();
        bytes.resize(0x3000, 0x11);
        bytes
    };
    let vhd = [big(b"\x33\xc0"), b"conectix".to_vec(), vec![0; 504]].concat();
    for (name, bytes, what, how) in [
        (
            "a.sav",
            big(b"\x7fVirtualBox SavedState V2.0"),
            "VirtualBox",
            "dumpvmcore",
        ),
        (
            "b.save",
            big(b"LibvirtQemudSave"),
            "libvirt save file",
            "virsh dump --memory-only",
        ),
        ("c.mig", big(b"QEVM"), "migration stream", "virsh dump"),
        ("d.qcow2", big(b"QFI\xfb"), "QCOW2", "MEMORY.DMP"),
        ("e.vhdx", big(b"vhdxfile"), "VHDX", "not memory"),
        ("f.vhd", vhd, "VHD", "not memory"),
        ("g.zdmp", big(b"ZDMP"), "DumpIt", "z2dmp"),
        (
            "h.aff4",
            big(b"PK\x03\x04information.turtle"),
            "AFF4",
            "raw",
        ),
        ("i.sys", big(b"HIBR"), "hiberfil", "live dump"),
        (
            "j.pdb",
            big(b"Microsoft C/C++ MSF 7.00\r\n"),
            "PDB",
            "--symbols",
        ),
        (
            "k.dmp",
            b"<!DOCTYPE html><html>".to_vec(),
            "HTML",
            "download",
        ),
        (
            "k2.dmp",
            b"\xef\xbb\xbf\r\n<!DOCTYPE HTML PUBLIC \"-//W3C\">".to_vec(),
            "HTML",
            "download",
        ),
        ("hiberfil.sys", vec![0; 0x3000], "wiped", "live dump"),
        (
            "l.dmp",
            b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
            "Git LFS",
            "git lfs pull",
        ),
        (
            "m.vsv",
            big(b"\x01\x02"),
            "before Windows Server 2016",
            "vm2dmp",
        ),
        ("n.lime", big(b"AVML"), "AVML", "Windows"),
        ("o.vmss", big(b"\x99\x98"), "encrypted", "decrypt"),
        ("p.core", big(b"DISKDUMP"), "diskdump", "Windows"),
        (
            "q.mem",
            big(b"\xff\x06\x00\x00sNaPpY"),
            "winpmem",
            "extract",
        ),
        (
            "r.vmrs",
            big(&[0x14, 0x20, 0x28, 0x01]),
            "headers",
            "copy it again",
        ),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = refusal(&path);
        assert!(
            error.contains(what) && error.contains(how),
            "{name}: {error}"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    // Memory without Windows.
    let path = folder.join("z.raw");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(32 << 20)
        .unwrap();
    let error = refusal(&path);
    assert!(error.contains("no Windows kernel found"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}
