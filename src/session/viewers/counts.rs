//! Counts of viewers that joined, were refused and left, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::end_reason::{EndCounts, EndReason};
use super::ViewerError;

/// Names of refusals in metrics.
const REFUSALS: [&str; 3] = ["no_session", "viewers_full", "microphone_taken"];

/// Counts of viewers since the process started.
#[derive(Debug, Default)]
pub struct ViewerCounts {
    joined: AtomicU64,
    refused: [AtomicU64; REFUSALS.len()],
    left: EndCounts,
}

impl ViewerCounts {
    /// Viewers that joined.
    #[must_use]
    pub fn joined(&self) -> u64 {
        self.joined.load(Ordering::Relaxed)
    }

    /// Viewers that could not join, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        REFUSALS.into_iter().zip(self.refused.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Viewers that left, by reason.
    #[must_use]
    pub fn left(&self) -> &EndCounts {
        &self.left
    }

    pub(in super::super) fn count_join(&self, refusal: Option<&ViewerError>) {
        let counter = match refusal {
            None => &self.joined,
            Some(ViewerError::NoSession) => &self.refused[0],
            Some(ViewerError::Full { .. }) => &self.refused[1],
            Some(ViewerError::MicrophoneTaken) => &self.refused[2],
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(in super::super) fn count_leave(&self, reason: EndReason) {
        self.left.count(reason);
    }
}
