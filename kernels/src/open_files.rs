//! The limit of open files of this process.
//!
//! Does nothing where the system has no such limit (Windows).

/// Raises the soft limit of open files to the hard one. Every connection is a file; most systems set the soft limit to 1024
/// for programs that use `select(2)`, which this program does not. Child processes inherit it.
pub fn raise_limit() {
    #[cfg(unix)]
    {
        let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: getrlimit writes one struct, which this function owns.
        if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits) } != 0 {
            return;
        }
        // macOS reports no hard limit and refuses more than OPEN_MAX (10240), see its setrlimit(2).
        let highest = if cfg!(target_os = "macos") { limits.rlim_max.min(10_240) } else { limits.rlim_max };
        limits.rlim_cur = limits.rlim_cur.max(highest);
        // SAFETY: setrlimit reads one struct, which this function owns. If it fails, the limit stays as it is.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) };
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limits = || {
            let text = std::fs::read_to_string("/proc/self/limits").expect("limits");
            let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a line").to_owned();
            let numbers: Vec<_> = line.split_whitespace().take(2).map(str::to_owned).collect();
            numbers
        };
        let hard = limits()[1].clone();
        raise_limit();
        assert_eq!(limits(), [hard.clone(), hard]);
    }
}
