//! Sessions that were answered and have not connected: each occupies a slot until it connects or times out.
//!
//! Decides how many of them one client may have, so that offers that never connect do not occupy every slot.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::per_address::{Client, Held, PerAddress};
use crate::rtc::RtcServer;

/// Older sessions are connected or ended: the network removes a peer that does not connect sooner.
const DECIDED_AFTER: Duration = Duration::from_secs(12);

/// The unconnected sessions.
#[derive(Debug)]
pub struct Unconnected {
    shares: PerAddress,
    /// In the order of joining. Bounded: entries older than [`DECIDED_AFTER`] are removed with the next one.
    joined: Mutex<VecDeque<Joined>>,
}

#[derive(Debug)]
struct Joined {
    at: Instant,
    client: Client,
    id: Arc<str>,
    /// Counted until dropped.
    _held: Held,
}

impl Unconnected {
    /// At most `most` per client.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { shares: PerAddress::new(most), joined: Mutex::default() }
    }

    /// A slot for one more session of `client`; `None` if it has the maximum of unconnected ones.
    pub async fn enter(&self, client: Client, net: &RtcServer) -> Option<Held> {
        if let Some(held) = self.shares.take(client) {
            return Some(held);
        }
        // Some may have connected or ended since: only the network knows.
        let ids: Vec<Arc<str>> =
            self.lock().iter().filter(|joined| joined.client == client).map(|joined| Arc::clone(&joined.id)).collect();
        for id in ids {
            if net.first_viewer_stats(&id).await.is_none_or(|stats| stats.is_connected) {
                self.lock().retain(|joined| joined.id != id);
            }
        }
        self.shares.take(client)
    }

    /// The session `id` of `client` has joined and is not connected yet.
    pub fn keep(&self, id: &Arc<str>, client: Client, held: Held, now: Instant) {
        let mut joined = self.lock();
        let is_decided = |joined: &Joined| now.saturating_duration_since(joined.at) >= DECIDED_AFTER;
        while joined.front().is_some_and(is_decided) {
            joined.pop_front();
        }
        joined.push_back(Joined { at: now, client, id: Arc::clone(id), _held: held });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Joined>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
