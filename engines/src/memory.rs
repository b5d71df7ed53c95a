//! Memory of this machine, as Linux reports it.

use std::fs;

/// The cgroup v2 files of a container: its limit, its usage, and the usage by kind.
const GROUP: [&str; 3] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"];

/// Memory available without swapping: the system's figure, or less if a cgroup allows less. `None` on systems other than
/// Linux.
#[must_use]
pub fn free_bytes() -> Option<u64> {
    let system = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kilobytes(&text, "MemAvailable:"))?;
    let [limit, used, made_of] = GROUP.map(|path| fs::read_to_string(path).unwrap_or_default());
    Some(system.min(group_bytes(&limit, &used, &made_of).unwrap_or(u64::MAX)))
}

/// What a cgroup still allows. Its usage includes the page cache, which the kernel frees on demand; it is not counted here.
fn group_bytes(limit: &str, used: &str, made_of: &str) -> Option<u64> {
    let (limit, used) = (limit.trim().parse::<u64>().ok()?, used.trim().parse::<u64>().ok()?);
    let files = made_of.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
    Some(limit.saturating_sub(used.saturating_sub(files.unwrap_or(0))))
}

/// Resets the peak memory of this process where the system supports it (Linux: proc(5), `clear_refs`). Elsewhere the
/// reported peak may be older.
pub fn reset_peak() {
    let _may_not = fs::write("/proc/self/clear_refs", "5");
}

/// Peak memory of this process. `None` on systems other than Linux.
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

    #[test]
    fn the_page_cache_of_a_cgroup_counts_as_free() {
        let made_of = "anon 1000\nfile 7000\ninactive_file 6000\nactive_file 1000\n";
        assert_eq!(group_bytes("10000\n", "8000\n", made_of), Some(8000));
        assert_eq!(group_bytes("10000", "12000", ""), Some(0));
        assert_eq!(group_bytes("max", "8000", made_of), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn peak_memory_is_reset() {
        let large = vec![1_u8; 300 << 20];
        let with_it = peak_bytes().expect("reported");
        drop(std::hint::black_box(large));
        reset_peak();
        // Other tests use memory too, but less.
        assert!(peak_bytes().expect("reported") + (100 << 20) < with_it);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_reports_its_memory() {
        assert!(free_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(peak_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
