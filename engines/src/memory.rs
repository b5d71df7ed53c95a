//! Memory of this machine, as Linux tells it.

use std::fs;

/// Memory that can be had without swapping: what the system says, or less if a control group allows less. None elsewhere
/// than on Linux.
#[must_use]
pub fn free_bytes() -> Option<u64> {
    let system = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kilobytes(&text, "MemAvailable:"))?;
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let (limit, used) = (number("/sys/fs/cgroup/memory.max"), number("/sys/fs/cgroup/memory.current"));
    let group = limit.zip(used).map_or(u64::MAX, |(limit, used)| limit.saturating_sub(used));
    Some(system.min(group))
}

/// The most memory that this process has held so far. None elsewhere than on Linux.
#[must_use]
pub fn peak_bytes() -> Option<u64> {
    fs::read_to_string("/proc/self/status").ok().and_then(|text| kilobytes(&text, "VmHWM:"))
}

/// The value of a line such as `VmHWM:   1234 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read_in_bytes() {
        assert_eq!(kilobytes("MemTotal: 9 kB\nMemAvailable:   24 kB\n", "MemAvailable:"), Some(24 * 1024));
        assert_eq!(kilobytes("VmHWM: many kB", "VmHWM:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_tells() {
        assert!(free_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(peak_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
