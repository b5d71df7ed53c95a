//! A wire that loses, delays, doubles, reorders and narrows, the same way for the same seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What the wire does to datagrams.
#[derive(Clone, Copy)]
pub struct Impairments {
    pub loss_ratio: f64,
    pub double_ratio: f64,
    /// Every datagram takes this long.
    pub delay: Duration,
    /// And up to this much longer, each on its own: later ones overtake.
    pub jitter: Duration,
    /// What fits through, if not everything.
    pub neck: Option<Neck>,
}

/// A narrow place with a queue before it that drops at its tail.
#[derive(Clone, Copy)]
pub struct Neck {
    pub bits_per_second: u64,
    pub longest_queue: Duration,
}

pub const CALM: Impairments = Impairments {
    loss_ratio: 0.0,
    double_ratio: 0.0,
    delay: Duration::from_millis(20),
    jitter: Duration::ZERO,
    neck: None,
};

/// Bytes of IP and UDP before each datagram.
const HEADERS: usize = 28;

/// Decides on datagrams that are to be lost, one by one.
pub type Thief = Box<dyn FnMut(&[u8]) -> bool>;
/// Looks at datagrams.
pub type GpuMonitor = Box<dyn FnMut(&[u8])>;

/// One direction.
pub struct Wire {
    pub impairments: Impairments,
    pub thief: Option<Thief>,
    /// Copies of everything that was posted go through this.
    pub watcher: Option<GpuMonitor>,
    pub lost: u64,
    pub carried: u64,
    random: fastrand::Rng,
    free_at: Option<Instant>,
    in_flight: BTreeMap<(Instant, u64), Vec<u8>>,
    order: u64,
}

impl Wire {
    pub fn new(impairments: Impairments, seed: u64) -> Self {
        Self {
            impairments,
            thief: None,
            watcher: None,
            lost: 0,
            carried: 0,
            random: fastrand::Rng::with_seed(seed),
            free_at: None,
            in_flight: BTreeMap::new(),
            order: 0,
        }
    }

    pub fn post(&mut self, now: Instant, bytes: &[u8]) {
        if let Some(watch) = &mut self.watcher {
            watch(bytes);
        }
        let is_stolen = self.thief.as_mut().is_some_and(|steals| steals(bytes));
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

    /// When the datagram leaves the bottleneck. `None` if its queue is full.
    fn squeeze(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(neck) = self.impairments.neck else { return Some(now) };
        let begins = self.free_at.map_or(now, |at| at.max(now));
        if begins - now > neck.longest_queue {
            return None;
        }
        let bits = 8.0 * (bytes + HEADERS) as f64;
        let through = begins + Duration::from_secs_f64(bits / neck.bits_per_second as f64);
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
