//! The way into a show: packets of voice and orders, both bounded, from any thread without waiting.
//!
//! Decides what is dropped when a show does not keep up: the oldest packet, the newest order.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_queue::ArrayQueue;

use super::speech::SpeechSource;
use crate::adapt::AudioPlan;
use crate::audio::AudioPacket;
use crate::media::Utterance;
use crate::model::Animator;
use crate::telemetry::{Counters, Loss};

const PACKETS: usize = 128;
const ORDERS: usize = 32;

/// What a show can be told.
#[derive(Debug)]
pub enum SessionCommand {
    /// Someone needs a picture to start from (PLI or FIR, RFC 4585 and 5104).
    KeyPicture,
    /// The way out carries about this many bits a second.
    Bitrate(u32),
    /// The voice is to be coded like this from now on.
    Voice(AudioPlan),
    /// Speak this source instead of what was being spoken.
    Speak(SpeechSource),
    /// Say no more of what was being said, or was spoken into the microphone up to now. A microphone that speaks on is
    /// heard again, with what is spoken from now on: whoever wants it silent ends it.
    Interrupt,
    /// Another avatar takes over.
    SwapAvatar(NewAnimator),
}

/// An actor on the way to the stage.
pub struct NewAnimator(pub Box<dyn Animator>);

impl fmt::Debug for NewAnimator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewAnimator")
    }
}

/// The order was not taken: too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wanted a free place among {ORDERS} waiting orders, found none")]
pub struct CommandQueueFull;

/// The way into one show. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    packets: ArrayQueue<(AudioPacket, Utterance)>,
    orders: ArrayQueue<(SessionCommand, Utterance)>,
    utterance: AtomicU64,
    /// Who raises the utterance number has this, so that a number and its order go in together. Shows never take it.
    raising: Mutex<()>,
    has_viewer: AtomicBool,
    unsent_pictures: AtomicUsize,
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
            raising: Mutex::new(()),
            has_viewer: AtomicBool::new(false),
            unsent_pictures: AtomicUsize::new(0),
            has_ended: AtomicBool::new(false),
            counters,
        }))
    }

    /// Takes a packet, as part of the newest utterance; when the queue is full the oldest goes.
    pub fn hear(&self, packet: AudioPacket) {
        if self.0.packets.force_push((packet, self.utterance())).is_some() {
            self.0.counters.lose(Loss::OverflowPacket);
        }
    }

    /// Takes an order and gives the number of the utterance that it belongs to. `Say` and `Interrupt` raise that number at once,
    /// wherever the show is; one that is refused raises nothing.
    ///
    /// # Errors
    /// If too many orders wait.
    pub fn order(&self, order: SessionCommand) -> Result<Utterance, CommandQueueFull> {
        if !matches!(order, SessionCommand::Speak(_) | SessionCommand::Interrupt) {
            return self.queue(order, self.utterance());
        }
        let _turn = self.0.raising.lock().unwrap_or_else(PoisonError::into_inner);
        let raised = self.queue(order, self.utterance().next())?;
        self.0.utterance.store(raised.0, Ordering::Release);
        Ok(raised)
    }

    fn queue(&self, order: SessionCommand, utterance: Utterance) -> Result<Utterance, CommandQueueFull> {
        self.0.orders.push((order, utterance)).map_err(|_refused| {
            self.0.counters.lose(Loss::RefusedCommand);
            CommandQueueFull
        })?;
        Ok(utterance)
    }

    /// The number of the newest utterance; anything older is worthless.
    #[must_use]
    pub fn utterance(&self) -> Utterance {
        Utterance(self.0.utterance.load(Ordering::Acquire))
    }

    /// Someone can be shown something from now on. Before that a show listens, but draws and says nothing.
    pub fn watch(&self) {
        self.0.has_viewer.store(true, Ordering::Release);
    }

    pub(super) fn has_viewer(&self) -> bool {
        self.0.has_viewer.load(Ordering::Acquire)
    }

    /// So many pictures of this show wait for the network; it begins no more while they do.
    pub fn note_unsent(&self, pictures: usize) {
        self.0.unsent_pictures.store(pictures, Ordering::Release);
    }

    pub(super) fn unsent_pictures(&self) -> usize {
        self.0.unsent_pictures.load(Ordering::Acquire)
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

    pub(super) fn next_packet(&self) -> Option<(AudioPacket, Utterance)> {
        self.0.packets.pop()
    }

    pub(super) fn next_order(&self) -> Option<(SessionCommand, Utterance)> {
        self.0.orders.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_is_refused_raises_nothing() {
        let inbox = Inbox::new(Arc::new(Counters::default()));
        let taken = (0..ORDERS + 8).filter(|_| inbox.order(SessionCommand::Interrupt).is_ok()).count();
        assert_eq!((taken, inbox.utterance()), (ORDERS, Utterance(ORDERS as u64)));
        let newest = std::iter::from_fn(|| inbox.next_order()).last().map(|(_, utterance)| utterance);
        assert_eq!(newest, Some(inbox.utterance()));
        assert_eq!(inbox.0.counters.snapshot().of(Loss::RefusedCommand), 8);
    }
}
