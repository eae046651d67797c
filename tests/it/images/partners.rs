//! VMware's two files: side by side, given by option, missing, from different moments, with
//! a hole.

use super::*;

#[test]
fn missing_partner_files_are_reported() {
    let folder = folder("partners");
    let machine = machine(&WIN7);
    let running = snapshot::run(&machine, &WIN7, &[Mode::Kernel, Mode::Kernel]).unwrap();
    let (state, memory) = (folder.join("a.vmsn"), folder.join("a.vmem"));
    running.write(&state, Image::Vmware(VMWARE)).unwrap();
    // Naming the memory file works as well as naming the state.
    let dump = json(&["info", memory.to_str().unwrap()]);
    assert_eq!(dump["dump"]["format"], "vmware");
    assert!(!dump["warnings"].to_string().contains("missing"));
    // Without its state, the file is read as raw memory.
    let alone = folder.join("b.vmem");
    std::fs::rename(&memory, &alone).unwrap();
    let error = refusal(&state);
    assert!(
        error.contains("a.vmem") && error.contains("not in the same directory"),
        "{error}"
    );
    let raw = folder.join("c.vmem");
    running.write(&raw, Image::Raw).unwrap();
    let dump = json(&["info", raw.to_str().unwrap()]);
    assert!(
        dump["warnings"]
            .to_string()
            .contains(".vmsn or .vmss is missing")
    );
    // A state without any mention of memory.
    let mut empty = 0xbed2_bed2u32.to_le_bytes().to_vec();
    empty.extend(8u32.to_le_bytes());
    empty.extend(1u32.to_le_bytes());
    empty.extend([b"cpu".as_slice(), &[0; 61]].concat());
    empty.extend(92u64.to_le_bytes());
    empty.extend([0; 20]);
    let small = folder.join("small.vmsn");
    std::fs::write(&small, &empty).unwrap();
    assert!(refusal(&small).contains("taken without memory"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_partner_file_can_be_given() {
    let folder = folder("given");
    let machine = machine(&WIN7);
    let running = snapshot::run(&machine, &WIN7, &[Mode::Kernel, Mode::Kernel]).unwrap();
    let wanted = of_dump(&machine, &folder);
    let state = folder.join("a.vmsn");
    running.write(&state, Image::Vmware(VMWARE)).unwrap();
    // On vSAN, the memory file has a different base name.
    let memory = folder.join("5d3f7c11-uuid");
    std::fs::rename(folder.join("a.vmem"), &memory).unwrap();
    let (state, memory) = (state.to_str().unwrap(), memory.to_str().unwrap());
    let info = json(&["info", state, "--partner", memory]);
    assert_eq!(
        info["dump"]["physical_pages"],
        wanted.1["dump"]["physical_pages"]
    );
    let used = json(&["poolused", state, "--partner", memory]);
    assert_eq!(used["total"], wanted.0[1]["total"]);
    // The other way round, if the name identifies it as memory.
    let named = folder.join("b.vmem");
    std::fs::rename(memory, &named).unwrap();
    let named = named.to_str().unwrap();
    let info = json(&["info", named, "--partner", state]);
    assert_eq!(info["info"]["image"]["cpus"].as_array().unwrap().len(), 2);
    // Impossible combinations are refused; no other file is used instead.
    let refused = |arguments: &[&str]| {
        let output = poolscope(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let error = refused(&["info", state, "--partner", state]);
    assert!(error.contains("is a state itself"), "{error}");
    let error = refused(&["info", named, "--partner", named]);
    assert!(error.contains("not a VMware state"), "{error}");
    let error = refused(&["info", named, "--partner", "missing.vmsn"]);
    assert!(error.contains("missing.vmsn"), "{error}");
    let folder_name = folder.to_str().unwrap();
    let error = refused(&["info", state, "--partner", folder_name]);
    assert!(error.contains("is not a file"), "{error}");
    let dump = folder.join("full.dmp");
    machine.write(&dump, Container::Full).unwrap();
    let error = refused(&["info", dump.to_str().unwrap(), "--partner", state]);
    assert!(error.contains("which has none"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

/// VMware leaves the hole below 4 GB out of the file.
#[test]
fn the_hole_below_4_gb_is_handled_with_and_without_a_state() {
    let folder = folder("hole");
    let mut spec = small::of_era(&WIN7);
    spec.options.whole_images = false;
    spec.options.gigabyte_page = false;
    // Large pages and aligned allocations come from the end of memory, above 4 GB.
    spec.runs = vec![(1, 0x9e), (0x100, 0xb_ff00), (0x10_0000, 0x4000)];
    spec.vm.physical_memory = 0x9e + 0xb_ff00 + 0x4000;
    spec.allocations = small::allocations(&spec);
    let machine = Machine::build(&spec).unwrap();
    let above = (0x10_0000..machine.memory.physical.end())
        .filter(|pfn| machine.memory.physical.is_present(*pfn))
        .count();
    assert!(above > 200, "{above} frames above 4 GB are in use");
    let wanted = of_dump(&machine, &folder);
    let running = snapshot::run(&machine, &WIN7, &[Mode::Kernel, Mode::Kernel]).unwrap();
    let state = Image::Vmware(VMWARE);
    same_answers(&folder, &running, state, "a.vmsn", &wanted, "vmware");
    let memory = folder.join("a.vmem");
    let length = std::fs::metadata(&memory).unwrap().len();
    assert!(length < (0xc_0000 + 0x4100) * 0x1000, "{length:#x}");
    std::fs::remove_file(folder.join("a.vmsn")).unwrap();
    let info = check_info(&memory, &wanted.1, "vmware");
    let said = info["warnings"].to_string();
    assert!(said.contains("assumed a memory hole at 3 GB"), "{said}");
    for (found, wanted) in answers(&memory).iter().zip(&wanted.0) {
        assert!(found == wanted, "{}", difference(found, wanted));
    }
    std::fs::remove_dir_all(folder).unwrap();
}
