//! Evidence, comparisons and screens of an image equal those of the crash dump; truncation
//! is reported.

use crate::screens::Screens;

use super::*;

#[test]
fn evidence_diff_and_screens_of_an_image_equal_those_of_the_dump() {
    let folder = folder("alike");
    let machine = machine(&WIN10_2004);
    let dump = folder.join("full.dmp");
    machine.write(&dump, Container::Full).unwrap();
    let running = snapshot::run(&machine, &WIN10_2004, &[Mode::Kernel, Mode::Shadow]).unwrap();
    for (image, name) in [
        (Image::Vmware(VMWARE), "a.vmsn"),
        (Image::Kdump(Method::Lzo, true), "b.kdump"),
        (Image::HyperV(true), "c.vmrs"),
    ] {
        let path = folder.join(name);
        running.write(&path, image).unwrap();
        let (file, kept) = (path.to_str().unwrap(), folder.join("it.evidence"));
        let kept_name = kept.to_str().unwrap();
        crate::demo::answer(&["evidence", file, "--out", kept_name]);
        let pairs = answers(&path).into_iter().zip(answers(&kept));
        for (image, evidence) in pairs {
            assert!(
                image == evidence,
                "{name}: {}",
                difference(&evidence, &image)
            );
        }
        for command in [&["refs", "Leak"][..], &["diagnose"], &["drivers"]] {
            let (verb, rest) = command.split_first().unwrap();
            // Evidence includes block contents, which `refs` alone does not read.
            let of = |file: &str| {
                let mut answer = asked(&[&[*verb, file], rest].concat());
                answer.as_object_mut().unwrap().remove("contents_read");
                answer
            };
            let wanted = of(dump.to_str().unwrap());
            for found in [of(file), of(kept_name)] {
                assert!(
                    found == wanted,
                    "{name} {verb}: {}",
                    difference(&found, &wanted)
                );
            }
        }
        let of_image = json(&["info", file]);
        let of_evidence = json(&["info", kept_name]);
        assert_eq!(
            of_evidence["info"]["image"], of_image["info"]["image"],
            "{name}"
        );
        assert_eq!(of_evidence["dump"]["bugcheck"], Value::Null);

        let diff = json(&["diff", dump.to_str().unwrap(), file, kept_name]);
        let kinds: Vec<&str> = diff["points"]
            .as_array()
            .unwrap()
            .iter()
            .map(|point| point["kind"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["dump", "image", "evidence"]);
        assert_eq!(diff["same_boot"], true);
        for change in diff["changes"].as_array().unwrap() {
            let trend = change["trend"].as_str().unwrap();
            assert!(["pinned", "unchanged"].contains(&trend), "{change}");
        }
        std::fs::remove_file(kept).unwrap();
        // One format is enough for the screens.
        if name == "c.vmrs" {
            let mut of_dump = Screens::open(&dump).unwrap();
            let mut of_image = Screens::open(&path).unwrap();
            // `vm` was compared above; its screen includes the bytes of holes, which differ
            // by file.
            let [wanted, found] = [&mut of_dump, &mut of_image].map(|screens| {
                screens.wait_for_owners();
                rows(&screens.keys("m"))
            });
            assert_eq!(found, wanted);
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// Rows of a screen below the line with the file name.
fn rows(screen: &str) -> Vec<String> {
    let rows = screen.lines().skip(2);
    let rows = rows.filter(|row| !row.contains("holes") && !row.contains("walked"));
    rows.map(str::to_owned).collect()
}

#[test]
fn a_truncated_image_is_reported() {
    let folder = folder("cut");
    let machine = machine(&WIN7);
    let running = snapshot::run(&machine, &WIN7, &[Mode::Kernel, Mode::Kernel]).unwrap();
    for (image, name) in [
        (Image::Lime, "a.lime"),
        (
            Image::Vmware(Vmware {
                inside: true,
                ..VMWARE
            }),
            "b.vmss",
        ),
        (Image::Vmware(VMWARE), "c.vmsn"),
        (Image::Qemu(QEMU), "d.elf"),
        (Image::Kdump(Method::Zlib, false), "e.kdump"),
        (Image::Kdump(Method::Snappy, true), "f.kdump"),
        (Image::HyperV(false), "g.vmrs"),
        (Image::HyperV(true), "h.vmrs"),
        (Image::Raw, "i.raw"),
    ] {
        let path = folder.join(name);
        running.write(&path, image).unwrap();
        let cut = match name {
            "c.vmsn" => folder.join("c.vmem"),
            _ => path.clone(),
        };
        let length = std::fs::metadata(&cut).unwrap().len();
        for part in [10, 60, 97] {
            let file = std::fs::File::options().write(true).open(&cut).unwrap();
            file.set_len(length * (107 - part) / 100).unwrap();
            drop(file);
            let output = poolscope(&["info", path.to_str().unwrap()])
                .output()
                .unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            let words = [
                "truncated",
                "cut",
                "ends",
                "copy it again",
                "end where",
                "no Windows kernel",
            ];
            assert!(
                words.iter().any(|w| said.contains(w)),
                "{name} {part}: {said}"
            );
            assert!(
                output.status.code().is_some_and(|code| code < 2),
                "{name}: {said}"
            );
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}
