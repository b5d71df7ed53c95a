//! One viewer: the reports of its connection to the session, and its own counts.
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

/// A viewer's key within this process. Sorts by session, then by the order of joining.
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

/// The role of a viewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ViewerRole {
    /// It created the session and owns the microphone.
    Creator,
    /// It joined later and took the free microphone.
    Speaker,
    /// It only receives.
    #[default]
    ReceiveOnly,
}

impl ViewerRole {
    /// Whether the avatar speaks its audio.
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
    /// Its key within this process.
    #[serde(skip)]
    pub key: ViewerKey,
    /// Its role.
    pub role: ViewerRole,
    /// Seconds since it joined.
    pub age_s: f64,
    /// Frames for it.
    pub frames: FrameCounts,
    /// Video bitrate that its connection carries, in bits per second; `None` until it is known.
    pub target_bps: Option<u32>,
}

/// The state of a connected viewer.
#[derive(Debug)]
pub(super) struct Viewer {
    pub id: Arc<str>,
    key: ViewerKey,
    role: ViewerRole,
    joined: Instant,
    frames: [AtomicU64; 4],
    /// 0: unknown.
    target_bps: AtomicU32,
    is_blocked: AtomicBool,
    is_dismissed: AtomicBool,
}

/// Indices in `Viewer::frames`.
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

/// The connection's side of a viewer, which receives its reports. It is returned with `Sessions::leave`.
#[derive(Debug)]
pub struct ViewerHandle {
    /// Its session.
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

    /// Its key within this process.
    #[must_use]
    pub fn key(&self) -> ViewerKey {
        self.viewer.key
    }

    /// Its role.
    #[must_use]
    pub fn role(&self) -> ViewerRole {
        self.viewer.role
    }

    /// Whether its connection must be closed: the session has ended, or the viewer was dismissed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.session.inbox.has_ended() || self.viewer.is_dismissed()
    }

    /// Whether it is the leader: for it frames are skipped by the whole session, for others by their own connection.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.session.viewers.is_leader(self.viewer.key)
    }

    /// Takes an audio packet. Audio of a viewer without the microphone is ignored and counted as a stray packet.
    pub fn push_packet(&self, packet: AudioPacket) {
        if self.viewer.role.has_microphone() {
            self.session.inbox.push_packet(packet);
        } else {
            self.lose(Loss::StrayPacket);
        }
    }

    /// Reports that frames can be sent to it.
    pub fn begin_watching(&self) {
        self.session.viewers.change(self.viewer.key, |demand| demand.is_watching = true);
    }

    /// Reports that it needs a keyframe.
    pub fn request_keyframe(&self, reason: KeyframeReason, now: Instant) {
        self.session.viewers.request_keyframe(self.viewer.key, reason, now);
    }

    /// Reports the video bitrate that its connection carries, in bits per second.
    pub fn set_target(&self, video_bps: u32) {
        self.viewer.target_bps.store(video_bps, Ordering::Relaxed);
        let within = self.session.limits.within(video_bps);
        self.session.viewers.change(self.viewer.key, |demand| demand.target.video_bps = Some(within));
    }

    /// Reports the audio plan for its connection.
    pub fn set_audio_plan(&self, plan: AudioPlan) {
        self.session.viewers.change(self.viewer.key, |demand| demand.target.audio = Some(plan));
    }

    /// Reports how many frames wait in its pacer. Called for every datagram; locks only when the answer changes.
    pub fn set_unsent(&self, frames: usize) {
        let is_blocked = frames >= MAX_UNSENT_FRAMES;
        if self.viewer.is_blocked.swap(is_blocked, Ordering::Relaxed) != is_blocked {
            self.session.viewers.change(self.viewer.key, |demand| demand.is_blocked = is_blocked);
        }
    }

    /// Counts a frame of the session for this viewer, after `others` other viewers. The session has counted one frame before it knew the
    /// number of viewers, so only further viewers add one.
    pub fn frame_due(&self, others: usize) {
        self.viewer.count(DUE, 1);
        if others > 0 {
            self.session.meter.frame_due();
        }
    }

    /// Counts a frame that was sent to it, `lateness` after it was due.
    pub fn frame_sent(&self, marks: &Marks, lateness: Duration) {
        let is_on_time = self.session.meter.frame_sent(marks, lateness);
        self.viewer.count(if is_on_time { ON_TIME } else { LATE }, 1);
    }

    /// Counts `count` frames that were not sent to it, with the reason.
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
