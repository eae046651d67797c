//! A small machine whose drivers use pool tags in all known ways: the instruction with the tag,
//! and the form of the call as left by compiler, linker and kernel.

use crate::addr::Va;

use super::call_shapes::{CallShape, TABLE_VARIABLE, TAG_VARIABLE, contexts};
use super::code::{Site, Use};
use super::image::Data;
use super::resource::Version;
use super::small;
use super::spec::{ModuleSpec, Spec};
use super::truth::Tag;

const DRIVERS: &str = "\\SystemRoot\\system32\\drivers\\";
const FIRST: u64 = 0xffff_f880_0110_0000;
const FRAMEWORK: u64 = FIRST + 0x4_0000;

/// The tag of each form in `forms.sys`.
pub const FORMS: &[(CallShape, Tag)] = &[
    (CallShape::Optimised, *b"FmOp"),
    (CallShape::Retpoline, *b"FmRt"),
    (CallShape::Direct, *b"FmDi"),
    (CallShape::TailJump, *b"FmTj"),
    (CallShape::TailRetpoline, *b"FmTr"),
    (CallShape::Copied, *b"FmCp"),
    (CallShape::Branch, *b"FmBr"),
    (CallShape::Wrapper, *b"FmWr"),
    (CallShape::Pool2, *b"FmP2"),
    (CallShape::Framework, *b"FmFw"),
    (CallShape::FrameworkRetpoline, *b"FmFr"),
    (CallShape::DriverConfig, *b"FmDc"),
    (CallShape::NetBufferPool, *b"FmNb"),
    (CallShape::Lookaside, *b"FmLa"),
    (CallShape::StorPort, *b"FmSp"),
    (CallShape::Filter, *b"FmFl"),
    (CallShape::Variable, *b"FmVa"),
    (CallShape::Comparison, *b"FmCm"),
    (CallShape::ObjectReference, *b"FmOr"),
    (CallShape::Displacement, *b"FmDs"),
    (CallShape::Split, *b"FmPX"),
    (CallShape::OtherImport, *b"FmOi"),
];

/// Tags of `plain.sys`, whose import names are discarded: direct, by thunk, chained, free.
pub const PLAIN: [Tag; 4] = [*b"PlAl", *b"PlTh", *b"PlCh", *b"PlFr"];
/// Tags in the data of `forms.sys`: in a filter's contexts, in two live lookaside lists, and in
/// a text.
pub const IN_DATA: [Tag; 4] = [*b"FltC", *b"LkA1", *b"LkA2", *b"Text"];
/// The default tag that the framework assigns to `amdacpbus2.sys`; it is in no image.
pub const DEFAULT: Tag = *b"amda";

fn driver(file: &str, base: u64, size: u32) -> ModuleSpec {
    ModuleSpec {
        file: file.into(),
        folder: DRIVERS,
        base: Va(base),
        size,
        exports: Vec::new(),
        sites: Vec::new(),
        imports: Vec::new(),
        data: Vec::new(),
        names_in_init: false,
    }
}

fn exporter(file: &str, base: u64, exports: &[&str]) -> ModuleSpec {
    let mut out = driver(file, base, 0x8000);
    out.exports = exports.iter().map(|e| (*e).to_owned()).collect();
    out
}

fn forms() -> ModuleSpec {
    let mut forms = driver("forms.sys", FIRST + 0x5_0000, 0x1_0000);
    for (form, tag) in FORMS {
        forms.sites.push(Site::new(*tag, Use::CallShape(*form)));
    }
    let [context, first, second, text] = IN_DATA;
    // The position of the framework's table in its image does not matter: it is not read.
    let table = (FRAMEWORK + 0x1080).to_le_bytes().to_vec();
    let mut sentence = b"Some ".to_vec();
    sentence.extend(text);
    sentence.extend(b" in a message\0");
    forms.data = vec![
        Data::Bytes(".data", TABLE_VARIABLE, table),
        Data::Bytes(".data", TAG_VARIABLE, b"FmVa".to_vec()),
        Data::Lookasides(0x400, vec![(first, 0x80), (second, 0x140)]),
        Data::Bytes(".data", 0x800, contexts(context)),
        Data::Bytes(".data", 0xa00, sentence),
    ];
    forms
}

fn plain() -> ModuleSpec {
    let mut plain = driver("plain.sys", FIRST + 0x7_0000, 0x8000);
    let (pool_type, bytes) = (0x200, 0x80);
    let uses = [
        Use::Allocate { pool_type, bytes },
        Use::AllocateByThunk { pool_type, bytes },
        Use::Chained { pool_type, bytes },
        Use::Free,
    ];
    plain.sites = PLAIN
        .iter()
        .zip(uses)
        .map(|(tag, what)| Site::new(*tag, what))
        .collect();
    plain.names_in_init = true;
    plain
}

/// The machine's specification.
pub fn spec() -> Spec {
    let mut spec = small::spec();
    if let Some(nt) = spec.modules.first_mut() {
        nt.exports.extend(
            [
                "ExAllocatePool2",
                "ExInitializeNPagedLookasideList",
                "KeSetEvent",
                "ObfReferenceObjectWithTag",
            ]
            .map(String::from),
        );
    }
    let ndis = [
        "NdisAllocateMemoryWithTagPriority",
        "NdisAllocateNetBufferListPool",
    ];
    let mut framework = driver("amdacpbus2.sys", FIRST + 0x8_0000, 0x8000);
    framework.imports = vec![("WDFLDR.SYS".into(), "WdfVersionBind".into())];
    let version = Version::new(
        "Advanced Micro Devices",
        "AMD Audio Bus",
        "AMD Audio Bus Driver",
        [6, 0, 0, 79],
    );
    framework.data = vec![Data::Version(version)];
    let mut same_name = driver("amdak8.sys", FIRST + 0x9_0000, 0x8000);
    same_name.imports = vec![("ntoskrnl.exe".into(), "KeSetEvent".into())];
    let added = [
        exporter("ndis.sys", FIRST, &ndis),
        exporter(
            "fltmgr.sys",
            FIRST + 0x1_0000,
            &["FltAllocatePoolAlignedWithTag"],
        ),
        exporter(
            "storport.sys",
            FIRST + 0x2_0000,
            &["StorPortExtendedFunction"],
        ),
        exporter("WDFLDR.SYS", FIRST + 0x3_0000, &["WdfVersionBind"]),
        exporter("Wdf01000.sys", FRAMEWORK, &[]),
        forms(),
        plain(),
        framework,
        same_name,
    ];
    let before_last = spec.modules.len().saturating_sub(1);
    spec.modules.splice(before_last..before_last, added);
    spec.allocations = small::allocations(&spec);
    spec
}
