//! A panic while the program starts ends the process.
//!
//! Later panics are not its concern: on the media path they end one session.

use std::panic;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit code, the same as that of any other failed start.
const NOT_DONE: i32 = 1;

/// While it exists, a panic of any thread ends the process with exit code 1, after its message was printed. Otherwise a
/// server that lost a thread during its start would wait for it forever and ignore signals.
pub struct StartupGuard(Arc<AtomicBool>);

impl StartupGuard {
    /// Arms the guard.
    pub fn arm() -> Self {
        let is_starting = Arc::new(AtomicBool::new(true));
        let (print, armed) = (panic::take_hook(), Arc::clone(&is_starting));
        panic::set_hook(Box::new(move |panicked| {
            print(panicked);
            if armed.load(Ordering::Relaxed) {
                end();
            }
        }));
        Self(is_starting)
    }
}

#[expect(clippy::exit, reason = "other threads of a failed start may wait forever")]
fn end() {
    process::exit(NOT_DONE);
}

impl Drop for StartupGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Runs only as a subprocess of the next test: it would end the process of all tests.
    #[test]
    #[ignore = "ends its process"]
    fn child() {
        let guard = StartupGuard::arm();
        thread::spawn(|| panic!("a thread of the start")).join().expect_err("it panicked");
        drop(guard);
        thread::park_timeout(Duration::from_mins(1));
    }

    #[test]
    fn a_panic_of_any_thread_during_the_start_ends_the_process() {
        let mut child = Command::new(std::env::current_exe().expect("a path"));
        child.args(["--exact", "cli::startup_guard::tests::child", "--ignored", "--nocapture"]);
        let output = child.output().expect("the tests run");
        assert_eq!(output.status.code(), Some(NOT_DONE));
        assert!(String::from_utf8_lossy(&output.stderr).contains("a thread of the start"));
        assert!(!String::from_utf8_lossy(&output.stdout).contains("FAILED"), "the guard ended it, not the test");
    }
}
