//! The running sessions, and the totals of ended ones.
//!
//! Decides which sessions exist. Lookups are by id or key; the lock is held for microseconds, never while a session works.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::admission::{Admission, AdmitError, Freshness};
use super::end_reason::{EndCounts, EndReason};
use super::event::SessionEvent;
use super::handle::SessionHandle;
use super::limits::{SessionRequest, SessionsConfig};
use super::outlet::SessionKey;
use super::report::{Meter, MeterReport, SessionState, SessionStats, SessionSummary};
use super::viewers::ViewerCounts;
use crate::gpu_load::Allowance;
use crate::telemetry::{Counters, Loss, Trace};
use crate::time::Wall;

/// The running sessions, and the totals of ended ones.
#[derive(Default)]
pub struct SessionRegistry {
    state: Mutex<RegistryState>,
    totals: Meter,
    ends: EndCounts,
    viewer_counts: ViewerCounts,
    counters: Arc<Counters>,
    trace: OnceLock<Trace>,
}

#[derive(Default)]
struct RegistryState {
    /// Oldest first, because keys count up.
    sessions: BTreeMap<SessionKey, Arc<SessionHandle>>,
    keys: HashMap<Arc<str>, SessionKey>,
    next_key: u64,
    admission: Admission,
}

impl RegistryState {
    fn refusal(&self, config: &SessionsConfig) -> Option<AdmitError> {
        self.admission.refusal(self.sessions.len(), config)
    }
}

impl SessionRegistry {
    fn lock(&self) -> MutexGuard<'_, RegistryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session with this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Arc<SessionHandle>> {
        let state = self.lock();
        state.keys.get(id).and_then(|key| state.sessions.get(key)).cloned()
    }

    /// Number of running sessions.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().sessions.len()
    }

    /// A summary of every session at `now`, oldest first.
    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<SessionSummary> {
        self.handles().iter().map(|session| session.summary(now)).collect()
    }

    /// A summary of one session at `now`.
    #[must_use]
    pub fn summary(&self, id: &str, now: Instant) -> Option<SessionSummary> {
        self.find(id).map(|session| session.summary(now))
    }

    /// All figures of one session at `now`.
    #[must_use]
    pub fn stats(&self, id: &str, now: Instant) -> Option<SessionStats> {
        let session = self.find(id)?;
        Some(session.meter.stats(session.summary(now)))
    }

    /// The current state of every session.
    #[must_use]
    pub fn states(&self) -> Vec<SessionState> {
        self.handles().iter().map(|session| session.meter.state()).collect()
    }

    /// Ended sessions by reason.
    #[must_use]
    pub fn ends(&self) -> &EndCounts {
        &self.ends
    }

    /// Viewers that joined, left and were refused.
    #[must_use]
    pub fn viewer_counts(&self) -> &ViewerCounts {
        &self.viewer_counts
    }

    /// Number of viewers in all sessions.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.handles().iter().map(|session| session.viewers.count()).sum()
    }

    /// Counts a frame that was encoded just after its last viewer left.
    pub fn on_undelivered_frame(&self, key: SessionKey) {
        let session = self.lock().sessions.get(&key).cloned();
        session.iter().for_each(|session| session.drop_frame(Loss::UnsentFrame));
    }

    /// All measurements since the process started, including ended sessions.
    #[must_use]
    pub fn totals(&self) -> MeterReport {
        let sum = Meter::default();
        self.totals.merge_into(&sum);
        self.handles().iter().for_each(|session| session.meter.merge_into(&sum));
        sum.lose(&self.counters.snapshot());
        sum.report()
    }

    /// Losses that belong to no session; the network layers add theirs.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Traces the sent frames of every session admitted from now on. Only the first call has an effect.
    pub fn trace(&self, trace: Trace) {
        let _ = self.trace.set(trace);
    }

    /// The handles of all sessions, oldest first.
    pub(super) fn handles(&self) -> Vec<Arc<SessionHandle>> {
        self.lock().sessions.values().cloned().collect()
    }

    /// Admits no further session.
    pub(super) fn begin_closing(&self) {
        self.lock().admission.begin_closing();
    }

    /// Why one more session would be refused now; `None` when it would be admitted.
    pub(super) fn refusal(&self, config: &SessionsConfig) -> Option<AdmitError> {
        self.lock().refusal(config)
    }

    /// Applies a new allowance of the GPU.
    pub(super) fn allow(&self, allowance: Allowance, reading: Freshness) {
        self.lock().admission.allow(allowance, reading);
    }

    /// Admits a session, or returns why not.
    pub(super) fn admit(
        &self,
        avatar: Arc<str>,
        request: &SessionRequest,
        config: &SessionsConfig,
        now: Instant,
    ) -> Result<Arc<SessionHandle>, AdmitError> {
        let mut state = self.lock();
        state.refusal(config).map_or(Ok(()), Err)?;
        state.admission.count();
        state.next_key += 1;
        let key = SessionKey(state.next_key);
        let session = SessionHandle::new(key, avatar, request, config, now);
        let session = Arc::new(session.counted(self.counters(), self.trace.get().cloned()));
        state.keys.insert(Arc::clone(&session.id), key);
        state.sessions.insert(key, Arc::clone(&session));
        Ok(session)
    }

    /// Removes a session and adds its measurements to the totals.
    pub(super) fn remove(&self, key: SessionKey) -> Option<Arc<SessionHandle>> {
        let mut state = self.lock();
        let session = state.sessions.remove(&key)?;
        state.keys.remove(&session.id);
        drop(state);
        session.meter.close();
        session.meter.merge_into(&self.totals);
        Some(session)
    }

    /// Removes a session and publishes the reason; `None` if it was removed before.
    pub(super) fn end(&self, key: SessionKey, reason: EndReason) -> Option<Arc<SessionHandle>> {
        let session = self.remove(key)?;
        // Only after removal: a thread that sees the inbox ended must not find the session.
        session.inbox.end();
        self.ends.count(reason);
        session.meter.log_end(reason, Wall.now());
        // An error here only means that there is no subscriber.
        let _ = session.events.send(SessionEvent::Ended(reason));
        Some(session)
    }
}
