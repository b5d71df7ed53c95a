//! From waiting packets to samples at 48 kHz without a hole.
//!
//! Decides what stands in for a missing packet: the next one's error correction, then concealment that fades to
//! silence. Does not decide when.

use std::time::Instant;

use super::Decode;
use super::jitter::JitterBuffer;
use crate::media::BLOCK_OPUS_SAMPLES;
use crate::telemetry::{Loss, LossCounts};
use crate::time::OPUS_HZ;

const BLOCK: usize = BLOCK_OPUS_SAMPLES;
/// Frames of a decoder are multiples of this.
const FRAME: usize = 120;
/// The longest stretch that a decoder conceals at once: 120 ms.
const LONGEST: usize = 5_760;
/// Concealment is as loud as the decoder makes it for this long,
const FULL_SAMPLES: usize = OPUS_HZ as usize / 1000 * 20;
/// and silent from here on.
const FADED_SAMPLES: usize = OPUS_HZ as usize / 1000 * 80;

/// What 20 ms were made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// At least partly packets, or what was recovered from them.
    Voice,
    /// Made up by the decoder for missing packets.
    Concealed,
    /// Silence: nothing came for a while, or ever.
    Quiet,
    /// Not what came, but a sound that was to be said.
    Said,
}

/// The sample that is played next, and what is decoded beyond it.
#[derive(Debug)]
pub(super) struct Playout<D> {
    decoder: D,
    /// Decoded, not yet played.
    ready: Vec<f32>,
    /// The sender's position of the first sample that is not decoded.
    decoded_to: i64,
    /// Samples made up since the last packet.
    gap: usize,
    last_sequence: Option<u64>,
    last_samples: i64,
    newest_arrival: Option<Instant>,
    /// Packets that came too late since the last one that was decoded: the gap before the next is not theirs.
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

    /// Samples that `payload` holds.
    pub fn samples(&self, payload: &[u8]) -> Option<i64> {
        self.decoder.samples(payload).map(|samples| samples as i64)
    }

    /// The sender's position of the next sample.
    pub fn position(&self) -> i64 {
        self.decoded_to - self.ready.len() as i64
    }

    /// The first position that a packet can still be of use for.
    pub fn decoded_to(&self) -> i64 {
        self.decoded_to
    }

    /// How many samples from the next on are decoded.
    pub fn ready(&self) -> i64 {
        self.ready.len() as i64
    }

    /// When the packet of the newest decoded sample came.
    pub fn newest_arrival(&self) -> Option<Instant> {
        self.newest_arrival
    }

    /// Whether concealment has faded out.
    pub fn is_faded(&self) -> bool {
        self.gap >= FADED_SAMPLES
    }

    /// A packet came too late.
    pub fn count_late(&mut self) {
        self.late += 1;
    }

    /// Goes on at `position`, wherever it was.
    pub fn jump(&mut self, position: i64) {
        self.ready.clear();
        self.decoded_to = position;
    }

    /// Nothing of what was said is played any more, not even its echo in a gap or in the next packet. What is missing until
    /// the next packet was taken away on purpose and is no gap.
    pub fn hush(&mut self) {
        self.decoder.forget();
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

    /// 20 ms that stand for nothing the sender said: its clock waits meanwhile.
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

    /// Decodes the packet that is due, or makes up what is missing before it or in this block.
    fn decode_next(&mut self, waiting: &mut JitterBuffer, losses: &mut LossCounts) -> BlockKind {
        let missing = BLOCK - self.ready.len();
        let Some(first) = waiting.first() else { return self.conceal(missing) };
        let hole = first.position - self.decoded_to;
        // Less than one frame is no packet, but a sender that counts differently: taken as it comes.
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

    /// Counts what the sequence numbers say is missing before this packet; without them, the gap itself.
    fn count_gap(&mut self, sequence: Option<u64>, losses: &mut LossCounts) {
        let missing = match (self.last_sequence, sequence) {
            (Some(last), Some(this)) => this.saturating_sub(last + 1),
            _ if self.newest_arrival.is_none() => 0,
            _ => (self.gap as i64 / self.last_samples.max(1)).max(0).cast_unsigned(),
        };
        let heard_of = std::mem::take(&mut self.late);
        // A sender that starts over counts from anywhere: more than a second is no gap.
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

/// How loud the sample is that stands `into_gap` samples after the last packet.
fn fade(into_gap: usize) -> f32 {
    let left = FADED_SAMPLES.saturating_sub(into_gap) as f32;
    (left / (FADED_SAMPLES - FULL_SAMPLES) as f32).min(1.0)
}
