//! Windows is found in difficult images, and remains of other kernels are not mistaken for it.

use poolscope::memory::{PAGE_SIZE, Pfn, Va};
use poolscope::synth::snapshot::Registers;
use poolscope::synth::snapshot::Running;

use super::*;

/// The slot of the top table that maps the tables themselves, and the slot of shared user
/// data.
const SELF: usize = 0x1ed;
const SHARED: usize = 0x1ef;
const SHARED_USER_DATA: Va = Va(0xffff_f780_0000_0000);

fn entry(frame: u64) -> [u8; 8] {
    (frame << 12 | 0x63).to_le_bytes()
}

fn put(page: &mut [u8; PAGE_SIZE as usize], slot: usize, frame: u64) {
    page[slot * 8..slot * 8 + 8].copy_from_slice(&entry(frame));
}

/// The page of shared user data, with an earlier time.
fn shared(running: &Running, earlier: u64) -> [u8; PAGE_SIZE as usize] {
    let memory = &running.machine.memory;
    let frame = memory.frame(SHARED_USER_DATA).unwrap();
    let mut page = *memory.physical.page(frame).unwrap();
    let time = u64::from_le_bytes(page[0x14..0x1c].try_into().unwrap()) - earlier;
    page[0x14..0x1c].copy_from_slice(&time.to_le_bytes());
    page[0x1c..0x20].copy_from_slice(&((time >> 32) as u32).to_le_bytes());
    page
}

/// Page tables in five frames from `at` on: a top table, and the tables that lead to a page
/// of shared user data.
fn tables(running: &mut Running, at: u64, mut top: [u8; 4096], data: [u8; 4096]) {
    let physical = &mut running.machine.memory.physical;
    put(&mut top, SELF, at);
    put(&mut top, SHARED, at + 1);
    *physical.page_mut(Pfn(at)) = top;
    for level in 1..4 {
        put(physical.page_mut(Pfn(at + level)), 0, at + level + 1);
    }
    *physical.page_mut(Pfn(at + 4)) = data;
}

#[test]
fn processors_in_user_mode_lead_to_the_kernel_through_their_control_block() {
    let folder = folder("shadow");
    for era in [&WIN10_1607, &WIN10_2004, &WIN11] {
        let machine = machine(era);
        let wanted = of_dump(&machine, &folder);
        let running = snapshot::run(&machine, era, &[Mode::Shadow, Mode::Shadow]).unwrap();
        let path = folder.join("a.elf");
        running.write(&path, Image::Qemu(QEMU)).unwrap();
        let info = check_info(&path, &wanted.1, "elf");
        let root = info["info"]["image"]["root_source"].as_str().unwrap();
        assert!(root.contains("KernelDirectoryTableBase"), "{root}");
        // The low bits of CR3 are not part of the address.
        let page = |info: &Value| {
            let table = info["dump"]["directory_table"].as_str().unwrap();
            table[..table.len() - 3].to_owned()
        };
        assert_eq!(page(&info), page(&wanted.1));
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn page_tables_of_an_earlier_boot_are_not_used() {
    const DAY: u64 = 864_000_000_000;
    let folder = folder("decoys");
    let machine = machine(&WIN10_2004);
    let mut running = snapshot::run(&machine, &WIN10_2004, &[]).unwrap();
    let memory = &running.machine.memory;
    let root = *memory.physical.page(memory.root().pfn()).unwrap();
    let earlier = shared(&running, DAY);
    // All of these are before the root of the current boot: one with random bytes for
    // shared user data, one from an earlier boot, and one without a kernel.
    let now = shared(&running, 0);
    let decoys = [(root, [0xcc; 4096]), (root, earlier), ([0; 4096], now)];
    for (i, (top, data)) in decoys.into_iter().enumerate() {
        tables(&mut running, 0x10 + 5 * i as u64, top, data);
    }
    // A start block of the earlier boot leads to its tables.
    let stub = running.machine.memory.physical.page_mut(Pfn(8));
    stub[..8].copy_from_slice(&0x0000_0001_0006_00e9u64.to_le_bytes());
    stub[0x70..0x78].copy_from_slice(&0xffff_f800_1234_5000u64.to_le_bytes());
    stub[0xa0..0xa8].copy_from_slice(&(0x15u64 << 12).to_le_bytes());
    let path = folder.join("a.raw");
    running.write(&path, Image::Raw).unwrap();
    let wanted = of_dump(&machine, &folder);
    let info = check_info(&path, &wanted.1, "raw");
    let table = format!("{:#x}", running.machine.memory.root().0);
    assert_eq!(info["dump"]["directory_table"], table);
    // Processors stopped in such tables do not mislead the search: one has no kernel, the
    // other has no Windows.
    let off = |root: u64| Registers {
        cr0: 0x8005_0031,
        cr3: root << 12,
        cr4: 0x6f8,
        rip: 0xffff_f800_1234_5000,
        ..Registers::default()
    };
    running.cpus = vec![off(0x1a), off(0x10), off(0x3fff)];
    let path = folder.join("b.elf");
    running.write(&path, Image::Qemu(QEMU)).unwrap();
    let info = check_info(&path, &wanted.1, "elf");
    assert_eq!(info["dump"]["directory_table"], table);
    let said = info["warnings"].to_string();
    assert!(said.contains("memory was searched"), "{said}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn five_level_page_tables_are_found_by_cr4_and_by_search() {
    let folder = folder("five");
    let machine = machine(&WIN11);
    let wanted = of_dump(&machine, &folder);
    let mut running = snapshot::run(&machine, &WIN11, &[Mode::Kernel, Mode::Kernel]).unwrap();
    let memory = &mut running.machine.memory;
    let old = memory.root().pfn();
    let top = memory.physical.allocate(1);
    // With five levels, the upper half of 48 bits is the last slot, and tables map
    // themselves one level higher.
    let page = memory.physical.page_mut(top);
    put(page, 0x1ff, old.0);
    put(page, SELF, top.0);
    // Tables with four levels cannot be roots on such a machine: no other table maps itself.
    for pfn in (0..memory.physical.end()).map(Pfn).filter(|p| *p != top) {
        let entry = |page: &[u8; PAGE_SIZE as usize]| {
            let bytes = page[SELF * 8..SELF * 8 + 8].try_into().unwrap();
            u64::from_le_bytes(bytes) >> 12 & 0xff_ffff_ffff
        };
        let of_itself = memory.physical.page(pfn).is_some_and(|p| entry(p) == pfn.0);
        if of_itself && pfn.0 != 0 {
            memory.physical.page_mut(pfn)[SELF * 8..SELF * 8 + 8].fill(0);
        }
    }
    assert!(!memory.physical.is_exhausted());
    for cpu in &mut running.cpus {
        cpu.cr3 = top.0 << 12;
        cpu.cr4 |= 1 << 12;
    }
    for (image, name, format, how) in [
        (
            Image::VirtualBox,
            "a.elf",
            "virtualbox",
            "CR3 of a processor",
        ),
        (Image::Raw, "b.raw", "raw", "search"),
    ] {
        let path = folder.join(name);
        running.write(&path, image).unwrap();
        let info = check_info(&path, &wanted.1, format);
        let root = info["info"]["image"]["root_source"].as_str().unwrap();
        assert!(root.contains(how), "{root}");
        assert_eq!(
            info["dump"]["directory_table"],
            format!("{:#x}", top.0 << 12)
        );
        let found = answers(&path);
        for (found, wanted) in found.iter().zip(&wanted.0) {
            assert!(found == wanted, "{name}: {}", difference(found, wanted));
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_kernel_at_an_unusual_address_is_found_by_its_debug_record() {
    let folder = folder("record");
    let mut spec = small::of_era(&WIN10_2004);
    spec.options.whole_images = false;
    spec.modules[0].base = Va(0xffff_c480_0020_0000);
    spec.allocations = small::allocations(&spec);
    let machine = Machine::build(&spec).unwrap();
    let mut running = snapshot::run(&machine, &WIN10_2004, &[Mode::Kernel]).unwrap();
    // The interrupt table is unknown.
    running.cpus[0].idt = 0;
    // A file of another kernel is in memory too, but not mapped.
    let physical = &mut running.machine.memory.physical;
    let stray = physical.allocate(1);
    physical.page_mut(stray)[0x40..0x44].copy_from_slice(b"RSDS");
    physical.page_mut(stray)[0x58..0x65].copy_from_slice(b"ntkrnlmp.pdb\0");
    let path = folder.join("a.elf");
    running.write(&path, Image::Qemu(QEMU)).unwrap();
    let info = json(&["info", path.to_str().unwrap()]);
    let base = format!("{:#x}", running.machine.truth.kernel_base.0);
    assert_eq!(info["dump"]["kernel_base"], base);
    let how = info["info"]["image"]["kernel_source"].as_str().unwrap();
    assert!(how.contains("debug record"), "{how}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_inconsistent_image_is_reported() {
    let folder = folder("torn");
    let machine = machine(&WIN10_2004);
    let running = snapshot::run(&machine, &WIN10_2004, &[Mode::Kernel]).unwrap();
    let path = folder.join("a.raw");
    running.write(&path, Image::Raw).unwrap();
    let links = |path: &Path| {
        let info = json(&["info", path.to_str().unwrap()]);
        let of = |name: &str| {
            let found = &info["info"]["image"]["consistency"];
            found[name].as_u64().unwrap()
        };
        (
            (of("links"), of("broken"), of("unreadable")),
            info["warnings"].to_string(),
        )
    };
    let (whole, said) = links(&path);
    assert_eq!((whole.1, whole.2), (0, 0));
    assert!(!said.contains("inconsistent"), "{said}");
    // The back link of one driver was read at another moment.
    let mut torn = running.clone();
    let memory = &mut torn.machine.memory;
    let first = Va(memory.read(machine.header.loaded_modules));
    let second = Va(memory.read(first));
    memory.u64(second.add(8), machine.header.loaded_modules.0);
    torn.write(&path, Image::Raw).unwrap();
    let (found, said) = links(&path);
    assert_eq!((found.0, found.1), (whole.0, 1));
    assert!(said.contains("1 of"), "{said}");
    let text = crate::demo::answer(&["info", path.to_str().unwrap()]);
    assert!(text.contains("the image may be inconsistent"), "{text}");
    assert!(
        text.contains("No bug check") || text.contains("was running"),
        "{text}"
    );
    std::fs::remove_dir_all(folder).unwrap();
}
