//! An independent reader opens the builder's dumps, and agrees on everything that it reads:
//! `kdmp-parser`, for the types that it supports (1, 5, 6, 8 and 10). goblin parses the images.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kdmp_parser::gxa::{Gpa, Gva, Gxa};
use kdmp_parser::parse::KernelDumpParser;
use kdmp_parser::{phys, virt};
use poolscope::dump::Dump;
use poolscope::memory::{AddressSpace, Pa, Pfn, Va};
use poolscope::synth::era::SERVER_2003;
use poolscope::synth::truth::{State, Truth};
use poolscope::synth::{Container, Machine, demo, small};

use crate::machines;

const KNOWN: [(Container, u32); 5] = [
    (Container::Full, 1),
    (Container::BitmapFull, 5),
    (Container::BitmapKernel, 6),
    (Container::RangesKernel, 8),
    (Container::RangesFull, 10),
];

fn written(machine: &Machine, container: Container, f: impl FnOnce(&Path, &KernelDumpParser)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, container).unwrap();
    let parser = KernelDumpParser::new(&path).unwrap();
    f(&path, &parser);
}

fn read_virtual(parser: &KernelDumpParser, va: Va, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let reader = virt::Reader::new(parser);
    reader
        .try_read_exact(Gva::new(va.0), &mut bytes)
        .unwrap()
        .map(|()| bytes)
}

#[test]
fn header_fields_agree() {
    let machine = machines::small();
    for (container, dump_type) in KNOWN {
        written(machine, container, |_, parser| {
            let (theirs, ours) = (parser.headers(), &machine.header);
            assert_eq!(theirs.dump_type, dump_type);
            assert_eq!(theirs.major_version, 15);
            assert_eq!(theirs.minor_version, ours.build);
            assert_eq!(theirs.directory_table_base, ours.directory_table);
            assert_eq!(theirs.pfn_database, ours.pfn_database.0);
            assert_eq!(theirs.ps_loaded_module_list, ours.loaded_modules.0);
            assert_eq!(theirs.ps_active_process_head, ours.processes.0);
            assert_eq!(theirs.machine_image_type, 0x8664);
            assert_eq!(theirs.number_processors, ours.processors);
            assert_eq!(theirs.bug_check_code, 0xe2);
            assert_eq!(theirs.bug_check_code_parameters, ours.bugcheck.1);
            assert_eq!(theirs.kd_debugger_data_block, ours.debugger_data.0);
            assert_eq!(theirs.system_time as u64, ours.system_time);
            assert_eq!(theirs.system_up_time as u64, ours.uptime);
            assert_eq!(theirs.product_type, 3);
            assert_eq!(theirs.comment[..4], *b"PAGE", "never set");
            let context = parser.context_record();
            assert_eq!((context.rip, context.rsp), (ours.rip.0, ours.rsp.0));
        });
    }
}

#[test]
fn physical_pages_agree() {
    let machine = machines::small();
    let physical = &machine.memory.physical;
    for (container, _) in KNOWN {
        written(machine, container, |path, parser| {
            let dump = Dump::open(path).unwrap();
            let reader = phys::Reader::new(parser);
            let mut pages = 0;
            for pfn in 0..physical.end() + 8 {
                let mut theirs = [0; 4096];
                let gpa = Gpa::new(pfn << 12);
                let has = reader.read_exact(gpa, &mut theirs).is_ok();
                assert_eq!(has, dump.page(Pfn(pfn)).is_some(), "{container:?} {pfn:#x}");
                if has {
                    let laid = physical.page(Pfn(pfn)).copied().unwrap_or([0; 4096]);
                    assert!(theirs == laid, "{container:?} {pfn:#x}");
                    assert!(dump.page(Pfn(pfn)) == Some(&laid));
                    pages += 1;
                }
            }
            assert_eq!(parser.physmem().len(), pages);
        });
    }
}

#[test]
fn virtual_reads_agree() {
    let machine = machines::small();
    for (container, _) in KNOWN {
        written(machine, container, |path, parser| {
            let dump = Arc::new(Dump::open(path).unwrap());
            let root = Pa(machine.header.directory_table & !0xfff);
            let space = AddressSpace::new(dump, root);
            let mut read = 0;
            for block in &machine.truth.blocks {
                let theirs = read_virtual(parser, block.va, 0x20);
                let mut ours = [0; 0x20];
                let valid = space.read(block.va, &mut ours).is_ok();
                // Transition and prototype entries: a processor would fault, but the engine
                // reads the page.
                assert!(theirs.is_none() || valid, "{:?}", block);
                if let Some(theirs) = theirs {
                    assert_eq!(theirs, ours);
                    read += 1;
                }
            }
            assert!(read > machine.truth.blocks.len() * 3 / 4);
            let kdbg = read_virtual(parser, machine.header.debugger_data, 0x340).unwrap();
            assert_eq!(kdbg[0x10..0x14], *b"KDBG");
            assert_eq!(kdbg[0x18..0x20], machine.truth.kernel_base.0.to_le_bytes());
        });
    }
}

fn check_modules(truth: &Truth, parser: &KernelDumpParser) {
    let theirs: BTreeMap<u64, (u64, String)> = parser
        .kernel_modules()
        .map(|(range, name)| {
            let file = name.rsplit('\\').next().unwrap_or(name).to_owned();
            (range.start.u64(), (range.end.u64(), file))
        })
        .collect();
    let ours: BTreeMap<u64, (u64, String)> = truth
        .modules
        .iter()
        .filter(|m| !m.unloaded)
        .map(|m| (m.base.0, (m.base.0 + u64::from(m.size), m.file.clone())))
        .collect();
    assert_eq!(theirs, ours);
}

#[test]
fn the_module_list_agrees() {
    let machine = machines::small();
    for (container, _) in KNOWN {
        written(machine, container, |_, parser| {
            check_modules(&machine.truth, parser);
        });
    }
}

/// Complete dumps of Server 2003. `kdmp-parser` does not support the type of its kernel dumps.
#[test]
fn a_complete_dump_of_server_2003_agrees() {
    let machine = machines::of_era(&SERVER_2003);
    let physical = &machine.memory.physical;
    written(machine, Container::Full, |path, parser| {
        let headers = parser.headers();
        assert_eq!((headers.dump_type, headers.minor_version), (1, 3790));
        check_modules(&machine.truth, parser);
        let kdbg = read_virtual(parser, machine.header.debugger_data, 0x318).unwrap();
        assert_eq!(kdbg[0x10..0x18], *b"KDBG\x18\x03\0\0");
        let dump = Arc::new(Dump::open(path).unwrap());
        let reader = phys::Reader::new(parser);
        for pfn in 0..physical.end() + 8 {
            let mut theirs = [0; 4096];
            let has = reader.read_exact(Gpa::new(pfn << 12), &mut theirs).is_ok();
            let ours = dump.page(Pfn(pfn));
            assert_eq!(has.then_some(&theirs), ours, "{pfn:#x}");
        }
        let root = Pa(machine.header.directory_table & !0xfff);
        let space = AddressSpace::new(Arc::clone(&dump), root);
        let mut read = 0;
        for block in &machine.truth.blocks {
            if let Some(theirs) = read_virtual(parser, block.va, 0x20) {
                let mut ours = [0; 0x20];
                space.read(block.va, &mut ours).unwrap();
                assert_eq!(theirs, ours);
                read += 1;
            }
        }
        assert!(read > machine.truth.blocks.len() * 3 / 4);
    });
}

#[test]
fn the_same_seed_gives_the_same_file() {
    let bytes = || {
        let mut file = std::io::Cursor::new(Vec::new());
        let machine = small().unwrap();
        Container::BitmapKernel
            .write(&machine.header, &machine.memory.physical, &mut file)
            .unwrap();
        file.into_inner()
    };
    assert!(bytes() == bytes());
}

#[test]
fn the_sample_dump_agrees() {
    let machine = demo::build().unwrap();
    written(&machine, Container::BitmapKernel, |_, parser| {
        check_modules(&machine.truth, parser);
        let code = read_virtual(parser, Va(0xffff_f880_044b_63aa), 16).unwrap();
        assert_eq!(code[..6], *b"Leak\x3b\xc1");
        let leaks: Vec<_> = machine
            .truth
            .blocks
            .iter()
            .filter(|b| b.tag == demo::LEAK)
            .collect();
        assert_eq!(leaks.len(), 601);
        for block in leaks {
            assert_eq!(block.state, State::Allocated);
            let body = read_virtual(parser, block.va, 0x40).unwrap();
            assert_eq!(body[..8], 0xffff_f880_044b_63b9u64.to_le_bytes());
        }
    });
}

#[test]
fn goblin_parses_every_image() {
    use goblin::pe::PE;
    use goblin::pe::options::ParseOptions;
    let machine = demo::build().unwrap();
    let pages = |va: Va, size: u64| -> Vec<u8> {
        (0..size / 4096)
            .flat_map(|i| {
                let frame = machine.memory.frame(va.add(i * 4096));
                let page = frame.and_then(|pfn| machine.memory.physical.page(pfn));
                page.copied().unwrap_or([0; 4096])
            })
            .collect()
    };
    let mut options = ParseOptions::default();
    options.resolve_rva = false;
    for module in machine.truth.modules.iter().filter(|m| !m.unloaded) {
        let bytes = pages(module.base, module.size.into());
        let image = PE::parse_with_opts(&bytes, &options)
            .unwrap_or_else(|why| panic!("{}: {why}", module.file));
        assert!(image.is_64);
        assert_eq!(image.image_base, module.base.0, "{}", module.file);
        let debug = image.debug_data.unwrap().codeview_pdb70_debug_info.unwrap();
        assert_eq!(debug.age, 1);
        match module.file.as_str() {
            "ntoskrnl.exe" => {
                assert!(debug.filename.starts_with(b"ntkrnlmp.pdb"));
                let named = |e: &goblin::pe::export::Export| {
                    e.name == Some("ExAllocatePoolWithTag") && e.rva == 0x1d_9010
                };
                assert!(image.exports.iter().any(named));
            }
            "myfault.sys" => {
                let named = |i: &goblin::pe::import::Import| i.name == "ExAllocatePoolWithTag";
                let import = image.imports.iter().find(|i| named(i)).unwrap();
                assert_eq!((import.dll, import.offset), ("ntoskrnl.exe", 0x2000));
            }
            _ => {}
        }
    }
}
