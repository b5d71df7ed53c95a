//! What processes and the machine use, from `/proc` (Linux; elsewhere everything is unknown).

use serde::{Deserialize, Serialize};

use crate::telemetry::{Footprint, TICKS};

/// What process `pid` uses; none if it is gone or this is not Linux.
#[must_use]
pub fn of_process(pid: u32) -> Option<Footprint> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    Footprint::parse(&read("stat")?, &read("status")?)
}

/// Processor time of the whole machine so far, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineUse {
    /// Working, for anybody.
    pub busy_s: f64,
    /// Taken away by the host of a virtual machine.
    pub steal_s: f64,
    /// All time, of all cores.
    pub total_s: f64,
}

impl MachineUse {
    /// Of this machine.
    #[must_use]
    pub fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let numbers: Vec<f64> =
            stat.lines().next()?.split_whitespace().skip(1).filter_map(|n| n.parse::<f64>().ok()).collect();
        let total: f64 = numbers.iter().take(8).sum();
        let (idle, steal) = (numbers.get(3)? + numbers.get(4)?, *numbers.get(7)?);
        Some(Self { busy_s: (total - idle - steal) / TICKS, steal_s: steal / TICKS, total_s: total / TICKS })
    }
}

/// The machine, for whoever compares results.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_mb: u64,
    pub kernel: String,
    pub version: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
            line.trim_start_matches([' ', '\t', ':']).to_owned()
        };
        let kilobytes: u64 =
            after(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
        Self {
            cpu: after(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mb: kilobytes * 1024 / 1_000_000,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_not_counted_as_work() {
        let found = MachineUse::parse("cpu  100 0 100 700 0 0 0 100 0 0\ncpu0 1\n");
        assert_eq!(found, Some(MachineUse { busy_s: 2.0, steal_s: 1.0, total_s: 10.0 }));
    }
}
