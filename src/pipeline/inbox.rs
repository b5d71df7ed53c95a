//! The way into a show: packets of voice and orders, both bounded, from any thread without waiting.
//!
//! Decides what is dropped when a show does not keep up: the oldest packet, the newest order.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

use crate::codec::sound::Sound;
use crate::listen::VoicePacket;
use crate::media::Utterance;
use crate::model::Actor;
use crate::telemetry::{Counters, Loss, LossCounts};

const PACKETS: usize = 128;
const ORDERS: usize = 32;

/// What a show can be told.
#[derive(Debug)]
pub enum Order {
    /// Someone needs a picture to start from (PLI or FIR, RFC 4585 and 5104).
    KeyPicture,
    /// The way out carries about this many bits a second.
    Bitrate(u32),
    /// Speak this sound instead of whatever was being said.
    Say(Arc<Sound>),
    /// Say no more of what was being said.
    Hush,
    /// Another avatar takes over.
    Recast(Newcomer),
}

/// An actor on the way to the stage.
pub struct Newcomer(pub Box<dyn Actor>);

impl fmt::Debug for Newcomer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Newcomer")
    }
}

/// The order was not taken: too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wanted a free place among {ORDERS} waiting orders, found none")]
pub struct OrdersFull;

/// The way into one show. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    packets: ArrayQueue<VoicePacket>,
    orders: ArrayQueue<Order>,
    utterance: AtomicU64,
    has_ended: AtomicBool,
    counters: Arc<Counters>,
}

impl Inbox {
    /// An empty way in; what overflows is counted in `counters`.
    #[must_use]
    pub fn new(counters: Arc<Counters>) -> Self {
        Self(Arc::new(Shared {
            packets: ArrayQueue::new(PACKETS),
            orders: ArrayQueue::new(ORDERS),
            utterance: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
            counters,
        }))
    }

    /// Takes a packet; when the queue is full the oldest goes.
    pub fn hear(&self, packet: VoicePacket) {
        if self.0.packets.force_push(packet).is_some() {
            let mut lost = LossCounts::default();
            lost.count(Loss::OverflowPacket);
            self.0.counters.add(&lost);
        }
    }

    /// Takes an order. `Say` and `Hush` raise the utterance number at once, wherever the show is.
    ///
    /// # Errors
    /// If too many orders wait.
    pub fn order(&self, order: Order) -> Result<(), OrdersFull> {
        if matches!(order, Order::Say(_) | Order::Hush) {
            self.0.utterance.fetch_add(1, Ordering::Release);
        }
        self.0.orders.push(order).map_err(|_refused| OrdersFull)
    }

    /// The number of the newest utterance; anything older is worthless.
    #[must_use]
    pub fn utterance(&self) -> Utterance {
        Utterance(self.0.utterance.load(Ordering::Acquire))
    }

    /// Ends the show: its worker drops it at the next tick, its door closes politely.
    pub fn end(&self) {
        self.0.has_ended.store(true, Ordering::Release);
    }

    /// Whether the show is over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.has_ended.load(Ordering::Acquire)
    }

    pub(super) fn next_packet(&self) -> Option<VoicePacket> {
        self.0.packets.pop()
    }

    pub(super) fn next_order(&self) -> Option<Order> {
        self.0.orders.pop()
    }
}
