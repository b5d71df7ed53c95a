//! The map of peers. In tests it counts how many peers are accessed, so that a test can bound the cost of a datagram.

#[cfg(test)]
use std::cell::Cell;
use std::collections::HashMap;
use std::hash::Hash;

/// Peers by key.
#[derive(Debug)]
pub struct PeerTable<K, V> {
    peers: HashMap<K, V>,
    #[cfg(test)]
    accessed: Cell<u64>,
}

impl<K: Eq + Hash + Copy, V> PeerTable<K, V> {
    /// No peers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            peers: HashMap::new(),
            #[cfg(test)]
            accessed: Cell::new(0),
        }
    }

    /// Number of peers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// The peer with this key.
    #[must_use]
    pub fn get(&self, key: K) -> Option<&V> {
        self.count(1);
        self.peers.get(&key)
    }

    /// The peer with this key.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.count(1);
        self.peers.get_mut(&key)
    }

    /// Adds a peer.
    pub fn insert(&mut self, key: K, peer: V) {
        self.peers.insert(key, peer);
    }

    /// Removes a peer.
    pub fn remove(&mut self, key: K) -> Option<V> {
        self.peers.remove(&key)
    }

    /// Every peer with its key: not for the path of a datagram.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.count(self.peers.len());
        self.peers.iter().map(|(key, peer)| (*key, peer))
    }

    /// Every peer: not for the path of a datagram.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.count(self.peers.len());
        self.peers.values_mut()
    }

    #[cfg(test)]
    fn count(&self, peers: usize) {
        self.accessed.set(self.accessed.get() + peers as u64);
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests count here")]
    fn count(&self, _peers: usize) {}

    /// Number of accesses to peers so far.
    #[cfg(test)]
    #[must_use]
    pub fn accessed(&self) -> u64 {
        self.accessed.get()
    }
}
