//! The demo's modules: a Windows Server 2008 R2 guest of Hyper-V, and Sysinternals'
//! `myfault.sys`, which leaks on purpose in Microsoft's article.

use crate::addr::Va;
use crate::synth::call_shapes::{CallShape, contexts};
use crate::synth::code::{Site, Use};
use crate::synth::image::Data;
use crate::synth::resource::Version;
use crate::synth::spec::{ModuleSpec, UnloadedSpec};
use crate::synth::truth::Tag;

const SYSTEM: &str = "\\SystemRoot\\system32\\";
const DRIVERS: &str = "\\SystemRoot\\system32\\drivers\\";

/// Load address of nt.
pub const NT_BASE: Va = Va(0xffff_f800_0161_b000);
const NT_SIZE: u32 = 0x5e_7000;
const HAL_BASE: Va = Va(0xffff_f800_015d_2000);
const FIRST_DRIVER: Va = Va(0xffff_f880_00c0_0000);
const WIN32K_BASE: Va = Va(0xffff_f960_0001_0000);
const CDD_BASE: Va = Va(0xffff_f960_006a_0000);
/// Load address of `myfault.sys` in the article.
pub const MYFAULT_BASE: Va = Va(0xffff_f880_044b_5000);
const MYFAULT_SIZE: u32 = 0x7000;

/// A driver: file, pages, tags in its code.
type Row = (&'static str, u32, &'static [&'static [u8; 4]]);

/// Drivers in load order, with realistic sizes, loaded one after the other.
const ROWS: &[Row] = &[
    ("mcupdate_GenuineIntel.dll", 0x44, &[]),
    ("PSHED.dll", 0x14, &[]),
    ("CLFS.SYS", 0x5e, &[b"Clfs", b"ClfA", b"ClfI", b"ClfB"]),
    ("CI.dll", 0xc0, &[b"Crpt"]),
    ("Wdf01000.sys", 0xa4, &[b"FxDr", b"FxL ", b"Wdf "]),
    ("WDFLDR.SYS", 0xf, &[b"Wdfl"]),
    ("ACPI.sys", 0x57, &[b"Acpi", b"AcpS", b"AcpR"]),
    ("WMILIB.SYS", 0x9, &[b"Wmis"]),
    ("pci.sys", 0x33, &[b"Pcic", b"PciB"]),
    ("partmgr.sys", 0x15, &[b"Part"]),
    ("volmgr.sys", 0x15, &[b"Vol "]),
    ("volmgrx.sys", 0x5c, &[b"VolS"]),
    ("mountmgr.sys", 0x1a, &[b"MSho"]),
    ("winhv.sys", 0x14, &[]),
    ("vmbus.sys", 0x36, &[b"vmbs", b"VmbK"]),
    ("storport.sys", 0x62, &[b"StoA", b"StoC"]),
    ("storvsc.sys", 0xb, &[b"Vstr"]),
    ("ataport.SYS", 0x2a, &[b"Ide "]),
    (
        "fltmgr.sys",
        0x4c,
        &[b"FMsl", b"FMfn", b"FMis", b"FMfc", b"FMfl"],
    ),
    ("fileinfo.sys", 0x14, &[b"FIcs"]),
    (
        "Ntfs.sys",
        0x1a3,
        &[
            b"Ntfx", b"NtFs", b"Ntf0", b"Ntff", b"Ntfr", b"NtfF", b"NtFL",
        ],
    ),
    ("msrpc.sys", 0x5e, &[b"LSwi"]),
    ("ksecdd.sys", 0x1b, &[b"KSec"]),
    ("cng.sys", 0x73, &[b"CNGa", b"CNGb"]),
    ("pcw.sys", 0x11, &[b"Pcw ", b"PcwC"]),
    (
        "ndis.sys",
        0xf3,
        &[b"NDbf", b"NDpp", b"NDnd", b"NDam", b"NDoa"],
    ),
    ("NETIO.SYS", 0x60, &[b"WfpS", b"WfpF", b"Nsi "]),
    (
        "tcpip.sys",
        0x204,
        &[
            b"TcpE", b"TcpL", b"TCPT", b"UdpA", b"UdpN", b"InPa", b"Ipas",
        ],
    ),
    ("fwpkclnt.sys", 0x4a, &[b"FwpD"]),
    ("volsnap.sys", 0x4c, &[b"VoSx", b"VoSm"]),
    ("mup.sys", 0x12, &[b"MupC"]),
    ("disk.sys", 0x16, &[b"ScsL"]),
    ("CLASSPNP.SYS", 0x30, &[b"Clas", b"ScC1"]),
    ("tdx.sys", 0x22, &[b"Tdx ", b"Tdxp"]),
    (
        "afd.sys",
        0x8a,
        &[b"AfdE", b"AfdC", b"AfdX", b"Afd ", b"AfdB"],
    ),
    ("rdbss.sys", 0x51, &[b"RxSc", b"Rx  "]),
    ("Npfs.SYS", 0x11, &[b"NpFr", b"NpFn", b"Npfs"]),
    ("dxgkrnl.sys", 0xf4, &[b"DxgK", b"Dx  "]),
    ("netvsc60.sys", 0x1c, &[b"netv", b"nVsC"]),
    ("HTTP.sys", 0xc9, &[b"UlHT", b"UlFD", b"UlCN", b"HttP"]),
    ("srv2.sys", 0x69, &[b"LS2c", b"Lswb"]),
];

/// Tags of allocations in nt's own code.
const NT_TAGS: &[&[u8; 4]] = &[
    b"File", b"Even", b"Irp ", b"MmCa", b"MmSt", b"CM31", b"CM25", b"Thre", b"Proc", b"Toke",
    b"Vad ", b"VadS", b"EtwB", b"EtwR", b"Sect", b"Key ", b"SeAt", b"IoNm", b"ALPC", b"CcSc",
    b"Io  ", b"Sema", b"Muta", b"Time", b"Driv", b"Devi", b"Mdl ", b"ObDi", b"SymL", b"Dire",
];

/// Functions that nt exports to drivers.
const NT_EXPORTS: &[&str] = &[
    "ExAllocatePool",
    "ExAllocatePoolWithQuotaTag",
    "ExAllocatePoolWithTag",
    "ExAllocatePoolWithTagPriority",
    "ExFreePool",
    "ExFreePoolWithTag",
    "ExInitializeNPagedLookasideList",
    "ExInitializePagedLookasideList",
    "IoCreateDevice",
    "IoDeleteDevice",
    "IofCallDriver",
    "IofCompleteRequest",
    "KeBugCheckEx",
    "KeInitializeEvent",
    "KeSetEvent",
    "KeWaitForSingleObject",
    "MmHighestUserAddress",
    "MmSystemRangeStart",
    "MmUserProbeAddress",
    "NtBuildNumber",
    "ObfDereferenceObject",
    "ObfReferenceObjectWithTag",
    "PsInitialSystemProcess",
    "RtlInitUnicodeString",
    "ZwClose",
];

/// Imports of a driver in addition to those of its code.
const USUAL_IMPORTS: [&str; 7] = [
    "RtlInitUnicodeString",
    "IoCreateDevice",
    "IofCompleteRequest",
    "KeInitializeEvent",
    "KeSetEvent",
    "KeWaitForSingleObject",
    "ObfDereferenceObject",
];

fn nt_imports(names: &[&str]) -> Vec<(String, String)> {
    let of = |name: &&str| ("ntoskrnl.exe".to_owned(), (*name).to_owned());
    names.iter().map(of).collect()
}

fn module(file: &str, folder: &'static str, base: Va, size: u32) -> ModuleSpec {
    ModuleSpec {
        file: file.into(),
        folder,
        base,
        size,
        exports: Vec::new(),
        sites: Vec::new(),
        imports: Vec::new(),
        data: Vec::new(),
        names_in_init: false,
    }
}

/// The version resource of a driver that is part of Windows Server 2008 R2 SP1.
fn windows(file: &str) -> Version {
    let description = match file {
        "storport.sys" => "Microsoft Storage Port Driver",
        "ndis.sys" => "NDIS 6.20 driver",
        "tcpip.sys" => "TCP/IP Driver",
        "netvsc60.sys" => "Virtual NDIS6.0 Miniport",
        "Ntfs.sys" => "NT File System Driver",
        _ => "Windows driver",
    };
    Version::new(
        "Microsoft Corporation",
        "Microsoft\u{ae} Windows\u{ae} Operating System",
        description,
        [6, 1, 7601, 17514],
    )
}

/// Allocates at one or two call sites, and frees at another.
fn sites(tag: &Tag, nth: usize) -> Vec<Site> {
    let bytes = 0x40 + (nth as u32 * 0x58) % 0x1c0;
    let pool_type = (nth % 3 == 1).into();
    let mut out = vec![Site::new(*tag, Use::Allocate { pool_type, bytes })];
    if nth.is_multiple_of(2) {
        let bytes = bytes + 0x20;
        out.push(Site::new(*tag, Use::AllocateByThunk { pool_type, bytes }));
    }
    out.push(Site::new(*tag, Use::Free));
    out
}

/// All modules, nt first.
pub fn modules() -> Vec<ModuleSpec> {
    let mut out = vec![nt(), hal()];
    let mut base = FIRST_DRIVER;
    for (n, (file, pages, tags)) in ROWS.iter().enumerate() {
        let mut driver = module(file, DRIVERS, base, pages * 0x1000);
        driver.imports = nt_imports(USUAL_IMPORTS.get(..3 + n % 5).unwrap_or_default());
        for (nth, tag) in tags.iter().enumerate() {
            driver.sites.extend(sites(tag, n + nth));
        }
        // One driver in nine has no version resource, and neither have the libraries.
        if file.to_ascii_lowercase().ends_with(".sys") && n % 9 != 8 {
            driver.data.push(Data::Version(windows(file)));
        }
        match *file {
            "ndis.sys" => driver.exports.extend([
                "NdisAllocateMemoryWithTagPriority".into(),
                "NdisFreeMemory".into(),
                "NdisMRegisterMiniportDriver".into(),
            ]),
            "fltmgr.sys" => driver.exports.extend([
                "FltAllocatePoolAlignedWithTag".into(),
                "FltRegisterFilter".into(),
            ]),
            "netvsc60.sys" => {
                let what = Use::NdisAllocate { bytes: 0x100 };
                driver.sites.push(Site::new(*b"netv", what));
            }
            // Two live lookaside lists, the tag of a filter's contexts, a check of a signature,
            // an object reference, and a text that contains a tag by coincidence.
            "Ntfs.sys" => {
                let lists = vec![(*b"Ntff", 0x80), (*b"NtfF", 0x1c0)];
                driver.data.push(Data::Lookasides(0x400, lists));
            }
            "fileinfo.sys" => {
                let contexts = contexts(*b"FIcs");
                driver.data.push(Data::Bytes(".data", 0x800, contexts));
                let what = Use::CallShape(CallShape::ObjectReference);
                driver.sites.push(Site::new(*b"File", what));
            }
            "afd.sys" => {
                let what = Use::CallShape(CallShape::Comparison);
                driver.sites.push(Site::new(*b"AfdX", what));
            }
            "disk.sys" => {
                let text = b"Partition table is not valid\0".to_vec();
                driver.data.push(Data::Bytes(".data", 0xa00, text));
            }
            _ => {}
        }
        // Gap after a driver: the loader leaves a page or more.
        base = base.add(u64::from(driver.size) + 0x1000 * (n as u64 % 3));
        out.push(driver);
    }
    out.push(graphics("win32k.sys", WIN32K_BASE, 0x30f));
    out.push(graphics("cdd.dll", CDD_BASE, 0x27));
    out.push(myfault());
    out
}

fn nt() -> ModuleSpec {
    let mut nt = module("ntoskrnl.exe", SYSTEM, NT_BASE, NT_SIZE);
    nt.exports = NT_EXPORTS.iter().map(|name| (*name).into()).collect();
    for (n, tag) in NT_TAGS.iter().enumerate() {
        let bytes = 0x30 + n as u32 * 0x10;
        let pool_type = u32::from(matches!(
            *tag,
            b"CM31" | b"CM25" | b"MmSt" | b"Toke" | b"SeAt"
        ));
        // A range without data symbols: code pages from 1 MB.
        let rva = Some((0x10_0000 + n as u32 * 0x1330) & !0xf);
        nt.sites.push(Site {
            tag: **tag,
            what: Use::Allocate { pool_type, bytes },
            rva,
        });
    }
    nt
}

fn hal() -> ModuleSpec {
    let mut hal = module("hal.dll", SYSTEM, HAL_BASE, 0x49000);
    hal.exports = vec!["HalMakeBeep".into(), "KeQueryPerformanceCounter".into()];
    hal.imports = nt_imports(&["KeBugCheckEx"]);
    hal.sites = sites(b"HalD", 0);
    hal
}

fn graphics(file: &str, base: Va, pages: u32) -> ModuleSpec {
    let mut driver = module(file, SYSTEM, base, pages * 0x1000);
    driver.imports = nt_imports(&USUAL_IMPORTS);
    driver.sites = [b"Usqu", b"Uswd", b"Usdb", b"Gdev"]
        .iter()
        .enumerate()
        .flat_map(|(n, tag)| sites(tag, n))
        .filter(|_| file == "win32k.sys")
        .collect();
    driver
}

/// The driver of the leak, with its code at the addresses in the article: the tag at
/// fffff880`044b63aa and fffff880`044b6621, each followed by the bytes printed there.
fn myfault() -> ModuleSpec {
    let mut driver = module("myfault.sys", SYSTEM, MYFAULT_BASE, MYFAULT_SIZE);
    // The first slot, at the start of .rdata, is the target of the second call in the article.
    driver.imports = nt_imports(&["ExAllocatePoolWithTag", "ExFreePoolWithTag", "ZwClose"]);
    driver.imports.extend(nt_imports(&USUAL_IMPORTS));
    let site = |code, rva, tag_at, call_at| Site {
        tag: *b"Leak",
        what: Use::Literal {
            code,
            tag_at,
            call_at,
        },
        rva: Some(rva),
    };
    driver.data = vec![Data::Version(Version::new(
        "Sysinternals",
        "Sysinternals Myfault",
        "Crash Test Driver",
        [2, 0, 0, 0],
    ))];
    driver.sites = vec![
        site(LEAK_PAGED, 0x1390, 0x1a, 0x2b),
        site(LEAK_NONPAGED, 0x1610, 0x11, 0x20),
    ];
    driver
}

/// sub rsp,28h; mov r9d,4; mov eax,[rcx+8]; mov ecx,1000h; test eax,eax; je to the end;
/// nop; mov r8d,tag; cmp eax,ecx; cmovb eax,ecx; lea ecx,[r9-3]; mov edx,eax; call the
/// import; add rsp,28h; ret. PagedPool is 1.
const LEAK_PAGED: &[u8] = &[
    0x48, 0x83, 0xec, 0x28, 0x41, 0xb9, 0x04, 0, 0, 0, 0x8b, 0x41, 0x08, 0xb9, 0, 0x10, 0, 0, 0x85,
    0xc0, 0x74, 0x19, 0x66, 0x90, 0x41, 0xb8, 0, 0, 0, 0, 0x3b, 0xc1, 0x0f, 0x42, 0xc1, 0x41, 0x8d,
    0x49, 0xfd, 0x8b, 0xd0, 0xff, 0x15, 0, 0, 0, 0, 0x48, 0x83, 0xc4, 0x28, 0xc3,
];

/// The same with xor ecx,ecx instead of the lea: NonPagedPool is 0.
const LEAK_NONPAGED: &[u8] = &[
    0x48, 0x83, 0xec, 0x28, 0x8b, 0x41, 0x08, 0xb9, 0, 0x10, 0, 0, 0x0f, 0x1f, 0, 0x41, 0xb8, 0, 0,
    0, 0, 0x3b, 0xc1, 0x0f, 0x42, 0xc1, 0x33, 0xc9, 0x8b, 0xd0, 0xff, 0x15, 0, 0, 0, 0, 0x48, 0x83,
    0xc4, 0x28, 0xc3,
];

/// Drivers that are no longer loaded.
pub fn unloaded() -> Vec<UnloadedSpec> {
    vec![
        ("crashdmp.sys".into(), Va(0xffff_f880_0434_e000), 0xe000),
        (
            "dump_storport.sys".into(),
            Va(0xffff_f880_0435_c000),
            0xa000,
        ),
        ("dump_storvsc.sys".into(), Va(0xffff_f880_0436_6000), 0xb000),
        ("USBSTOR.SYS".into(), Va(0xffff_f880_0437_9000), 0x1b000),
    ]
}
