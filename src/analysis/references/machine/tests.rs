use super::*;
use iced_x86::{Decoder, DecoderOptions};
use proptest::prelude::*;

const TAG: [u8; 4] = *b"Leak";

/// Runs code from a function's entry; the instruction with the tag in it is the tag's.
fn run(bytes: &[u8]) -> State {
    let mut state = State::at_entry();
    for i in &mut Decoder::with_ip(64, bytes, 0x1000, DecoderOptions::NONE) {
        let at = (i.ip() - 0x1000) as usize;
        let own = &bytes[at..at + i.len()];
        let tag = own.windows(4).any(|w| w == TAG);
        state.step(&i, tag, &|va| (va == 0x5000).then_some(0x1234));
    }
    state
}

fn with_tag(before: &[u8], after: &[u8]) -> Vec<u8> {
    [before, &TAG, after].concat()
}

#[test]
fn the_tag_goes_where_it_is_copied() {
    // mov ebx, tag; mov r8d, ebx; mov [rsp+28h], r8d; xor ebx, ebx
    let state = run(&with_tag(
        &[0xbb],
        &[0x44, 0x8b, 0xc3, 0x44, 0x89, 0x44, 0x24, 0x28, 0x33, 0xdb],
    ));
    assert_eq!(state.get(Register::R8), Value::Tag);
    assert_eq!(state.get(Register::RBX), Value::Number(0));
    assert_eq!(state.argument(3, false), Value::Tag);
    assert_eq!(state.argument(6, false), Value::Tag);
    assert!(state.carries());
}

#[test]
fn the_tag_is_gone_where_it_is_overwritten() {
    // mov edx, tag; movzx edx, cl
    assert!(!run(&with_tag(&[0xba], &[0x0f, 0xb6, 0xd1])).carries());
    // mov edx, tag; div ecx, which writes edx without naming it
    assert!(!run(&with_tag(&[0xba], &[0xf7, 0xf1])).carries());
    // mov edx, tag; mov dl, 1
    assert!(!run(&with_tag(&[0xba], &[0xb2, 0x01])).carries());
    let mut state = run(&with_tag(&[0xba], &[]));
    state.returned();
    assert!(!state.carries());
}

#[test]
fn numbers_follow_from_numbers() {
    // mov r9d, 4; lea ecx, [r9-3]: PagedPool as the article's driver makes it
    let state = run(&[0x41, 0xb9, 4, 0, 0, 0, 0x41, 0x8d, 0x49, 0xfd]);
    assert_eq!(state.get(Register::RCX), Value::Number(1));
    // push rbx; sub rsp, 20h; lea rbp, [rsp+10h]; mov [rbp+18h], 7: [rsp+28h]
    let state = run(&[
        0x53, 0x48, 0x83, 0xec, 0x20, 0x48, 0x8d, 0x6c, 0x24, 0x10, 0xc7, 0x45, 0x18, 7, 0, 0, 0,
    ]);
    assert_eq!(state.argument(6, false), Value::Number(7));
}

#[test]
fn arguments_are_found_behind_a_stack_probe() {
    // sub rsp, rax; mov [rsp+28h], 7
    let state = run(&[0x48, 0x2b, 0xe0, 0xc7, 0x44, 0x24, 0x28, 7, 0, 0, 0]);
    assert_eq!(state.argument(6, false), Value::Number(7));
    // pop rsp; push rsp; enter 10h, 0; leave: nothing of it is known, and nothing panics
    run(&[0x5c, 0x54, 0xc8, 0x10, 0, 0, 0xc9]);
}

#[test]
fn a_pointer_remembers_where_it_was_read() {
    // mov rax, [5000h]; mov rax, [rax+600h]
    let mut code = vec![0x48, 0x8b, 0x05];
    code.extend((0x5000i32 - 0x1007).to_le_bytes());
    code.extend([0x48, 0x8b, 0x80, 0, 6, 0, 0]);
    let loaded = Value::Loaded {
        value: None,
        base: 0x1234,
        offset: 0x600,
    };
    assert_eq!(run(&code).get(Register::RAX), loaded);
}

proptest! {
    #[test]
    fn no_code_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let state = run(&bytes);
        prop_assert!(state.slots.len() <= MAX_SLOTS);
    }
}
