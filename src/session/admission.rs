//! Who is here, and whether one more may come in.
//!
//! Decides admission. Knows nothing of shows and threads; locked for moments, never while a show works.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use thiserror::Error;
use tokio::sync::broadcast;

use super::end_reason::{EndCounts, EndReason};
use super::handle::SessionHandle;
use super::inbox::Inbox;
use super::limits::{SessionLimits, SessionRequest, SessionsConfig};
use super::outlet::SessionKey;
use super::report::{Meter, SessionEvent};
use crate::gpu_load::Allowance;
use crate::telemetry::{Counters, Trace};
use crate::time::Wall;

/// Why a session was not admitted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AdmitError {
    /// All places are taken.
    #[error("wanted a free place, all {limit} are taken")]
    Full {
        /// Places in all.
        limit: usize,
    },
    /// No avatar of that name.
    #[error("wanted an avatar called \"{name}\", there are: {known}")]
    UnknownAvatar {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The avatar or a codec could not be set up.
    #[error("wanted \"{name}\" on stage, found: {found}")]
    BrokenAvatar {
        /// Its name.
        name: String,
        /// What was wrong.
        found: String,
    },
    /// The engine takes nobody now.
    #[error("wanted an engine that takes sessions, found: {found}")]
    EngineLost {
        /// What is wrong with it.
        found: String,
    },
    /// The graphics card is too hot for more.
    #[error("wanted a free place, the graphics card {} and leaves {places} of {limit}, all are taken", heat(*temperature_c))]
    GpuHot {
        /// Places that it leaves.
        places: usize,
        /// Places in all.
        limit: usize,
        /// How hot it is, as far as it tells.
        temperature_c: Option<u32>,
    },
    /// The graphics card has no memory for one more.
    #[error(
        "wanted {} MB of the graphics card's memory for one more session, {} MB are free",
        megabytes(*need_bytes),
        megabytes(*free_bytes)
    )]
    GpuFull {
        /// What it takes.
        need_bytes: u64,
        /// What there was when the card was last read; sessions that came since are not taken off.
        free_bytes: u64,
    },
    /// The process is about to end.
    #[error("the server is closing and takes no new sessions")]
    Closing,
}

fn heat(temperature_c: Option<u32>) -> String {
    temperature_c.map_or_else(|| "was too hot".to_owned(), |degrees| format!("is at {degrees} °C after being too hot"))
}

fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}

/// Events that a slow listener may fall behind.
const EVENTS: usize = 64;

/// Whether what a card leaves was reckoned from a new reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It answered.
    New,
    /// It did not; what is known is from before.
    Old,
}

/// Who is here. Locked for moments, never while a show works.
#[derive(Default)]
pub(super) struct SessionRegistry {
    state: Mutex<RegistryState>,
    pub(super) totals: Meter,
    pub(super) ends: EndCounts,
    pub(super) counters: Arc<Counters>,
    pub(super) trace: OnceLock<Trace>,
}

#[derive(Default)]
struct RegistryState {
    sessions: BTreeMap<SessionKey, SessionHandle>,
    next_key: u64,
    is_closing: bool,
    /// What the card leaves, once it was read.
    allowance: Option<Allowance>,
    /// Sessions that came in since it was last read, and between that and the time before: what they take may not be in
    /// what was read.
    entered: [u64; 2],
}

impl RegistryState {
    /// Why one more session is not let in.
    fn refusal(&self, config: &SessionsConfig) -> Option<AdmitError> {
        let (here, limit) = (self.sessions.len(), config.max_sessions);
        if self.is_closing {
            return Some(AdmitError::Closing);
        }
        if here >= limit {
            return Some(AdmitError::Full { limit });
        }
        let allowance = self.allowance?;
        if here >= allowance.capacity {
            let Allowance { capacity: places, temperature_c, .. } = allowance;
            return Some(AdmitError::GpuHot { places, limit, temperature_c });
        }
        let is_short = allowance.additional_sessions.is_some_and(|fit| fit <= self.entered.iter().sum());
        let (need_bytes, free_bytes) = (allowance.session_bytes, allowance.memory_free_bytes.unwrap_or_default());
        is_short.then_some(AdmitError::GpuFull { need_bytes, free_bytes })
    }
}

impl SessionRegistry {
    fn lock(&self) -> MutexGuard<'_, RegistryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handles of all, oldest first.
    pub(super) fn tickets(&self) -> Vec<SessionHandle> {
        self.lock().sessions.values().cloned().collect()
    }

    /// Lets nobody in from now on.
    pub(super) fn begin_closing(&self) {
        self.lock().is_closing = true;
    }

    /// Why one more session would not be let in now; none if it would.
    pub(super) fn refusal(&self, config: &SessionsConfig) -> Option<AdmitError> {
        self.lock().refusal(config)
    }

    /// Keeps to what a card that was read anew leaves.
    pub(super) fn allow(&self, allowance: Allowance, reading: Freshness) {
        let mut state = self.lock();
        state.allowance = Some(allowance);
        if reading == Freshness::New {
            state.entered = [0, state.entered[0]];
        }
    }

    /// Lets a session in, or says why not.
    pub(super) fn enter(
        &self,
        avatar: &Arc<str>,
        request: &SessionRequest,
        config: &SessionsConfig,
        now: Instant,
    ) -> Result<SessionHandle, AdmitError> {
        let mut state = self.lock();
        state.refusal(config).map_or(Ok(()), Err)?;
        state.next_key += 1;
        state.entered[0] += 1;
        let id: Arc<str> = Arc::from(uuid::Uuid::new_v4().to_string());
        let span = tracing::info_span!("session", %id);
        let meter = Meter::traced(self.trace.get().cloned(), state.next_key).logged(span, now);
        let ticket = SessionHandle {
            id,
            key: SessionKey(state.next_key),
            avatar: Arc::clone(avatar),
            codec: request.codec,
            terms: SessionLimits::of(request.wishes, config),
            inbox: Inbox::new(Arc::clone(&self.counters)),
            meter: Arc::new(meter),
            events: broadcast::channel(EVENTS).0,
            began: now,
        };
        state.sessions.insert(ticket.key, ticket.clone());
        Ok(ticket)
    }

    /// Takes a session out; what it measured is kept in the totals.
    pub(super) fn leave(&self, key: SessionKey) -> Option<SessionHandle> {
        let ticket = self.lock().sessions.remove(&key)?;
        ticket.meter.close();
        ticket.meter.merge_into(&self.totals);
        Some(ticket)
    }

    /// Takes a session out and tells everybody why; none if it is out already.
    pub(super) fn end(&self, key: SessionKey, reason: EndReason) -> Option<SessionHandle> {
        let ticket = self.leave(key)?;
        // Only now: whoever sees that the inbox ended finds the session gone.
        ticket.inbox.end();
        self.ends.count(reason);
        ticket.meter.log_end(reason, Wall.now());
        // An error here only says that nobody listens.
        let _ = ticket.events.send(SessionEvent::Ended(reason));
        Some(ticket)
    }

    pub(super) fn rename(&self, key: SessionKey, avatar: Arc<str>) {
        if let Some(ticket) = self.lock().sessions.get_mut(&key) {
            ticket.avatar = avatar;
        }
    }
}
