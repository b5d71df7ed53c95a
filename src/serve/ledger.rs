//! What the HTTP door counts for metrics: who was let in, who was not and why, and how requests ended.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

use crate::pipeline::AdmitError;
use crate::rtc::JoinError;

/// Why a session was not opened, as metrics name it.
const REFUSALS: [&str; 7] =
    ["full", "closing", "bad_offer", "no_usable_video", "unknown_avatar", "broken_avatar", "no_usable_voice"];
/// Classes of HTTP statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counts.
#[derive(Debug, Default)]
pub struct Ledger {
    admitted: AtomicU64,
    refused: [AtomicU64; REFUSALS.len()],
    responses: [AtomicU64; CLASSES.len()],
}

impl Ledger {
    /// Counts an opened session.
    pub fn admit(&self) {
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a session that was not opened.
    pub fn refuse(&self, error: &JoinError) {
        let reason = match error {
            JoinError::Admit(AdmitError::Full { .. }) => 0,
            JoinError::Admit(AdmitError::Closing) | JoinError::Closing => 1,
            JoinError::BadOffer { .. } => 2,
            JoinError::NoUsableVideo { .. } => 3,
            JoinError::Admit(AdmitError::UnknownAvatar { .. }) => 4,
            JoinError::Admit(AdmitError::BrokenAvatar { .. }) => 5,
            JoinError::NoUsableVoice { .. } => 6,
        };
        self.refused[reason].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answered request.
    pub fn answer(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len());
        self.responses[class - 1].fetch_add(1, Ordering::Relaxed);
    }

    /// Opened sessions.
    pub fn admitted(&self) -> f64 {
        self.admitted.load(Ordering::Relaxed) as f64
    }

    /// Sessions not opened, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        REFUSALS.into_iter().zip(self.refused.iter().map(|count| count.load(Ordering::Relaxed) as f64))
    }

    /// Answers by class of status.
    pub fn responses(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        CLASSES.into_iter().zip(self.responses.iter().map(|count| count.load(Ordering::Relaxed) as f64))
    }
}
