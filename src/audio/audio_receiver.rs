//! The audio receiver: one block of 20 ms at every tick, whatever the network does.
//!
//! Decides when playout starts, how it follows the sender's clock, when it waits, and when it stops. Neither decodes nor reads
//! a clock.

use std::time::{Duration, Instant};

use super::delay_estimator::{DelayEstimator, Punctuality};
use super::jitter::{AudioPacket, Held, JitterBuffer, Unwrap};
use super::playout::Playout;
use super::playout_clock::PlayoutClock;
use super::vad::{Speaking, VoiceActivityDetector};
use super::{Decode, Downsampler};
use crate::media::{BLOCK_OPUS_SAMPLES, BLOCK_SPEECH_SAMPLES, PcmBlock, Utterance};
use crate::telemetry::{Loss, LossCounts};
use crate::time::SampleIndex;

pub use super::playout::BlockKind;

const BLOCK: i64 = BLOCK_OPUS_SAMPLES as i64;
/// How far playout may be from its target before a block is inserted or removed, in seconds.
const FAR_S: f64 = 0.020;
/// Only blocks below this RMS level, 0 to 1, are removed.
const SOFT_LEVEL: f32 = 0.03;
/// A sender's clock that jumps by more than this was restarted, in seconds.
const RESTART_S: f64 = 1.0;
/// After this many late packets in a row the estimate of the sender's clock is discarded.
const LATE_IN_A_ROW: u32 = 15;
/// A packet may start playout this long after its playout time.
const BEGIN_LATE: Duration = Duration::from_millis(10);
/// A tick may start playout this long before the playout time of its packet.
const BEGIN_EARLY: Duration = Duration::from_millis(1);
/// Delay of the 48 kHz samples that keeps them aligned with the downsampled ones: [`super::DOWNSAMPLER_DELAY_SAMPLES`] at 48 kHz.
const HELD_BACK: usize = super::DOWNSAMPLER_DELAY_SAMPLES * 3;
/// Weight of a block in the running share of concealed blocks: a time constant of 10 s.
const SHARE_WEIGHT: f32 = 0.002;

/// The output of one tick.
#[derive(Clone, Debug)]
pub struct AudioBlock {
    /// 20 ms of audio; both rates cover the same time.
    pub block: PcmBlock,
    /// The sample index at which the block starts.
    pub at: SampleIndex,
    /// Arrival of the packet that holds its newest sample; `None` if there is no such packet.
    pub newest_arrival: Option<Instant>,
    /// What it consists of.
    pub kind: BlockKind,
    /// Whether speech starts or stops with it.
    pub change: Option<Speaking>,
}

/// Statistics of the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AudioReceiverStats {
    /// Time from the arrival of the fastest packets to their playout, in ms.
    pub depth_ms: f64,
    /// The 97th percentile of lateness relative to the fastest packets, in ms.
    pub jitter_ms: f64,
    /// How much faster the sender's clock runs than the server's, in parts per million.
    pub drift_ppm: f64,
    /// The concealed share of the last ten seconds, 0 to 1.
    pub concealed_ratio: f32,
}

/// Whether packets are being played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Ticks keep their interval and give silence.
    Idle,
    /// Ticks follow the sender's clock.
    Playing,
}

/// The audio receiver of one session.
#[derive(Debug)]
pub struct AudioReceiver<D> {
    clock: PlayoutClock,
    delay: DelayEstimator,
    waiting: JitterBuffer,
    unwrap: Unwrap,
    playout: Playout<D>,
    downsampler: Downsampler,
    held_back: [f32; HELD_BACK],
    activity: VoiceActivityDetector,
    state: State,
    at: SampleIndex,
    utterance: Utterance,
    /// Samples before this position belong to an older utterance, however late they arrive.
    spoken_from: Option<i64>,
    late_in_a_row: u32,
    losses: LossCounts,
    concealed_ratio: f32,
}

impl<D: Decode> AudioReceiver<D> {
    /// A receiver whose sample 0 is played at `start`.
    pub fn new(decoder: D, start: Instant) -> Self {
        Self {
            clock: PlayoutClock::new(start),
            delay: DelayEstimator::new(start),
            waiting: JitterBuffer::default(),
            unwrap: Unwrap::default(),
            playout: Playout::new(decoder),
            downsampler: Downsampler::new(),
            held_back: [0.0; HELD_BACK],
            activity: VoiceActivityDetector::new(),
            state: State::Idle,
            at: SampleIndex::ZERO,
            utterance: Utterance::default(),
            spoken_from: None,
            late_in_a_row: 0,
            losses: LossCounts::default(),
            concealed_ratio: 0.0,
        }
    }

    /// When [`Self::tick`] is due. Read it again after every [`Self::push_packet`]: the start of playout moves it.
    pub fn next_tick(&self) -> Instant {
        self.clock.next()
    }

    /// Takes a packet, in any order, and the utterance in which it arrived.
    pub fn push_packet(&mut self, packet: AudioPacket, utterance: Utterance) {
        if utterance < self.utterance {
            return self.losses.count(Loss::StaleUtterance);
        }
        let Some(samples) = self.playout.samples(&packet.payload) else {
            return self.losses.count(Loss::BadPacket);
        };
        let position = self.unwrap.position(packet.rtp);
        let arrived = packet.arrived;
        if self.has_clock_jumped(position, arrived) {
            self.restart();
        }
        if self.spoken_from.is_some_and(|from| position < from) {
            self.delay.observe(position, arrived, Punctuality::InTime);
            return self.losses.count(Loss::StaleUtterance);
        }
        self.enqueue(Held { position, samples, utterance, packet });
    }

    fn enqueue(&mut self, held: Held) {
        let (position, arrived) = (held.position, held.packet.arrived);
        let needed_at = self.needed_at(position);
        let mut punctuality = self.punctuality(needed_at, arrived);
        let played = (self.state == State::Playing).then(|| self.playout.decoded_to());
        match self.waiting.insert(held, played) {
            Ok(()) if self.state == State::Playing => self.late_in_a_row = 0,
            Ok(()) => {}
            Err(Loss::LatePacket) => {
                self.lose_late();
                punctuality = Punctuality::Late;
            }
            Err(loss) => return self.losses.count(loss),
        }
        self.delay.observe(needed_at, arrived, punctuality);
        self.trim_queue();
    }

    /// Discards everything older than `utterance`, at once: queued packets, decoded samples, and packets that were sent before
    /// this tick and are still in the network. Reports the end of speech, if there was speech. Audio that the microphone sends
    /// from now on is played.
    pub fn begin_utterance(&mut self, utterance: Utterance) -> Option<Speaking> {
        if utterance <= self.utterance {
            return None;
        }
        self.utterance = utterance;
        self.spoken_from = self.delay.spoken_by(self.clock.next());
        let stale = self.waiting.discard(utterance);
        self.losses.count_many(Loss::StaleUtterance, stale as u64);
        self.playout.reset();
        self.downsampler.reset();
        self.held_back = [0.0; HELD_BACK];
        self.state = State::Idle;
        self.late_in_a_row = 0;
        self.activity.reset(self.at)
    }

    /// Gives the block that was due at [`Self::next_tick`]: received audio, or `speech` in its place. Call it when that time
    /// has come; a caller that is late calls it repeatedly until it has caught up.
    pub fn tick(&mut self, speech: Option<PcmBlock>) -> AudioBlock {
        let ((samples, kind), at) = (self.play(), self.at);
        self.at = at + BLOCK_SPEECH_SAMPLES as u64;
        self.clock.advance();
        self.steer();
        let received = self.resample_block(&samples);
        if speech.is_some() && kind == BlockKind::Voice {
            self.losses.count(Loss::OverriddenMicrophone);
        }
        let kind = if speech.is_some() { BlockKind::Speech } else { kind };
        let block = speech.unwrap_or(received);
        let change = self.activity.push_block(&block, at);
        let newest_arrival = self.playout.newest_arrival().filter(|_| kind == BlockKind::Voice);
        AudioBlock { block, at, newest_arrival, kind, change }
    }

    /// Losses since the last call.
    pub fn losses(&mut self) -> LossCounts {
        self.losses.take()
    }

    /// Statistics.
    pub fn stats(&self) -> AudioReceiverStats {
        AudioReceiverStats {
            depth_ms: self.depth_ms(),
            jitter_ms: self.delay.jitter_ms(),
            drift_ppm: self.delay.drift_ppm(),
            concealed_ratio: self.concealed_ratio,
        }
    }

    fn depth_ms(&self) -> f64 {
        let played_s = self.delay.offset_s(self.playout.position(), self.clock.next());
        let base_s = self.delay.base_s().filter(|_| self.state == State::Playing);
        base_s.map_or(self.delay.depth_ms(), |base_s| (played_s - base_s) * 1000.0)
    }

    /// Whether a packet shows that the sender's clock was restarted.
    fn has_clock_jumped(&self, position: i64, arrived: Instant) -> bool {
        let base = self.delay.base_s().filter(|_| self.delay.is_fresh(arrived));
        let has_jumped = base.is_some_and(|base| (self.delay.offset_s(position, arrived) - base).abs() > RESTART_S);
        has_jumped || self.late_in_a_row >= LATE_IN_A_ROW
    }

    /// Discards the estimate of the sender's clock and waits for a new one.
    fn restart(&mut self) {
        (0..self.waiting.clear()).for_each(|_| self.lose_late());
        self.delay.reset();
        self.state = State::Idle;
        self.spoken_from = None;
        self.late_in_a_row = 0;
    }

    fn lose_late(&mut self) {
        self.losses.count(Loss::LatePacket);
        self.playout.count_late();
        self.late_in_a_row += 1;
    }

    /// The start of the block in which the sample at `position` is played first.
    fn needed_at(&self, position: i64) -> i64 {
        let next = self.playout.position();
        if self.state == State::Idle { position } else { next + (position - next).div_euclid(BLOCK) * BLOCK }
    }

    fn punctuality(&self, needed_at: i64, arrived: Instant) -> Punctuality {
        let due = self.delay.target_s().map(|target| self.delay.instant(target, needed_at));
        if due.is_some_and(|due| due + BEGIN_LATE < arrived) { Punctuality::Late } else { Punctuality::InTime }
    }

    /// Keeps the queue within its bound, and the next tick where playout starts.
    fn trim_queue(&mut self) {
        while self.waiting.overflow().is_some() {
            self.losses.count(Loss::OverflowPacket);
            self.playout.count_late();
        }
        if self.state == State::Idle {
            self.steer();
        }
    }

    /// Moves the next tick to the time that the sender's clock requires.
    fn steer(&mut self) {
        let Some(target) = self.delay.target_s() else { return };
        match self.state {
            State::Playing => self.clock.slew(self.delay.instant(target, self.playout.position())),
            State::Idle => {
                if let Some(first) = self.waiting.first() {
                    self.clock.align(self.due(first, target));
                }
            }
        }
    }

    /// The next 20 ms and what they consist of.
    ///
    /// Ticks are steered by at most 1 ms each (see [`PlayoutClock::slew`]), which follows a drifting clock but takes seconds to
    /// absorb a change of the network's delay. Beyond [`FAR_S`] a whole block is inserted or removed instead, where that is
    /// least audible:
    ///
    /// - Playout is early (the target moved back, because packets arrive later): a filler is inserted. During speech only if
    ///   the next block would be incomplete anyway, because a pause within a word is worse than the risk of a gap.
    /// - Playout is late (the network recovered): the block is skipped and the next one played, but only a soft one outside of
    ///   speech, and only if the next one is complete.
    fn play(&mut self) -> ([f32; BLOCK_OPUS_SAMPLES], BlockKind) {
        if self.state == State::Idle && !self.begin() {
            return ([0.0; BLOCK_OPUS_SAMPLES], BlockKind::Quiet);
        }
        let early_s = self.early_s();
        if early_s >= FAR_S && (!self.covers(BLOCK) || !self.activity.is_speaking()) {
            return self.playout.filler();
        }
        let mut played = self.playout.block(&mut self.waiting, &mut self.losses);
        if early_s <= -FAR_S && self.is_soft(&played.0) && self.covers(BLOCK) {
            self.losses.count(Loss::TrimmedBlock);
            played = self.playout.block(&mut self.waiting, &mut self.losses);
        }
        self.stop_if_faded();
        self.average_concealment(played.1);
        played
    }

    fn average_concealment(&mut self, kind: BlockKind) {
        let concealed = if kind == BlockKind::Voice { 0.0 } else { 1.0 };
        self.concealed_ratio += (concealed - self.concealed_ratio) * SHARE_WEIGHT;
    }

    /// By how much the next sample is early relative to its target, in seconds; negative if it is late.
    fn early_s(&self) -> f64 {
        let about_to = self.delay.offset_s(self.playout.position(), self.clock.next());
        self.delay.target_s().map_or(0.0, |target| target - about_to)
    }

    fn covers(&self, samples: i64) -> bool {
        let ready = self.playout.ready();
        ready >= samples || self.waiting.covers(self.playout.decoded_to(), samples - ready)
    }

    fn is_soft(&self, samples: &[f32; BLOCK_OPUS_SAMPLES]) -> bool {
        let power: f32 = samples.iter().map(|sample| sample * sample).sum();
        !self.activity.is_speaking() && power < SOFT_LEVEL * SOFT_LEVEL * BLOCK as f32
    }

    /// When playout should start with this packet: a packet shorter than a block waits for the rest of the block.
    fn due(&self, first: &Held, target: f64) -> Instant {
        let rest = self.delay.shallowest_s(BLOCK - first.samples);
        self.delay.instant(rest.map_or(target, |rest| target.max(rest)), first.position)
    }

    /// Starts playout with the first queued packet that is due now; discards packets whose playout time has passed.
    fn begin(&mut self) -> bool {
        let Some(target) = self.delay.target_s() else { return false };
        let now = self.clock.next();
        while let Some(first) = self.waiting.first() {
            let due = self.due(first, target);
            if due > now + BEGIN_EARLY {
                return false;
            }
            if due + BEGIN_LATE >= now {
                self.playout.jump(first.position);
                self.state = State::Playing;
                self.late_in_a_row = 0;
                return true;
            }
            self.waiting.take();
            self.lose_late();
        }
        false
    }

    /// Stops playout when the queue is empty and concealment has faded out.
    fn stop_if_faded(&mut self) {
        if self.playout.is_faded() && self.waiting.first().is_none() {
            self.state = State::Idle;
        }
    }

    /// A block with both rates, aligned.
    fn resample_block(&mut self, samples: &[f32; BLOCK_OPUS_SAMPLES]) -> PcmBlock {
        let mut block = PcmBlock::silence();
        self.downsampler.push(samples, &mut block.speech_16k);
        let (head, tail) = block.playback_48k.split_at_mut(HELD_BACK);
        let (now, later) = samples.split_at(BLOCK_OPUS_SAMPLES - HELD_BACK);
        head.copy_from_slice(&self.held_back);
        tail.copy_from_slice(now);
        self.held_back.copy_from_slice(later);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_network::{CALM, Call, Impairments, Report};
    use super::*;
    use bytes::Bytes;

    fn trimmed(report: &Report) -> u64 {
        report.losses.of(Loss::TrimmedBlock)
    }

    fn packet(call: &Call, payload: &'static [u8]) -> AudioPacket {
        let arrived = call.start + Duration::from_secs_f64(call.spoken_s);
        AudioPacket { rtp: call.rtp, sequence: None, payload: Bytes::from_static(payload), arrived }
    }

    #[test]
    fn without_jitter_a_block_is_played_just_after_its_packet_arrives() {
        let mut call = Call::new(CALM);
        let report = call.talk(20_000);
        let (median, p95) = (report.delay_percentile(0.5), report.delay_percentile(0.95));
        assert!(p95 <= 6.0 && median >= 2.0, "{median} {p95} ms");
        assert!(
            report.voiced >= 998 && report.losses == LossCounts::default(),
            "{} {:?}",
            report.voiced,
            report.losses
        );
    }

    #[test]
    fn every_tick_gives_one_block_and_ticks_are_20_ms_apart() {
        let mut call = Call::new(Impairments { loss_ratio: 0.2, double_ratio: 0.1, jitter_ms: 60.0, slower_ppm: 0.0 });
        let report = call.talk(60_000);
        assert!(report.blocks.abs_diff(3_000) <= 6, "{} blocks in 60 s", report.blocks);
        assert_eq!(call.receiver.tick(None).at, SampleIndex(report.blocks * 320));
        let begun = &report.spacing_ms[10..];
        assert!(begun.iter().all(|ms| (9.9..30.1).contains(ms)));
    }

    #[test]
    fn a_packet_loss_of_20_percent_is_concealed_and_counted() {
        let mut call = Call::new(Impairments { loss_ratio: 0.2, ..CALM });
        let report = call.talk(60_000);
        let gaps = report.losses.of(Loss::ConcealedGap);
        assert!(gaps.abs_diff(600) < 80, "{gaps} of 3000");
        assert_eq!((report.losses.of(Loss::LatePacket), trimmed(&report)), (0, 0));
        assert!(report.voiced > 2_350, "{}", report.voiced);
        assert!(report.delay_percentile(0.95) < 8.0);
    }

    #[test]
    fn jitter_of_300_ms_deepens_the_buffer_and_calm_makes_it_shallow_again() {
        let mut call = Call::new(CALM);
        call.talk(5_000);
        call.impairments.jitter_ms = 300.0;
        let rough = call.talk(20_000);
        assert!((200.0..400.0).contains(&call.receiver.stats().depth_ms), "{:?}", call.receiver.stats());
        let lost = rough.losses.of(Loss::LatePacket) + rough.losses.of(Loss::OverflowPacket);
        assert!(lost < 60, "{lost} of 1000 packets too late: {:?}", rough.losses);
        call.impairments.jitter_ms = 1.0;
        call.talk(60_000);
        assert!(call.receiver.stats().depth_ms < 8.0, "{:?}", call.receiver.stats());
    }

    #[test]
    fn audio_of_an_older_utterance_is_not_played_even_if_it_is_queued_or_in_the_network() {
        let mut call = Call::new(Impairments { jitter_ms: 300.0, ..CALM });
        call.talk(20_000);
        assert!(call.receiver.stats().depth_ms > 200.0, "{:?}", call.receiver.stats());
        call.pause(60);
        let before = call.play_until(call.spoken_s);
        assert!(before.loudest > 0.1, "the old utterance is still being played");
        call.utterance = call.utterance.next();
        call.receiver.begin_utterance(call.utterance);
        call.pause(600);
        let after = call.play_until(call.spoken_s);
        assert!(after.loudest < 1e-6 && after.blocks >= 29, "{} in {} blocks", after.loudest, after.blocks);
        assert!(after.losses.of(Loss::StaleUtterance) > 12, "{:?}", after.losses);
        call.talk(1_000);
        let speech = call.talk(4_000);
        assert!(speech.voiced >= 180 && speech.loudest > 0.1, "{} {:?}", speech.voiced, speech.losses);
    }

    #[test]
    fn a_new_utterance_ends_speech_and_resets_the_decoder() {
        let mut call = Call::new(CALM);
        call.talk(1_000);
        (0..20).for_each(|_| call.speak(200));
        call.pause(60);
        assert!(call.play_until(call.spoken_s).loudest > 0.7);
        call.utterance = call.utterance.next();
        let at = call.receiver.at;
        assert_eq!(call.receiver.begin_utterance(call.utterance), Some(Speaking::Stopped(at)));
        assert_eq!(call.receiver.begin_utterance(call.utterance), None, "an utterance begins once");
        let report = call.talk(2_000);
        assert!(report.voiced > 90 && report.loudest < 41.0 / 255.0, "{} {}", report.voiced, report.loudest);
    }

    #[test]
    fn packets_of_an_older_utterance_are_stale_and_leave_no_gap() {
        let mut call = Call::new(CALM);
        call.talk(2_000);
        call.receiver.begin_utterance(Utterance(3));
        let old = call.talk(200);
        assert_eq!((old.voiced, old.losses.of(Loss::StaleUtterance)), (0, 10));
        call.utterance = Utterance(3);
        let new = call.talk(2_000);
        assert!(new.voiced >= 98, "{}", new.voiced);
        assert_eq!((new.losses.of(Loss::ConcealedGap), new.losses.of(Loss::LatePacket)), (0, 0));
    }

    #[test]
    fn speech_replaces_the_microphone_and_is_counted() {
        let mut call = Call::new(CALM);
        let mut sound = PcmBlock::silence();
        sound.playback_48k.fill(0.7);
        for n in 0..20 {
            let mut late = packet(&call, &[0xff, 8, 40]);
            (late.rtp, late.arrived) = (call.rtp.plus(n * 960), call.receiver.next_tick());
            call.receiver.push_packet(late, Utterance::default());
            let heard = call.receiver.tick(Some(sound.clone()));
            assert_eq!((heard.block, heard.kind, heard.newest_arrival), (sound.clone(), BlockKind::Speech, None));
        }
        let covered = call.receiver.losses().of(Loss::OverriddenMicrophone);
        assert!((15..=20).contains(&covered), "{covered} blocks replaced by speech");
    }

    #[test]
    fn duplicates_are_counted_and_not_played() {
        let mut call = Call::new(Impairments { double_ratio: 0.3, ..CALM });
        let report = call.talk(10_000);
        assert!(report.losses.of(Loss::DuplicatePacket).abs_diff(150) < 40);
        assert!(report.voiced >= 498);
    }

    #[test]
    fn an_hour_with_a_clock_that_drifts_is_followed_without_losing_a_sample() {
        for slower_ppm in [200.0, -200.0] {
            let mut call = Call::new(Impairments { slower_ppm, ..CALM });
            for _ in 0..60 {
                let minute = call.talk(60_000);
                assert_eq!(minute.losses, LossCounts::default(), "{slower_ppm}");
                assert!(minute.delay_percentile(0.99) < 9.0, "{slower_ppm}: {}", minute.delay_percentile(0.99));
            }
            let stats = call.receiver.stats();
            assert!((stats.drift_ppm + slower_ppm).abs() < 30.0, "{slower_ppm}: {stats:?}");
        }
    }

    #[test]
    fn an_hour_of_silence_gives_an_hour_of_blocks_and_speech_after_it_is_played_at_once() {
        let mut call = Call::new(CALM);
        call.talk(1_000);
        call.pause(3_600_000);
        let silence = call.play_until(call.spoken_s);
        assert!(silence.blocks.abs_diff(180_000) <= 1 && silence.voiced <= 3, "{}", silence.blocks);
        assert_eq!(silence.losses, LossCounts::default());
        let speech = call.talk(2_000);
        assert!(
            speech.voiced >= 98 && speech.delay_percentile(0.95) < 6.0,
            "{} {}",
            speech.voiced,
            speech.delay_percentile(0.95)
        );
        assert_eq!(speech.losses, LossCounts::default());
    }

    #[test]
    fn an_unplugged_microphone_fades_out_within_100_ms() {
        let mut call = Call::new(CALM);
        call.talk(1_000);
        let end = call.start + Duration::from_secs_f64(call.spoken_s + 0.5);
        let mut kinds = Vec::new();
        call.play_until(call.spoken_s + 0.03);
        while call.receiver.next_tick() < end {
            kinds.push(call.receiver.tick(None).kind);
        }
        let made_up = kinds.iter().filter(|kind| **kind == BlockKind::Concealed).count();
        assert!((3..=5).contains(&made_up), "{kinds:?}");
        assert!(kinds[6..].iter().all(|kind| *kind == BlockKind::Quiet), "{kinds:?}");
    }

    #[test]
    fn a_restarted_sender_is_played_again() {
        let mut call = Call::new(CALM);
        call.talk(5_000);
        for jump in [123_456_789, u32::MAX - 40_000_000, 1 << 31] {
            call.rtp = call.rtp.plus(jump);
            call.sequence += 30_000;
            let report = call.talk(3_000);
            assert!(report.voiced >= 140, "{jump}: {} of 150, {:?}", report.voiced, report.losses);
            assert!(report.delay_percentile(0.9) < 8.0, "{jump}: {}", report.delay_percentile(0.9));
        }
    }

    #[test]
    fn a_small_step_back_of_the_senders_clock_is_overcome() {
        let mut call = Call::new(CALM);
        call.talk(5_000);
        call.rtp = call.rtp.plus(u32::MAX - 23_999);
        call.talk(1_000);
        let report = call.talk(3_000);
        assert!(report.voiced >= 145 && report.delay_percentile(0.9) < 8.0, "{} {:?}", report.voiced, report.losses);
    }

    #[test]
    fn packets_of_any_length_make_blocks_of_20_ms() {
        for (packet_ms, most_ms) in [(5, 8.0), (10, 8.0), (40, 28.0), (60, 48.0), (120, 108.0)] {
            let mut call = Call::new(CALM);
            call.packet_ms = packet_ms;
            let report = call.talk(12_000);
            assert!(report.voiced >= 590, "{packet_ms} ms: {} {:?}", report.voiced, report.losses);
            assert_eq!(report.losses, LossCounts::default(), "{packet_ms} ms");
            assert!(report.delay_percentile(0.95) < most_ms, "{packet_ms}: {}", report.delay_percentile(0.95));
        }
    }

    #[test]
    fn garbage_is_counted_and_playout_continues() {
        let mut call = Call::new(CALM);
        for n in 0..200 {
            call.speak(40);
            if n % 3 == 0 {
                call.post(packet(&call, &[1, 2, 3, 4]));
            }
        }
        let report = call.play_until(call.spoken_s);
        assert_eq!(report.losses.of(Loss::BadPacket), 67);
        assert!(report.voiced >= 198 && report.blocks >= 198);
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut call = Call::new(CALM);
        for n in 0..5_000 {
            let mut flood = packet(&call, &[0xff, 8, 9]);
            flood.rtp = call.rtp.plus(n * 960);
            call.post(flood);
        }
        let report = call.play_until(2.0);
        let losses = report.losses;
        assert!(losses.of(Loss::OverflowPacket) + losses.of(Loss::LatePacket) > 4_800, "{losses:?}");
        assert!(report.blocks >= 99);
    }

    #[test]
    fn a_second_of_stall_costs_that_second_and_no_delay_afterwards() {
        let mut call = Call::new(CALM);
        call.talk(5_000);
        let stalled: Vec<AudioPacket> = (0..60)
            .map(|_| {
                let spoken = packet(&call, &[0xff, 8, 40]);
                call.pause(20);
                spoken
            })
            .collect();
        let arrived = call.start + Duration::from_secs_f64(call.spoken_s);
        stalled.into_iter().for_each(|packet| call.post(AudioPacket { arrived, ..packet }));
        call.talk(2_000);
        let report = call.talk(20_000);
        assert!(report.voiced >= 998, "{} {:?}", report.voiced, report.losses);
        call.talk(30_000);
        assert!(call.receiver.stats().depth_ms < 10.0, "{:?}", call.receiver.stats());
    }
}
