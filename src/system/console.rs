//! The console: its support for control sequences, and its requests to terminate.

/// True when the terminal supports control sequences. On Windows, this also enables them, once
/// for stdout and stderr, because the mode belongs to the screen buffer. Consoles before
/// Windows 10 1511 do not have this mode.
pub fn takes_sequences() -> bool {
    #[cfg(windows)]
    return crossterm::ansi_support::supports_ansi();
    #[cfg(not(windows))]
    true
}

#[cfg(windows)]
pub use windows::on_control;

/// Windows has no signals. The console calls a handler in a separate thread, and ends the
/// process if the handler does not handle the event. See `SetConsoleCtrlHandler`.
#[cfg(windows)]
mod windows {
    use std::io;
    use std::sync::{Mutex, PoisonError};

    use windows_sys::Win32::System::Console::{
        CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, SetConsoleCtrlHandler,
    };

    type Take = Box<dyn Fn(i32) -> bool + Send>;

    static TAKE: Mutex<Option<Take>> = Mutex::new(None);

    /// Sets `take` as the handler of the console's events, and replaces the previous one. Its
    /// argument is the equivalent signal on other systems: 2 (SIGINT) for Ctrl-C, 3 (SIGQUIT)
    /// for Ctrl-Break, 1 (SIGHUP) when the window is closed, 15 (SIGTERM) when the user logs
    /// off or the machine shuts down. The process ends if it returns false, and for the last
    /// two also if it returns true.
    ///
    /// # Errors
    /// The error of the system, if it refuses the handler.
    pub fn on_control(take: impl Fn(i32) -> bool + Send + 'static) -> io::Result<()> {
        let mut taker = TAKE.lock().unwrap_or_else(PoisonError::into_inner);
        let first = taker.replace(Box::new(take)).is_none();
        // SAFETY: the handler is a function that lives as long as the process, and only
        // accesses the lock above.
        if first && unsafe { SetConsoleCtrlHandler(Some(handle), 1) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    extern "system" fn handle(event: u32) -> i32 {
        let signal = match event {
            CTRL_C_EVENT => 2,
            CTRL_BREAK_EVENT => 3,
            CTRL_CLOSE_EVENT => 1,
            _ => 15,
        };
        let taker = TAKE.lock().unwrap_or_else(PoisonError::into_inner);
        i32::from(taker.as_ref().is_some_and(|take| take(signal)))
    }
}
