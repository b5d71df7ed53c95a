//! The register: who is here, who left and why. Locked for moments, never while a show works.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::broadcast;

use super::ends::{EndCounts, EndReason};
use super::inbox::Inbox;
use super::outlet::SessionKey;
use super::report::{Meter, SessionEvent};
use super::studio::{AdmitError, ShowRequest, StudioConfig};
use super::terms::Terms;
use super::ticket::Ticket;
use super::workers::{Ending, OnEnd};
use crate::telemetry::{Counters, Trace};

/// Events that a slow listener may fall behind.
const EVENTS: usize = 64;

/// Who is here, and what those who left had measured.
#[derive(Default)]
pub struct Register {
    pub state: Mutex<RegisterState>,
    pub totals: Meter,
    pub ends: EndCounts,
    pub counters: Arc<Counters>,
    pub trace: OnceLock<Trace>,
}

#[derive(Default)]
pub struct RegisterState {
    pub sessions: BTreeMap<SessionKey, Ticket>,
    pub next_key: u64,
    pub is_closing: bool,
}

/// What happens when a worker let go of a show.
pub fn when_over(register: &Arc<Register>) -> OnEnd {
    let register = Arc::clone(register);
    Box::new(move |key, ending| {
        let is_broken = ending == Ending::Broken;
        // A session that was asked to end is out already, and counted.
        if let Some(ticket) = register.end(key, ending.reason()).filter(|_| is_broken) {
            tracing::error!(session = %ticket.id, "the show broke down: a bug in visage; the session was ended");
        }
    })
}

impl Register {
    pub fn lock(&self) -> MutexGuard<'_, RegisterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn enter(
        &self,
        avatar: &Arc<str>,
        request: &ShowRequest,
        config: &StudioConfig,
        now: Instant,
    ) -> Result<Ticket, AdmitError> {
        let mut state = self.lock();
        if state.is_closing {
            return Err(AdmitError::Closing);
        }
        if state.sessions.len() >= config.max_sessions {
            return Err(AdmitError::Full { limit: config.max_sessions });
        }
        state.next_key += 1;
        let ticket = Ticket {
            id: Arc::from(uuid::Uuid::new_v4().to_string()),
            key: SessionKey(state.next_key),
            avatar: Arc::clone(avatar),
            codec: request.codec,
            terms: Terms::of(request.wishes, config),
            inbox: Inbox::new(Arc::clone(&self.counters)),
            meter: Arc::new(Meter::traced(self.trace.get().cloned(), state.next_key)),
            events: broadcast::channel(EVENTS).0,
            began: now,
        };
        state.sessions.insert(ticket.key, ticket.clone());
        Ok(ticket)
    }

    /// Takes a session out; what it measured is kept in the totals.
    pub fn leave(&self, key: SessionKey) -> Option<Ticket> {
        let ticket = self.lock().sessions.remove(&key)?;
        ticket.meter.close();
        ticket.meter.merge_into(&self.totals);
        Some(ticket)
    }

    /// Takes a session out and tells everybody why; none if it is out already.
    pub fn end(&self, key: SessionKey, reason: EndReason) -> Option<Ticket> {
        let ticket = self.leave(key)?;
        // Only now: whoever sees that the inbox ended finds the session gone.
        ticket.inbox.end();
        self.ends.count(reason);
        // An error here only says that nobody listens.
        let _ = ticket.events.send(SessionEvent::Ended { reason: reason.to_string() });
        Some(ticket)
    }

    pub fn rename(&self, key: SessionKey, avatar: Arc<str>) {
        if let Some(ticket) = self.lock().sessions.get_mut(&key) {
            ticket.avatar = avatar;
        }
    }
}
