//! Ends the process silently when the reader of its output has exited (SIGPIPE).

/// Restores the default action, as for other commands in a pipe. Rust's start-up ignores SIGPIPE, and printing turns the
/// resulting error into a panic. Not for servers: there a closed peer is an ordinary error.
pub fn end_quietly() {
    #[cfg(unix)]
    // SAFETY: the default action runs no code of this process; nothing else in it sets the action of SIGPIPE.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}
