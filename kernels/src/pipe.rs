//! What happens when nobody reads any more what a command prints.

/// Makes the system end the process then, quietly, as it ends other commands in a pipe. Rust's start-up has it told by an error
/// instead, which printing turns into a panic. Not for servers: there a peer that is gone is an error like any other.
pub fn end_quietly() {
    #[cfg(unix)]
    // SAFETY: the default action is no code of ours; nobody else in this process sets the action of SIGPIPE.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}
