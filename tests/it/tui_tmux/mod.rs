//! The terminal UI in tmux, started from a shell: a user's keys, with job control and a
//! real terminal emulator in between.

mod journeys;
mod tmux;

use tmux::{Tmux, demo};

#[test]
fn the_sample_leak_is_found_with_a_suspend_in_between() {
    let Some(tmux) = Tmux::start("case", (80, 24)) else {
        return;
    };
    let (_folder, command) = demo();
    tmux.type_line(&command);
    tmux.see("Pool walked");
    tmux.see("!vm summary");
    tmux.keys(&["p", "b"]);
    tmux.see("nonpaged pool by bytes, descending");
    tmux.keys(&["Enter"]);
    tmux.see("holds 586.9 MB");
    tmux.see("Modules that reference this tag: 2");
    tmux.keys(&["C-z"]);
    tmux.wait("the shell", |screen| screen.contains("prompt$"));
    tmux.shell_is_back("stopped");
    tmux.type_line("fg");
    tmux.see("Modules that reference this tag: 2");
    tmux.keys(&["Tab", "Enter"]);
    tmux.see("db fffff880`044b63aa");
    tmux.see("4c65 616b 3bc1 0f42 c141 8d49 fd8b d0ff");
    tmux.keys(&["Escape"]);
    tmux.see("s -a @#Base");
    tmux.keys(&["Escape"]);
    tmux.see("!poolused 2");
    tmux.keys(&["q"]);
    // Suspending ended the shell's command line, so the status is queried again.
    tmux.wait("the shell", |screen| screen.contains("prompt$"));
    tmux.type_line("echo status-$?");
    tmux.see("status-0");
    tmux.shell_is_back("left");
}

#[test]
fn every_exit_restores_the_shells_terminal() {
    let Some(tmux) = Tmux::start("ends", (120, 40)) else {
        return;
    };
    let (folder, command) = demo();
    let number = folder.path().join("id");
    let wrapped = format!(
        "sh -c 'echo $$ > {}; exec \"$0\" \"$@\"' {command}",
        number.display()
    );
    tmux.type_line(&wrapped);
    tmux.see("Pool walked");
    let id: i32 = std::fs::read_to_string(&number)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    // SAFETY: sends a signal to the program that this test started in its own tmux.
    unsafe { libc::kill(id, libc::SIGTERM) };
    tmux.see("status-143");
    tmux.shell_is_back("killed");

    tmux.type_line("clear");
    tmux.type_line(&command);
    tmux.see("Pool walked");
    tmux.keys(&["C-c"]);
    tmux.see("status-0");
    tmux.shell_is_back("interrupted");
}

#[test]
fn a_panic_restores_the_shells_terminal() {
    let Some(tmux) = Tmux::start("panic", (100, 30)) else {
        return;
    };
    let (_folder, command) = demo();
    tmux.type_line(&format!("POOLSCOPE_TEST_PANIC=1 {command}"));
    tmux.see("Pool walked");
    tmux.keys(&["!"]);
    tmux.see("status-101");
    tmux.see("the panic that a test asked for");
    tmux.shell_is_back("panicked");
}
