//! What is to be measured.

use std::time::Duration;

use super::server::Target;

/// One bench.
#[derive(Clone, Debug)]
pub struct BenchPlan {
    /// Which server.
    pub target: Target,
    /// Callers at once.
    pub sessions: usize,
    /// The time that counts.
    pub measured: Duration,
    /// The time before that.
    pub warm_up: Duration,
    /// The avatar; none: the server's first.
    pub avatar: Option<String>,
    /// How often the stop of a file is measured; 0: not at all.
    pub stops: usize,
    /// What is done besides the plain run.
    pub kind: BenchKind,
}

/// What kind of bench it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchKind {
    /// The latency of the path with a fixed number of callers.
    Latency,
    /// The same, and the lips are looked at.
    Lips,
    /// More and more callers until frames come late; `sessions` is the most.
    Ramp,
    /// This many callers come and go.
    Churn(usize),
}

/// What a bench tells while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It begins with something that takes this long at least.
    Began {
        /// What, in a few words.
        what: String,
        /// How long.
        takes: Duration,
    },
    /// So many of so many are done.
    Step {
        /// Done.
        done: usize,
        /// Of.
        of: usize,
    },
}

impl Progress {
    /// So many callers begin to measure.
    #[must_use]
    pub fn began(sessions: usize, plan: &BenchPlan) -> Self {
        let what = format!("{sessions} session{}", if sessions == 1 { "" } else { "s" });
        Self::Began { what, takes: plan.warm_up + plan.measured }
    }
}
