"""Writes a table of src/synth/era/tables from public symbols in Volatility 3's JSON form.

    python3 era_tables.py ISF.json.xz [BASE.txt…] > tables/win12.txt
    python3 era_tables.py LAYOUTS.json BUILD [BASE.txt…] > tables/win12.txt

The second form reads {build: {type: {field: [offset, size]}}}, where "." is the type.
Only the differences are written: the bases are the tables of earlier builds, each a list of
differences from the next one on the command line.

The builder's tables are made by this script and not from assets/, so that a wrong offset in
one of them shows as a disagreement with the other. Names that a kernel does not have are left
out. Nested fields are flattened: ("MiState", "Vs.SizeOfPagedPoolInPages").
"""

import json
import lzma
import sys

SYMBOLS = """CmNtCSDVersion DbgBreakPointWithStatus ExAllocatePool ExAllocatePool2
ExAllocatePoolWithQuotaTag ExAllocatePoolWithTag ExAllocatePoolWithTagPriority ExFreePool
ExFreePoolWithTag ExInitializeNPagedLookasideList ExInitializePagedLookasideList
ExPoolState ExPoolTagTables ExpHeapBackedPoolEnabledState ExpNonPagedPoolDescriptor
ExpNumberOfNonPagedPools ExpNumberOfPagedPools ExpPagedPoolDescriptor ExpPoolBigEntriesInUse
ExpSystemResourcesList IoCreateDevice IoDeleteDevice IofCallDriver IofCompleteRequest
IopErrorLogListHead KdDebuggerDataBlock KdVersionBlock KdpDebuggerDataListHead
KeBugCheckCallbackListHead KeBugCheckEx KeInitializeEvent KeLoaderBlock KeNumberProcessors
KeSetEvent KeTimeIncrement KeWaitForSingleObject KiCallUserMode KiInitialPCR KiInitialThread
KiProcessorBlock KiWaitAlways KiWaitNever MiInvalidPteMask MiPagedPoolStart MiSessionWsList
MiState MiSystemPartition MiSystemPteInfo MmAllocatedNonPagedPool MmAvailablePages
MmBadPagesDetected MmDriverCommit MmFreePageListHead MmHighestPhysicalPage
MmHighestUserAddress MmLastUnloadedDriver MmLoadedUserImageList MmLowestPhysicalPage
MmMaximumNonPagedPoolInBytes MmMaximumNonPagedPoolInPages MmModifiedNoWritePageListHead
MmModifiedPageListHead MmNumberOfPagingFiles MmNumberOfPhysicalPages MmPagedPoolEnd
MmPagedPoolInfo MmPagingFile MmPeakCommitment MmPfnDatabase MmPhysicalMemoryBlock
MmProcessCommit MmPteBase MmResidentAvailablePages MmSharedCommit MmSizeOfPagedPoolInBytes
MmSizeOfPagedPoolInPages MmSpecialPagesInUse MmSpecialPoolTag MmStandbyPageListHead
MmSystemRangeStart MmTotalCommitLimit MmTotalCommitLimitMaximum MmTotalCommittedPages
MmTotalPagesForPagingFile MmUnloadedDrivers MmUserProbeAddress MmVerifierData
MmZeroedPageListHead NonPagedPoolDescriptor NtBuildLab NtBuildNumber ObHeaderCookie
ObTypeIndexTable ObpRootDirectoryObject ObpTypeObjectType PoolBigPageTable
PoolBigPageTableSize PoolTrackTable PoolTrackTableExpansion PoolTrackTableExpansionSize
PoolTrackTableMask PoolTrackTableSize PoolVector PsActiveProcessHead PsInitialSystemProcess
PsLoadedModuleList PspCidTable RtlpHpHeapGlobals""".split()

SIZES = """_KPCR _KPRCB _EPROCESS _OBJECT_TYPE _POOL_DESCRIPTOR _GENERAL_LOOKASIDE_POOL
_POOL_TRACKER_TABLE _POOL_TRACKER_BIG_PAGES _MMPAGING_FILE _MM_SESSION_SPACE _MMPFN
_EX_POOL_HEAP_MANAGER_STATE _EX_HEAP_POOL_NODE _SEGMENT_HEAP _HEAP_SEG_CONTEXT
_HEAP_PAGE_SEGMENT _HEAP_PAGE_RANGE_DESCRIPTOR _HEAP_VS_SUBSEGMENT _HEAP_LFH_SUBSEGMENT
_HEAP_VS_CONTEXT _HEAP_VS_AFFINITY_SLOT _RTL_DYNAMIC_LOOKASIDE _RTL_LOOKASIDE
_HEAP_LARGE_ALLOC_DATA _MI_SYSTEM_VA_ASSIGNMENT _MI_SYSTEM_INFORMATION _MI_PARTITION""".split()

FIELDS = {
    "_KPCR": "Self CurrentPrcb KdVersionBlock Prcb",
    "_KPRCB": "CurrentThread Number ProcessorState MHz PPNPagedLookasideList "
    "PPPagedLookasideList PPNxPagedLookasideList CachedCommit CachedResidentAvailable "
    "VendorString Context",
    "_KPROCESSOR_STATE": "SpecialRegisters ContextFrame",
    "_KSPECIAL_REGISTERS": "Cr0 Cr3 Cr4",
    "_KTHREAD": "Process Teb InitialStack StackBase StackLimit KernelStack State ApcState",
    "_KPROCESS": "DirectoryTableBase",
    "_EPROCESS": "CreateTime UniqueProcessId ActiveProcessLinks InheritedFromUniqueProcessId "
    "CommitCharge Session ImageFileName Peb Token ObjectTable SeAuditProcessCreationInfo "
    "ExitStatus VadRoot",
    "_OBJECT_HEADER": "PointerCount HandleCount TypeIndex InfoMask Flags Body",
    "_OBJECT_TYPE": "TypeList Name Index TotalNumberOfObjects TotalNumberOfHandles Key",
    "_POOL_DESCRIPTOR": "PoolType RunningAllocs RunningDeAllocs TotalBigPages TotalBytes "
    "BytesAllocated PoolIndex TotalPages PagesAllocated PagesDeallocated BigPagesAllocated "
    "BigPagesDeallocated PendingFrees PendingFreeDepth ListHeads",
    "_GENERAL_LOOKASIDE_POOL": "Depth MaximumDepth TotalAllocates TotalFrees Type Tag Size",
    "_POOL_TRACKER_TABLE": "Key NonPagedAllocs NonPagedFrees NonPagedBytes PagedAllocs "
    "PagedFrees PagedBytes",
    "_POOL_TRACKER_BIG_PAGES": "Va Key PoolType PoolFlags NumberOfBytes",
    "_MMPAGING_FILE": "Size MaximumSize MinimumSize FreeSpace PeakUsage HighestPage "
    "PageFileName PageFileNumber",
    "_MI_SYSTEM_PTE_TYPE": "TotalSystemPtes TotalFreeSystemPtes CachedPteCount",
    "_MM_PAGED_POOL_INFO": "PagedPoolCommit AllocatedPagedPool",
    "_MM_SESSION_SPACE": "ReferenceCount SessionId CommittedPages PagedPoolStart "
    "PagedPoolEnd WsListEntry",
    "_KLDR_DATA_TABLE_ENTRY": "DllBase EntryPoint SizeOfImage FullDllName BaseDllName "
    "Flags LoadCount CheckSum",
    "_KUSER_SHARED_DATA": "InterruptTime SystemTime NtSystemRoot NtBuildNumber "
    "NtProductType ProductTypeIsValid NtMajorVersion NtMinorVersion SuiteMask "
    "KdDebuggerEnabled NumberOfPhysicalPages ActiveProcessorCount",
    "_EX_POOL_HEAP_MANAGER_STATE": "HeapManager NumberOfPools PoolNode SpecialHeaps",
    "_EX_HEAP_POOL_NODE": "Heaps Lookasides",
    "_RTLP_HP_HEAP_GLOBALS": "HeapKey LfhKey",
    "_RTL_DYNAMIC_LOOKASIDE": "EnabledBucketBitmap BucketCount ActiveBucketCount Buckets",
    "_RTL_LOOKASIDE": "ListHead Depth",
    "_SEGMENT_HEAP": "Signature GlobalFlags UserContext LargeAllocMetadata "
    "LargeReservedPages LargeCommittedPages MemStats.TotalReservedPages "
    "MemStats.TotalCommittedPages SegContexts VsContext LfhContext",
    "_HEAP_SEG_CONTEXT": "SegmentMask UnitShift PagesPerUnitShift FirstDescriptorIndex "
    "Heap SegmentListHead SegmentCount VsContext LfhContext",
    "_HEAP_PAGE_SEGMENT": "ListEntry Signature DescArray",
    "_HEAP_PAGE_RANGE_DESCRIPTOR": "TreeSignature UnusedBytes RangeFlags "
    "CommittedPageCount Key UnitOffset UnitSize",
    "_HEAP_VS_SUBSEGMENT": "ListEntry CommitBitmap Size Signature",
    "_HEAP_VS_CHUNK_HEADER": "Sizes",
    "_HEAP_VS_CONTEXT": "SubsegmentList DelayFreeContext SlotMapRef AffinityMask",
    "_HEAP_VS_AFFINITY_SLOT": "VsContext SubsegmentList DelayFreeContext",
    "_HEAP_LFH_SUBSEGMENT": "ListEntry FreeCount BlockCount BlockOffsets CommitUnitShift "
    "CommitUnitCount CommitStateOffset BlockBitmap",
    "_HEAP_LARGE_ALLOC_DATA": "TreeNode VirtualAddress",
    "_MI_SYSTEM_VA_ASSIGNMENT": "BaseAddress NumberOfBytes",
}

STATE = """Hardware.InvalidPteMask Pools.AllocatedNonPagedPool
SystemPtes.StackGrowthFailures Vs.AllocatedPagedPool
Vs.PagedPoolInfo.AllocatedPagedPool Vs.MaximumNonPagedPoolInPages
Vs.SizeOfPagedPoolInPages Vs.SessionWsList Vs.SystemPteInfo.TotalSystemPtes
Vs.SystemPteInfo.TotalFreeSystemPtes Vs.SystemPteInfo.CachedPteCount Vs.ProcessCommit
Vs.SharedCommit Vs.SpecialPagesInUse Vs.DriverCommit Vs.NonPagedPoolCommit Vs.BootCommit
Vs.SystemPageTableCommit Vs.PfnDatabaseCommit Vs.MdlPagesAllocated Vs.SystemVaType
Vs.SystemVaRegions""".split()

PARTITION = """Vp.NumberOfPhysicalPages Vp.NumberOfPagingFiles Vp.PagingFile
Vp.AvailablePages Vp.ResidentAvailablePages Vp.ModifiedPageListHead
Vp.ModifiedNoWritePageListHead Vp.TotalPagesForPagingFile Vp.SharedCommit
Vp.TotalCommittedPages Vp.TotalCommitLimit Vp.MdlPagesAllocated""".split()

REGIONS = "NonPagedPool PagedPool SystemCache SystemPtes PfnDatabase PageTables SystemImages".split()


class Isf:
    """The public symbols of one kernel."""

    def __init__(self, path):
        data = json.load(lzma.open(path))
        self.symbols = {n: s["address"] for n, s in data["symbols"].items()}
        self.types = data["user_types"]
        self.enums = data["enums"]

    def size(self, ty):
        found = self.types.get(ty)
        return found and found["size"]

    def place(self, ty, path):
        """The offset of a field, through named and anonymous members."""
        if ty not in self.types:
            return None
        name, _, rest = path.partition(".")
        for field, what in self.types[ty]["fields"].items():
            inner = what["type"]
            if inner.get("kind") == "bitfield":
                inner = inner["type"]
            if field == name:
                if not rest:
                    return what["offset"]
                found = self.place(inner.get("name"), rest)
            elif field.startswith("u") or what.get("anonymous"):
                found = self.place(inner.get("name"), path)
            else:
                continue
            if found is not None:
                return what["offset"] + found
        return None

    def enumerator(self, en, suffix):
        constants = self.enums.get(en, {}).get("constants", {})
        fit = [n for n in constants if n.endswith(suffix)]
        return constants[min(fit, key=len)] if fit else None


class Layouts:
    """Layouts of one build as offsets and sizes, without addresses."""

    symbols = {}

    MEMBERS = {
        "Vs": "_MI_VISIBLE_STATE",
        "Vp": "_MI_VISIBLE_PARTITION",
        "Pools": "_MI_POOL_STATE",
        "Hardware": "_MI_HARDWARE_STATE",
        "SystemPtes": "_MI_SYSTEM_PTE_STATE",
        "SystemPteInfo": "_MI_SYSTEM_PTE_TYPE",
        "MemStats": "_HEAP_RUNTIME_MEMORY_STATS",
        "PagedPoolInfo": "_MM_PAGED_POOL_INFO",
    }

    def __init__(self, path, build):
        self.types = json.load(open(path))[build]

    def size(self, ty):
        return self.types.get(ty, {}).get(".", [0, 0])[1]

    def place(self, ty, path):
        fields = self.types.get(ty, {})
        if path in fields:
            return fields[path][0]
        for field, (offset, *_) in fields.items():
            # Unnamed members are flattened: "u1.Flink".
            if field.startswith("u") and field.partition(".")[2] == path:
                return offset
        name, _, rest = path.partition(".")
        if not rest or name not in fields:
            return None
        inner = self.place(self.MEMBERS.get(name), rest)
        return None if inner is None else fields[name][0] + inner

    def enumerator(self, en, suffix):
        constants = self.types.get("enums", {}).get(en, {})
        fit = [n for n in constants if n.endswith(suffix)]
        return constants[min(fit, key=len)] if fit else None


def tables(isf):
    symbols = [(n, isf.symbols[n]) for n in SYMBOLS if n in isf.symbols]
    sizes = [(t, isf.size(t)) for t in SIZES if isf.size(t)]
    fields = []
    for ty, names in FIELDS.items():
        own = ty
        if ty == "_KLDR_DATA_TABLE_ENTRY":
            # Up to 8.1, public symbols have this type only under its user-mode name.
            own, ty = ty if ty in isf.types else "_LDR_DATA_TABLE_ENTRY", "_LDR_DATA_TABLE_ENTRY"
        fields += [(ty, n, isf.place(own, n)) for n in names.split()]
    fields += [("MiState", n, isf.place("_MI_SYSTEM_INFORMATION", n)) for n in STATE]
    fields += [("MiSystemPartition", n, isf.place("_MI_PARTITION", n)) for n in PARTITION]
    regions = "_MI_ASSIGNED_REGION_TYPES"
    fields += [(regions, n, isf.enumerator(regions, n)) for n in REGIONS]
    return symbols, sizes, [f for f in fields if f[2] is not None]


def read(path):
    """A table as {(kind, name…): value}, with None for absent names."""
    said = {}
    for line in open(path):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "absent":
            said[tuple(words[1:])] = None
        else:
            said[tuple(words[:-1])] = int(words[-1], 16)
    return said


def main():
    arguments = sys.argv[1:]
    bases = [a for a in arguments if a.endswith(".txt")]
    arguments = [a for a in arguments if not a.endswith(".txt")]
    source = Layouts(*arguments) if len(arguments) > 1 else Isf(arguments[0])
    symbols, sizes, fields = tables(source)
    mine = {("symbol", n): v for n, v in symbols}
    mine |= {("type", n): v for n, v in sizes}
    mine |= {("field", t, n): v for t, n, v in fields}
    base = {}
    for path in reversed(bases):
        base |= read(path)
    base = {k: v for k, v in base.items() if v is not None}
    group = None
    for key in sorted(mine | base, key=lambda k: k[1] if k[0] != "symbol" else ""):
        if mine.get(key) == base.get(key):
            continue
        if key[0] != "symbol" and key[1] != group:
            group = key[1]
            print()
        gone = "" if key in mine else "absent "
        value = f" {mine[key]:#x}" if key in mine else ""
        print(f"{gone}{' '.join(key)}{value}")


if __name__ == "__main__":
    main()
