//! One film being made: a show whose clock is its own ticks and whose way out is a file.

use std::fs::File;
use std::io::BufWriter;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use super::{Mp4Error, Mp4Writer, RenderError, RenderPlan};
use crate::codec::audio_file::AudioClip;
use crate::codec::{H264Encoder, OpusEncoder};
use crate::media::{FrameSize, VideoFrame};
use crate::model::{Cadence, Pack};
use crate::session::{
    Inbox, Meter, Outgoing, OutgoingMedia, Outlet, Session, SessionCommand, SessionKey, SessionParts, SpeechSink,
    speech_queue,
};
use crate::telemetry::Counters;
use crate::time::{SampleIndex, VIDEO_CLOCK_HZ, Wall};

/// The face goes on for this long after the last word, so that the mouth shuts.
const AFTERMATH: Duration = Duration::from_millis(400);

/// Pause before a frame that a device computes is polled again.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// What a show gave and the file has not yet.
type Tray = Arc<Mutex<Vec<Outgoing>>>;

pub(super) struct VideoFile {
    show: Session,
    sound: Arc<AudioClip>,
    next_block: usize,
    sink: Option<SpeechSink>,
    tray: Tray,
    writer: Mp4Writer<BufWriter<File>>,
    cadence: Cadence,
    end: SampleIndex,
    shown: SampleIndex,
    pictures: u64,
}

/// A way out that always has room: the clock waits for the file.
struct TrayOutlet(Tray);

impl Outlet for TrayOutlet {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, outgoing: Outgoing) -> Result<(), Box<Outgoing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(outgoing);
        Ok(())
    }
}

impl VideoFile {
    pub(super) fn begin(
        plan: &RenderPlan,
        pack: &dyn Pack,
        sound: Arc<AudioClip>,
        file: File,
    ) -> Result<Self, RenderError> {
        let size = FrameSize::square(plan.resolution_px);
        let end = SampleIndex::at(sound.duration() + AFTERMATH);
        let (tray, inbox) = (Tray::default(), Inbox::new(Arc::<Counters>::default()));
        let first = pack.avatars().first().map(|card| card.name.clone()).unwrap_or_default();
        let animator = pack.animator(plan.avatar.as_ref().unwrap_or(&first), plan.resolution_px)?;
        let cadence = animator.cadence();
        let parts = SessionParts {
            key: SessionKey(0),
            inbox: inbox.clone(),
            outlet: Box::new(TrayOutlet(Arc::clone(&tray))),
            animator,
            encoder: Box::new(H264Encoder::new(size, cadence.frame_rate, plan.bitrate_bps)?),
            canvas: VideoFrame::black(size),
            meter: Arc::<Meter>::default(),
            events: broadcast::channel(1).0,
        };
        inbox.watch();
        let (sink, source) = speech_queue();
        inbox.order(SessionCommand::Speak(source)).expect("an empty inbox has room for an order");
        // Its own time: any instant will do as the start.
        let show = Session::new(parts, plan.bitrate_bps, Wall.now())?;
        let write = |source| RenderError::Write { path: plan.out.clone(), source };
        let pre_skip_samples = OpusEncoder::new()?.pre_skip_samples()?;
        let writer = Mp4Writer::new(BufWriter::new(file), size, pre_skip_samples).map_err(write)?;
        Ok(Self {
            show,
            sound,
            next_block: 0,
            sink: Some(sink),
            tray,
            writer,
            cadence,
            end,
            shown: SampleIndex::ZERO,
            pictures: 0,
        })
    }

    /// Moves the film on by 20 ms; false when it is at its end.
    pub(super) fn go_on(&mut self, wall: Wall) -> Result<bool, Mp4Error> {
        match (self.sound.block(self.next_block), &self.sink) {
            // One block a tick: there is always room.
            (Some(block), Some(sink)) => drop(sink.try_push(block)),
            _ => self.sink.take().into_iter().for_each(SpeechSink::finish),
        }
        self.next_block += 1;
        let now: Instant = self.show.next_tick();
        self.show.tick(now, wall);
        while self.show.has_pending_frame() {
            // The clock of the file stands still while a device computes.
            std::thread::park_timeout(POLL_INTERVAL);
            self.show.tick(now, wall);
        }
        let given = std::mem::take(&mut *self.tray.lock().unwrap_or_else(PoisonError::into_inner));
        for outgoing in given {
            self.write(outgoing)?;
        }
        Ok(self.shown < self.end)
    }

    pub(super) fn share_done(&self) -> f64 {
        self.shown.0 as f64 / self.end.0.max(1) as f64
    }

    /// Completes the file: its length and the number of pictures.
    pub(super) fn finish(self) -> Result<(Duration, u64), Mp4Error> {
        self.writer.finish()?;
        Ok((self.shown.since_start(), self.pictures))
    }

    fn write(&mut self, outgoing: Outgoing) -> Result<(), Mp4Error> {
        let at = outgoing.media.at;
        if at >= self.end {
            return Ok(());
        }
        match outgoing.media.value {
            OutgoingMedia::Voice(packet) => self.writer.voice(&packet),
            OutgoingMedia::VideoFrame(picture) => {
                self.pictures += 1;
                self.shown = self.cadence.frame_time(self.cadence.first_frame_from(at + 1));
                let ticks = self.shown.to_rtp::<VIDEO_CLOCK_HZ>().ticks_since(at.to_rtp());
                self.writer.picture(&picture, ticks.unsigned_abs())
            }
        }
    }
}
