//! One session at work: voice in at the line, face and voice out in step.
//!
//! A machine: time is given, nothing here waits. The order inside a tick is the way of a sound:
//! orders, packets, line, actor, voice out, picture out. A voice does not wait for its picture to be drawn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::broadcast;

use super::audio_delay::{ArrivalTimes, DelayLine};
use super::inbox::{Inbox, SessionCommand};
use super::outlet::{Outgoing, OutgoingMedia, Outlet, SessionKey};
use super::report::{Meter, Quality, SessionEvent};
use super::speech::SpeechSource;
use crate::adapt::{ResolutionLadder, shrink};
use crate::audio::{AudioBlock, AudioReceiver, Speaking};
use crate::codec::{CodecError, EncodedFrame, FrameKind, OpusDecoder, OpusEncoder, VideoEncoder};
use crate::media::{BLOCK_SPEECH_SAMPLES, PcmBlock, Timed, Utterance, VideoFrame};
use crate::model::{Animator, ModelError};
use crate::telemetry::{Loss, LossCounts, Marks, Stage};
use crate::time::{SPEECH_HZ, SampleIndex, Wall};

/// Samples of the line from one picture to the next: 25 pictures a second.
pub const FRAME_SAMPLES: u64 = SPEECH_HZ as u64 / 25;

/// A picture begun later than this after its moment is not begun at all.
const TOO_LATE: Duration = Duration::from_millis(40);
/// From one key picture to the next that is asked for, in samples of the line: whoever asks again before the first can
/// have come would only crowd the way with them.
const KEY_GAP: u64 = SPEECH_HZ as u64 * 3 / 10;

/// What a show is made of.
pub struct SessionParts {
    /// Its number.
    pub key: SessionKey,
    /// The way in.
    pub inbox: Inbox,
    /// The way out.
    pub outlet: Box<dyn Outlet>,
    /// Who is on stage.
    pub actor: Box<dyn Animator>,
    /// Pictures to bytes.
    pub encoder: Box<dyn VideoEncoder>,
    /// A picture of the size that the actor draws.
    pub canvas: VideoFrame,
    /// What is measured.
    pub meter: Arc<Meter>,
    /// Who listens to events.
    pub events: broadcast::Sender<SessionEvent>,
}

/// Why a show cannot begin.
#[derive(Debug, Error)]
#[error("wanted a show to begin, found: {0}")]
pub struct SessionError(#[from] CodecError);

/// One session at work.
pub struct Session {
    parts: SessionParts,
    line: AudioReceiver<OpusDecoder>,
    voice_encoder: OpusEncoder,
    speech: Option<SpeechSource>,
    utterance: Utterance,
    voice_out: DelayLine,
    arrivals: ArrivalTimes,
    steps: ResolutionLadder,
    small: Option<VideoFrame>,
    next_frame: SampleIndex,
    wants_key: FrameKind,
    last_key: Option<SampleIndex>,
    losses: LossCounts,
    second: Second,
    is_muted: bool,
    is_lost: bool,
}

/// Counts of the running second, for the quality event.
#[derive(Debug, Default)]
struct Second {
    began: Option<SampleIndex>,
    frames: u32,
}

impl Session {
    /// A show whose line starts at `start`.
    ///
    /// # Errors
    /// If a voice codec cannot be set up.
    pub fn new(parts: SessionParts, bitrate_bps: u32, start: Instant) -> Result<Self, SessionError> {
        Ok(Self {
            line: AudioReceiver::new(OpusDecoder::new()?, start),
            voice_encoder: OpusEncoder::new()?,
            speech: None,
            utterance: parts.inbox.utterance(),
            voice_out: DelayLine::default(),
            arrivals: ArrivalTimes::default(),
            steps: ResolutionLadder::new(bitrate_bps, parts.canvas.size()),
            small: None,
            next_frame: SampleIndex::ZERO,
            wants_key: FrameKind::Key,
            last_key: None,
            losses: LossCounts::default(),
            second: Second::default(),
            is_muted: false,
            is_lost: false,
            parts,
        })
    }

    /// Sends no voice from now on, only pictures.
    pub fn mute_audio(&mut self) {
        self.is_muted = true;
    }

    /// When the next tick is due.
    #[must_use]
    pub fn next_tick(&self) -> Instant {
        self.line.next_tick()
    }

    /// Whether the session was ended from outside.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.parts.inbox.has_ended()
    }

    /// Whether the engine lost what the session had on it, so that there is no going on.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Moves the show on by one block of 20 ms. `now` is not before [`Session::next_tick`].
    pub fn tick(&mut self, now: Instant, wall: Wall) {
        let due = self.line.next_tick();
        self.take_orders();
        self.take_packets();
        let said = self.next_speech_block();
        let heard = self.line.tick(said);
        let end = heard.at + BLOCK_SPEECH_SAMPLES as u64;
        self.notice_speech(heard.change);
        self.hear(heard, due);
        self.send_voice((end, due), wall);
        self.show_frame((end, due), now, wall);
        self.close_second(end);
        self.account();
    }

    fn take_orders(&mut self) {
        if self.parts.inbox.take_keyframe_request() {
            self.wants_key = FrameKind::Key;
        }
        self.parts.inbox.take_bitrate().into_iter().for_each(|bps| self.set_bitrate(bps));
        // An encoder that refuses goes on as it was.
        self.parts.inbox.take_audio_plan().into_iter().for_each(|plan| drop(self.voice_encoder.follow(plan)));
        while let Some((order, utterance)) = self.parts.inbox.poll_command() {
            match order {
                SessionCommand::Speak(source) => self.raise(utterance, Some(source)),
                SessionCommand::Interrupt => self.raise(utterance, None),
                SessionCommand::SwapAvatar(actor) => self.parts.actor = actor.0,
            }
        }
    }

    /// Everything older than the newest utterance is worthless from here on.
    fn raise(&mut self, utterance: Utterance, source: Option<SpeechSource>) {
        self.utterance = utterance;
        if let Some(event) = self.speech.take().and_then(SpeechSource::interrupt) {
            self.tell(event);
        }
        self.speech = source.map(|mut source| {
            source.begin(utterance);
            source
        });
        let change = self.line.raise(self.utterance);
        self.notice_speech(change);
        self.arrivals.clear();
        self.voice_out.hush(self.utterance, &mut self.losses);
        self.parts.actor.hush();
    }

    fn set_bitrate(&mut self, bits_per_second: u32) {
        self.steps.aim(bits_per_second);
        self.parts.encoder.set_bitrate(bits_per_second);
    }

    fn take_packets(&mut self) {
        while let Some((packet, utterance)) = self.parts.inbox.poll_packet() {
            self.line.hear(packet, utterance);
        }
    }

    /// The next block of the speech source that is being spoken.
    fn next_speech_block(&mut self) -> Option<PcmBlock> {
        let speech = self.speech.as_mut()?;
        let block = speech.next_block();
        if speech.is_late() && block.is_some() {
            self.losses.count(Loss::LateSpeech);
        }
        let event = speech.take_event();
        if block.is_none() {
            self.speech = None;
        }
        event.into_iter().for_each(|event| self.tell(event));
        block
    }

    fn notice_speech(&self, change: Option<Speaking>) {
        let Some(change) = change else { return };
        let event = match change {
            Speaking::Started(at) => SessionEvent::SpeakingStarted { at_ms: millis(at) },
            Speaking::Stopped(at) => SessionEvent::SpeakingStopped { at_ms: millis(at) },
        };
        self.parts.meter.note_speaking(change);
        self.tell(event);
    }

    fn hear(&mut self, heard: AudioBlock, due: Instant) {
        if let Err(error) = self.parts.actor.hear(&heard.block, heard.at) {
            self.losses.count(Loss::BadFrame);
            self.is_lost |= matches!(error, ModelError::Lost { .. });
        }
        self.arrivals.push(heard.at, heard.newest_arrival);
        let mut marks = Marks::default();
        heard.newest_arrival.iter().for_each(|arrived| marks.stamp(Stage::Heard, *arrived));
        marks.stamp(Stage::Listened, due);
        self.voice_out.push(Timed { at: heard.at, utterance: self.utterance, marks, value: heard.block.voice });
    }

    /// Sends the voice whose picture can be shown, now that the line is heard up to `heard`, at `due`.
    fn send_voice(&mut self, (heard, due): (SampleIndex, Instant), wall: Wall) {
        let look_ahead = self.parts.actor.look_ahead_samples();
        while let Some(mut voice) = self.voice_out.next_due(heard, look_ahead) {
            if self.is_muted || !self.parts.inbox.has_viewer() {
                continue;
            }
            voice.marks.stamp(Stage::Begun, wall.now());
            let Ok(packet) = self.voice_encoder.encode(&voice.value) else {
                self.losses.count(Loss::BadPacket);
                continue;
            };
            voice.marks.stamp(Stage::Encoded, wall.now());
            let clock = clock_of(voice.at, heard, due);
            self.send(voice.map(|_samples| OutgoingMedia::Voice(packet)), clock);
        }
    }

    fn show_frame(&mut self, (heard, due): (SampleIndex, Instant), now: Instant, wall: Wall) {
        if self.next_frame + self.parts.actor.look_ahead_samples() > heard {
            return;
        }
        let at = self.next_frame;
        self.next_frame = at + FRAME_SAMPLES;
        if !self.parts.inbox.has_viewer() {
            return;
        }
        self.parts.meter.frame_due();
        if let Some(loss) = self.drop_reason(now.saturating_duration_since(due)) {
            self.losses.count(loss);
            self.parts.meter.frame_dropped();
            return;
        }
        let mut marks = self.first_marks(at, heard, due);
        // Its network ran when the tick began.
        marks.stamp(Stage::Begun, now);
        let Some(picture) = self.draw(at, &mut marks, wall) else { return };
        let media = Timed { at, utterance: self.utterance, marks, value: OutgoingMedia::VideoFrame(picture) };
        self.second.frames += 1;
        self.send(media, clock_of(at, heard, due));
    }

    /// A reason not to begin a frame: what would come too late or find no room is not drawn.
    fn drop_reason(&self, lateness: Duration) -> Option<Loss> {
        if lateness > TOO_LATE {
            Some(Loss::LateFrame)
        } else if self.parts.outlet.has_room() && !self.parts.inbox.has_backlog() {
            None
        } else {
            Some(Loss::BlockedFrame)
        }
    }

    /// A frame is the first to show the voice since the frame before it; the oldest packet of that voice counts.
    fn first_marks(&self, at: SampleIndex, heard: SampleIndex, due: Instant) -> Marks {
        let mut marks = Marks::default();
        let oldest = self.arrivals.of(at - BLOCK_SPEECH_SAMPLES as u64);
        let newest = self.arrivals.of(heard - 1);
        if let (Some(spoken), Some(newest)) = (oldest, newest) {
            marks.stamp(Stage::Spoken, spoken);
            marks.stamp(Stage::Heard, newest);
        }
        marks.stamp(Stage::Listened, due);
        marks
    }

    fn draw(&mut self, at: SampleIndex, marks: &mut Marks, wall: Wall) -> Option<EncodedFrame> {
        self.parts.actor.show(at, &mut self.parts.canvas, marks, wall);
        let size = self.steps.size();
        let small = shrink(&self.parts.canvas, size, &mut self.small);
        let is_soon = self.last_key.is_some_and(|last| at < last + KEY_GAP);
        let kind = if is_soon { FrameKind::Any } else { self.wants_key };
        let encoded = self.parts.encoder.encode(small, kind);
        marks.stamp(Stage::Encoded, wall.now());
        if let Ok(picture) = encoded {
            if picture.is_key {
                (self.wants_key, self.last_key) = (FrameKind::Any, Some(at));
            }
            Some(picture)
        } else {
            self.losses.count(Loss::BadFrame);
            self.parts.meter.frame_dropped();
            self.wants_key = FrameKind::Key;
            None
        }
    }

    fn send(&mut self, media: Timed<OutgoingMedia>, clock: Instant) {
        let is_picture = matches!(media.value, OutgoingMedia::VideoFrame(_));
        let refused = self.parts.outlet.send(Outgoing { session: self.parts.key, clock, media }).is_err();
        if refused && is_picture {
            self.losses.count(Loss::BlockedFrame);
            self.parts.meter.frame_dropped();
            // What follows cannot be shown without it: at once.
            (self.wants_key, self.last_key) = (FrameKind::Key, None);
        } else if refused {
            self.losses.count(Loss::BlockedVoice);
        }
    }

    fn close_second(&mut self, now: SampleIndex) {
        let began = *self.second.began.get_or_insert(now);
        let samples = now.samples_since(began);
        if samples < u64::from(SPEECH_HZ) {
            return;
        }
        let line = self.line.stats();
        let quality = Quality {
            voice_to_frame_ms: self.parts.meter.take_recent(),
            fps: f64::from(self.second.frames) * f64::from(SPEECH_HZ) / samples as f64,
            bitrate_bps: self.steps.bitrate_bps(),
            picture_px: self.steps.size().width() as u32,
            voice_loss_ratio: f64::from(line.concealed_ratio),
        };
        self.second = Second { began: Some(now), frames: 0 };
        self.parts.meter.note(quality, self.parts.actor.look_ahead_samples(), line);
        self.tell(SessionEvent::Quality(quality));
    }

    fn account(&mut self) {
        self.losses.add(&self.line.losses());
        let counts = self.losses.take();
        if counts != LossCounts::default() {
            self.parts.meter.lose(&counts);
        }
    }

    fn tell(&self, event: SessionEvent) {
        // An error here only says that nobody listens.
        let _ = self.parts.events.send(event);
    }
}

fn millis(at: SampleIndex) -> u64 {
    u64::try_from(at.since_start().as_millis()).unwrap_or(u64::MAX)
}

/// The instant that stands for `at`, when the line was heard up to `heard` at `due`.
fn clock_of(at: SampleIndex, heard: SampleIndex, due: Instant) -> Instant {
    due.checked_sub(SampleIndex(heard.samples_since(at)).since_start()).unwrap_or(due)
}
