//! Processor time of the whole machine, from `/proc/stat` (Linux; `None` elsewhere).

use super::TICKS;

/// Processor time of all cores since boot, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineCpu {
    /// Spent working.
    pub busy_s: f64,
    /// Taken by the hypervisor ("steal", proc(5)).
    pub steal_s: f64,
    /// Total, idle included.
    pub total_s: f64,
}

impl MachineCpu {
    /// Reads the counters of this machine.
    #[must_use]
    pub fn read() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<f64> =
            stat.lines().next()?.split_whitespace().skip(1).filter_map(|n| n.parse::<f64>().ok()).collect();
        // Fields 9 and 10 (guest time) are already part of fields 1 and 2.
        let total: f64 = fields.iter().take(8).sum();
        let (idle, steal) = (fields.get(3)? + fields.get(4)?, *fields.get(7)?);
        Some(Self { busy_s: (total - idle - steal) / TICKS, steal_s: steal / TICKS, total_s: total / TICKS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_time_is_not_busy_time() {
        let found = MachineCpu::parse("cpu  100 0 100 700 0 0 0 100 0 0\ncpu0 1\n");
        assert_eq!(found, Some(MachineCpu { busy_s: 2.0, steal_s: 1.0, total_s: 10.0 }));
    }
}
