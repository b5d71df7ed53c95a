//! The report of a running session: its figures, its current state, and its events.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;
use tracing::Span;

use super::end_reason::EndReason;
use super::event::Quality;
use super::limits::{SessionLifetime, SessionLimits};
use crate::audio::{AudioReceiverStats, Speaking};
use crate::codec::VideoCodec;
use crate::telemetry::{Distribution, Histogram, Loss, LossCounts, Marks, Percentiles, Stage, Trace};
use crate::time::SampleIndex;

/// Frames of a session. A frame that is sent to several viewers counts once for each of them; one that is never started
/// counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FrameCounts {
    /// Frames that were due.
    pub due: u64,
    /// Of these, sent less than one frame interval after they were due.
    pub on_time: u64,
    /// Of these, later than that.
    pub late: u64,
    /// Of these, never started, or discarded before they were sent.
    pub dropped: u64,
}

/// All counts of one session. Shared by its worker and the network thread; locked for microseconds.
#[derive(Debug, Default)]
pub struct Meter {
    state: Mutex<MeterState>,
    /// The trace of sent frames, and the session's number in it.
    trace: Option<(Trace, u64)>,
    /// The log span of the session.
    span: LogSpan,
    /// When the session was admitted.
    began: Option<Instant>,
}

/// The span of a session's log lines; by default none.
#[derive(Debug)]
struct LogSpan(Span);

impl Default for LogSpan {
    fn default() -> Self {
        Self(Span::none())
    }
}

#[derive(Debug, Default)]
struct MeterState {
    stages: BTreeMap<Stage, Histogram>,
    audio_stages: BTreeMap<Stage, Histogram>,
    gpu: BTreeMap<&'static str, Histogram>,
    audio_to_frame: Histogram,
    processing: Histogram,
    frames: FrameCounts,
    encoded_frames: u64,
    losses: LossCounts,
    recent: Histogram,
    latest: Latest,
    frame_interval: Option<Duration>,
    is_closed: bool,
}

/// A frame is on time if it is sent less than this after it was due, unless [`Meter::set_frame_interval`] was called.
const FRAME_INTERVAL: Duration = Duration::from_millis(40);

/// Current values rather than counts.
#[derive(Clone, Copy, Debug, Default)]
struct Latest {
    quality: Quality,
    is_speaking: bool,
    look_ahead_samples: u64,
    line: AudioReceiverStats,
}

/// The measurements of a [`Meter`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct MeterReport {
    /// Frames.
    pub frames: FrameCounts,
    /// Frames that were encoded. Each is encoded once, whatever the number of viewers.
    pub encoded_frames: u64,
    /// From reading an audio packet to sending the first frame that shows it, in milliseconds.
    pub audio_to_frame_ms: Percentiles,
    /// From reading the newest packet that a frame needs to sending the frame: without look-ahead and the wait for the frame's slot.
    pub processing_ms: Percentiles,
    /// Time of frames in each stage, by [`Stage::name`], in milliseconds.
    pub video_stages: BTreeMap<&'static str, Percentiles>,
    /// The same for blocks of audio; `queue` is the wait for the frame of the same time.
    pub audio_stages: BTreeMap<&'static str, Percentiles>,
    /// Time of the device for the parts of inference, by [`crate::telemetry::StepTimes::NAMES`]; empty on the CPU backend.
    pub gpu: BTreeMap<&'static str, Percentiles>,
    /// Losses by [`crate::telemetry::Loss::name`].
    pub losses: BTreeMap<&'static str, u64>,
    /// The same durations by bucket, for metrics.
    #[serde(skip)]
    pub buckets: Buckets,
}

/// Durations by bucket, for metrics that are summed over time and machines.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    /// Buckets of [`MeterReport::audio_to_frame_ms`].
    pub audio_to_frame: Distribution,
    /// Buckets of [`MeterReport::processing_ms`].
    pub processing: Distribution,
    /// Buckets of [`MeterReport::video_stages`].
    pub video_stages: BTreeMap<&'static str, Distribution>,
    /// Buckets of [`MeterReport::audio_stages`].
    pub audio_stages: BTreeMap<&'static str, Distribution>,
    /// Buckets of [`MeterReport::gpu`].
    pub gpu: BTreeMap<&'static str, Distribution>,
}

impl Meter {
    /// A meter that also reports sent frames to `trace`, as frames of the session with this number.
    #[must_use]
    pub fn traced(trace: Option<Trace>, session: u64) -> Self {
        Self { trace: trace.map(|trace| (trace, session)), ..Self::default() }
    }

    /// The same, with the log span `span`; the session was admitted at `began`.
    #[must_use]
    pub fn logged(self, span: Span, began: Instant) -> Self {
        Self { span: LogSpan(span), began: Some(began), ..self }
    }

    /// The log span of the session. Enter it while working for the session.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.span.0
    }

    /// Logs the end of the session with its frame counts.
    pub(super) fn log_end(&self, reason: EndReason, now: Instant) {
        let report = self.report();
        let (frames, delay) = (report.frames, report.audio_to_frame_ms);
        let seconds = self.began.map_or(0, |began| now.saturating_duration_since(began).as_secs());
        let losses: u64 = report.losses.values().sum();
        let _entered = self.span.0.enter();
        tracing::info!(
            reason = reason.code(),
            seconds,
            frames_due = frames.due,
            on_time = frames.on_time,
            late = frames.late,
            dropped = frames.dropped,
            audio_to_frame_p50_ms = delay.p50.round(),
            audio_to_frame_p95_ms = delay.p95.round(),
            losses,
            "session ended"
        );
    }

    /// Counts a sent frame; true if it was on time. Frames without audio count only as
    /// frames.
    pub fn frame_sent(&self, marks: &Marks, lateness: Duration) -> bool {
        let traced = self.trace.as_ref().map_or(Ok(()), |(trace, session)| trace.frame(*session, marks));
        let is_on_time = lateness < self.with(|state| state.frame_interval.unwrap_or(FRAME_INTERVAL));
        let mut is_first = false;
        self.while_open(|state| {
            is_first = state.frames.on_time + state.frames.late == 0;
            traced.err().iter().for_each(|loss| state.losses.count(*loss));
            let count = if is_on_time { &mut state.frames.on_time } else { &mut state.frames.late };
            *count += 1;
            state.record(marks);
        });
        if let (true, Some(began), Some(sent)) = (is_first, self.began, marks.at(Stage::Sent)) {
            let after_ms = sent.saturating_duration_since(began).as_millis() as u64;
            let _entered = self.span.0.enter();
            tracing::info!(after_ms, "first frame sent");
        }
        is_on_time
    }

    /// Counts 20 ms of sent audio.
    pub fn audio_sent(&self, marks: &Marks) {
        self.while_open(|state| {
            marks.spans().for_each(|(stage, span)| state.audio_stages.entry(stage).or_default().record(span));
        });
    }

    /// Counts a due frame.
    pub fn frame_due(&self) {
        self.while_open(|state| state.frames.due += 1);
    }

    /// Counts an encoded frame.
    pub(super) fn frame_encoded(&self) {
        self.while_open(|state| state.encoded_frames += 1);
    }

    /// Counts a dropped frame.
    pub fn frame_dropped(&self) {
        self.while_open(|state| state.frames.dropped += 1);
    }

    /// Ends the session: unsent frames count as dropped, and nothing is counted from now on. So every due frame ends up on
    /// time, late or dropped.
    pub fn close(&self) {
        self.while_open(|state| {
            let on_the_way = state.frames.on_the_way();
            state.frames.dropped += on_the_way;
            state.losses.count_many(Loss::UnsentFrame, on_the_way);
            state.is_closed = true;
        });
    }

    /// Percentiles of the audio-to-frame delay since the last call.
    pub(super) fn take_recent(&self) -> Percentiles {
        self.with(|state| std::mem::take(&mut state.recent).percentiles())
    }

    /// Sets the frame interval: a frame is on time if it is sent less than this after it was due.
    pub(super) fn set_frame_interval(&self, interval: Duration) {
        self.with(|state| state.frame_interval = Some(interval));
    }

    /// Sets the current values.
    pub(super) fn note(&self, quality: Quality, look_ahead_samples: u64, line: AudioReceiverStats) {
        self.with(|state| {
            state.latest = Latest { quality, look_ahead_samples, line, ..state.latest };
        });
    }

    /// Sets whether the avatar speaks.
    pub(super) fn note_speaking(&self, change: Speaking) {
        self.with(|state| state.latest.is_speaking = matches!(change, Speaking::Started(_)));
    }

    /// Whether the avatar speaks.
    #[must_use]
    pub fn is_speaking(&self) -> bool {
        self.with(|state| state.latest.is_speaking)
    }

    /// The full report of the session of `summary`.
    #[must_use]
    pub fn stats(&self, summary: SessionSummary) -> SessionStats {
        SessionStats { summary, meter: self.report(), state: self.state() }
    }

    /// The current state.
    #[must_use]
    pub fn state(&self) -> SessionState {
        let latest = self.with(|state| state.latest);
        SessionState {
            quality: latest.quality,
            look_ahead_ms: SampleIndex(latest.look_ahead_samples).since_start().as_secs_f64() * 1000.0,
            jitter_buffer_ms: latest.line.depth_ms,
            clock_drift_ppm: latest.line.drift_ppm,
        }
    }

    /// Adds losses.
    pub fn lose(&self, losses: &LossCounts) {
        self.with(|state| state.losses.add(losses));
    }

    /// All measurements so far.
    #[must_use]
    pub fn report(&self) -> MeterReport {
        self.with(|state| MeterReport {
            frames: state.frames,
            encoded_frames: state.encoded_frames,
            audio_to_frame_ms: state.audio_to_frame.percentiles(),
            processing_ms: state.processing.percentiles(),
            video_stages: by_name(&state.stages, Histogram::percentiles),
            audio_stages: by_name(&state.audio_stages, Histogram::percentiles),
            gpu: state.gpu.iter().map(|(part, spans)| (*part, spans.percentiles())).collect(),
            losses: state.losses.iter().map(|(loss, n)| (loss.name(), n)).collect(),
            buckets: state.buckets(),
        })
    }

    /// Adds all measurements to the totals of the process.
    pub fn merge_into(&self, totals: &Self) {
        self.with(|mine| totals.with(|sum| sum.add(mine)));
    }

    fn while_open(&self, change: impl FnOnce(&mut MeterState)) {
        self.with(|state| (!state.is_closed).then(|| change(state)));
    }

    fn with<T>(&self, change: impl FnOnce(&mut MeterState) -> T) -> T {
        // A poisoned meter only means that a reader of numbers panicked: the numbers are still consistent.
        change(&mut self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl MeterState {
    fn buckets(&self) -> Buckets {
        Buckets {
            audio_to_frame: self.audio_to_frame.distribution(),
            processing: self.processing.distribution(),
            video_stages: by_name(&self.stages, Histogram::distribution),
            audio_stages: by_name(&self.audio_stages, Histogram::distribution),
            gpu: self.gpu.iter().map(|(part, spans)| (*part, spans.distribution())).collect(),
        }
    }

    fn record(&mut self, marks: &Marks) {
        marks.spans().for_each(|(stage, span)| self.stages.entry(stage).or_default().record(span));
        marks.step.parts().for_each(|(part, took)| self.gpu.entry(part).or_default().record(took));
        if let Some(span) = marks.between(Stage::OldestPacket, Stage::Sent) {
            self.audio_to_frame.record(span);
            self.recent.record(span);
        }
        if let Some(span) = marks.between(Stage::NewestPacket, Stage::Sent) {
            self.processing.record(span);
        }
    }

    fn add(&mut self, other: &Self) {
        merge(&mut self.stages, &other.stages);
        merge(&mut self.audio_stages, &other.audio_stages);
        merge(&mut self.gpu, &other.gpu);
        self.audio_to_frame.merge(&other.audio_to_frame);
        self.processing.merge(&other.processing);
        self.losses.add(&other.losses);
        self.encoded_frames += other.encoded_frames;
        self.frames.due += other.frames.due;
        self.frames.on_time += other.frames.on_time;
        self.frames.late += other.frames.late;
        self.frames.dropped += other.frames.dropped;
    }
}

impl FrameCounts {
    /// Frames that are due and neither sent nor dropped yet.
    fn on_the_way(self) -> u64 {
        self.due.saturating_sub(self.on_time + self.late + self.dropped)
    }
}

fn by_name<T>(stages: &BTreeMap<Stage, Histogram>, read: fn(&Histogram) -> T) -> BTreeMap<&'static str, T> {
    stages.iter().map(|(stage, spans)| (stage.name(), read(spans))).collect()
}

fn merge<K: Ord + Copy>(sum: &mut BTreeMap<K, Histogram>, more: &BTreeMap<K, Histogram>) {
    more.iter().for_each(|(name, spans)| sum.entry(*name).or_default().merge(spans));
}

/// A session as `GET /v1/sessions` lists it.
#[derive(Clone, Debug, Serialize)]
pub struct SessionSummary {
    /// Its id.
    pub id: String,
    /// Its avatar.
    pub avatar: String,
    /// Its video codec.
    pub codec: VideoCodec,
    /// Its age in seconds.
    pub age_s: f64,
    /// Whether the avatar speaks now.
    pub is_speaking: bool,
    /// Its limits.
    pub options: SessionLimits,
    /// What ends it besides a request.
    pub lifetime: SessionLifetime,
    /// Number of viewers, including its creator.
    pub viewer_count: usize,
}

/// A session in full, as `GET /v1/sessions/{id}/stats` returns it.
#[derive(Clone, Debug, Serialize)]
pub struct SessionStats {
    /// Its summary.
    #[serde(flatten)]
    pub summary: SessionSummary,
    /// Measurements since it began.
    #[serde(flatten)]
    pub meter: MeterReport,
    /// Its current state.
    #[serde(flatten)]
    pub state: SessionState,
}

/// The current state of a session, updated once a second.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SessionState {
    /// The last second.
    pub quality: Quality,
    /// Look-ahead of the model in milliseconds.
    pub look_ahead_ms: f64,
    /// Depth of the jitter buffer in milliseconds.
    pub jitter_buffer_ms: f64,
    /// Drift of the sender's clock relative to the server's in parts per million.
    pub clock_drift_ppm: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[test]
    fn every_due_frame_ends_up_on_time_late_or_dropped() {
        let meter = Meter::default();
        (0..10).for_each(|_| meter.frame_due());
        meter.frame_sent(&Marks::default(), Duration::from_millis(39));
        meter.frame_sent(&Marks::default(), Duration::from_millis(40));
        meter.frame_dropped();
        let totals = Meter::default();
        meter.close();
        meter.frame_due();
        meter.frame_dropped();
        meter.merge_into(&totals);
        let report = totals.report();
        assert_eq!(report.frames, FrameCounts { due: 10, on_time: 1, late: 1, dropped: 8 });
        assert_eq!(report.losses[Loss::UnsentFrame.name()], 7);
    }

    #[test]
    fn a_frame_dropped_by_a_full_trace_is_counted() {
        let (trace, reader) = Trace::new();
        let meter = Meter::traced(Some(trace), 1);
        drop(reader);
        meter.frame_sent(&Marks::default(), Duration::ZERO);
        assert_eq!(meter.report().losses[Loss::UntracedFrame.name()], 1);
    }

    #[test]
    fn audio_stages_follow_the_marks_of_audio() {
        let (meter, start) = (Meter::default(), Wall.now());
        let mut marks = Marks::default();
        for (stage, ms) in [
            (Stage::NewestPacket, 0),
            (Stage::PlayoutDue, 5),
            (Stage::Started, 65),
            (Stage::Encoded, 66),
            (Stage::Sent, 67),
        ] {
            marks.stamp(stage, start + Duration::from_millis(ms));
        }
        meter.audio_sent(&marks);
        let report = meter.report();
        let max_ms = |stage: &str| report.audio_stages[stage].max.round() as u32;
        assert_eq!(["jitter_buffer", "queue", "encode", "send"].map(max_ms), [5, 60, 1, 1]);
        assert!(report.video_stages.is_empty() && report.buckets.audio_stages.len() == 4);
    }
}
