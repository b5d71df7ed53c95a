//! Whether the machine is quiet enough for the numbers to be trusted.

use std::time::Duration;

use super::procfs::MachineUse;
use crate::telemetry::Percentiles;
use crate::time::Wall;

/// What disturbed a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interference {
    /// Share of all processor time that the host took away, 0 to 1.
    pub steal_ratio: f64,
    /// Cores that others than the server and the callers kept busy.
    pub foreign_cores: f64,
    /// Lateness of an idle timer before the run, 95th percentile, in milliseconds.
    pub timer_p95_ms: f64,
    /// Medians of the delay in the two halves of the run, in milliseconds.
    pub halves_ms: (f64, f64),
}

impl Interference {
    /// Shares between two looks at the machine, `own_s` being the processor time of server and callers.
    #[must_use]
    pub fn between(before: MachineUse, after: MachineUse, own_s: f64, wall: Duration) -> Self {
        let total = (after.total_s - before.total_s).max(1e-9);
        let foreign_s = (after.busy_s - before.busy_s - own_s).max(0.0);
        Self {
            steal_ratio: (after.steal_s - before.steal_s) / total,
            foreign_cores: foreign_s / wall.as_secs_f64().max(1e-9),
            ..Self::default()
        }
    }

    /// What to say about it.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut said = Vec::new();
        if self.steal_ratio > 0.01 {
            said.push(format!("the host took away {:.1} % of the processor time", self.steal_ratio * 100.0));
        }
        if self.foreign_cores > 0.10 {
            said.push(format!("other programs kept {:.2} cores busy", self.foreign_cores));
        }
        if self.timer_p95_ms > 3.0 {
            said.push(format!("an idle timer was {:.1} ms late (p95)", self.timer_p95_ms));
        }
        let (first, second) = self.halves_ms;
        if (first - second).abs() > f64::max(5.0, 0.1 * first) {
            said.push(format!("the halves of the run disagree: median {first:.1} ms, then {second:.1} ms"));
        }
        said
    }
}

/// Lateness of 100 idle timers of 5 ms.
pub async fn idle_timer() -> Percentiles {
    let mut late = Vec::with_capacity(100);
    for _ in 0..100 {
        let due = Wall.now() + Duration::from_millis(5);
        tokio::time::sleep_until(due.into()).await;
        late.push(Wall.now().saturating_duration_since(due).as_secs_f64() * 1000.0);
    }
    super::signed_percentiles::plain(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_machine_is_not_blamed_and_a_noisy_one_is() {
        let quiet =
            Interference { steal_ratio: 0.001, foreign_cores: 0.02, timer_p95_ms: 1.2, halves_ms: (90.0, 92.0) };
        assert!(quiet.warnings().is_empty());
        let noisy = Interference { steal_ratio: 0.05, foreign_cores: 1.0, timer_p95_ms: 9.0, halves_ms: (90.0, 120.0) };
        assert_eq!(noisy.warnings().len(), 4);
    }
}
