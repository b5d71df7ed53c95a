//! What to measure.

use std::time::Duration;

use super::server::Target;

/// A benchmark.
#[derive(Clone, Debug)]
pub struct BenchPlan {
    /// Server under test.
    pub target: Target,
    /// Concurrent sessions; with [`BenchKind::Ramp`] the maximum.
    pub sessions: usize,
    /// Length of the measured interval.
    pub measured: Duration,
    /// Time between the last connection and the measured interval.
    pub warm_up: Duration,
    /// Avatar; `None`: the server's default.
    pub avatar: Option<String>,
    /// Number of interruptions to measure; 0: none.
    pub interruptions: usize,
    /// Number of streamed utterances to measure; 0: none.
    pub utterances: usize,
    /// Kind of measurement.
    pub kind: BenchKind,
}

/// Kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchKind {
    /// End-to-end latency with a fixed number of sessions.
    Latency,
    /// The same, and the lag of the lips in decoded video.
    Lips,
    /// One session with this many viewers besides its creator.
    Viewers(usize),
    /// A growing number of sessions, until frames are late.
    Ramp,
    /// This many sessions that start and end; leaks are measured.
    Churn(usize),
}

/// Progress of a running benchmark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A phase starts.
    Started {
        /// The phase, in a few words.
        phase: String,
        /// Its minimum duration.
        duration: Duration,
    },
    /// Steps of the current phase.
    Step {
        /// Completed steps.
        done: usize,
        /// All steps.
        of: usize,
    },
}

impl Progress {
    /// A measurement with `sessions` starts.
    #[must_use]
    pub fn measuring(sessions: usize, plan: &BenchPlan) -> Self {
        let phase = format!("{sessions} session{}", if sessions == 1 { "" } else { "s" });
        Self::Started { phase, duration: plan.warm_up + plan.measured }
    }
}
