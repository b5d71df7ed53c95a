//! One viewer: what its connection reports to the session, and what is counted for it alone.
//!
//! Decides nothing for the session; that is [`super::Viewers`].

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::super::handle::SessionHandle;
use super::super::outlet::SessionKey;
use super::super::report::FrameCounts;
use super::{KeyframeReason, MAX_UNSENT_FRAMES};
use crate::adapt::AudioPlan;
use crate::audio::AudioPacket;
use crate::telemetry::{Loss, LossCounts, Marks};

/// A short number for a viewer inside this process. Sorts by session, then by the order of joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewerKey {
    /// Its session.
    pub session: SessionKey,
    /// Counts up from 1 within the session.
    pub number: u32,
}

impl ViewerKey {
    /// The keys of all viewers of a session.
    #[must_use]
    pub fn all_of(session: SessionKey) -> RangeInclusive<Self> {
        Self { session, number: 0 }..=Self { session, number: u32::MAX }
    }
}

/// What a viewer may do besides watching.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ViewerRole {
    /// It created the session and owns the microphone.
    Creator,
    /// It joined later and took the microphone, which was free.
    Speaker,
    /// It only receives.
    #[default]
    ReceiveOnly,
}

impl ViewerRole {
    /// Whether its audio is what the avatar speaks.
    #[must_use]
    pub fn has_microphone(self) -> bool {
        self != Self::ReceiveOnly
    }
}

/// A viewer as `GET /v1/sessions/{id}/stats` lists it.
#[derive(Clone, Debug, Serialize)]
pub struct ViewerSummary {
    /// Its id.
    pub id: String,
    /// Its number inside this process.
    #[serde(skip)]
    pub key: ViewerKey,
    /// What it may do.
    pub role: ViewerRole,
    /// Seconds since it joined.
    pub age_s: f64,
    /// Frames for it.
    pub frames: FrameCounts,
    /// Video bitrate that its connection carries, in bits per second; `None` until it is known.
    pub target_bps: Option<u32>,
}

/// What is kept of a viewer as long as it is connected.
#[derive(Debug)]
pub(super) struct Viewer {
    pub id: Arc<str>,
    key: ViewerKey,
    role: ViewerRole,
    joined: Instant,
    frames: [AtomicU64; 4],
    /// 0: not known yet.
    target_bps: AtomicU32,
    is_blocked: AtomicBool,
    is_dismissed: AtomicBool,
}

/// Places in `Viewer::frames`.
const DUE: usize = 0;
const ON_TIME: usize = 1;
const LATE: usize = 2;
const DROPPED: usize = 3;

impl Viewer {
    pub fn new(key: ViewerKey, role: ViewerRole, joined: Instant) -> Self {
        Self {
            id: Arc::from(uuid::Uuid::new_v4().to_string()),
            key,
            role,
            joined,
            frames: Default::default(),
            target_bps: AtomicU32::new(0),
            is_blocked: AtomicBool::new(false),
            is_dismissed: AtomicBool::new(false),
        }
    }

    pub fn dismiss(&self) {
        self.is_dismissed.store(true, Ordering::Release);
    }

    pub fn is_dismissed(&self) -> bool {
        self.is_dismissed.load(Ordering::Acquire)
    }

    pub fn summary(&self, now: Instant) -> ViewerSummary {
        let [due, on_time, late, dropped] =
            [DUE, ON_TIME, LATE, DROPPED].map(|n| self.frames[n].load(Ordering::Relaxed));
        let target_bps = self.target_bps.load(Ordering::Relaxed);
        ViewerSummary {
            id: self.id.to_string(),
            key: self.key,
            role: self.role,
            age_s: now.saturating_duration_since(self.joined).as_secs_f64(),
            frames: FrameCounts { due, on_time, late, dropped },
            target_bps: (target_bps > 0).then_some(target_bps),
        }
    }

    fn count(&self, outcome: usize, frames: u64) {
        self.frames[outcome].fetch_add(frames, Ordering::Relaxed);
    }
}

/// The connection's side of a viewer: reports go in here. It is given back with `Sessions::leave`.
#[derive(Debug)]
pub struct ViewerHandle {
    /// The session that it watches.
    pub session: Arc<SessionHandle>,
    viewer: Arc<Viewer>,
}

impl ViewerHandle {
    pub(super) fn new(session: Arc<SessionHandle>, viewer: Arc<Viewer>) -> Self {
        Self { session, viewer }
    }

    /// The id in URLs.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.viewer.id
    }

    /// The number inside this process.
    #[must_use]
    pub fn key(&self) -> ViewerKey {
        self.viewer.key
    }

    /// What it may do.
    #[must_use]
    pub fn role(&self) -> ViewerRole {
        self.viewer.role
    }

    /// Whether its connection is to be closed: the session is over, or the viewer was dismissed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.session.inbox.has_ended() || self.viewer.is_dismissed()
    }

    /// Whether it counts fully: frames are held back for the whole session rather than skipped for it alone.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.session.viewers.is_leader(self.viewer.key)
    }

    /// Takes a packet of the microphone. Audio of a viewer without it is nobody's, and counted as a stray packet.
    pub fn push_packet(&self, packet: AudioPacket) {
        if self.viewer.role.has_microphone() {
            self.session.inbox.push_packet(packet);
        } else {
            self.lose(Loss::StrayPacket);
        }
    }

    /// Frames can be sent to it from now on.
    pub fn begin_watching(&self) {
        self.session.viewers.change(self.viewer.key, |demand| demand.is_watching = true);
    }

    /// It needs a keyframe.
    pub fn request_keyframe(&self, reason: KeyframeReason, now: Instant) {
        self.session.viewers.request_keyframe(self.viewer.key, reason, now);
    }

    /// Its connection carries so much video, in bits per second.
    pub fn set_target(&self, video_bps: u32) {
        self.viewer.target_bps.store(video_bps, Ordering::Relaxed);
        let within = self.session.limits.within(video_bps);
        self.session.viewers.change(self.viewer.key, |demand| demand.target.video_bps = Some(within));
    }

    /// How audio is best encoded for its connection.
    pub fn set_audio_plan(&self, plan: AudioPlan) {
        self.session.viewers.change(self.viewer.key, |demand| demand.target.audio = Some(plan));
    }

    /// So many frames wait in its pacer. Called for every datagram; costs a lock only when the answer changes.
    pub fn set_unsent(&self, frames: usize) {
        let is_blocked = frames >= MAX_UNSENT_FRAMES;
        if self.viewer.is_blocked.swap(is_blocked, Ordering::Relaxed) != is_blocked {
            self.session.viewers.change(self.viewer.key, |demand| demand.is_blocked = is_blocked);
        }
    }

    /// A frame of the session is for this viewer too, after `others`. The session counted it once itself, before it knew for
    /// how many it is.
    pub fn frame_due(&self, others: usize) {
        self.viewer.count(DUE, 1);
        if others > 0 {
            self.session.meter.frame_due();
        }
    }

    /// A frame left for it, `lateness` after it was due.
    pub fn frame_sent(&self, marks: &Marks, lateness: Duration) {
        let is_on_time = self.session.meter.frame_sent(marks, lateness);
        self.viewer.count(if is_on_time { ON_TIME } else { LATE }, 1);
    }

    /// `count` frames for it were not sent, for this reason.
    pub fn frames_dropped(&self, count: usize, reason: Loss) {
        self.viewer.count(DROPPED, count as u64);
        (0..count).for_each(|_| self.session.meter.frame_dropped());
        let mut lost = LossCounts::default();
        lost.count_many(reason, count as u64);
        if count > 0 {
            self.session.meter.lose(&lost);
        }
    }

    /// Counts a loss of its connection.
    pub fn lose(&self, loss: Loss) {
        let mut lost = LossCounts::default();
        lost.count(loss);
        self.session.meter.lose(&lost);
    }
}
