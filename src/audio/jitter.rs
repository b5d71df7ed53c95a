//! The jitter buffer: packets in playout order.
//!
//! Decides order, duplicates, and what is dropped when it is full. Does not decide when a packet is late: the caller passes the
//! playout position.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use crate::media::Utterance;
use crate::telemetry::Loss;
use crate::time::{AudioRtpTime, OPUS_HZ};

/// Maximum queued audio in samples at 48 kHz: one second.
const MOST_SAMPLES: i64 = OPUS_HZ as i64;
/// Maximum number of queued packets: one second of the shortest ones, 2.5 ms.
const MOST_PACKETS: usize = 400;
/// Number of played packets that are remembered, to distinguish duplicates from late packets.
const REMEMBERED: usize = 64;

/// An audio packet as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioPacket {
    /// RTP time of its first sample.
    pub rtp: AudioRtpTime,
    /// Its extended sequence number, if known: distinguishes a lost packet from a pause of the sender.
    pub sequence: Option<u64>,
    /// One Opus packet.
    pub payload: Bytes,
    /// When it was read from the socket.
    pub arrived: Instant,
}

/// A packet with its position on the sender's unwrapped clock.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// Samples at 48 kHz since the unwrapping began; may be negative.
    pub position: i64,
    /// Its number of samples.
    pub samples: i64,
    /// The utterance in which it arrived.
    pub utterance: Utterance,
    pub packet: AudioPacket,
}

/// At most one second of packets.
#[derive(Debug, Default)]
pub(super) struct JitterBuffer {
    waiting: BTreeMap<i64, Held>,
    taken: VecDeque<i64>,
}

impl JitterBuffer {
    /// Queues a packet. `played` is the first position not yet played; `None` while nothing is being played.
    pub fn insert(&mut self, held: Held, played: Option<i64>) -> Result<(), Loss> {
        if self.waiting.contains_key(&held.position) || self.taken.contains(&held.position) {
            return Err(Loss::DuplicatePacket);
        }
        if played.is_some_and(|played| held.position + held.samples <= played) {
            return Err(Loss::LatePacket);
        }
        self.waiting.insert(held.position, held);
        Ok(())
    }

    /// Drops the oldest packet if the queue is too long. Call it until it returns `None`.
    pub fn overflow(&mut self) -> Option<Held> {
        let (first, last) = (self.waiting.first_key_value()?, self.waiting.last_key_value()?);
        let is_too_long = last.0 + last.1.samples - first.0 > MOST_SAMPLES;
        (is_too_long || self.waiting.len() > MOST_PACKETS).then(|| self.take()).flatten()
    }

    /// The oldest packet.
    pub fn first(&self) -> Option<&Held> {
        self.waiting.first_key_value().map(|(_, held)| held)
    }

    /// Whether all samples from `position` to `position + count` are queued.
    pub fn covers(&self, position: i64, count: i64) -> bool {
        let mut reached = position;
        for held in self.waiting.values() {
            if held.position > reached {
                break;
            }
            reached = reached.max(held.position + held.samples);
        }
        reached >= position + count
    }

    /// Removes the oldest packet.
    pub fn take(&mut self) -> Option<Held> {
        let (position, held) = self.waiting.pop_first()?;
        if self.taken.len() == REMEMBERED {
            self.taken.pop_front();
        }
        self.taken.push_back(position);
        Some(held)
    }

    /// Drops everything older than `utterance`; returns the number of packets.
    pub fn discard(&mut self, utterance: Utterance) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|_, held| held.utterance >= utterance);
        before - self.waiting.len()
    }

    /// Drops everything; returns the number of packets.
    pub fn clear(&mut self) -> usize {
        self.taken.clear();
        std::mem::take(&mut self.waiting).len()
    }
}

/// Unwraps RTP time: each packet's position is the shortest way from the previous one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unwrap {
    last: Option<(AudioRtpTime, i64)>,
}

impl Unwrap {
    /// The position of `rtp`.
    pub fn position(&mut self, rtp: AudioRtpTime) -> i64 {
        let position = self.last.map_or(0, |(last, position)| position + i64::from(rtp.ticks_since(last)));
        self.last = Some((rtp, position));
        position
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs an arbitrary first instant")]
mod tests {
    use super::*;

    fn held(position: i64) -> Held {
        let packet = AudioPacket {
            rtp: AudioRtpTime::default(),
            sequence: None,
            payload: Bytes::new(),
            arrived: Instant::now(),
        };
        Held { position, samples: 960, utterance: Utterance(position.unsigned_abs() / 1920), packet }
    }

    #[test]
    fn packets_come_out_in_rtp_order() {
        let mut buffer = JitterBuffer::default();
        [1920, 0, 960].into_iter().for_each(|at| buffer.insert(held(at), None).expect("kept"));
        assert_eq!(buffer.insert(held(960), None), Err(Loss::DuplicatePacket));
        assert!(buffer.covers(0, 2880) && !buffer.covers(0, 2881));
        assert_eq!(buffer.take().map(|h| h.position), Some(0));
        assert_eq!(buffer.insert(held(0), Some(960)), Err(Loss::DuplicatePacket));
        assert_eq!(buffer.insert(held(-960), Some(960)), Err(Loss::LatePacket));
        assert_eq!(buffer.first().map(|h| h.position), Some(960));
    }

    #[test]
    fn only_packets_of_the_newest_utterance_stay() {
        let mut buffer = JitterBuffer::default();
        (0..6).for_each(|n| buffer.insert(held(n * 960), None).expect("kept"));
        assert_eq!(buffer.discard(Utterance(2)), 4);
        assert_eq!(buffer.first().map(|held| held.utterance), Some(Utterance(2)));
    }

    #[test]
    fn overflow_drops_the_oldest() {
        let mut buffer = JitterBuffer::default();
        let mut lost = 0;
        for n in 0..1_000 {
            buffer.insert(held(n * 960), None).expect("kept");
            lost += std::iter::from_fn(|| buffer.overflow()).count();
        }
        assert_eq!((lost, buffer.clear()), (950, 50));
    }

    #[test]
    fn positions_continue_across_the_wrap_of_rtp_time() {
        let mut unwrap = Unwrap::default();
        let start = AudioRtpTime::default().plus(u32::MAX - 500);
        assert_eq!(unwrap.position(start), 0);
        assert_eq!(unwrap.position(start.plus(1920)), 1920);
        assert_eq!(unwrap.position(start.plus(960)), 960);
    }
}
