//! Queued packets to continuous samples at 48 kHz.
//!
//! Decides what replaces a missing packet: the FEC of the next packet, else concealment that fades to silence. Does not decide
//! when.

use std::time::Instant;

use super::Decode;
use super::jitter::JitterBuffer;
use crate::media::BLOCK_OPUS_SAMPLES;
use crate::telemetry::{Loss, LossCounts};
use crate::time::OPUS_HZ;

const BLOCK: usize = BLOCK_OPUS_SAMPLES;
/// Decoder frames are multiples of this: 2.5 ms.
const FRAME: usize = 120;
/// The longest concealment in one call: 120 ms.
const LONGEST: usize = 5_760;
/// Concealment keeps its level for this long,
const FULL_SAMPLES: usize = OPUS_HZ as usize / 1000 * 20;
/// and is silent from here on.
const FADED_SAMPLES: usize = OPUS_HZ as usize / 1000 * 80;

/// What a block of 20 ms consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// At least partly decoded packets or FEC.
    Voice,
    /// Packet loss concealment.
    Concealed,
    /// Silence: no packet arrived for a while, or ever.
    Quiet,
    /// Not received: a block of a speech source.
    Speech,
}

/// The decoder and the samples that are decoded but not yet played.
#[derive(Debug)]
pub(super) struct Playout<D> {
    decoder: D,
    /// Decoded, not yet played.
    ready: Vec<f32>,
    /// The sender's position of the first sample that is not decoded.
    decoded_to: i64,
    /// Samples concealed since the last packet.
    gap: usize,
    last_sequence: Option<u64>,
    last_samples: i64,
    newest_arrival: Option<Instant>,
    /// Packets that arrived too late since the last decoded one: they are counted already, and not as a gap.
    late: u64,
}

impl<D: Decode> Playout<D> {
    pub fn new(decoder: D) -> Self {
        Self {
            decoder,
            ready: Vec::with_capacity(LONGEST + BLOCK),
            decoded_to: 0,
            gap: FADED_SAMPLES,
            last_sequence: None,
            last_samples: BLOCK as i64,
            newest_arrival: None,
            late: 0,
        }
    }

    /// The number of samples in `payload`.
    pub fn samples(&self, payload: &[u8]) -> Option<i64> {
        self.decoder.samples(payload).map(|samples| samples as i64)
    }

    /// The sender's position of the next sample.
    pub fn position(&self) -> i64 {
        self.decoded_to - self.ready.len() as i64
    }

    /// The first position that is not decoded: older packets are useless.
    pub fn decoded_to(&self) -> i64 {
        self.decoded_to
    }

    /// The number of decoded samples that are not played yet.
    pub fn ready(&self) -> i64 {
        self.ready.len() as i64
    }

    /// Arrival of the packet that holds the newest decoded sample.
    pub fn newest_arrival(&self) -> Option<Instant> {
        self.newest_arrival
    }

    /// Whether concealment has faded out.
    pub fn is_faded(&self) -> bool {
        self.gap >= FADED_SAMPLES
    }

    /// Records that a packet arrived too late.
    pub fn count_late(&mut self) {
        self.late += 1;
    }

    /// Continues at `position`.
    pub fn jump(&mut self, position: i64) {
        self.ready.clear();
        self.decoded_to = position;
    }

    /// Discards all decoded audio and resets the decoder. What is missing until the next packet was discarded on purpose and is
    /// not counted as a gap.
    pub fn reset(&mut self) {
        self.decoder.reset();
        self.ready.clear();
        self.gap = FADED_SAMPLES;
        self.last_sequence = None;
        self.newest_arrival = None;
        self.late = 0;
    }

    /// The next 20 ms.
    pub fn block(&mut self, waiting: &mut JitterBuffer, losses: &mut LossCounts) -> ([f32; BLOCK], BlockKind) {
        let mut kind = if self.ready.is_empty() { BlockKind::Quiet } else { BlockKind::Voice };
        while self.ready.len() < BLOCK {
            let made = self.decode_next(waiting, losses);
            kind = if kind == BlockKind::Voice || made == BlockKind::Voice { BlockKind::Voice } else { made };
        }
        (self.pull(), kind)
    }

    /// 20 ms of concealment that are inserted: the sender's position does not move.
    pub fn filler(&mut self) -> ([f32; BLOCK], BlockKind) {
        let kept = std::mem::take(&mut self.ready);
        let decoded_to = self.decoded_to;
        let kind = self.conceal(BLOCK);
        let block = self.pull();
        self.ready = kept;
        self.decoded_to = decoded_to;
        (block, kind)
    }

    fn pull(&mut self) -> [f32; BLOCK] {
        let mut block = [0.0; BLOCK];
        block.copy_from_slice(&self.ready[..BLOCK]);
        self.ready.drain(..BLOCK);
        block
    }

    /// Decodes the packet that is due, or conceals what is missing before it or in this block.
    fn decode_next(&mut self, waiting: &mut JitterBuffer, losses: &mut LossCounts) -> BlockKind {
        let missing = BLOCK - self.ready.len();
        let Some(first) = waiting.first() else { return self.conceal(missing) };
        let hole = first.position - self.decoded_to;
        // A hole below one frame is no lost packet, but a rounding error of the sender.
        if hole < FRAME as i64 {
            return self.decode_packet(waiting, losses);
        }
        let lost = self.last_samples.clamp(FRAME as i64, LONGEST as i64);
        if hole == lost {
            let payload = first.packet.payload.clone();
            return self.recover(&payload, lost as usize);
        }
        self.conceal(missing.min((hole - lost).max(FRAME as i64) as usize))
    }

    fn decode_packet(&mut self, waiting: &mut JitterBuffer, losses: &mut LossCounts) -> BlockKind {
        let Some(held) = waiting.take() else { return BlockKind::Quiet };
        self.count_gap(held.packet.sequence, losses);
        let before = self.ready.len();
        if self.decoder.decode(&held.packet.payload, &mut self.ready).is_err() {
            losses.count(Loss::BadPacket);
            return self.conceal(held.samples.clamp(FRAME as i64, LONGEST as i64) as usize);
        }
        let already = (self.decoded_to - held.position).clamp(0, (self.ready.len() - before) as i64) as usize;
        self.ready.drain(before..before + already);
        self.decoded_to = self.decoded_to.max(held.position) + (self.ready.len() - before) as i64;
        self.gap = 0;
        self.last_samples = held.samples;
        self.newest_arrival = Some(held.packet.arrived);
        BlockKind::Voice
    }

    /// Counts the packets that are missing before this one by sequence number; without numbers, by the length of the gap.
    fn count_gap(&mut self, sequence: Option<u64>, losses: &mut LossCounts) {
        let missing = match (self.last_sequence, sequence) {
            (Some(last), Some(this)) => this.saturating_sub(last + 1),
            _ if self.newest_arrival.is_none() => 0,
            _ => (self.gap as i64 / self.last_samples.max(1)).max(0).cast_unsigned(),
        };
        let heard_of = std::mem::take(&mut self.late);
        // A restarted sender counts from anywhere: more than a second is no gap.
        (0..missing.saturating_sub(heard_of).min(50)).for_each(|_| losses.count(Loss::ConcealedGap));
        self.last_sequence = sequence;
    }

    fn recover(&mut self, next: &[u8], samples: usize) -> BlockKind {
        if self.decoder.recover(next, samples, &mut self.ready).is_err() {
            return self.conceal(samples);
        }
        self.decoded_to += samples as i64;
        self.gap += samples;
        BlockKind::Voice
    }

    fn conceal(&mut self, samples: usize) -> BlockKind {
        let before = self.ready.len();
        let whole = samples.next_multiple_of(FRAME).min(LONGEST);
        let is_silent = self.is_faded() || self.decoder.conceal(whole, &mut self.ready).is_err();
        self.ready.resize(before + whole, 0.0);
        for (n, sample) in self.ready[before..].iter_mut().enumerate() {
            *sample *= fade(self.gap + n);
        }
        self.decoded_to += whole as i64;
        self.gap += whole;
        if is_silent { BlockKind::Quiet } else { BlockKind::Concealed }
    }
}

/// The gain of concealment `into_gap` samples after the last packet.
fn fade(into_gap: usize) -> f32 {
    let left = FADED_SAMPLES.saturating_sub(into_gap) as f32;
    (left / (FADED_SAMPLES - FULL_SAMPLES) as f32).min(1.0)
}
