//! The shared handle of a running session, for the network, the HTTP API and metrics.
//!
//! Decides nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::broadcast;

use super::event::SessionEvent;
use super::inbox::Inbox;
use super::limits::{SessionLifetime, SessionLimits, SessionRequest, SessionsConfig};
use super::outlet::SessionKey;
use super::report::{Meter, SessionSummary};
use super::viewers::Viewers;
use crate::codec::VideoCodec;
use crate::telemetry::{Counters, Loss, LossCounts, Trace};

/// Events that a slow subscriber may lag behind.
const EVENTS: usize = 64;

/// A running session as seen by everything but its worker. Shared behind an `Arc`.
#[derive(Debug)]
pub struct SessionHandle {
    /// The id in URLs.
    pub id: Arc<str>,
    /// Its key within this process.
    pub key: SessionKey,
    /// How its frames are encoded.
    pub codec: VideoCodec,
    /// Its limits.
    pub limits: SessionLimits,
    /// What ends it besides a request.
    pub lifetime: SessionLifetime,
    /// Audio packets and commands for the session.
    pub inbox: Inbox,
    /// Its measurements. The network reports every frame that it hands to a socket.
    pub meter: Arc<Meter>,
    /// Its events, to subscribe to.
    pub events: broadcast::Sender<SessionEvent>,
    /// When it was admitted.
    pub started: Instant,
    /// Its viewers.
    pub viewers: Viewers,
    avatar: Mutex<Arc<str>>,
}

impl SessionHandle {
    /// A session for `request` within `config`, with a meter and counters of its own.
    #[must_use]
    pub fn new(
        key: SessionKey,
        avatar: Arc<str>,
        request: &SessionRequest,
        config: &SessionsConfig,
        now: Instant,
    ) -> Self {
        let inbox = Inbox::new(Arc::default());
        Self {
            id: Arc::from(uuid::Uuid::new_v4().to_string()),
            key,
            codec: request.codec,
            limits: SessionLimits::of(request.options, config),
            lifetime: request.options.lifetime,
            viewers: Viewers::new(config.max_viewers, inbox.clone()),
            inbox,
            meter: Arc::default(),
            events: broadcast::channel(EVENTS).0,
            started: now,
            avatar: Mutex::new(avatar),
        }
    }

    /// The same, with the given counters and trace.
    #[must_use]
    pub(super) fn counted(self, counters: Arc<Counters>, trace: Option<Trace>) -> Self {
        let inbox = Inbox::new(counters);
        let viewers = Viewers::new(self.viewers.limit(), inbox.clone());
        let span = tracing::info_span!("session", id = %self.id);
        let meter = Meter::traced(trace, self.key.0).logged(span, self.started);
        Self { inbox, viewers, meter: Arc::new(meter), ..self }
    }

    /// Its current avatar.
    #[must_use]
    pub fn avatar(&self) -> Arc<str> {
        Arc::clone(&self.avatar.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_avatar(&self, avatar: Arc<str>) {
        *self.avatar.lock().unwrap_or_else(PoisonError::into_inner) = avatar;
    }

    /// Counts a frame that is sent to no viewer.
    pub(super) fn drop_frame(&self, reason: Loss) {
        let mut lost = LossCounts::default();
        lost.count(reason);
        self.meter.frame_dropped();
        self.meter.lose(&lost);
    }

    /// Its summary at `now`.
    pub(super) fn summary(&self, now: Instant) -> SessionSummary {
        SessionSummary {
            id: self.id.to_string(),
            avatar: self.avatar().to_string(),
            codec: self.codec,
            age_s: now.saturating_duration_since(self.started).as_secs_f64(),
            is_speaking: self.meter.is_speaking(),
            options: self.limits,
            lifetime: self.lifetime,
            viewer_count: self.viewers.count(),
        }
    }
}
