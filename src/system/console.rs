//! The console: whether it understands control sequences, and its requests to end.

/// True when the terminal takes control sequences. A Windows console needs them to be enabled,
/// which this does, once and for stdout and stderr alike: the mode is the screen's. Consoles
/// before Windows 10 1511 have no such mode.
pub fn takes_sequences() -> bool {
    #[cfg(windows)]
    return crossterm::ansi_support::supports_ansi();
    #[cfg(not(windows))]
    true
}

#[cfg(windows)]
pub use windows::on_control;

/// Windows has no signals; the console calls a handler in a thread of its own, and ends
/// the process when the handler does not take the event. See `SetConsoleCtrlHandler`.
#[cfg(windows)]
mod windows {
    use std::io;
    use std::sync::{Mutex, PoisonError};

    use windows_sys::Win32::System::Console::{
        CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, SetConsoleCtrlHandler,
    };

    type Take = Box<dyn Fn(i32) -> bool + Send>;

    static TAKE: Mutex<Option<Take>> = Mutex::new(None);

    /// Has `take` handle the console's events from now on, instead of the previous handler. It is
    /// given the number of the signal that means the same on other systems: 2 (SIGINT) for Ctrl-C,
    /// 3 (SIGQUIT) for Ctrl-Break, 1 (SIGHUP) when the window is closed, 15 (SIGTERM) when the user
    /// logs off or the machine goes down. When it returns false, or returns at all from the last
    /// two, the process ends.
    ///
    /// # Errors
    /// What the system says when it refuses the handler.
    pub fn on_control(take: impl Fn(i32) -> bool + Send + 'static) -> io::Result<()> {
        let mut taker = TAKE.lock().unwrap_or_else(PoisonError::into_inner);
        let first = taker.replace(Box::new(take)).is_none();
        // SAFETY: the handler is a function that lives as long as the process, and touches
        // nothing but the lock above.
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
