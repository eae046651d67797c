//! The command that prints the keys, and the user's key file.

use assert_cmd::Command;

fn program(home: &std::path::Path) -> Command {
    let mut command = Command::cargo_bin("poolscope").unwrap();
    command.env("XDG_CONFIG_HOME", home).env("APPDATA", home);
    command.env("HOME", home);
    command
}

#[test]
fn printed_keys_can_be_edited_and_used() {
    let home = tempfile::tempdir().unwrap();
    let output = program(home.path()).arg("keys").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\nbind q quit tags"), "{text}");
    let file = home.path().join("mine");
    std::fs::write(&file, text.replace("bind q quit tags", "bind W quit tags")).unwrap();
    let mut command = program(home.path());
    let output = command
        .arg("keys")
        .arg("--keys")
        .arg(&file)
        .output()
        .unwrap();
    let changed = String::from_utf8(output.stdout).unwrap();
    assert!(changed.contains("\nbind W quit tags"), "{changed}");
    let again = home.path().join("again");
    std::fs::write(&again, &changed).unwrap();
    let mut command = program(home.path());
    let output = command
        .arg("keys")
        .arg("--keys")
        .arg(&again)
        .output()
        .unwrap();
    let lines = |text: &str| -> Vec<String> { text.lines().skip(1).map(String::from).collect() };
    assert_eq!(
        lines(&String::from_utf8(output.stdout).unwrap()),
        lines(&changed)
    );
}

#[test]
fn key_file_errors_name_the_line_and_other_commands_still_work() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("wrong");
    std::fs::write(&file, "bind W quit\nbind y qiut\nnonsense\n").unwrap();
    let mut command = program(home.path());
    let output = command
        .arg("keys")
        .arg("--keys")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let told = String::from_utf8(output.stderr).unwrap();
    let place = format!("error: {}, line 2: ", file.display());
    assert!(told.contains(&place), "{told}");
    assert!(told.contains("did you mean quit?"), "{told}");
    assert!(told.contains("line 3: "), "{told}");
    let dump = crate::demo::directory().join("demo.dmp");
    let mut command = program(home.path());
    let command = command.arg("info").arg(&dump).arg("--no-cache");
    command.arg("--keys").arg(&file).assert().success();
}
