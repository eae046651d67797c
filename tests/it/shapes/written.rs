//! The code of each pattern, byte by byte, with its expected reference.

use poolscope::analysis::references::{Confidence, Role};
use poolscope::memory::Va;

use super::driver::{Code, Driver};
use super::{CERTAIN, FREE, MORE, POOL, Truth};

/// `mov ecx, PagedPool; mov edx, 40h`
pub(super) const SIZES: [u8; 10] = [0xb9, 1, 0, 0, 0, 0xba, 0x40, 0, 0, 0];

/// Filler instructions of many kinds that leave rbx, rsi, rdi, r8 and r12 to r15 unchanged.
pub(super) const FILLER: [&[u8]; 8] = [
    &[0x48, 0x8d, 0x04, 0x09],       // lea rax, [rcx+rcx]
    &[0x0f, 0xb6, 0xc1],             // movzx eax, cl
    &[0xc1, 0xe0, 0x03],             // shl eax, 3
    &[0x0f, 0x10, 0x44, 0x24, 0x60], // movups xmm0, [rsp+60h]
    &[0x0f, 0x11, 0x44, 0x24, 0x70], // movups [rsp+70h], xmm0
    &[0x41, 0x89, 0xc1],             // mov r9d, eax
    &[0x41, 0xc1, 0xe9, 0x02],       // shr r9d, 2
    &[0x44, 0x0f, 0xaf, 0xc8],       // imul r9d, eax
];

pub(super) fn fill(c: &mut Code, count: usize) {
    for n in 0..count {
        c.put(FILLER[n % FILLER.len()]);
    }
}

pub(super) struct Writer<'d> {
    pub(super) driver: &'d mut Driver,
    pub(super) truths: Vec<Truth>,
}

impl Writer<'_> {
    pub(super) fn add(
        &mut self,
        tag: &[u8; 4],
        api: &'static str,
        role: Role,
        confidence: Confidence,
        write: impl FnOnce(&mut Code, [u8; 4]),
    ) -> u32 {
        let mut code = self.driver.code();
        code.enter();
        write(&mut code, *tag);
        code.leave();
        let parts = code.into_parts();
        let start = self.driver.add_parts(parts, true);
        self.truths.push((*tag, api, role, confidence, start));
        start
    }

    pub(super) fn allocates(
        &mut self,
        tag: &[u8; 4],
        write: impl FnOnce(&mut Code, [u8; 4]),
    ) -> u32 {
        self.add(tag, POOL, Role::Allocation, CERTAIN, write)
    }
}

/// Constants that survive long stretches of code, calls, branches and loops, and constants
/// in stack slots.
fn lives(w: &mut Writer) {
    w.allocates(b"LvLo", |c, tag| {
        c.put(&SIZES).tag(&[0x41, 0xb8], tag);
        for _ in 0..30 {
            // mov [rsp+60h], rax; add rax, rax
            c.put(&[0x48, 0x89, 0x44, 0x24, 0x60, 0x48, 0x03, 0xc0]);
        }
        c.call(POOL);
    });
    w.allocates(b"LvRg", |c, tag| {
        c.tag(&[0xbb], tag);
        fill(c, 80);
        c.put(&SIZES).put(&[0x44, 0x8b, 0xc3]).call(POOL);
    });
    w.allocates(b"LvCl", |c, tag| {
        c.tag(&[0x41, 0xbe], tag);
        for _ in 0..3 {
            c.call("KeSetEvent");
        }
        // mov r8d, r14d
        c.put(&SIZES).put(&[0x45, 0x8b, 0xc6]).call(POOL);
    });
    w.allocates(b"LvLp", |c, tag| {
        c.tag(&[0xbe], tag).put(&[0xbf, 8, 0, 0, 0]);
        let again = c.label();
        c.here(again).call("KeSetEvent");
        // dec edi; jne again; mov r8d, esi
        c.put(&[0xff, 0xcf]).jump(&[0x0f, 0x85], again);
        c.put(&SIZES).put(&[0x44, 0x8b, 0xc6]).call(POOL);
    });
    w.allocates(b"LvSl", |c, tag| {
        // mov [rsp+50h], tag; call; mov r8d, [rsp+50h]
        c.tag(&[0xc7, 0x44, 0x24, 0x50], tag).call("KeSetEvent");
        c.put(&SIZES)
            .put(&[0x44, 0x8b, 0x44, 0x24, 0x50])
            .call(POOL);
    });
    w.allocates(b"LvPs", |c, tag| {
        // push tag; pop rbx, as in code optimised for size
        c.tag(&[0x68], tag).put(&[0x5b]);
        fill(c, 12);
        c.put(&SIZES).put(&[0x44, 0x8b, 0xc3]).call(POOL);
    });
    // One of two tags, chosen by a branch or by a conditional move.
    for (one, two, moved) in [(b"LvB1", b"LvB2", false), (b"LvM1", b"LvM2", true)] {
        let start = w.allocates(one, |c, tag| {
            c.tag(&[0xbb], tag);
            if moved {
                // mov eax, two; test rcx, rcx; cmove ebx, eax
                c.tag(&[0xb8], *two)
                    .put(&[0x48, 0x85, 0xc9, 0x0f, 0x44, 0xd8]);
            } else {
                let over = c.label();
                c.put(&[0x48, 0x85, 0xc9]).jump(&[0x0f, 0x84], over);
                c.tag(&[0xbb], *two).here(over);
            }
            c.put(&SIZES).put(&[0x44, 0x8b, 0xc3]).call(POOL);
        });
        w.truths
            .push((*two, POOL, Role::Allocation, CERTAIN, start));
    }
    // A tag in half of an eight-byte constant: [rsp+40h] = 140180h, [rsp+44h] = 0;
    // [rsp+48h] = tag and size.
    w.add(
        b"Lv64",
        "NdisAllocateNetBufferListPool",
        Role::Structure,
        CERTAIN,
        |c, tag| {
            c.put(&[0xc7, 0x44, 0x24, 0x40, 0x80, 1, 0x14, 0]);
            c.tag(&[0x48, 0xb8], tag).put(&[0, 1, 0, 0]);
            c.put(&[0x48, 0x89, 0x44, 0x24, 0x48, 0x48, 0x8d, 0x54, 0x24, 0x40]);
            c.call("NdisAllocateNetBufferListPool");
        },
    );
}

/// Several calls with the same constant, and constants that no call receives.
fn takers(w: &mut Writer) {
    w.allocates(b"TkFr", |c, tag| {
        // mov edi, tag; test rcx, rcx; je over; mov edx, edi; call free
        c.tag(&[0xbf], tag);
        let over = c.label();
        c.put(&[0x48, 0x85, 0xc9]).jump(&[0x0f, 0x84], over);
        c.put(&[0x8b, 0xd7]).call(FREE).here(over);
        c.put(&SIZES).put(&[0x44, 0x8b, 0xc7]).call(POOL);
    });
    // A function that stores its argument.
    let mut code = w.driver.code();
    code.data(&[0x89, 0x0d], 0x40).put(&[0xc3]);
    let parts = code.into_parts();
    let keeps = w.driver.add_parts(parts, true);
    w.allocates(b"TkOw", |c, tag| {
        // mov esi, tag; mov ecx, esi; call own
        c.tag(&[0xbe], tag).put(&[0x8b, 0xce]).to(&[0xe8], keeps);
        c.put(&SIZES).put(&[0x44, 0x8b, 0xc6]).call(POOL);
    });
    // Only stored: likely a tag, but nothing more is known.
    w.add(b"TkKp", "", Role::Unknown, Confidence::Likely, |c, tag| {
        c.tag(&[0xb9], tag).to(&[0xe8], keeps);
    });
    // A function that only compares its argument.
    let mut code = w.driver.code();
    code.put(&[0x83, 0xf9, 5, 0x0f, 0x94, 0xc0, 0xc3]);
    let parts = code.into_parts();
    let looks = w.driver.add_parts(parts, true);
    let chance = Confidence::Coincidence;
    w.add(b"TkLk", "", Role::Unknown, chance, |c, tag| {
        c.tag(&[0xb9], tag).to(&[0xe8], looks);
    });
    w.add(b"TkSt", "", Role::Unknown, chance, |c, tag| {
        // mov eax, a status; return it
        c.tag(&[0xb8], tag);
    });
    w.add(b"TkOv", "", Role::Unknown, chance, |c, tag| {
        // mov r8d, tag; mov r8d, ebx: overwritten before the call
        c.put(&SIZES).tag(&[0x41, 0xb8], tag);
        c.put(&[0x44, 0x8b, 0xc3]).call(POOL);
    });
    w.add(b"TkVo", "", Role::Unknown, chance, |c, tag| {
        // In a register that a call does not preserve.
        c.tag(&[0x41, 0xbb], tag).call("KeSetEvent");
        c.put(&SIZES).put(&[0x45, 0x8b, 0xc3]).call(POOL);
    });
    // Two functions deep: from r9d to r8d to the allocator.
    let mut code = w.driver.code();
    code.enter()
        .put(&SIZES)
        .put(&[0x45, 0x8b, 0xc1])
        .call(POOL)
        .leave();
    let parts = code.into_parts();
    let inner = w.driver.add_parts(parts, true);
    let mut code = w.driver.code();
    // mov r9d, ecx
    code.enter()
        .put(&[0x44, 0x8b, 0xc9])
        .to(&[0xe8], inner)
        .leave();
    let parts = code.into_parts();
    let outer = w.driver.add_parts(parts, true);
    w.add(
        b"TkDp",
        POOL,
        Role::Allocation,
        Confidence::Likely,
        |c, tag| {
            c.tag(&[0xb9], tag).to(&[0xe8], outer);
        },
    );
}

/// The target of the call.
fn targets(w: &mut Writer) {
    w.allocates(b"TgHo", |c, tag| {
        // mov rsi, [import]; jump away; a way back; target: mov r8d, tag; call rsi
        c.slot(&[0x48, 0x8b, 0x35], POOL);
        let (there, back) = (c.label(), c.label());
        c.jump(&[0xe9], there).here(back).call("KeSetEvent");
        c.here(there).put(&SIZES).tag(&[0x41, 0xb8], tag);
        c.put(&[0xff, 0xd6, 0x48, 0x85, 0xc0])
            .jump(&[0x0f, 0x84], back);
    });
    // A choice at run time. The name of the function is in .data.
    let name: Vec<u8> = "ExAllocatePool2\0"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    w.driver.data(0x200, &name);
    w.add(
        b"TgRt",
        "ExAllocatePoolWithTag",
        Role::Allocation,
        CERTAIN,
        |c, tag| {
            // lea rdx, name; lea rcx, [rsp+40h]; call; lea rcx, [rsp+40h]; call
            c.data(&[0x48, 0x8d, 0x15], 0x200)
                .put(&[0x48, 0x8d, 0x4c, 0x24, 0x40]);
            c.call("RtlInitUnicodeString")
                .put(&[0x48, 0x8d, 0x4c, 0x24, 0x40]);
            c.call("MmGetSystemRoutineAddress");
            // test rax, rax; jne found; mov rax, [import]; found: mov rbx, rax; call rbx
            let found = c.label();
            c.put(&[0x48, 0x85, 0xc0]).jump(&[0x0f, 0x85], found);
            c.slot(&[0x48, 0x8b, 0x05], POOL)
                .here(found)
                .put(&[0x48, 0x8b, 0xd8]);
            c.put(&SIZES).tag(&[0x41, 0xb8], tag).put(&[0xff, 0xd3]);
        },
    );
    // A thunk of an import, and the no-op check function of Control Flow Guard.
    let mut code = w.driver.code();
    code.slot(&[0xff, 0x25], POOL);
    let parts = code.into_parts();
    let thunk = w.driver.add_parts(parts, false);
    w.allocates(b"TgTh", |c, tag| {
        c.put(&SIZES).tag(&[0x41, 0xb8], tag).to(&[0xe8], thunk);
    });
    let mut code = w.driver.code();
    code.put(&[0xff, 0xe0]);
    let parts = code.into_parts();
    let check = w.driver.add_parts(parts, false);
    w.allocates(b"TgCf", |c, tag| {
        // mov rax, [import]; call the check function
        c.slot(&[0x48, 0x8b, 0x05], POOL).put(&SIZES);
        c.tag(&[0x41, 0xb8], tag).to(&[0xe8], check);
    });
    // A jump table in .data, relative to the image base.
    let mut cases = Vec::new();
    w.allocates(b"TgSw", |c, tag| {
        c.tag(&[0xbe], tag).put(&[0x83, 0xf9, 1]);
        let default = c.label();
        c.jump(&[0x0f, 0x87], default);
        // lea rdx, image base; mov eax, [rdx+rcx*4+table]; add rax, rdx; jmp rax
        c.to(&[0x48, 0x8d, 0x15], 0);
        c.dword(&[0x8b, 0x84, 0x8a], 0x3_8300)
            .put(&[0x48, 0x03, 0xc2, 0xff, 0xe0]);
        cases.push(c.at());
        c.call("KeSetEvent").jump(&[0xe9], default);
        cases.push(c.at());
        c.put(&SIZES)
            .put(&[0x44, 0x8b, 0xc6])
            .call(POOL)
            .here(default);
    });
    let table: Vec<u8> = cases.iter().flat_map(|rva| rva.to_le_bytes()).collect();
    w.driver.data(0x300, &table);
    // The last character is computed at run time.
    for (stem, opcode) in [(b"TgX0", &[0x44u8, 0x8d, 0x80][..]), (b"TgY0", &[0x05][..])] {
        let start = w.driver.next();
        w.add(
            stem,
            POOL,
            Role::Allocation,
            Confidence::Likely,
            |c, tag| {
                // mov eax, ecx; shl eax, 18h
                c.put(&[0x8b, 0xc1, 0xc1, 0xe0, 0x18]);
                c.tag(opcode, tag);
                if opcode.len() == 1 {
                    c.put(&[0x44, 0x8b, 0xc0]);
                }
                c.put(&SIZES).call(POOL);
            },
        );
        let sum = [stem[0], stem[1], stem[2], b'n'];
        w.truths
            .push((sum, POOL, Role::Allocation, Confidence::Likely, start));
    }
}

/// Unwind data in pieces, large frames, and functions without unwind data or frame.
pub(super) fn frames(w: &mut Writer) {
    let mut second = 0;
    w.add(
        b"FrCh",
        "ExInitializeNPagedLookasideList",
        Role::Lookaside,
        CERTAIN,
        |c, tag| {
            // lea rbp, [rsp+60h]; the rest is another piece
            c.put(&[0x48, 0x8d, 0x6c, 0x24, 0x60]);
            second = c.at();
            // mov [rbp-38h], tag: [rsp+28h]
            c.tag(&[0xc7, 0x45, 0xc8], tag);
            c.put(&[0x48, 0xc7, 0x44, 0x24, 0x20, 0x80, 0, 0, 0]);
            c.call("ExInitializeNPagedLookasideList");
        },
    );
    w.driver.split(second);
    w.add(
        b"FrLg",
        "NdisAllocateNetBufferListPool",
        Role::Structure,
        CERTAIN,
        |c, tag| {
            // sub rsp, 400h; seventy stores; then the structure at [rsp+40h]
            c.put(&[0x48, 0x81, 0xec, 0, 4, 0, 0]);
            for n in 0..70u32 {
                c.dword(&[0xc7, 0x84, 0x24], 0x100 + n * 8)
                    .put(&[n as u8, 0, 0, 0]);
            }
            c.put(&[0xc7, 0x44, 0x24, 0x40, 0x80, 1, 0x14, 0]);
            c.tag(&[0xc7, 0x44, 0x24, 0x48], tag);
            c.put(&[0x48, 0x8d, 0x54, 0x24, 0x40]);
            c.call("NdisAllocateNetBufferListPool");
            c.put(&[0x48, 0x81, 0xc4, 0, 4, 0, 0]);
        },
    );
    w.add(
        b"FrTi",
        "NdisAllocateTimerObject",
        Role::Structure,
        CERTAIN,
        |c, tag| {
            c.put(&[0xc7, 0x44, 0x24, 0x40, 0x97, 1, 0x18, 0]);
            c.tag(&[0xc7, 0x44, 0x24, 0x44], tag);
            c.put(&[0x48, 0x8d, 0x54, 0x24, 0x40]);
            c.call("NdisAllocateTimerObject");
        },
    );
    // Two functions without a frame, between two that have one.
    for (tag, direct) in [(b"FrL1", false), (b"FrL2", true)] {
        let mut code = w.driver.code();
        code.put(&[0x48, 0x85, 0xd2, 0x74, 0x01, 0x90]).put(&SIZES);
        code.tag(&[0x41, 0xb8], *tag);
        match direct {
            false => code.slot(&[0x48, 0xff, 0x25], POOL),
            true => code.slot(&[0xff, 0x25], POOL),
        };
        let parts = code.into_parts();
        let start = w.driver.add_parts(parts, false);
        w.truths
            .push((*tag, POOL, Role::Allocation, CERTAIN, start));
    }
    w.allocates(b"FrLa", |c, tag| {
        c.put(&SIZES).tag(&[0x41, 0xb8], tag).call(POOL);
    });
}

/// Functions that take the tag in any of the arguments.
pub(super) fn more(w: &mut Writer) {
    for (n, (_, name, argument)) in MORE.iter().enumerate() {
        let tag = [b'M', b'o', b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        let role = match *name {
            "MmUnmapReservedMapping" => Role::Structure,
            "NdisFreeMemoryWithTagPriority" => Role::Free,
            name if name.contains("LookasideList") => Role::Lookaside,
            _ => Role::Allocation,
        };
        w.add(&tag, name, role, CERTAIN, |c, tag| {
            match argument {
                2 => c.tag(&[0xba], tag),
                3 => c.tag(&[0x41, 0xb8], tag),
                4 => c.tag(&[0x41, 0xb9], tag),
                n => c.tag(&[0xc7, 0x44, 0x24, (n - 1) * 8], tag),
            };
            c.call(name);
        });
    }
}

/// The framework as bound by versions up to 1.13: its function table is copied to the driver.
fn framework(w: &mut Writer, framework: Va) {
    let name: Vec<u8> = "KmdfLibrary\0"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let text = w.driver.data(0x400, &name);
    let array = w.driver.data(0x1000, &[]);
    let base = w.driver.base;
    let mut info = vec![0x30, 0, 0, 0, 0, 0, 0, 0];
    info.extend(base.add(text.into()).0.to_le_bytes());
    for word in [1u32, 9, 7600, 396] {
        info.extend(word.to_le_bytes());
    }
    info.extend(base.add(array.into()).0.to_le_bytes());
    info.extend([0; 8]);
    w.driver.data(0x500, &info);
    let functions = (0..396).map(|n| framework.add(0x1000 + n * 16).0);
    let functions: Vec<u8> = functions.flat_map(u64::to_le_bytes).collect();
    w.driver.data(0x1000, &functions);
    // mov r9d, tag; mov r8d, PagedPool; mov qword [rsp+20h], 200h
    let arguments = |c: &mut Code, tag| {
        c.tag(&[0x41, 0xb9], tag).put(&[0x41, 0xb8, 1, 0, 0, 0]);
        c.put(&[0x48, 0xc7, 0x44, 0x24, 0x20, 0, 2, 0, 0]);
    };
    let (name, role) = ("WdfMemoryCreate", Role::Allocation);
    w.add(b"KmDi", name, role, CERTAIN, |c, tag| {
        arguments(c, tag);
        c.data(&[0xff, 0x15], 0x1000 + 0x600);
    });
    w.add(b"KmGu", name, role, CERTAIN, |c, tag| {
        c.data(&[0x48, 0x8b, 0x05], 0x1000 + 0x600);
        arguments(c, tag);
        c.guard();
    });
    w.add(
        b"KmCo",
        "WdfDriverCreate",
        Role::Structure,
        CERTAIN,
        |c, tag| {
            // mov [rsp+30h], 20h; mov [rsp+4Ch], tag; lea rax, [rsp+30h]; mov [rsp+20h], rax
            c.put(&[0xc7, 0x44, 0x24, 0x30, 0x20, 0, 0, 0]);
            c.tag(&[0xc7, 0x44, 0x24, 0x4c], tag);
            c.put(&[0x48, 0x8d, 0x44, 0x24, 0x30, 0x48, 0x89, 0x44, 0x24, 0x20]);
            c.data(&[0xff, 0x15], 0x1000 + 116 * 8);
        },
    );
}

/// Writes all patterns into a driver.
pub(super) fn write(driver: &mut Driver, framework_at: Va) -> Vec<Truth> {
    let mut w = Writer {
        driver,
        truths: Vec::new(),
    };
    lives(&mut w);
    takers(&mut w);
    targets(&mut w);
    frames(&mut w);
    framework(&mut w, framework_at);
    w.truths
}
