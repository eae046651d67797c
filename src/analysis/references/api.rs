//! The functions that take a pool tag, and the position of the tag.
//!
//! Source: the prototypes in Microsoft's driver documentation (wdm.h, ntifs.h, ndis.h,
//! fltkernel.h, storport.h, wdfmemory.h, video.h, usbdlib.h, winddi.h). Arguments are numbered
//! from 1: the first four are in rcx, rdx, r8 and r9, the others on the stack. If an export is a
//! macro in the headers, the table lists the function that the macro calls.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// What code does with a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Allocates pool with it.
    Allocation,
    /// Initializes a lookaside list whose blocks get it.
    Lookaside,
    /// Puts it into a structure that another component allocates with.
    Structure,
    /// Frees pool with it.
    Free,
    /// Compares a value with it.
    Comparison,
    /// Tags a reference to an object or a lock with it; no pool is involved.
    ObjectReference,
    /// Unknown.
    Unknown,
}

impl Role {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Role::Allocation => "allocation",
            Role::Lookaside => "lookaside",
            Role::Structure => "structure",
            Role::Free => "free",
            Role::Comparison => "comparison",
            Role::ObjectReference => "object_reference",
            Role::Unknown => "unknown",
        }
    }
}

/// The position of the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagPlace {
    /// In an argument.
    Argument(u8),
    /// A field of the structure that an argument points to: argument number, and offset in bytes.
    Field(u8, u32),
}

/// A function that takes a tag.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// The exported name.
    pub name: &'static str,
    /// The position of the tag.
    pub tag: TagPlace,
    /// What the function does with the tag.
    pub role: Role,
    /// The argument with POOL_TYPE or POOL_FLAGS, if there is one.
    pub pool: Option<Pool>,
    /// The number of the argument with the size in bytes.
    pub size: Option<u8>,
    /// The entry applies only if this argument has this value: argument number, and value.
    pub only: Option<(u8, u64)>,
}

impl PartialEq for Api {
    fn eq(&self, other: &Api) -> bool {
        self.name == other.name
    }
}

impl Eq for Api {}

/// How a function receives the pool type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// POOL_TYPE in the argument with this number.
    Type(u8),
    /// POOL_FLAGS in the argument with this number.
    Flags(u8),
}

const fn api(name: &'static str, tag: u8, role: Role) -> Api {
    Api {
        name,
        tag: TagPlace::Argument(tag),
        role,
        pool: None,
        size: None,
        only: None,
    }
}

impl Api {
    const fn pool(self, argument: u8) -> Api {
        Api {
            pool: Some(Pool::Type(argument)),
            ..self
        }
    }

    const fn flags(self, argument: u8) -> Api {
        Api {
            pool: Some(Pool::Flags(argument)),
            ..self
        }
    }

    const fn size(self, argument: u8) -> Api {
        Api {
            size: Some(argument),
            ..self
        }
    }

    const fn field(self, argument: u8, offset: u32) -> Api {
        Api {
            tag: TagPlace::Field(argument, offset),
            ..self
        }
    }

    const fn only(self, argument: u8, value: u64) -> Api {
        Api {
            only: Some((argument, value)),
            ..self
        }
    }
}

use Role::{Allocation, Free, Lookaside, ObjectReference, Structure};

/// All known functions.
static APIS: &[Api] = &[
    api("ExAllocatePoolWithTag", 3, Allocation).pool(1).size(2),
    api("ExAllocatePoolWithQuotaTag", 3, Allocation)
        .pool(1)
        .size(2),
    api("ExAllocatePoolWithTagPriority", 3, Allocation)
        .pool(1)
        .size(2),
    api("ExAllocatePool2", 3, Allocation).flags(1).size(2),
    api("ExAllocatePool3", 3, Allocation).flags(1).size(2),
    api("ExFreePoolWithTag", 2, Free),
    api("ExFreePool2", 2, Free),
    api("ExInitializeNPagedLookasideList", 6, Lookaside).size(5),
    api("ExInitializePagedLookasideList", 6, Lookaside).size(5),
    api("ExInitializeLookasideListEx", 7, Lookaside)
        .pool(4)
        .size(6),
    api("NdisAllocateMemoryWithTag", 3, Allocation).size(2),
    api("NdisAllocateMemoryWithTagPriority", 3, Allocation).size(2),
    api("NdisFreeMemoryWithTag", 2, Free),
    api("NdisFreeMemoryWithTagPriority", 3, Free),
    api("NdisAllocateNetBufferListPool", 0, Structure).field(2, 8),
    api("NdisAllocateNetBufferPool", 0, Structure).field(2, 4),
    api("NdisInitializeNPagedLookasideList", 6, Lookaside).size(5),
    api("NdisAllocateGenericObject", 2, Allocation).size(3),
    api("NdisAllocateCloneOidRequest", 3, Allocation),
    api("NdisAllocateTimerObject", 0, Structure).field(2, 4),
    api("FltAllocatePoolAlignedWithTag", 4, Allocation)
        .pool(2)
        .size(3),
    api("FltFreePoolAlignedWithTag", 3, Free),
    api("FltAllocateExtraCreateParameter", 6, Allocation).size(3),
    api("FltInitExtraCreateParameterLookasideList", 5, Lookaside).size(4),
    api("StorPortExtendedFunction", 4, Allocation)
        .size(3)
        .only(1, 0),
    api("FsRtlAllocatePoolWithTag", 3, Allocation)
        .pool(1)
        .size(2),
    api("FsRtlAllocatePoolWithQuotaTag", 3, Allocation)
        .pool(1)
        .size(2),
    api("FsRtlAllocateExtraCreateParameter", 5, Allocation).size(2),
    api("FsRtlInitExtraCreateParameterLookasideList", 4, Lookaside).size(3),
    api("MmAllocateMappingAddress", 2, Structure).size(1),
    api("MmFreeMappingAddress", 2, Free),
    api("MmMapLockedPagesWithReservedMapping", 2, Structure),
    api("MmUnmapReservedMapping", 2, Structure),
    api("MmAllocateMappingAddressEx", 2, Structure).size(1),
    api("ExAllocateCacheAwareRundownProtection", 2, Allocation).pool(1),
    api("VideoPortAllocatePool", 4, Allocation).size(3),
    api("EngAllocMem", 3, Allocation).size(2),
    api("EngAllocSectionMem", 4, Allocation).size(3),
    api("USBD_CreateHandle", 4, Allocation),
    api("IoInitializeRemoveLockEx", 2, Structure),
    api("WdfMemoryCreate", 4, Allocation).pool(3).size(5),
    api("WdfLookasideListCreate", 6, Lookaside).pool(4).size(3),
    api("WdfDriverCreate", 0, Structure).field(5, 0x1c),
    api("ObfReferenceObjectWithTag", 2, ObjectReference),
    api("ObReferenceObjectByPointerWithTag", 5, ObjectReference),
    api("ObReferenceObjectByHandleWithTag", 5, ObjectReference),
    api("ObReferenceObjectSafeWithTag", 2, ObjectReference),
    api("ObOpenObjectByPointerWithTag", 7, ObjectReference),
    api("ObfDereferenceObjectWithTag", 2, ObjectReference),
    api("ObDereferenceObjectDeferDeleteWithTag", 2, ObjectReference),
    api("IoAcquireRemoveLockEx", 2, ObjectReference),
    api("IoReleaseRemoveLockEx", 2, ObjectReference),
    api("IoReleaseRemoveLockAndWaitEx", 2, ObjectReference),
];

/// The prefix of Driver Verifier's thunks, which replace a driver's imports.
const VERIFIER: &str = "Verifier";

/// Finds a function by name. The name may be that of Driver Verifier's thunk for it.
pub fn find(name: &str) -> Option<&'static Api> {
    static BY_NAME: OnceLock<FxHashMap<&str, &Api>> = OnceLock::new();
    let by_name = BY_NAME.get_or_init(|| APIS.iter().map(|api| (api.name, api)).collect());
    let by = |name: &str| by_name.get(name).copied();
    by(name).or_else(|| by(name.strip_prefix(VERIFIER)?))
}

/// The names to look up in nt's symbols, including those of Driver Verifier's thunks.
pub fn names() -> impl Iterator<Item = String> {
    APIS.iter()
        .flat_map(|api| [api.name.to_owned(), format!("{VERIFIER}{}", api.name)])
}

/// The function at an index of the function table that the driver framework (KMDF) passes to its
/// drivers. The indexes are those of `wdffuncenum.h` and the same in all 1.x versions.
pub fn framework(index: u64) -> Option<&'static str> {
    match index {
        116 => Some("WdfDriverCreate"),
        192 => Some("WdfMemoryCreate"),
        198 => Some("WdfLookasideListCreate"),
        _ => None,
    }
}

/// The name of a POOL_TYPE value, as in wdm.h.
pub fn pool_type(value: u64) -> String {
    let base = match value & 0x7 {
        0 => "NonPagedPool",
        1 => "PagedPool",
        2 => "NonPagedPoolMustSucceed",
        4 => "NonPagedPoolCacheAligned",
        5 => "PagedPoolCacheAligned",
        6 => "NonPagedPoolCacheAlignedMustS",
        _ => return format!("pool type {value:#x}"),
    };
    let mut out = match (base, value & 0x200 != 0) {
        ("NonPagedPool", true) => "NonPagedPoolNx".to_owned(),
        ("NonPagedPoolCacheAligned", true) => "NonPagedPoolNxCacheAligned".into(),
        _ => base.to_owned(),
    };
    for (bit, name) in [(0x20, "Session"), (0x8, "quota, fails"), (0x10, "raises")] {
        if value & bit != 0 {
            out += " | ";
            out += name;
        }
    }
    out
}

/// The names of POOL_FLAGS bits, as in wdm.h.
pub fn pool_flags(value: u64) -> String {
    const FLAGS: [(u64, &str); 8] = [
        (0x40, "POOL_FLAG_NON_PAGED"),
        (0x80, "POOL_FLAG_NON_PAGED_EXECUTE"),
        (0x100, "POOL_FLAG_PAGED"),
        (0x1, "POOL_FLAG_USE_QUOTA"),
        (0x2, "POOL_FLAG_UNINITIALIZED"),
        (0x4, "POOL_FLAG_SESSION"),
        (0x8, "POOL_FLAG_CACHE_ALIGNED"),
        (0x20, "POOL_FLAG_RAISE_ON_FAILURE"),
    ];
    let names: Vec<&str> = FLAGS
        .iter()
        .filter(|(bit, _)| value & bit != 0)
        .map(|f| f.1)
        .collect();
    match names.is_empty() {
        true => format!("pool flags {value:#x}"),
        false => names.join(" | "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifier_thunks_map_to_their_functions() {
        let plain = find("ExAllocatePoolWithTag").unwrap();
        let thunk = find("VerifierExAllocatePoolWithTag").unwrap();
        assert_eq!((plain.name, plain.tag), (thunk.name, thunk.tag));
        assert!(find("VerifierKeSetEvent").is_none() && find("ExAllocatePool").is_none());
    }

    #[test]
    fn function_names_are_unique() {
        let mut names: Vec<_> = APIS.iter().map(|a| a.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), APIS.len());
        assert!(
            APIS.iter()
                .all(|a| a.tag != TagPlace::Argument(0) && a.role != Role::Unknown)
        );
    }

    #[test]
    fn pool_types_are_named_as_in_the_headers() {
        assert_eq!(pool_type(0), "NonPagedPool");
        assert_eq!(pool_type(0x200), "NonPagedPoolNx");
        assert_eq!(pool_type(0x21), "PagedPool | Session");
        assert_eq!(pool_flags(0x40), "POOL_FLAG_NON_PAGED");
        assert_eq!(
            pool_flags(0x102),
            "POOL_FLAG_PAGED | POOL_FLAG_UNINITIALIZED"
        );
    }
}
