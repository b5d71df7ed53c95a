//! The machine and its processes, from `/proc` (Linux; unknown elsewhere).

use serde::{Deserialize, Serialize};

use crate::telemetry::Footprint;

/// Processor time and memory of process `pid`; `None` if it has ended or this is not Linux.
#[must_use]
pub fn of_process(pid: u32) -> Option<Footprint> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    Footprint::parse(&read("stat")?, &read("status")?)
}

/// The machine on which a result was measured. Results of different machines do not compare.
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
    /// This machine and this program's version.
    #[must_use]
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let kib: u64 = field(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mb: kib * 1024 / 1_000_000,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Value of the first line `name: value`; empty if there is none.
fn field(text: &str, name: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    value.trim_start_matches([' ', '\t', ':']).to_owned()
}
