//! The viewers of a session: who is connected, who owns the microphone, and what all of them together ask of the encoder.
//!
//! A session is encoded once and sent to every viewer. So what viewers ask for meets here: keyframe requests are
//! coalesced ([`keyframes`]), bitrate targets are combined ([`target`]), and a frame is held back only for viewers that
//! count fully. Knows no network: a viewer is whatever holds a [`ViewerHandle`].

mod counts;
mod keyframes;
mod target;
mod viewer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use thiserror::Error;

pub use counts::ViewerCounts;
pub use keyframes::KeyframeReason;
pub use viewer::{ViewerHandle, ViewerKey, ViewerRole, ViewerSummary};

use self::keyframes::KeyframeRequests;
use self::target::ViewerTarget;
use self::viewer::Viewer;
use super::handle::SessionHandle;
use super::inbox::{Backlog, Inbox};
use crate::codec::FrameKind;

/// While so many frames of a viewer wait in its pacer it gets no further one: each would only arrive later.
pub const MAX_UNSENT_FRAMES: usize = 2;

/// Why a viewer cannot join.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ViewerError {
    /// There is no such session.
    #[error("there is no session with this id")]
    NoSession,
    /// The session has as many viewers as it may have.
    #[error("all {limit} viewer slots of the session are in use")]
    Full {
        /// Viewer slots of one session.
        limit: usize,
    },
    /// Somebody else has the microphone.
    #[error("another viewer of the session has the microphone")]
    MicrophoneTaken,
}

impl ViewerError {
    /// Its code in the API, metrics and logs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSession => "no_session",
            Self::Full { .. } => "viewers_full",
            Self::MicrophoneTaken => "microphone_taken",
        }
    }
}

/// The viewers of one session.
#[derive(Debug)]
pub struct Viewers {
    state: Mutex<ViewersState>,
    limit: usize,
    inbox: Inbox,
}

#[derive(Debug, Default)]
struct ViewersState {
    viewers: BTreeMap<ViewerKey, Arc<Viewer>>,
    /// What each viewer asks of the encoder and whether it can take another frame.
    demands: BTreeMap<ViewerKey, Demand>,
    microphone: Option<ViewerKey>,
    /// The viewer that counts fully, if there is one; see [`ViewersState::find_leader`].
    leader: Option<ViewerKey>,
    joined: u32,
    /// What the session was last asked to aim at.
    applied: ViewerTarget,
    keyframes: KeyframeRequests,
}

/// What one viewer asks of the encoder.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    target: ViewerTarget,
    is_watching: bool,
    is_blocked: bool,
}

impl ViewersState {
    /// The viewer that counts fully: the owner of the microphone, or the only one that watches.
    fn find_leader(&self) -> Option<ViewerKey> {
        let is_watching = |key: &ViewerKey| self.demands.get(key).is_some_and(|demand| demand.is_watching);
        self.microphone.filter(is_watching).or_else(|| {
            let mut watching = self.watching().map(|(key, _)| *key);
            watching.next().filter(|_| watching.next().is_none())
        })
    }

    fn watching(&self) -> impl Iterator<Item = (&ViewerKey, &Demand)> + Clone {
        self.demands.iter().filter(|(_, demand)| demand.is_watching)
    }

    /// Whether a frame is worth encoding now: not if its leader, or without one every viewer, has no room for it.
    fn backlog(&self) -> Backlog {
        let leader = self.leader.and_then(|key| self.demands.get(&key));
        let is_full = match leader {
            Some(leader) => leader.is_blocked,
            None => self.watching().all(|(_, demand)| demand.is_blocked),
        };
        if is_full { Backlog::Full } else { Backlog::Clear }
    }

    fn target(&self) -> ViewerTarget {
        let leader = self.leader.and_then(|key| self.demands.get(&key)).map(|demand| demand.target);
        let others = self.watching().filter(|(key, _)| Some(**key) != self.leader).map(|(_, demand)| demand.target);
        target::combine(leader, others)
    }
}

impl Viewers {
    /// No viewers yet, at most `limit`; what they ask for goes to `inbox`.
    #[must_use]
    pub fn new(limit: usize, inbox: Inbox) -> Self {
        Self { state: Mutex::default(), limit, inbox }
    }

    fn lock(&self) -> MutexGuard<'_, ViewersState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there may be.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().viewers.len()
    }

    /// All of them at `now`, in the order in which they joined.
    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<ViewerSummary> {
        self.lock().viewers.values().map(|viewer| viewer.summary(now)).collect()
    }

    /// Whether a viewer with this id is connected or connecting.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.lock().viewers.values().any(|viewer| &*viewer.id == id && !viewer.is_dismissed())
    }

    /// Asks the viewer with this id to leave; its connection closes at its next housekeeping. True if there is one.
    pub fn dismiss(&self, id: &str) -> bool {
        let state = self.lock();
        let found = state.viewers.values().find(|viewer| &*viewer.id == id && !viewer.is_dismissed());
        found.inspect(|viewer| viewer.dismiss()).is_some()
    }

    /// Adds a viewer to `session`. A running server joins by `Sessions::join`, which counts it.
    ///
    /// # Errors
    /// If the session is full, or the microphone that it asks for is taken.
    pub fn join(session: &Arc<SessionHandle>, role: ViewerRole, now: Instant) -> Result<ViewerHandle, ViewerError> {
        let viewers = &session.viewers;
        let mut state = viewers.lock();
        if state.viewers.len() >= viewers.limit {
            return Err(ViewerError::Full { limit: viewers.limit });
        }
        if role.has_microphone() && state.microphone.is_some() {
            return Err(ViewerError::MicrophoneTaken);
        }
        state.joined += 1;
        let key = ViewerKey { session: session.key, number: state.joined };
        let viewer = Arc::new(Viewer::new(key, role, now));
        state.microphone = if role.has_microphone() { Some(key) } else { state.microphone };
        state.viewers.insert(key, Arc::clone(&viewer));
        Ok(ViewerHandle::new(Arc::clone(session), viewer))
    }

    /// Forgets a viewer; `None` when it left before, else how many are left.
    pub(super) fn leave(&self, key: ViewerKey) -> Option<usize> {
        let mut state = self.lock();
        state.viewers.remove(&key)?;
        if state.microphone == Some(key) {
            state.microphone = None;
        }
        state.demands.remove(&key);
        self.apply(&mut state);
        Some(state.viewers.len())
    }

    /// Whether this viewer counts fully.
    fn is_leader(&self, key: ViewerKey) -> bool {
        self.lock().leader == Some(key)
    }

    fn change(&self, key: ViewerKey, change: impl FnOnce(&mut Demand)) {
        let mut state = self.lock();
        // A viewer that left asks for nothing.
        if state.viewers.contains_key(&key) {
            change(state.demands.entry(key).or_default());
            self.apply(&mut state);
        }
    }

    /// Passes to the session what its viewers need, after something changed.
    fn apply(&self, state: &mut ViewersState) {
        state.leader = state.find_leader();
        self.inbox.set_watching(state.watching().count());
        self.inbox.set_backlog(state.backlog());
        let wanted = state.target();
        if wanted == state.applied {
            return;
        }
        state.applied = wanted;
        wanted.video_bps.into_iter().for_each(|bps| self.inbox.set_bitrate(bps));
        wanted.audio.into_iter().for_each(|plan| self.inbox.set_audio_plan(plan));
    }

    fn request_keyframe(&self, key: ViewerKey, reason: KeyframeReason, now: Instant) {
        let mut state = self.lock();
        let is_leader = state.leader == Some(key);
        if state.keyframes.request(reason, is_leader, now) {
            self.inbox.request_keyframe();
        }
    }

    /// Notes a frame on its way to the viewers. A keyframe answers every request before it; with any other frame, requests
    /// that had to wait are made when their time has come.
    pub fn on_frame(&self, frame: FrameKind, now: Instant) {
        let mut state = self.lock();
        match frame {
            FrameKind::Key => state.keyframes.on_keyframe(now),
            FrameKind::Any if state.keyframes.poll(now) => self.inbox.request_keyframe(),
            FrameKind::Any => {}
        }
    }
}

#[cfg(test)]
mod tests;
