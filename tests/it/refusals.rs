//! A file that cannot be used is refused by name, with a hint what to use instead. A
//! truncated file is opened as far as possible, with a warning.

use std::path::PathBuf;

use poolscope::synth::Container;
use poolscope::synth::broken::{self, Broken};

use crate::demo::{directory, poolscope};

fn place(name: &str) -> PathBuf {
    directory().join(name)
}

/// Runs a command on a file that must be refused; returns the message.
fn refusal(name: &str) -> String {
    let output = poolscope(&["poolused", name]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{name}: {error}");
    assert!(output.stdout.is_empty(), "{name} has an answer");
    assert!(error.starts_with("error: "), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

/// Checks that the message says what the file is, and what to do.
fn is_refused(kind: Broken, what: &str, instead: &str) {
    let name = format!("{kind:?}.dmp");
    kind.write(&place(&name)).unwrap();
    let error = refusal(&name);
    assert!(error.contains(what), "{what:?} is not in: {error}");
    assert!(error.contains(instead), "{instead:?} is not in: {error}");
}

macro_rules! refused {
    ($($name:ident: $kind:ident, $what:literal, $instead:literal;)*) => {$(
        #[test]
        fn $name() {
            is_refused(Broken::$kind, $what, $instead);
        }
    )*};
}

refused! {
    a_dump_of_32_bit_windows: Bits32, "32-bit Windows (build 7601)", "WinDbg";
    a_triage_dump: Triage, "triage dump", "Kernel memory dump";
    a_header_without_memory: HeaderOnly, "a header only", "page file";
    a_minidump_of_a_program: UserMinidump, "user-mode minidump", "MEMORY.DMP";
    a_dump_of_arm64: Arm64, "ARM64", "x64 dumps only";
    an_encrypted_dump: Encrypted, "encrypted", "key";
    a_type_that_windows_does_not_write: UnknownType, "0x77", "are read";
    an_empty_file: Empty, "empty (0 bytes)", "copy it again";
    a_file_of_zeros: Zeros, "starts with zeros", "next boot";
    a_text_file: Text, "not a Windows kernel dump", "MEMORY.DMP";
    a_zip_archive: Zip, "zip archive", "unzip";
    gzip_data: Gzip, "gzip", "unpack";
    a_cabinet: Cabinet, "cabinet", "unpack";
}

#[test]
fn a_directory_is_refused() {
    std::fs::create_dir_all(place("folder.dmp")).unwrap();
    assert!(refusal("folder.dmp").contains("a directory"));
}

#[test]
fn a_dump_truncated_in_its_header_is_refused() {
    let machine = crate::machines::small();
    broken::cut_in_header(&place("header-cut.dmp"), machine).unwrap();
    let error = refusal("header-cut.dmp");
    assert!(
        error.contains("inside the dump header (4096 of 8192 bytes)"),
        "{error}"
    );
}

#[test]
fn a_dump_truncated_before_its_page_tables_is_refused_as_truncated() {
    let machine = crate::machines::small();
    broken::cut_in_data(&place("cut.dmp"), machine, Container::BitmapKernel, 3).unwrap();
    let error = refusal("cut.dmp");
    assert!(
        error.contains("truncated") || error.contains("cut short"),
        "{error}"
    );
    assert!(error.contains("copy it again"), "{error}");
}

#[test]
fn a_dump_truncated_near_its_end_is_opened_with_a_warning() {
    let machine = crate::machines::small();
    broken::cut_in_data(&place("tail.dmp"), machine, Container::BitmapKernel, 99).unwrap();
    let output = poolscope(&["info", "tail.dmp"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(error.contains("warning: the file is truncated"), "{error}");
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(
        answer.contains("missing at the end of the file"),
        "{answer}"
    );
}
