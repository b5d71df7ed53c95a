//! CPU time and memory of a process, from the text of Linux's `/proc` files. Reads no files itself.

/// Clock ticks per second in `/proc` (fixed at 100 on every Linux that Rust supports).
pub const TICKS: f64 = 100.0;

/// CPU time and memory of a process at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Footprint {
    /// Seconds of CPU time so far.
    pub cpu_s: f64,
    /// When it started, in seconds after the machine did.
    pub started_s: f64,
    /// Memory in RAM.
    pub resident_bytes: u64,
    /// Address space in use.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
}

impl Footprint {
    /// Reads the text of `/proc/PID/stat` and `/proc/PID/status` (proc(5)).
    #[must_use]
    pub fn parse(stat: &str, status: &str) -> Option<Self> {
        // The name in brackets may hold spaces: count from the last bracket, after which comes field 3.
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let seconds = |field: usize| Some(fields.get(field - 3)?.parse::<f64>().ok()? / TICKS);
        let line = |name: &str| status.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next();
        let bytes = |name: &str| Some(line(name)?.parse::<u64>().ok()? * 1024);
        Some(Self {
            cpu_s: seconds(14)? + seconds(15)?,
            started_s: seconds(22)?,
            resident_bytes: bytes("VmRSS:")?,
            virtual_bytes: bytes("VmSize:")?,
            threads: line("Threads:")?.parse().ok()?,
        })
    }

    /// Memory in RAM in megabytes (10^6 bytes).
    #[must_use]
    pub fn resident_mb(&self) -> f64 {
        self.resident_bytes as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 1234 1 1";
        let found = Footprint::parse(stat, "Name:\tx\nVmSize:\t  7 kB\nVmRSS:\t  5 kB\nThreads:\t9\n");
        let wanted = Footprint { cpu_s: 2.0, started_s: 12.34, resident_bytes: 5120, virtual_bytes: 7168, threads: 9 };
        assert_eq!(found, Some(wanted));
    }
}
