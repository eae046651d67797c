#!/usr/bin/env python3
"""Puts deliberate faults into readers and screens and checks that the tests catch them.

    python3 tests/oracle/faults.py              # all faults in one build
    python3 tests/oracle/faults.py --one-by-one # one build per fault

Each fault names the unit test that must fail. The test is in the faulted file, so that one
build can contain all faults: no other fault affects the test. The files are restored
afterwards, even if the run is interrupted.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2] / "src"

# What goes wrong, file, code, faulty code, test.
FAULTS = [
    (
        "a bitmap counts pages behind its end",
        "dump/page_map.rs",
        "(u64::from_le_bytes(last) & mask).count_ones()",
        "(u64::from_le_bytes(last) | !mask).count_ones()",
        "bitmap_lookup_matches_counting",
    ),
    (
        "entries that are not mixed with the mask are unmixed",
        "memory/pte.rs",
        "InvalidMask::Known(mask) if raw & SWIZZLE == 0 => raw ^ mask",
        "InvalidMask::Known(mask) => raw ^ mask",
        "a_known_mask_is_removed_unless_bit_4_is_set",
    ),
    (
        "a prototype's address is not sign-extended",
        "memory/pte.rs",
        "Va(((pte as i64) >> 16) as u64)",
        "Va(pte >> 16)",
        "a_prototype_pointer_is_sign_extended",
    ),
    (
        "trackers are placed by another hash",
        "kernel/search/trackers.rs",
        "const HASH: u64 = 40543;",
        "const HASH: u64 = 40544;",
        "the_hash_places_known_tags",
    ),
    (
        "32-bit counters do not wrap",
        "pool/tracker.rs",
        "usage.outstanding = usage.allocs.wrapping_sub(usage.frees) & mask;",
        "usage.outstanding = usage.allocs.wrapping_sub(usage.frees);",
        "narrow_counters_wrap_at_their_width",
    ),
    (
        "the header of a block that straddles two pages is read at its start",
        "pool/heap/chunk.rs",
        "let moved = (last_unit || straddles) && next_page > block;",
        "let moved = last_unit && !straddles && next_page > block;",
        "a_header_that_would_straddle_pages_moves_to_the_next",
    ),
    (
        "LFH slots may lie behind their subsegment",
        "pool/heap/lfh.rs",
        "self.first + self.count * self.bytes <= whole",
        "self.first <= whole",
        "slots_must_be_inside_their_range",
    ),
    (
        "an overrun in special pool is taken for intact",
        "pool/special.rs",
        "None if traces() => (at_end, false)",
        "None if traces() => (at_end, true)",
        "an_overrun_is_reported_and_other_pages_are_refused",
    ),
    (
        "a guess pushes out a certain block",
        "pool/index/overlaps.rs",
        "&& last.heuristic\n            && !block.heuristic",
        "&& !last.heuristic\n            && block.heuristic",
        "of_overlapping_blocks_the_certain_or_first_stays",
    ),
    (
        "control characters reach the terminal",
        "report/text.rs",
        "if is_hidden(c) { '.' } else { c }",
        "if is_hidden(c) && c != '\\u{1b}' { '.' } else { c }",
        "characters_that_a_terminal_interprets_are_replaced",
    ),
    (
        "unreadable memory is shown as zero",
        "tui/screens/bytes.rs",
        'hex += "??";',
        'hex += "00";',
        "unreadable_memory_is_neither_zero_nor_blank",
    ),
    (
        "the smallest tag comes first",
        "tui/screens/tags.rs",
        "false => order.sort_by_key(|i| std::cmp::Reverse(by(i))),",
        "false => order.sort_by_key(by),",
        "the_leak_comes_first_and_letters_change_the_order",
    ),
    (
        "blocks of one size are in no order of address",
        "tui/data/blocks.rs",
        "sizes.reverse().then(a.va.cmp(&b.va))",
        "sizes.reverse().then(b.va.cmp(&a.va))",
        "every_order_finds_the_row_of_a_block",
    ),
    (
        "a query's > is >=",
        "tui/input/query.rs",
        "Operator::Above => order == Greater",
        "Operator::Above => order != Less",
        "comparisons_combine_with_and_or_not_and_parentheses",
    ),
    (
        "a frame is compared with nothing, so that all of it is sent",
        "tui/terminal/diff/mod.rs",
        "self.shadow = next;",
        "self.shadow = vec![ScreenCell::blank(); next.len()];",
        "every_frame_looks_the_same_in_an_emulator",
    ),
]


def run(faults):
    """Applies faults, runs their tests, restores. Returns the names of tests that failed."""
    before = {}
    try:
        for about, file, code, faulty, _ in faults:
            path = ROOT / file
            text = path.read_text()
            before.setdefault(path, text)
            if text.count(code) != 1:
                sys.exit(f"{file}: the code of this fault is not there once: {about}")
            path.write_text(text.replace(code, faulty))
        tests = [test for *_, test in faults]
        command = ["cargo", "test", "--locked", "--lib", "--", *tests]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    finally:
        for path, text in before.items():
            path.write_text(text)
    results = dict(re.findall(r"^test (\S+).* \.\.\. (ok|FAILED)$", done.stdout, re.M))
    if not results:
        sys.exit(done.stderr)
    return {name.rsplit("::", 1)[-1] for name, result in results.items() if result == "FAILED"}


def main():
    groups = [[f] for f in FAULTS] if "--one-by-one" in sys.argv else [FAULTS]
    missed = 0
    for group in groups:
        failed = run(group)
        for about, file, _, _, test in group:
            caught = test in failed
            missed += not caught
            print(f"{'caught' if caught else 'MISSED'}  {file}: {about} ({test})", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
