//! The handles of a session, for the door that opened it and for whoever asks about it. Decides nothing.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::broadcast;

use super::inbox::Inbox;
use super::limits::SessionLimits;
use super::outlet::SessionKey;
use super::report::{Meter, SessionEvent, SessionSummary};
use crate::codec::VideoCodec;

/// A session's handles.
#[derive(Clone, Debug)]
pub struct SessionHandle {
    /// The id in URLs.
    pub id: Arc<str>,
    /// The number inside this process.
    pub key: SessionKey,
    /// The avatar it began with.
    pub avatar: Arc<str>,
    /// How its pictures are coded.
    pub codec: VideoCodec,
    /// What it is held to.
    pub terms: SessionLimits,
    /// The way in.
    pub inbox: Inbox,
    /// What is measured. The door reports every frame it hands to the socket here (`Meter::frame_sent`).
    pub meter: Arc<Meter>,
    /// Its events; subscribe to listen.
    pub events: broadcast::Sender<SessionEvent>,
    /// When it was admitted.
    pub began: Instant,
}

impl SessionHandle {
    /// What a list tells of it at `now`.
    pub(super) fn summary(&self, now: Instant) -> SessionSummary {
        SessionSummary {
            id: self.id.to_string(),
            avatar: self.avatar.to_string(),
            codec: self.codec,
            age_s: now.saturating_duration_since(self.began).as_secs_f64(),
            is_speaking: self.meter.is_speaking(),
            options: self.terms,
        }
    }
}
