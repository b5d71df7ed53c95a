//! What the HTTP door counts for metrics: who was let in, who was not and why, and how requests ended.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

use crate::rtc::JoinError;
use crate::session::AdmitError;

/// Why a session was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Full,
    GpuHot,
    GpuFull,
    EngineLost,
    Closing,
    BadOffer,
    NoUsableVideo,
    NoUsableVoice,
    OtherCodec,
    Viewer,
    UnknownAvatar,
    BrokenAvatar,
}

impl Refusal {
    const ALL: [Self; 12] = [
        Self::Full,
        Self::GpuHot,
        Self::GpuFull,
        Self::EngineLost,
        Self::Closing,
        Self::BadOffer,
        Self::NoUsableVideo,
        Self::NoUsableVoice,
        Self::OtherCodec,
        Self::Viewer,
        Self::UnknownAvatar,
        Self::BrokenAvatar,
    ];

    /// Its name in metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::GpuHot => "card_hot",
            Self::GpuFull => "card_full",
            Self::EngineLost => "engine_lost",
            Self::Closing => "closing",
            Self::BadOffer => "bad_offer",
            Self::NoUsableVideo => "no_usable_video",
            Self::NoUsableVoice => "no_usable_voice",
            Self::OtherCodec => "other_codec",
            Self::Viewer => "viewer",
            Self::UnknownAvatar => "unknown_avatar",
            Self::BrokenAvatar => "broken_avatar",
        }
    }
}

impl From<&JoinError> for Refusal {
    fn from(error: &JoinError) -> Self {
        match error {
            JoinError::Admit(AdmitError::Full { .. }) => Self::Full,
            JoinError::Admit(AdmitError::GpuHot { .. }) => Self::GpuHot,
            JoinError::Admit(AdmitError::GpuFull { .. }) => Self::GpuFull,
            JoinError::Admit(AdmitError::EngineLost { .. }) => Self::EngineLost,
            JoinError::Admit(AdmitError::Closing) | JoinError::Closing => Self::Closing,
            JoinError::Admit(AdmitError::UnknownAvatar { .. }) => Self::UnknownAvatar,
            JoinError::Admit(AdmitError::BrokenAvatar { .. }) => Self::BrokenAvatar,
            JoinError::BadOffer { .. } => Self::BadOffer,
            JoinError::NoUsableVideo { .. } => Self::NoUsableVideo,
            JoinError::NoUsableAudio { .. } => Self::NoUsableVoice,
            JoinError::OtherCodec { .. } => Self::OtherCodec,
            JoinError::Viewer(_) => Self::Viewer,
        }
    }
}

/// Classes of HTTP statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counts.
#[derive(Debug, Default)]
pub struct RequestMetrics {
    admitted: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    responses: [AtomicU64; CLASSES.len()],
}

impl RequestMetrics {
    /// Counts an opened session.
    pub fn admit(&self) {
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a session that was not opened.
    pub fn refuse(&self, error: &JoinError) {
        self.refused[Refusal::from(error) as usize].fetch_add(1, Ordering::Relaxed);
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
        let of = |refusal: Refusal| self.refused[refusal as usize].load(Ordering::Relaxed) as f64;
        Refusal::ALL.into_iter().map(move |refusal| (refusal.name(), of(refusal)))
    }

    /// Answers by class of status.
    pub fn responses(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        CLASSES.into_iter().zip(self.responses.iter().map(|count| count.load(Ordering::Relaxed) as f64))
    }
}
