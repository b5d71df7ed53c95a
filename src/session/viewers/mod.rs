//! The viewers of a session: who is connected, who owns the microphone, and their combined requests to the encoder.
//!
//! A session is encoded once and sent to every viewer, so the viewers' requests are combined here: keyframe requests are
//! coalesced ([`keyframes`]), bitrate targets are combined ([`target`]), and a frame is skipped for the whole session only for
//! its leader. Knows no network: a viewer is whatever holds a [`ViewerHandle`].

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

/// Maximum number of a viewer's frames in its pacer: further ones would only arrive later.
pub const MAX_UNSENT_FRAMES: usize = 2;

/// Why a viewer cannot join.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ViewerError {
    /// The session does not exist.
    #[error("there is no session with this id")]
    NoSession,
    /// The viewer slots of the session are in use.
    #[error("all {limit} viewer slots of the session are in use")]
    Full {
        /// Viewer slots of one session.
        limit: usize,
    },
    /// Another viewer has the microphone.
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
    /// What each viewer requests of the encoder, and whether it has room for another frame.
    demands: BTreeMap<ViewerKey, Demand>,
    microphone: Option<ViewerKey>,
    /// The leader, if there is one; see [`ViewersState::find_leader`].
    leader: Option<ViewerKey>,
    joined: u32,
    /// The last targets passed to the session.
    applied: ViewerTarget,
    keyframes: KeyframeRequests,
}

/// The requests of one viewer to the encoder.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    target: ViewerTarget,
    is_watching: bool,
    is_blocked: bool,
}

impl ViewersState {
    /// The leader: the owner of the microphone, or the only viewer.
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

    /// Whether a frame should be encoded now: not if the leader, or without one every viewer, has no room for it.
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
    /// No viewers yet, at most `limit`; their requests go to `inbox`.
    #[must_use]
    pub fn new(limit: usize, inbox: Inbox) -> Self {
        Self { state: Mutex::default(), limit, inbox }
    }

    fn lock(&self) -> MutexGuard<'_, ViewersState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Maximum number of viewers.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Number of viewers.
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

    /// Dismisses a viewer; its connection closes at its next housekeeping. True if it exists.
    pub fn dismiss(&self, id: &str) -> bool {
        let state = self.lock();
        let found = state.viewers.values().find(|viewer| &*viewer.id == id && !viewer.is_dismissed());
        found.inspect(|viewer| viewer.dismiss()).is_some()
    }

    /// Adds a viewer to `session`. A running server uses `Sessions::join`, which counts it.
    ///
    /// # Errors
    /// If the viewer slots are in use, or the requested microphone is taken.
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

    /// Removes a viewer; `None` if it was removed before, otherwise the number of remaining viewers.
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

    /// Whether this viewer is the leader.
    fn is_leader(&self, key: ViewerKey) -> bool {
        self.lock().leader == Some(key)
    }

    fn change(&self, key: ViewerKey, change: impl FnOnce(&mut Demand)) {
        let mut state = self.lock();
        // The requests of a viewer that left no longer count.
        if state.viewers.contains_key(&key) {
            change(state.demands.entry(key).or_default());
            self.apply(&mut state);
        }
    }

    /// Passes changed requests to the session.
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

    /// Records a frame sent to the viewers. A keyframe answers every request before it; with any other frame, delayed requests
    /// that are due are made.
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
