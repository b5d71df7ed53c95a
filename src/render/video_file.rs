//! A video being rendered: a session whose clock is its own ticks and whose output is a file.

use std::fs::File;
use std::io::BufWriter;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use super::{MAX_DURATION, Mp4Error, Mp4Writer, OpenAudio, RenderError, RenderPlan, audio_error, write_error};
use crate::codec::audio_file::{AudioDecoder, AudioFileError, duration_of};
use crate::codec::{H264Encoder, OpusEncoder};
use crate::media::{FrameSize, PcmBlock, VideoFrame};
use crate::model::{Cadence, Pack};
use crate::session::{
    Inbox, Meter, Outgoing, OutgoingMedia, Outlet, Session, SessionCommand, SessionKey, SessionParts, SpeechSink,
    speech_queue,
};
use crate::telemetry::Counters;
use crate::time::{SampleIndex, VIDEO_CLOCK_HZ, Wall};

/// The video continues for this long after the audio, so that the mouth closes.
const TAIL: Duration = Duration::from_millis(400);

/// Pause before a frame that a device computes is polled again.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Items that the session sent and that are not written yet.
type Outbox = Arc<Mutex<Vec<Outgoing>>>;

pub(super) struct VideoFile {
    session: Session,
    decoder: AudioDecoder,
    /// A decoded block that is not queued yet.
    next_block: Option<PcmBlock>,
    /// `None` after the end of the audio.
    sink: Option<SpeechSink>,
    outbox: Outbox,
    writer: Mp4Writer<BufWriter<File>>,
    cadence: Cadence,
    /// Known at the end of the audio.
    end: Option<SampleIndex>,
    shown: SampleIndex,
    frames: u64,
}

/// An outlet that always has room: the clock waits for the file.
struct FileOutlet(Outbox);

impl Outlet for FileOutlet {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, outgoing: Outgoing) -> Result<(), Box<Outgoing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(outgoing);
        Ok(())
    }
}

impl VideoFile {
    pub(super) fn begin(plan: &RenderPlan, pack: &dyn Pack, audio: OpenAudio, file: File) -> Result<Self, RenderError> {
        let size = FrameSize::square(plan.resolution_px);
        let (outbox, inbox) = (Outbox::default(), Inbox::new(Arc::<Counters>::default()));
        let first = pack.avatars().first().map(|avatar| avatar.name.clone()).unwrap_or_default();
        let animator = pack.animator(plan.avatar.as_ref().unwrap_or(&first), plan.resolution_px)?;
        let cadence = animator.cadence();
        let parts = SessionParts {
            key: SessionKey(0),
            inbox: inbox.clone(),
            outlet: Box::new(FileOutlet(Arc::clone(&outbox))),
            animator,
            encoder: Box::new(H264Encoder::new(size, cadence.frame_rate, plan.bitrate_bps)?),
            canvas: VideoFrame::black(size),
            meter: Arc::<Meter>::default(),
            events: broadcast::channel(1).0,
        };
        inbox.set_watching(1);
        let (sink, source) = speech_queue();
        inbox.push_command(SessionCommand::Speak(source)).expect("an empty inbox has room for a command");
        // The session has its own time: any instant serves as the start.
        let session = Session::new(parts, plan.bitrate_bps, Wall.now())?;
        let write = |source| RenderError::Write { path: plan.out.clone(), source };
        let pre_skip_samples = OpusEncoder::new()?.pre_skip_samples()?;
        let writer = Mp4Writer::new(BufWriter::new(file), size, pre_skip_samples).map_err(write)?;
        Ok(Self {
            session,
            decoder: audio.decoder,
            next_block: audio.first,
            sink: Some(sink),
            outbox,
            writer,
            cadence,
            end: None,
            shown: SampleIndex::ZERO,
            frames: 0,
        })
    }

    /// Advances by 20 ms; false at the end of the video.
    pub(super) fn advance(&mut self, plan: &RenderPlan, wall: Wall) -> Result<bool, RenderError> {
        self.queue_speech().map_err(|source| audio_error(plan, source))?;
        self.tick(wall).map_err(|source| write_error(plan, source))?;
        Ok(self.end.is_none_or(|end| self.shown < end))
    }

    /// Queues the next block of audio, one per tick, so that there is always room.
    fn queue_speech(&mut self) -> Result<(), AudioFileError> {
        let Some(sink) = &self.sink else { return Ok(()) };
        let length = duration_of(self.decoder.decoded_samples());
        if length > MAX_DURATION {
            return Err(AudioFileError::TooLong { most: MAX_DURATION });
        }
        if let Some(block) = self.next_block.take() {
            self.next_block = sink.try_push(block).ok().flatten();
            if self.next_block.is_none() {
                self.next_block = self.decoder.next_block()?;
            }
            return Ok(());
        }
        self.sink.take().into_iter().for_each(SpeechSink::finish);
        self.end = Some(SampleIndex::at(length + TAIL));
        Ok(())
    }

    fn tick(&mut self, wall: Wall) -> Result<(), Mp4Error> {
        let now: Instant = self.session.next_tick();
        self.session.tick(now, wall);
        while self.session.has_pending_frame() {
            // The clock of the file does not advance while a device computes.
            std::thread::park_timeout(POLL_INTERVAL);
            self.session.tick(now, wall);
        }
        let given = std::mem::take(&mut *self.outbox.lock().unwrap_or_else(PoisonError::into_inner));
        given.into_iter().try_for_each(|outgoing| self.write(outgoing))
    }

    /// The completed share: of the duration in the header, else of the file's `length_bytes`.
    pub(super) fn share_done(&self, length_bytes: u64) -> f64 {
        let expected = self.end.or_else(|| Some(SampleIndex::at(self.decoder.expected_duration()? + TAIL)));
        let (done, of) = expected.map_or((self.decoder.bytes_read(), length_bytes), |end| (self.shown.0, end.0));
        (done as f64 / of.max(1) as f64).min(1.0)
    }

    /// Whether the audio was truncated.
    pub(super) fn is_truncated(&self) -> bool {
        self.decoder.is_truncated()
    }

    /// Completes the file: its length and the number of frames.
    pub(super) fn finish(self) -> Result<(Duration, u64), Mp4Error> {
        self.writer.finish()?;
        Ok((self.shown.since_start(), self.frames))
    }

    fn write(&mut self, outgoing: Outgoing) -> Result<(), Mp4Error> {
        let at = outgoing.media.at;
        if self.end.is_some_and(|end| at >= end) {
            return Ok(());
        }
        match outgoing.media.value {
            OutgoingMedia::Audio(packet) => self.writer.audio(&packet),
            OutgoingMedia::VideoFrame(frame) => {
                self.frames += 1;
                self.shown = self.cadence.frame_time(self.cadence.first_frame_from(at + 1));
                let ticks = self.shown.to_rtp::<VIDEO_CLOCK_HZ>().ticks_since(at.to_rtp());
                self.writer.video(&frame, ticks.unsigned_abs())
            }
        }
    }
}
