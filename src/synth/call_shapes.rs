//! The forms of calls that take a pool tag, as compilers and the kernel create them: import
//! calls as linked, as optimised, as patched against speculation ("retpoline"), and made
//! direct; jumps instead of calls; wrappers; the driver framework's table; tags in structures;
//! and locations that only look like a tag.
//!
//! Encodings are Intel's; the patched forms are described in Microsoft's "Mitigating Spectre
//! variant 2 with Retpoline on Windows".

use super::truth::Tag;

/// A form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallShape {
    /// `call [import]` with a prefix and a following nop, ready for patching.
    Optimised,
    /// The same, patched: `mov r10, [import]`; call to a stub after the image.
    Retpoline,
    /// Direct call of the function: `NdisAllocateMemoryWithTagPriority`.
    Direct,
    /// `jmp [import]`.
    TailJump,
    /// The same, patched.
    TailRetpoline,
    /// The tag in ebx, preserved across another call, then copied to r8d.
    Copied,
    /// After a conditional jump that is taken.
    Branch,
    /// In ecx to a function of the same driver, which allocates.
    Wrapper,
    /// `ExAllocatePool2`.
    Pool2,
    /// `WdfMemoryCreate` through the framework's table, checked by control flow guard.
    Framework,
    /// The same, patched.
    FrameworkRetpoline,
    /// A WDF_DRIVER_CONFIG on the stack for `WdfDriverCreate`.
    DriverConfig,
    /// NET_BUFFER_LIST_POOL_PARAMETERS on the stack.
    NetBufferPool,
    /// `ExInitializeNPagedLookasideList`.
    Lookaside,
    /// `StorPortAllocatePool`, as defined in its header.
    StorPort,
    /// `FltAllocatePoolAlignedWithTag`.
    Filter,
    /// In a variable that the code reads.
    Variable,
    /// `cmp [rcx], tag`.
    Comparison,
    /// `ObfReferenceObjectWithTag`.
    ObjectReference,
    /// The displacement of an instruction that loads an address.
    Displacement,
    /// Half in the constant of one instruction, half in the next two (`..PX`).
    Split,
    /// Passed to an import that does not take a tag.
    OtherImport,
}

/// Offset in .data of the variable with the framework's table, in bytes.
pub const TABLE_VARIABLE: u32 = 0x100;
/// Offset in .data of the variable with a tag, in bytes.
pub const TAG_VARIABLE: u32 = 0x120;

/// The targets of a form's code, as RVAs.
pub(super) struct Setting<'a> {
    /// The first instruction.
    pub rva: u32,
    /// The import slot of a function.
    pub slot: &'a dyn Fn(&str) -> u32,
    /// The address of a function, relative to the image's base.
    pub target: &'a dyn Fn(&str) -> u32,
    /// Start of .data.
    pub data: u32,
    /// The first byte after the image.
    pub end: u32,
    /// The slot of the control flow guard check.
    pub guard: u32,
}

const NT: &str = "ntoskrnl.exe";

impl CallShape {
    /// The file and the functions that the form imports.
    pub fn imports(self) -> Vec<(&'static str, &'static str)> {
        match self {
            CallShape::Direct => vec![("ndis.sys", "NdisAllocateMemoryWithTagPriority")],
            CallShape::Copied | CallShape::OtherImport => {
                vec![(NT, "ExAllocatePoolWithTag"), (NT, "KeSetEvent")]
            }
            CallShape::Pool2 => vec![(NT, "ExAllocatePool2")],
            CallShape::NetBufferPool => vec![("ndis.sys", "NdisAllocateNetBufferListPool")],
            CallShape::Lookaside => vec![(NT, "ExInitializeNPagedLookasideList")],
            CallShape::StorPort => vec![("storport.sys", "StorPortExtendedFunction")],
            CallShape::Filter => vec![("fltmgr.sys", "FltAllocatePoolAlignedWithTag")],
            CallShape::ObjectReference => vec![(NT, "ObfReferenceObjectWithTag")],
            CallShape::Framework
            | CallShape::FrameworkRetpoline
            | CallShape::DriverConfig
            | CallShape::Comparison
            | CallShape::Displacement
            | CallShape::Split => Vec::new(),
            _ => vec![(NT, "ExAllocatePoolWithTag")],
        }
    }

    /// The code, and the offset of a second function in it.
    pub(super) fn emit(self, tag: Tag, setting: &Setting) -> (Vec<u8>, Option<usize>) {
        let mut code = Code {
            setting,
            bytes: Vec::new(),
        };
        let second = match self {
            CallShape::Wrapper => Some(code.wrapper(tag)),
            CallShape::Framework | CallShape::FrameworkRetpoline | CallShape::DriverConfig => {
                code.framework(self, tag);
                None
            }
            CallShape::Comparison | CallShape::Displacement | CallShape::Split => {
                code.chance(self, tag);
                None
            }
            CallShape::TailJump | CallShape::TailRetpoline => {
                code.allocate(tag);
                code.tail(self == CallShape::TailRetpoline);
                None
            }
            _ => {
                code.call_form(self, tag);
                None
            }
        };
        (code.bytes, second)
    }
}

struct Code<'a> {
    setting: &'a Setting<'a>,
    bytes: Vec<u8>,
}

impl Code<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn to(&mut self, target: u32) {
        let next = self.setting.rva.wrapping_add(self.bytes.len() as u32 + 4);
        let distance = target.wrapping_sub(next);
        self.put(&distance.to_le_bytes());
    }

    fn tagged(&mut self, opcode: &[u8], tag: Tag) {
        self.put(opcode);
        self.put(&tag);
    }

    fn call(&mut self, name: &str) {
        self.put(&[0xff, 0x15]);
        self.to((self.setting.slot)(name));
    }

    fn enter(&mut self) {
        self.put(&[0x48, 0x83, 0xec, 0x78]);
    }

    fn leave(&mut self) {
        self.put(&[0x48, 0x83, 0xc4, 0x78, 0xc3]);
    }

    /// mov ecx, PagedPool; mov edx, 40h; mov r8d, tag
    fn allocate(&mut self, tag: Tag) {
        self.put(&[0xb9, 1, 0, 0, 0, 0xba, 0x40, 0, 0, 0]);
        self.tagged(&[0x41, 0xb8], tag);
    }

    fn tail(&mut self, patched: bool) {
        let slot = (self.setting.slot)("ExAllocatePoolWithTag");
        if patched {
            self.put(&[0x4c, 0x8b, 0x15]);
            self.to(slot);
            self.put(&[0xe9]);
            self.to(self.setting.end + 0x420);
        } else {
            self.put(&[0x48, 0xff, 0x25]);
            self.to(slot);
            self.put(&[0xcc; 5]);
        }
    }

    fn call_form(&mut self, form: CallShape, tag: Tag) {
        let pool = "ExAllocatePoolWithTag";
        self.enter();
        match form {
            CallShape::Optimised => {
                self.allocate(tag);
                self.put(&[0x48]);
                self.call(pool);
                self.put(&[0x0f, 0x1f, 0x44, 0, 0]);
            }
            CallShape::Retpoline => {
                self.allocate(tag);
                self.put(&[0x4c, 0x8b, 0x15]);
                self.to((self.setting.slot)(pool));
                self.put(&[0xe8]);
                self.to(self.setting.end + 0x420);
            }
            CallShape::Direct => {
                // xor r9d, r9d; mov r8d, tag; mov edx, 100h
                self.tagged(&[0x45, 0x33, 0xc9, 0x41, 0xb8], tag);
                self.put(&[0xba, 0, 1, 0, 0, 0xe8]);
                self.to((self.setting.target)("NdisAllocateMemoryWithTagPriority"));
                self.put(&[0x90, 0x90]);
            }
            CallShape::Copied => {
                self.tagged(&[0xbb], tag);
                self.call("KeSetEvent");
                // mov r8d, ebx; mov edx, 80h; xor ecx, ecx
                self.put(&[0x44, 0x8b, 0xc3, 0xba, 0x80, 0, 0, 0, 0x33, 0xc9]);
                self.call(pool);
            }
            CallShape::Branch => {
                // mov r8d, tag; test rcx, rcx; je to the call; add rsp, 78h; ret
                self.tagged(&[0x41, 0xb8], tag);
                self.put(&[0x48, 0x85, 0xc9, 0x74, 0x05]);
                self.leave();
                self.put(&[0xba, 0x60, 0, 0, 0, 0xb9, 1, 0, 0, 0]);
                self.call(pool);
            }
            CallShape::Pool2 => {
                // mov r8d, tag; mov edx, 200h; mov ecx, POOL_FLAG_NON_PAGED
                self.tagged(&[0x41, 0xb8], tag);
                self.put(&[0xba, 0, 2, 0, 0, 0xb9, 0x40, 0, 0, 0]);
                self.call("ExAllocatePool2");
            }
            CallShape::OtherImport => {
                self.tagged(&[0xba], tag);
                self.call("KeSetEvent");
            }
            CallShape::Variable => {
                self.put(&[0xb9, 1, 0, 0, 0, 0xba, 0x40, 0, 0, 0, 0x44, 0x8b, 0x05]);
                self.to(self.setting.data + TAG_VARIABLE);
                self.call(pool);
            }
            CallShape::ObjectReference => {
                self.tagged(&[0xba], tag);
                self.call("ObfReferenceObjectWithTag");
            }
            _ => self.arguments(form, tag),
        }
        self.leave();
    }

    /// Forms with the tag in another argument, or in memory.
    fn arguments(&mut self, form: CallShape, tag: Tag) {
        match form {
            CallShape::NetBufferPool => {
                // mov [rsp+40h], 140180h; mov [rsp+48h], tag; lea rdx, [rsp+40h]
                self.put(&[0xc7, 0x44, 0x24, 0x40, 0x80, 1, 0x14, 0]);
                self.tagged(&[0xc7, 0x44, 0x24, 0x48], tag);
                self.put(&[0x48, 0x8d, 0x54, 0x24, 0x40]);
                self.call("NdisAllocateNetBufferListPool");
            }
            CallShape::Lookaside => {
                // mov word [rsp+30h], 0; mov [rsp+28h], tag; mov qword [rsp+20h], 80h
                self.put(&[0x66, 0xc7, 0x44, 0x24, 0x30, 0, 0]);
                self.tagged(&[0xc7, 0x44, 0x24, 0x28], tag);
                self.put(&[0x48, 0xc7, 0x44, 0x24, 0x20, 0x80, 0, 0, 0]);
                // xor r9d, r9d; xor r8d, r8d; xor edx, edx; lea rcx, the list
                self.put(&[
                    0x45, 0x33, 0xc9, 0x45, 0x33, 0xc0, 0x33, 0xd2, 0x48, 0x8d, 0x0d,
                ]);
                self.to(self.setting.data + 0x200);
                self.call("ExInitializeNPagedLookasideList");
            }
            CallShape::StorPort => {
                // lea rax, [rsp+40h]; mov [rsp+20h], rax; mov r9d, tag; mov r8d, 300h;
                // mov rdx, rbx; xor ecx, ecx
                self.put(&[0x48, 0x8d, 0x44, 0x24, 0x40, 0x48, 0x89, 0x44, 0x24, 0x20]);
                self.tagged(&[0x41, 0xb9], tag);
                self.put(&[0x41, 0xb8, 0, 3, 0, 0, 0x48, 0x8b, 0xd3, 0x33, 0xc9]);
                self.call("StorPortExtendedFunction");
            }
            _ => {
                // mov r9d, tag; mov r8d, 400h; mov edx, PagedPool; mov rcx, rbx
                self.tagged(&[0x41, 0xb9], tag);
                self.put(&[0x41, 0xb8, 0, 4, 0, 0, 0xba, 1, 0, 0, 0, 0x48, 0x8b, 0xcb]);
                self.call("FltAllocatePoolAlignedWithTag");
            }
        }
    }

    /// mov ecx, tag; call the next function, which has mov r8d, ecx before its call.
    fn wrapper(&mut self, tag: Tag) -> usize {
        self.enter();
        self.tagged(&[0xb9], tag);
        self.put(&[0xe8, 5, 0, 0, 0]);
        self.leave();
        let second = self.bytes.len();
        self.enter();
        self.put(&[0x44, 0x8b, 0xc1, 0xba, 0x40, 0, 0, 0, 0xb9, 0, 2, 0, 0]);
        self.call("ExAllocatePoolWithTag");
        self.leave();
        second
    }

    fn table(&mut self) {
        self.put(&[0x48, 0x8b, 0x05]);
        self.to(self.setting.data + TABLE_VARIABLE);
    }

    fn framework(&mut self, form: CallShape, tag: Tag) {
        self.enter();
        if form == CallShape::DriverConfig {
            // mov [rsp+30h], 20h; mov [rsp+4Ch], tag; lea rax, [rsp+30h]; mov [rsp+20h], rax
            self.put(&[0xc7, 0x44, 0x24, 0x30, 0x20, 0, 0, 0]);
            self.tagged(&[0xc7, 0x44, 0x24, 0x4c], tag);
            self.put(&[0x48, 0x8d, 0x44, 0x24, 0x30, 0x48, 0x89, 0x44, 0x24, 0x20]);
            self.table();
            // mov rax, [rax+3A0h]; call rax
            self.put(&[0x48, 0x8b, 0x80, 0xa0, 3, 0, 0, 0xff, 0xd0]);
            self.leave();
            return;
        }
        self.table();
        // mov r9d, tag; mov r8d, PagedPool; mov qword [rsp+20h], 200h; mov rax, [rax+600h]
        self.tagged(&[0x41, 0xb9], tag);
        self.put(&[0x41, 0xb8, 1, 0, 0, 0]);
        self.put(&[0x48, 0xc7, 0x44, 0x24, 0x20, 0, 2, 0, 0]);
        self.put(&[0x48, 0x8b, 0x80, 0, 6, 0, 0]);
        if form == CallShape::Framework {
            self.put(&[0xff, 0x15]);
            self.to(self.setting.guard);
        } else {
            self.put(&[0xe8]);
            self.to(self.setting.end + 0x2e0);
            self.put(&[0x90]);
        }
        self.leave();
    }

    fn chance(&mut self, form: CallShape, tag: Tag) {
        match form {
            // cmp [rcx], tag; sete al; ret
            CallShape::Comparison => {
                self.tagged(&[0x81, 0x39], tag);
                self.put(&[0x0f, 0x94, 0xc0, 0xc3]);
            }
            // lea rcx, [rip+tag]; ret
            CallShape::Displacement => {
                self.tagged(&[0x48, 0x8d, 0x0d], tag);
                self.put(&[0xc3]);
            }
            // mov eax, the tag's first half and two zeros; its second half; ret
            _ => {
                self.tagged(&[0xb8, 0, 0], tag);
                self.put(&[0xc3]);
            }
        }
    }
}

/// Two FLT_CONTEXT_REGISTRATIONs, of streams with a fixed size and of instances with a variable
/// size, and the end of the array.
pub(super) fn contexts(tag: Tag) -> Vec<u8> {
    let mut out = vec![0; 0x38 * 2 + 2];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(to) = out.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    };
    put(0, &[8, 0]);
    put(0x10, &0x90u64.to_le_bytes());
    put(0x18, &tag);
    put(0x38, &[2, 0]);
    put(0x48, &u64::MAX.to_le_bytes());
    put(0x50, &tag);
    put(0x70, &[0xff, 0xff]);
    out
}
