//! A running session: audio in, audio and video out in sync.
//!
//! A state machine: time is an argument, nothing waits. A tick follows the path of the audio: commands, packets, receiver,
//! animator, audio out, video out. Audio does not wait for its frame to be computed.
//!
//! A frame that the animator has not finished when it is due stays pending and is polled again. It is dropped, and counted
//! as [`Loss::LateFrame`], when the next frame is due: a late window loses the frames whose time has passed and
//! shows the rest in sync. Frames are dropped before they are encoded, never after.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::broadcast;

use super::audio_delay::AudioOut;
use super::event::SessionEvent;
use super::inbox::{Inbox, SessionCommand};
use super::outlet::{Outgoing, OutgoingMedia, Outlet, SessionKey};
use super::report::Meter;
use super::speech::SpeechSource;
use super::tally::Tally;
use super::video_out::{DueFrame, VideoOut};
use crate::audio::{AudioBlock, AudioReceiver};
use crate::codec::{CodecError, OpusDecoder, VideoEncoder};
use crate::media::{BLOCK_SPEECH_SAMPLES, PcmBlock, Timed, Utterance, VideoFrame};
use crate::model::{Animator, FramePoll, ModelError};
use crate::telemetry::{Loss, Marks, Stage};
use crate::time::{SampleIndex, Wall};

/// Pause before a pending frame is polled again. A step of the portrait network takes 0.3 to 1 ms on a GPU.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The parts of a session.
pub struct SessionParts {
    /// Its key.
    pub key: SessionKey,
    /// Its input queue.
    pub inbox: Inbox,
    /// The destination of its output.
    pub outlet: Box<dyn Outlet>,
    /// Its avatar.
    pub animator: Box<dyn Animator>,
    /// Its video encoder.
    pub encoder: Box<dyn VideoEncoder>,
    /// A frame buffer of the size that the animator writes.
    pub canvas: VideoFrame,
    /// Its measurements.
    pub meter: Arc<Meter>,
    /// The channel of its events.
    pub events: broadcast::Sender<SessionEvent>,
}

/// Why a session cannot start.
#[derive(Debug, Error)]
#[error("cannot start the session: {0}")]
pub struct SessionError(#[from] CodecError);

/// A running session.
pub struct Session {
    key: SessionKey,
    inbox: Inbox,
    outlet: Box<dyn Outlet>,
    animator: Box<dyn Animator>,
    receiver: AudioReceiver<OpusDecoder>,
    speech: Option<SpeechSource>,
    utterance: Utterance,
    /// End of the audio pushed to the animator.
    pushed: SampleIndex,
    audio: AudioOut,
    video: VideoOut,
    tally: Tally,
    /// When the pending frame is polled next.
    poll_at: Option<Instant>,
    is_lost: bool,
}

/// The times of one tick of the receiver.
#[derive(Clone, Copy)]
struct Tick {
    /// End of the audio pushed so far.
    pushed: SampleIndex,
    /// When the tick was due.
    due: Instant,
    /// When it runs.
    now: Instant,
    wall: Wall,
}

impl Tick {
    /// The time of sample `at` on the shared clock.
    fn clock_of(&self, at: SampleIndex) -> Instant {
        let before = SampleIndex(self.pushed.samples_since(at)).since_start();
        self.due.checked_sub(before).unwrap_or(self.due)
    }
}

impl Session {
    /// A session whose timeline starts at `start`.
    ///
    /// # Errors
    /// If an audio codec cannot be set up.
    pub fn new(parts: SessionParts, bitrate_bps: u32, start: Instant) -> Result<Self, SessionError> {
        let SessionParts { key, inbox, outlet, animator, encoder, canvas, meter, events } = parts;
        let cadence = animator.cadence();
        meter.set_frame_interval(cadence.frame_interval());
        Ok(Self {
            key,
            utterance: inbox.utterance(),
            inbox,
            outlet,
            animator,
            receiver: AudioReceiver::new(OpusDecoder::new()?, start),
            speech: None,
            pushed: SampleIndex::ZERO,
            audio: AudioOut::new()?,
            video: VideoOut::new(encoder, canvas, cadence, bitrate_bps),
            tally: Tally::new(meter, events),
            poll_at: None,
            is_lost: false,
        })
    }

    /// Mutes the audio output; only video is sent.
    pub fn mute_audio(&mut self) {
        self.audio.mute();
    }

    /// The log span of the session.
    #[must_use]
    pub fn span(&self) -> &tracing::Span {
        self.tally.meter.span()
    }

    /// When [`Session::tick`] is due.
    #[must_use]
    pub fn next_tick(&self) -> Instant {
        let block = self.receiver.next_tick();
        self.poll_at.map_or(block, |poll| poll.min(block))
    }

    /// Whether a due frame is pending because the animator has not finished it.
    #[must_use]
    pub fn has_pending_frame(&self) -> bool {
        self.video.pending.is_some()
    }

    /// Whether the session was ended from outside.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.inbox.has_ended()
    }

    /// Whether the device lost the session's state, so that it cannot continue.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Does what is due at `now`: one block of 20 ms, or, before the next block is due, another poll of a pending frame.
    pub fn tick(&mut self, now: Instant, wall: Wall) {
        if now < self.receiver.next_tick() {
            self.poll_frame(now, wall);
        } else {
            self.advance(now, wall);
        }
        self.tally.report_losses(self.receiver.losses());
    }

    fn advance(&mut self, now: Instant, wall: Wall) {
        let due = self.receiver.next_tick();
        self.take_commands();
        self.take_packets();
        let speech = self.next_speech_block();
        let block = self.receiver.tick(speech);
        self.pushed = block.at + BLOCK_SPEECH_SAMPLES as u64;
        let tick = Tick { pushed: self.pushed, due, now, wall };
        self.tally.note_speaking(block.change);
        self.push_audio(block, due);
        self.send_audio(&tick);
        self.start_frames(&tick);
        self.tally.close_second(&self.video, self.receiver.stats(), self.pushed);
    }

    fn take_commands(&mut self) {
        if self.inbox.take_keyframe_request() {
            self.video.request_keyframe();
        }
        self.inbox.take_bitrate().into_iter().for_each(|bps| self.video.set_bitrate(bps));
        self.inbox.take_audio_plan().into_iter().for_each(|plan| self.audio.follow(plan));
        while let Some((command, utterance)) = self.inbox.poll_command() {
            match command {
                SessionCommand::Speak(source) => self.begin_utterance(utterance, Some(source)),
                SessionCommand::Interrupt => self.begin_utterance(utterance, None),
                SessionCommand::SwapAvatar(animator) => self.swap_avatar(animator.0),
            }
        }
    }

    /// Discards everything older than `utterance`: unspoken speech, unsent audio, unsent frames.
    fn begin_utterance(&mut self, utterance: Utterance, source: Option<SpeechSource>) {
        self.utterance = utterance;
        if let Some(event) = self.speech.take().and_then(SpeechSource::interrupt) {
            self.tally.publish(event);
        }
        self.speech = source.map(|mut source| {
            source.begin(utterance);
            source
        });
        let change = self.receiver.begin_utterance(utterance);
        self.tally.note_speaking(change);
        self.audio.begin_utterance(utterance, &mut self.tally.losses);
        self.animator.reset();
        if let Some(frame) = &mut self.video.pending {
            // It no longer shows the packets of its stamps.
            frame.marks = Marks::default();
            frame.marks.stamp(Stage::PlayoutDue, frame.due);
        }
    }

    /// Swaps the avatar. With a longer look-ahead audio and video pause until it is filled; with a shorter one, overdue
    /// audio is dropped.
    fn swap_avatar(&mut self, animator: Box<dyn Animator>) {
        let cadence = animator.cadence();
        self.animator = animator;
        self.video.schedule.switch_to(cadence, self.pushed);
        self.audio.switch_look_ahead(cadence.look_ahead_samples, self.pushed, &mut self.tally.losses);
        self.tally.meter.set_frame_interval(cadence.frame_interval());
    }

    fn take_packets(&mut self) {
        while let Some((packet, utterance)) = self.inbox.poll_packet() {
            self.receiver.push_packet(packet, utterance);
        }
    }

    /// The next block of the speech source, which replaces the microphone.
    fn next_speech_block(&mut self) -> Option<PcmBlock> {
        let speech = self.speech.as_mut()?;
        let block = speech.next_block();
        if speech.is_late() && block.is_some() {
            self.tally.losses.count(Loss::LateSpeech);
        }
        let event = speech.take_event();
        if block.is_none() {
            self.speech = None;
        }
        event.into_iter().for_each(|event| self.tally.publish(event));
        block
    }

    fn push_audio(&mut self, block: AudioBlock, due: Instant) {
        if let Err(error) = self.animator.push_audio(&block.block, block.at) {
            self.on_model_error(&error);
        }
        self.audio.arrivals.push(block.at, block.newest_arrival, self.look_ahead_samples());
        let mut marks = Marks::default();
        block.newest_arrival.iter().for_each(|arrived| marks.stamp(Stage::NewestPacket, *arrived));
        marks.stamp(Stage::PlayoutDue, due);
        self.audio.push(Timed { at: block.at, utterance: self.utterance, marks, value: block.block.playback_48k });
    }

    fn look_ahead_samples(&self) -> u64 {
        self.video.schedule.cadence().look_ahead_samples
    }

    fn on_model_error(&mut self, error: &ModelError) {
        self.tally.losses.count(Loss::BadFrame);
        self.is_lost |= matches!(error, ModelError::Lost { .. });
    }

    /// Sends the audio whose frames are due.
    fn send_audio(&mut self, tick: &Tick) {
        while let Some(audio) = self.audio.next_due(tick.pushed, self.look_ahead_samples()) {
            if self.audio.is_muted() || !self.inbox.has_viewer() {
                continue;
            }
            let clock = tick.clock_of(audio.at);
            match self.audio.encode(audio, tick.wall) {
                Ok(packet) => self.send(packet.map(OutgoingMedia::Audio), clock),
                Err(_bad) => self.tally.losses.count(Loss::BadPacket),
            }
        }
    }

    fn start_frames(&mut self, tick: &Tick) {
        while let Some(at) = self.video.schedule.next_due(tick.pushed) {
            if self.video.pending.take().is_some() {
                self.tally.lose_frame(Loss::LateFrame);
            }
            if self.inbox.has_viewer() {
                self.tally.meter.frame_due();
                let marks = self.first_marks(at, tick);
                self.video.pending = Some(DueFrame { at, due: tick.due, clock: tick.clock_of(at), marks });
                self.poll_frame(tick.now, tick.wall);
            }
        }
        if self.video.pending.is_some() && self.poll_at.is_some_and(|poll| poll <= tick.now) {
            self.poll_frame(tick.now, tick.wall);
        }
    }

    /// A frame is the first to show the audio since the previous frame; its oldest packet counts.
    fn first_marks(&self, at: SampleIndex, tick: &Tick) -> Marks {
        let mut marks = Marks::default();
        let oldest = self.audio.arrivals.of(at - BLOCK_SPEECH_SAMPLES as u64);
        let newest = self.audio.arrivals.of(tick.pushed - 1);
        if let (Some(oldest), Some(newest)) = (oldest, newest) {
            marks.stamp(Stage::OldestPacket, oldest);
            marks.stamp(Stage::NewestPacket, newest);
        }
        marks.stamp(Stage::PlayoutDue, tick.due);
        marks
    }

    /// Sends the pending frame if it is computed, drops it if it is too late, otherwise polls it again later.
    fn poll_frame(&mut self, now: Instant, wall: Wall) {
        self.poll_at = None;
        let Some(mut frame) = self.video.pending.take() else { return };
        if let Some(loss) = self.drop_reason(now.saturating_duration_since(frame.due)) {
            return self.tally.lose_frame(loss);
        }
        if frame.marks.at(Stage::Started).is_none() {
            frame.marks.stamp(Stage::Started, now);
        }
        match self.animator.poll(frame.at, &mut self.video.canvas, &mut frame.marks, wall) {
            Ok(FramePoll::Ready) => self.send_frame(frame, wall),
            Ok(FramePoll::NotYet) => {
                self.video.pending = Some(frame);
                self.poll_at = Some(now + POLL_INTERVAL);
            }
            Err(error) => {
                self.on_model_error(&error);
                self.tally.meter.frame_dropped();
            }
        }
    }

    /// Why a frame is not started: it would be late, or there is no room for it.
    fn drop_reason(&self, lateness: Duration) -> Option<Loss> {
        if lateness > self.video.patience() {
            Some(Loss::LateFrame)
        } else if self.outlet.has_room() && !self.inbox.has_backlog() {
            None
        } else {
            Some(Loss::BlockedFrame)
        }
    }

    fn send_frame(&mut self, mut frame: DueFrame, wall: Wall) {
        let encoded = self.video.encode(frame.at);
        frame.marks.stamp(Stage::Encoded, wall.now());
        let Ok(encoded) = encoded else { return self.tally.lose_frame(Loss::BadFrame) };
        self.tally.frame_encoded();
        let value = OutgoingMedia::VideoFrame(encoded);
        self.send(Timed { at: frame.at, utterance: self.utterance, marks: frame.marks, value }, frame.clock);
    }

    fn send(&mut self, media: Timed<OutgoingMedia>, clock: Instant) {
        let is_frame = matches!(media.value, OutgoingMedia::VideoFrame(_));
        let is_refused = self.outlet.send(Outgoing { session: self.key, clock, media }).is_err();
        if is_refused && is_frame {
            self.tally.lose_frame(Loss::BlockedFrame);
            self.video.on_frame_lost();
        } else if is_refused {
            self.tally.losses.count(Loss::BlockedAudio);
        }
    }
}
