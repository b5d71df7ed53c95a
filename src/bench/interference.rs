//! Detects interference: whether the machine was quiet enough for a result to be trusted.

use std::time::Duration;

use crate::telemetry::{MachineCpu, Percentiles};
use crate::time::Wall;

/// Interference during a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interference {
    /// Share of all processor time taken by the hypervisor, 0 to 1.
    pub steal_ratio: f64,
    /// Cores used by processes other than the server and the clients.
    pub foreign_cores: f64,
    /// Lateness of an idle timer before the run, 95th percentile, in milliseconds.
    pub timer_p95_ms: f64,
    /// Median latency in each half of the run, in milliseconds.
    pub halves_ms: (f64, f64),
}

impl Interference {
    /// Steal and foreign processor time between two readings; `own_s` is the processor time of server and clients.
    #[must_use]
    pub fn between(before: MachineCpu, after: MachineCpu, own_s: f64, wall: Duration) -> Self {
        let total = (after.total_s - before.total_s).max(1e-9);
        let foreign_s = (after.busy_s - before.busy_s - own_s).max(0.0);
        Self {
            steal_ratio: (after.steal_s - before.steal_s) / total,
            foreign_cores: foreign_s / wall.as_secs_f64().max(1e-9),
            ..Self::default()
        }
    }

    /// One warning per threshold that is exceeded.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.steal_ratio > 0.01 {
            warnings.push(format!("the hypervisor took {:.1} % of the processor time", self.steal_ratio * 100.0));
        }
        if self.foreign_cores > 0.10 {
            warnings.push(format!("other processes used {:.2} cores", self.foreign_cores));
        }
        if self.timer_p95_ms > 3.0 {
            warnings.push(format!("idle timers are {:.1} ms late (p95)", self.timer_p95_ms));
        }
        let (first, second) = self.halves_ms;
        if (first - second).abs() > f64::max(5.0, 0.1 * first) {
            warnings.push(format!("the halves of the run differ: median {first:.1} ms, then {second:.1} ms"));
        }
        warnings
    }
}

/// Lateness of 100 timers of 5 ms on an idle runtime, in milliseconds.
pub async fn idle_timer() -> Percentiles {
    let mut late = Vec::with_capacity(100);
    for _ in 0..100 {
        let due = Wall.now() + Duration::from_millis(5);
        tokio::time::sleep_until(due.into()).await;
        late.push(Wall.now().saturating_duration_since(due).as_secs_f64() * 1000.0);
    }
    super::signed_percentiles::unsigned(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noisy_machine_gives_warnings_and_a_quiet_one_none() {
        let quiet =
            Interference { steal_ratio: 0.001, foreign_cores: 0.02, timer_p95_ms: 1.2, halves_ms: (90.0, 92.0) };
        assert!(quiet.warnings().is_empty());
        let noisy = Interference { steal_ratio: 0.05, foreign_cores: 1.0, timer_p95_ms: 9.0, halves_ms: (90.0, 120.0) };
        assert_eq!(noisy.warnings().len(), 4);
    }
}
