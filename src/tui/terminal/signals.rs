//! Signals: a signal that ends the program still restores the terminal, and suspending
//! works from the keyboard and from outside.

#[cfg(unix)]
pub use unix::{listen, suspend};

/// True for signals that end the program.
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
    use std::io;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
    use signal_hook::iterator::Signals;

    use crate::tui::terminal::screen;

    /// How long to wait for a main loop that is blocked on its terminal.
    const PATIENCE: Duration = Duration::from_secs(2);

    /// Starts the signal thread, which passes each signal to `take`; `take` returns false
    /// when nothing listens any more. A terminal that is gone counts as SIGHUP.
    ///
    /// # Errors
    /// If the handlers cannot be installed.
    pub fn listen(take: impl Fn(i32) -> bool + Send + Sync + 'static) -> io::Result<()> {
        let take = Arc::new(take);
        let take_loss = Arc::clone(&take);
        thread::Builder::new()
            .name("ui-hangup".into())
            .spawn(move || {
                if is_lost() {
                    take_loss(SIGHUP);
                    end(SIGHUP);
                }
            })?;
        let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT])?;
        thread::Builder::new()
            .name("ui-signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    let heard = take(signal);
                    if super::ends(signal) {
                        end(signal);
                    }
                    if !heard {
                        return;
                    }
                }
            })?;
        Ok(())
    }

    /// Waits until the terminal is gone. False if the system does not tell.
    ///
    /// The kernel's SIGHUP does not reach a program that runs in another session than the
    /// terminal's, as under `su -c`; and crossterm reads a terminal that is gone in an endless
    /// loop, because it ignores the end of the file.
    fn is_lost() -> bool {
        let output = io::stdout();
        loop {
            // A hang-up is reported without being asked for.
            let mut terminal = [PollFd::new(&output, PollFlags::empty())];
            match poll(&mut terminal, None) {
                Err(Errno::INTR) => {}
                Err(_) => return false,
                Ok(_) => {
                    let lost = PollFlags::HUP | PollFlags::ERR;
                    return terminal.iter().any(|t| t.revents().intersects(lost));
                }
            }
        }
    }

    /// Ends the process if the main loop does not.
    fn end(signal: i32) {
        thread::sleep(PATIENCE);
        screen::abandon();
        signal_hook::low_level::exit(128 + signal);
    }

    /// Stops the process until it is continued. With `group`, stops the whole job: a shell
    /// shows its prompt only when all processes of a job are stopped, and `cargo run` is
    /// one of them. False if there is no shell that could continue it.
    pub fn suspend(group: bool) -> bool {
        // SAFETY: these calls take and return numbers; none touches memory.
        let orphaned = unsafe { libc::getsid(libc::getppid()) != libc::getsid(0) };
        if orphaned {
            return false;
        }
        if group {
            // SAFETY: as above. This process also receives the signal, and its main loop
            // knows that it sent the signal itself.
            unsafe { libc::kill(0, SIGTSTP) };
        }
        signal_hook::low_level::emulate_default_handler(SIGTSTP).is_ok()
    }
}

/// Maps console events to the equivalent signals: Ctrl-C and Ctrl-Break (which are keys
/// while the terminal is in raw mode), a closed window, a shutdown.
///
/// # Errors
/// If the system refuses the handler.
#[cfg(windows)]
pub fn listen(take: impl Fn(i32) -> bool + Send + 'static) -> std::io::Result<()> {
    crate::system::console::on_control(move |signal| {
        let heard = take(signal);
        if heard {
            // The main loop normally ends the program; if it is blocked, this thread does.
            // The system itself waits for five seconds.
            std::thread::sleep(std::time::Duration::from_secs(2));
            super::screen::abandon();
            std::process::exit(128 + signal);
        }
        false
    })
}

/// True for console events that end the program: all of them.
#[cfg(windows)]
pub fn ends(signal: i32) -> bool {
    matches!(signal, 1 | 2 | 3 | 15)
}

/// This platform has no such signals.
#[cfg(not(any(unix, windows)))]
pub fn listen(_: impl Fn(i32) -> bool + Send + 'static) -> std::io::Result<()> {
    Ok(())
}

/// This platform has no such signals.
#[cfg(not(any(unix, windows)))]
pub fn ends(_: i32) -> bool {
    false
}

/// This platform cannot suspend.
#[cfg(not(unix))]
pub fn suspend(_: bool) -> bool {
    false
}

/// This platform cannot suspend.
#[cfg(not(unix))]
pub fn suspends(_: i32) -> bool {
    false
}
