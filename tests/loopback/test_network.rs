//! A network that loses, delays, duplicates, reorders and limits datagrams, in the same way for the same seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What the network does to datagrams.
#[derive(Clone, Copy)]
pub struct Impairments {
    pub loss_ratio: f64,
    pub double_ratio: f64,
    /// Every datagram takes this long.
    pub delay: Duration,
    /// And up to this much longer, independently of others: datagrams are reordered.
    pub jitter: Duration,
    /// The bottleneck, if there is one.
    pub bottleneck: Option<Bottleneck>,
}

/// A bottleneck with a drop-tail queue.
#[derive(Clone, Copy)]
pub struct Bottleneck {
    pub bits_per_second: u64,
    pub longest_queue: Duration,
}

pub const CALM: Impairments = Impairments {
    loss_ratio: 0.0,
    double_ratio: 0.0,
    delay: Duration::from_millis(20),
    jitter: Duration::ZERO,
    bottleneck: None,
};

/// Bytes of IP and UDP before each datagram.
const HEADERS: usize = 28;

/// Decides for each datagram whether it is lost.
pub type DropRule = Box<dyn FnMut(&[u8]) -> bool>;
/// Observes datagrams.
pub type Observer = Box<dyn FnMut(&[u8])>;

/// One direction.
pub struct Link {
    pub impairments: Impairments,
    pub drop_rule: Option<DropRule>,
    /// Observes every datagram that is sent.
    pub observer: Option<Observer>,
    pub lost: u64,
    pub carried: u64,
    random: fastrand::Rng,
    free_at: Option<Instant>,
    in_flight: BTreeMap<(Instant, u64), Vec<u8>>,
    order: u64,
}

impl Link {
    pub fn new(impairments: Impairments, seed: u64) -> Self {
        Self {
            impairments,
            drop_rule: None,
            observer: None,
            lost: 0,
            carried: 0,
            random: fastrand::Rng::with_seed(seed),
            free_at: None,
            in_flight: BTreeMap::new(),
            order: 0,
        }
    }

    pub fn post(&mut self, now: Instant, bytes: &[u8]) {
        if let Some(watch) = &mut self.observer {
            watch(bytes);
        }
        let is_stolen = self.drop_rule.as_mut().is_some_and(|steals| steals(bytes));
        if is_stolen || self.random.f64() < self.impairments.loss_ratio {
            self.lost += 1;
            return;
        }
        let copies = if self.random.f64() < self.impairments.double_ratio { 2 } else { 1 };
        for _ in 0..copies {
            let Some(through) = self.squeeze(now, bytes.len()) else {
                self.lost += 1;
                continue;
            };
            let late = self.impairments.delay + self.impairments.jitter.mul_f64(self.random.f64());
            self.order += 1;
            self.carried += 1;
            self.in_flight.insert((through + late, self.order), bytes.to_vec());
        }
    }

    /// When the datagram is through the bottleneck; `None` if its queue is full.
    fn squeeze(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(bottleneck) = self.impairments.bottleneck else { return Some(now) };
        let begins = self.free_at.map_or(now, |at| at.max(now));
        if begins - now > bottleneck.longest_queue {
            return None;
        }
        let bits = 8.0 * (bytes + HEADERS) as f64;
        let through = begins + Duration::from_secs_f64(bits / bottleneck.bits_per_second as f64);
        self.free_at = Some(through);
        Some(through)
    }

    pub fn next_at(&self) -> Option<Instant> {
        self.in_flight.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next datagram that has arrived by `now`.
    pub fn take(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.next_at().filter(|at| *at <= now)?;
        self.in_flight.pop_first().map(|(_, bytes)| bytes)
    }
}
