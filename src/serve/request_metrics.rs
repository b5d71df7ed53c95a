//! Counters of the HTTP server: sessions admitted, sessions refused by reason, responses by status class.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

use crate::rtc::JoinError;
use crate::session::AdmitError;

/// Why a session was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Full,
    GpuHot,
    GpuFull,
    AvatarsLoading,
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
    const ALL: [Self; 13] = [
        Self::Full,
        Self::GpuHot,
        Self::GpuFull,
        Self::AvatarsLoading,
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

    /// Its code in problems, metrics and logs.
    fn code(self) -> &'static str {
        match self {
            Self::Full => "at_capacity",
            Self::GpuHot => "gpu_hot",
            Self::GpuFull => "gpu_memory_full",
            Self::AvatarsLoading => "avatars_loading",
            Self::EngineLost => "engine_lost",
            Self::Closing => "server_closing",
            Self::BadOffer => "invalid_offer",
            Self::NoUsableVideo => "no_usable_video",
            Self::NoUsableVoice => "no_usable_audio",
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
            JoinError::Admit(error) => Self::from(error),
            JoinError::Closing => Self::Closing,
            JoinError::BadOffer { .. } => Self::BadOffer,
            JoinError::NoUsableVideo { .. } => Self::NoUsableVideo,
            JoinError::NoUsableAudio { .. } => Self::NoUsableVoice,
            JoinError::OtherCodec { .. } => Self::OtherCodec,
            JoinError::Viewer(_) => Self::Viewer,
        }
    }
}

impl From<&AdmitError> for Refusal {
    fn from(error: &AdmitError) -> Self {
        match error {
            AdmitError::Full { .. } => Self::Full,
            AdmitError::GpuHot { .. } => Self::GpuHot,
            AdmitError::GpuFull { .. } => Self::GpuFull,
            AdmitError::AvatarsLoading { .. } => Self::AvatarsLoading,
            AdmitError::EngineLost { .. } => Self::EngineLost,
            AdmitError::Closing => Self::Closing,
            AdmitError::UnknownAvatar { .. } => Self::UnknownAvatar,
            AdmitError::BrokenAvatar { .. } => Self::BrokenAvatar,
        }
    }
}

/// The code for the reason why a session was refused, or an avatar could not be swapped in.
pub fn refusal_code<'a, E>(error: &'a E) -> &'static str
where
    Refusal: From<&'a E>,
{
    Refusal::from(error).code()
}

/// HTTP status classes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counts.
#[derive(Debug, Default)]
pub struct RequestMetrics {
    admitted: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    responses: [AtomicU64; CLASSES.len()],
}

impl RequestMetrics {
    /// Counts an admitted session.
    pub fn admit(&self) {
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refused session.
    pub fn refuse(&self, error: &JoinError) {
        self.refused[Refusal::from(error) as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a response.
    pub fn answer(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len());
        self.responses[class - 1].fetch_add(1, Ordering::Relaxed);
    }

    /// Sessions admitted.
    pub fn admitted(&self) -> f64 {
        self.admitted.load(Ordering::Relaxed) as f64
    }

    /// Sessions refused, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        let of = |refusal: Refusal| self.refused[refusal as usize].load(Ordering::Relaxed) as f64;
        Refusal::ALL.into_iter().map(move |refusal| (refusal.code(), of(refusal)))
    }

    /// Responses by status class.
    pub fn responses(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        CLASSES.into_iter().zip(self.responses.iter().map(|count| count.load(Ordering::Relaxed) as f64))
    }
}
