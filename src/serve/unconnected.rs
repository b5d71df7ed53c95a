//! Peers that were answered and have not connected: each holds a place until it connects or is given up.
//!
//! Decides how many of them one client may have, so that offers which nobody ever connects do not take every place of the
//! server, or of a session. A session's creator is its first viewer, so sessions and viewers are looked up alike.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{StatusCode, header};

use super::per_address::{Client, Held, PerAddress};
use super::problem::Problem;
use super::state::AppState;
use crate::session::ViewerKey;

/// Older peers are connected or gone: the network gives up on a peer that does not connect sooner than this.
const DECIDED_AFTER: Duration = Duration::from_secs(12);

/// The peers that may be unconnected.
#[derive(Debug)]
pub struct Unconnected {
    shares: PerAddress,
    /// In the order in which they joined. Bounded: what is older than [`DECIDED_AFTER`] goes with the next one.
    joined: Mutex<VecDeque<Joined>>,
}

#[derive(Debug)]
struct Joined {
    at: Instant,
    client: Client,
    session: Arc<str>,
    viewer: Arc<str>,
    /// Counted until this is dropped.
    _held: Held,
}

impl Unconnected {
    /// At most `most` of one client.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { shares: PerAddress::new(most), joined: Mutex::default() }
    }

    /// Room for one more peer of `client`; `None` if it has as many unconnected ones as it may.
    pub async fn enter(&self, client: Client, state: &AppState) -> Option<Held> {
        if let Some(held) = self.shares.take(client) {
            return Some(held);
        }
        // Some may have connected or ended since: only the network knows.
        let is_its = |joined: &&Joined| joined.client == client;
        let mut sessions: Vec<Arc<str>> =
            self.lock().iter().filter(is_its).map(|joined| Arc::clone(&joined.session)).collect();
        sessions.sort_unstable();
        sessions.dedup();
        for session in sessions {
            let waiting = waiting(state, &session).await;
            self.lock().retain(|joined| joined.session != session || waiting.contains(&*joined.viewer));
        }
        self.shares.take(client)
    }

    /// A viewer of a session joined for `client` and is not connected yet.
    pub fn keep(&self, (session, viewer): (&str, &Arc<str>), (client, held): (Client, Held), now: Instant) {
        let mut joined = self.lock();
        let is_decided = |joined: &Joined| now.saturating_duration_since(joined.at) >= DECIDED_AFTER;
        while joined.front().is_some_and(is_decided) {
            joined.pop_front();
        }
        joined.push_back(Joined { at: now, client, session: session.into(), viewer: Arc::clone(viewer), _held: held });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Joined>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The viewers of a session that have not connected.
async fn waiting(state: &AppState, session: &str) -> HashSet<String> {
    let Some(session) = state.sessions.find(session) else { return HashSet::new() };
    let stats = state.net.stats(session.key).await;
    let is_connected = |key: ViewerKey| stats.iter().any(|(of, stats)| *of == key && stats.is_connected);
    let viewers = session.viewers.list(state.wall.now()).into_iter();
    viewers.filter(|viewer| !is_connected(viewer.key)).map(|viewer| viewer.id).collect()
}

/// The refusal of one peer too many; `what` are sessions or viewers.
pub fn too_many(what: &str) -> Problem {
    let detail = format!("this address has opened as many {what} without connecting as it may");
    let hint = format!("connect the {what} that were answered, or wait until they are given up after 9 s");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail, hint)
        .code("too_many_unconnected")
        .with(header::RETRY_AFTER, "10")
}
