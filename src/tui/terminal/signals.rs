//! Signals: what ends the program also restores the terminal, and suspending works both
//! from the keyboard and from outside.

#[cfg(unix)]
pub use unix::{listen, suspend};

/// Signals that end the program.
#[cfg(unix)]
pub fn ends(signal: i32) -> bool {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    matches!(signal, SIGHUP | SIGINT | SIGQUIT | SIGTERM)
}

/// True for the signal that suspends.
#[cfg(unix)]
pub fn suspends(signal: i32) -> bool {
    signal == signal_hook::consts::SIGTSTP
}

#[cfg(unix)]
mod unix {
    use std::thread;
    use std::time::Duration;

    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
    use signal_hook::iterator::Signals;

    use crate::tui::terminal::screen;

    /// A main loop that can't be reached (its terminal is stuck) is not waited for longer.
    const PATIENCE: Duration = Duration::from_secs(2);

    /// Starts the thread that waits for signals and passes each to `take`, which returns false when
    /// there is no listener any more.
    ///
    /// # Errors
    /// When the handlers can't be installed.
    pub fn listen(take: impl Fn(i32) -> bool + Send + 'static) -> std::io::Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT])?;
        thread::Builder::new()
            .name("ui-signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    let heard = take(signal);
                    if super::ends(signal) {
                        thread::sleep(PATIENCE);
                        screen::abandon();
                        signal_hook::low_level::exit(128 + signal);
                    }
                    if !heard {
                        return;
                    }
                }
            })?;
        Ok(())
    }

    /// Stops the process until it is continued. With `group`, the others of its job too:
    /// a shell takes its prompt back only when all of a job is stopped, and `cargo run`
    /// is one of them. False when there is no shell that could continue it.
    pub fn suspend(group: bool) -> bool {
        // SAFETY: these calls take and return numbers; none touches memory.
        let orphaned = unsafe { libc::getsid(libc::getppid()) != libc::getsid(0) };
        if orphaned {
            return false;
        }
        if group {
            // SAFETY: as above. This process catches the signal, and its loop knows that
            // it sent it.
            unsafe { libc::kill(0, SIGTSTP) };
        }
        signal_hook::low_level::emulate_default_handler(SIGTSTP).is_ok()
    }
}

/// Has the console's events come as the signals that mean the same: Ctrl-C and Ctrl-Break
/// (which are keys while the terminal is raw), a closed window, a shutdown.
///
/// # Errors
/// When the system refuses the handler.
#[cfg(windows)]
pub fn listen(take: impl Fn(i32) -> bool + Send + 'static) -> std::io::Result<()> {
    crate::system::console::on_control(move |signal| {
        let heard = take(signal);
        if heard {
            // The main loop ends the program; when it can't be reached, this does. The
            // system itself waits for five seconds.
            std::thread::sleep(std::time::Duration::from_secs(2));
            super::screen::abandon();
            std::process::exit(128 + signal);
        }
        false
    })
}

/// Events of the console that end the program: all of them.
#[cfg(windows)]
pub fn ends(signal: i32) -> bool {
    matches!(signal, 1 | 2 | 3 | 15)
}

/// There are no such signals here.
#[cfg(not(any(unix, windows)))]
pub fn listen(_: impl Fn(i32) -> bool + Send + 'static) -> std::io::Result<()> {
    Ok(())
}

/// There are no such signals here.
#[cfg(not(any(unix, windows)))]
pub fn ends(_: i32) -> bool {
    false
}

/// There is no suspending here.
#[cfg(not(unix))]
pub fn suspend(_: bool) -> bool {
    false
}

/// There is no suspending here.
#[cfg(not(unix))]
pub fn suspends(_: i32) -> bool {
    false
}
