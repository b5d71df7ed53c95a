//! Metrics of one client from its packet log. Pure arithmetic; `docs/measuring.md` defines every metric in words.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::marker::{Chirp, DelayMap, MarkerMatch, find};
use super::recording::{Frame, PACKET_SAMPLES, Recording, ReportedClock, TimeExtender, frames, ms_between};
use super::speech_loop::SpeechLoop;
use crate::telemetry::Histogram;

/// Frame interval in milliseconds.
pub const FRAME_MS: f64 = 40.0;
/// Frame interval in ticks of the 90 kHz video clock.
const FRAME_TICKS: i64 = 3600;
/// Error of a marker's estimated position (1 ms): an instant this close to the next packet belongs to that packet.
const POSITION_TOLERANCE: i64 = 48;

/// Frame counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameTally {
    /// Frames of the timeline: one every 40 ms, received or not.
    pub due: u64,
    /// Complete, and less than one frame interval late.
    pub on_time: u64,
    /// Later than that, or incomplete.
    pub late: u64,
    /// Never received.
    pub dropped: u64,
}

impl FrameTally {
    /// Share of the due frames that were on time; 0 if none was due.
    #[must_use]
    pub fn on_time_ratio(self) -> f64 {
        self.on_time as f64 / self.due.max(1) as f64
    }

    /// Adds the counts of another client.
    pub fn add(&mut self, other: Self) {
        self.due += other.due;
        self.on_time += other.on_time;
        self.late += other.late;
        self.dropped += other.dropped;
    }
}

/// The measured interval of a run.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Start.
    pub from: Duration,
    /// End.
    pub to: Duration,
}

/// Metrics of one client.
#[derive(Clone, Debug, Default)]
pub struct ClientMetrics {
    /// Frame counts.
    pub frames: FrameTally,
    /// Lateness of each frame against the timeline, in milliseconds.
    pub lateness: Vec<f64>,
    /// Duration of each freeze in milliseconds.
    pub freezes: Vec<f64>,
    /// For each frame, from sending the audio packet that holds its instant to receiving its last packet, in milliseconds.
    pub audio_to_frame: Vec<f64>,
    /// For each frame, its arrival minus the arrival of the audio of the same instant, in milliseconds.
    pub av_offset: Vec<f64>,
    /// Difference between the sender reports and the common time base of both streams, in milliseconds; `None` without both.
    pub report_skew_ms: Option<f64>,
    /// Interarrival jitter of the audio (RFC 3550, section 6.4.1) in milliseconds.
    pub audio_jitter_ms: f64,
    /// Interarrival jitter of the frames.
    pub frame_jitter_ms: f64,
    /// Markers sent and detected.
    pub markers: (u64, u64),
    /// Number of changes of the audio delay.
    pub delay_changes: u64,
    /// Video bitrate.
    pub video_bps: f64,
    /// Delay of the client's own packets against their schedule.
    pub send_lateness: Histogram,
}

/// Computes the metrics of one client over `window`.
///
/// # Errors
/// If the Opus library cannot create a decoder.
pub fn analyze(recording: &Recording, speech: &SpeechLoop, window: Window) -> Result<ClientMetrics, opus::Error> {
    let audio = ReturnedAudio::decode(recording)?;
    let (map, markers) = audio.delay_map(recording, speech, window);
    let all = frames_in(recording, window);
    let skew = recording.audio_report.zip(recording.video_report).map(|(audio, video)| report_skew_ms(audio, video));
    let aligned = Alignment { recording, audio: &audio, map: &map, codec_delay: speech.codec_delay };
    let lateness = lateness(&all);
    let arrivals: Vec<Duration> = all.iter().map(|frame| frame.arrived).collect();
    let seconds = (window.to - window.from).as_secs_f64();
    Ok(ClientMetrics {
        frames: tally(&all, &lateness, window),
        freezes: freezes(&arrivals, window),
        audio_to_frame: all.iter().filter_map(|frame| aligned.audio_to_frame_ms(frame)).collect(),
        av_offset: all.iter().filter_map(|frame| aligned.av_offset_ms(frame)).collect(),
        report_skew_ms: skew,
        audio_jitter_ms: jitter_ms(audio.packets.iter().map(|(at, arrived)| (*at as f64 / 48.0, *arrived))),
        frame_jitter_ms: jitter_ms(all.iter().map(|f| (f.ticks as f64 / 90.0, f.arrived))),
        markers,
        delay_changes: map.delay_changes() as u64,
        video_bps: all.iter().map(|f| f.length_bytes as f64 * 8.0).sum::<f64>() / seconds,
        send_lateness: send_lateness(recording, window),
        lateness,
    })
}

/// Counts and lateness of the frames that a viewer received over `window`.
#[must_use]
pub fn analyze_viewer(recording: &Recording, window: Window) -> (FrameTally, Vec<f64>) {
    let all = frames_in(recording, window);
    let lateness = lateness(&all);
    (tally(&all, &lateness, window), lateness)
}

fn frames_in(recording: &Recording, window: Window) -> Vec<Frame> {
    let is_inside = |frame: &Frame| frame.arrived >= window.from && frame.arrived < window.to;
    frames(&recording.video).into_iter().filter(is_inside).collect()
}

fn send_lateness(recording: &Recording, window: Window) -> Histogram {
    let mut histogram = Histogram::default();
    let sent = recording.sent.iter().zip(&recording.send_lateness);
    sent.filter(|(at, _)| **at >= window.from && **at < window.to).for_each(|(_, late)| histogram.record(*late));
    histogram
}

/// The returned audio: position of each packet in RTP time, and the decoded samples.
struct ReturnedAudio {
    /// First sample (extended RTP timestamp, 48 kHz) and arrival of each packet, sorted by sample.
    packets: Vec<(i64, Duration)>,
    /// Samples from `origin` on; gaps are silent.
    samples: Vec<f32>,
    origin: i64,
}

impl ReturnedAudio {
    fn decode(recording: &Recording) -> Result<Self, opus::Error> {
        let mut timestamps = TimeExtender::default();
        let mut placed: Vec<_> =
            recording.audio.iter().map(|packet| (timestamps.extend(packet.rtp.0), packet)).collect();
        placed.sort_by_key(|(at, _)| *at);
        placed.dedup_by_key(|(at, _)| *at);
        let origin = placed.first().map_or(0, |(at, _)| *at);
        let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono)?;
        let mut samples = Vec::new();
        let mut block = [0.0; 5760];
        for (at, packet) in &placed {
            // A packet that does not decode leaves silence. It shows in the number of markers that are not detected.
            let length = decoder.decode_float(&packet.payload, &mut block, false).unwrap_or(0);
            let start = (at - origin) as usize;
            samples.resize(samples.len().max(start + length), 0.0);
            samples[start..start + length].copy_from_slice(&block[..length]);
        }
        Ok(Self { packets: placed.iter().map(|(at, packet)| (*at, packet.arrived)).collect(), samples, origin })
    }

    /// Searches each marker in the audio that arrived within a second after it was sent.
    fn delay_map(&self, recording: &Recording, speech: &SpeechLoop, window: Window) -> (DelayMap, (u64, u64)) {
        let sent_to = |limit: Duration| recording.sent.partition_point(|at| *at < limit) as i64 * PACKET_SAMPLES;
        let from = sent_to(window.from.saturating_sub(Duration::from_secs(2)));
        let to = sent_to(window.to.saturating_sub(Duration::from_secs(1)));
        let sent: Vec<(i64, Chirp)> = speech.markers(recording.loop_start, from, to).collect();
        let matches: Vec<MarkerMatch> =
            sent.iter().filter_map(|(at, chirp)| self.find_marker(recording, *at, *chirp)).collect();
        let map = DelayMap::new(&matches);
        let found = map.len() as u64;
        (map, (sent.len() as u64, found))
    }

    fn find_marker(&self, recording: &Recording, sent: i64, chirp: Chirp) -> Option<MarkerMatch> {
        let left = *recording.sent.get(usize::try_from(sent / PACKET_SAMPLES).ok()?)?;
        let first = self.packets.iter().position(|(_, arrived)| *arrived >= left)?;
        let start = usize::try_from(self.packets[first].0 - self.origin).ok()?;
        let end = (start + 48_000).min(self.samples.len());
        let found = find(self.samples.get(start..end)?, chirp)?;
        Some(MarkerMatch { sent, received: self.origin + (start + found.at) as i64 })
    }

    /// Arrival of the packet that holds sample `at`.
    fn arrival_of(&self, at: i64) -> Option<Duration> {
        let after = self.packets.partition_point(|(first, _)| *first <= at);
        let (first, arrived) = self.packets.get(after.checked_sub(1)?)?;
        (at - first < PACKET_SAMPLES).then_some(*arrived)
    }
}

/// Aligns frames with audio.
struct Alignment<'a> {
    recording: &'a Recording,
    audio: &'a ReturnedAudio,
    map: &'a DelayMap,
    codec_delay: i64,
}

impl Alignment<'_> {
    /// Audio sample (48 kHz) of a frame's instant. Both RTP clocks count from the same origin; the sender reports check that
    /// (`report_skew_ms`).
    fn audio_sample(frame: &Frame) -> i64 {
        frame.ticks * 48 / 90
    }

    fn av_offset_ms(&self, frame: &Frame) -> Option<f64> {
        Some(ms_between(self.audio.arrival_of(Self::audio_sample(frame))?, frame.arrived))
    }

    fn audio_to_frame_ms(&self, frame: &Frame) -> Option<f64> {
        // Each encoder delays the sound by its look-ahead: the returned audio sounds one codec delay after its RTP timestamp, and
        // a sample of the client's speech is in the packet one codec delay later.
        let original = self.map.sent_of(Self::audio_sample(frame) + self.codec_delay)?;
        let packet = packet_of(original + self.codec_delay);
        Some(ms_between(*self.recording.sent.get(usize::try_from(packet).ok()?)?, frame.arrived))
    }
}

/// Number of the packet that holds `sample`; a packet that begins within the tolerance counts as begun.
fn packet_of(sample: i64) -> i64 {
    (sample + POSITION_TOLERANCE).div_euclid(PACKET_SAMPLES)
}

/// Milliseconds by which two sender reports place the video after the audio, if both RTP clocks count from the same origin.
#[must_use]
pub fn report_skew_ms(audio: ReportedClock, video: ReportedClock) -> f64 {
    let seconds = |a: u64, b: u64| (a.wrapping_sub(b).cast_signed()) as f64 / 4_294_967_296.0;
    let between_ms = seconds(video.ntp, audio.ntp) * 1000.0;
    let audio_ms = f64::from(audio.rtp) / 48.0;
    let video_ms = f64::from(video.rtp) / 90.0;
    between_ms - (video_ms - audio_ms)
}

/// Lateness of each frame in milliseconds, against a timeline of one frame every 40 ms. The 10th percentile of the arrivals
/// sets its origin: robust against a single early frame, and not shifted by late ones.
#[must_use]
pub fn lateness(frames: &[Frame]) -> Vec<f64> {
    let transit: Vec<f64> =
        frames.iter().map(|frame| frame.arrived.as_secs_f64() * 1000.0 - frame.ticks as f64 / 90.0).collect();
    let mut sorted = transit.clone();
    sorted.sort_by(f64::total_cmp);
    let base = sorted.get(sorted.len() / 10).copied().unwrap_or_default();
    transit.iter().map(|ms| ms - base).collect()
}

/// Counts frames. A 40 ms slot without a frame is a dropped frame, also before the first and after the last frame of the window.
#[must_use]
pub fn tally(frames: &[Frame], lateness: &[f64], window: Window) -> FrameTally {
    let full_slots = |span: Duration| (span.as_secs_f64() * 1000.0 / FRAME_MS) as u64;
    let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
        let due = full_slots(window.to.saturating_sub(window.from));
        return FrameTally { due, dropped: due, ..FrameTally::default() };
    };
    let skipped = |pair: &[Frame]| ((pair[1].ticks - pair[0].ticks + FRAME_TICKS / 2) / FRAME_TICKS - 1).max(0) as u64;
    // Up to two slots at each end are jitter at the edge of the window.
    let at_edges = full_slots(first.arrived - window.from).saturating_sub(2)
        + full_slots(window.to - last.arrived).saturating_sub(2);
    let dropped = frames.windows(2).map(skipped).sum::<u64>() + at_edges;
    let is_on_time = |(frame, ms): &(&Frame, &f64)| frame.is_complete && **ms < FRAME_MS;
    let on_time = frames.iter().zip(lateness).filter(is_on_time).count() as u64;
    let arrived = frames.len() as u64;
    FrameTally { due: arrived + dropped, on_time, late: arrived - on_time, dropped }
}

/// Durations of freezes in milliseconds: intervals between frames of at least max(3 x mean, mean + 150 ms), with the mean of the
/// previous 30 intervals (W3C webrtc-stats, freezeCount). The end of the window ends the last interval.
#[must_use]
pub fn freezes(arrivals: &[Duration], window: Window) -> Vec<f64> {
    let mut sorted = arrivals.to_vec();
    sorted.sort_unstable();
    sorted.push(window.to);
    let intervals: Vec<f64> = sorted.windows(2).map(|pair| ms_between(pair[0], pair[1])).collect();
    let is_freeze = |n: usize| {
        let before = &intervals[n.saturating_sub(30)..n];
        let mean = if before.is_empty() { FRAME_MS } else { before.iter().sum::<f64>() / before.len() as f64 };
        intervals[n] >= f64::max(3.0 * mean, mean + 150.0)
    };
    (0..intervals.len()).filter(|n| is_freeze(*n)).map(|n| intervals[n]).collect()
}

/// Interarrival jitter (RFC 3550, section 6.4.1) after the last of `packets`, each a media time in milliseconds and an arrival.
#[must_use]
pub fn jitter_ms(packets: impl Iterator<Item = (f64, Duration)>) -> f64 {
    let mut before: Option<f64> = None;
    packets.fold(0.0, |jitter, (media_ms, arrived)| {
        let transit = arrived.as_secs_f64() * 1000.0 - media_ms;
        let step = before.replace(transit).map_or(0.0, |before| (transit - before).abs());
        jitter + (step - jitter) / 16.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { from: Duration::ZERO, to: Duration::from_secs(2) };

    fn frame(n: i64, ms: u64) -> Frame {
        Frame { ticks: n * FRAME_TICKS, arrived: Duration::from_millis(ms), length_bytes: 1, is_complete: true }
    }

    #[test]
    fn an_empty_slot_is_a_dropped_frame_and_a_slow_frame_is_late() {
        let frames: Vec<Frame> = (0..50)
            .filter(|n| ![10, 11, 30].contains(n))
            .map(|n| frame(n, n as u64 * 40 + if n == 20 { 45 } else { 5 }))
            .collect();
        let found = tally(&frames, &lateness(&frames), WINDOW);
        assert_eq!(found, FrameTally { due: 50, on_time: 46, late: 1, dropped: 3 });
    }

    #[test]
    fn a_server_that_stops_sending_drops_every_later_frame() {
        let frames: Vec<Frame> = (0..25).map(|n| frame(n, n as u64 * 40)).collect();
        let found = tally(&frames, &lateness(&frames), WINDOW);
        assert_eq!((found.due, found.dropped), (49, 24));
        assert_eq!(tally(&[], &[], WINDOW).dropped, 50);
    }

    #[test]
    fn an_interval_is_a_freeze_from_the_mean_plus_150_ms_on() {
        let steady = |extra: u64| -> Vec<Duration> {
            (0..50).map(|n| Duration::from_millis(n * 40 + if n >= 25 { extra } else { 0 })).collect()
        };
        let window = Window { from: Duration::ZERO, to: Duration::from_millis(2150) };
        assert!(freezes(&steady(145), window).is_empty());
        assert_eq!(freezes(&steady(151), window).len(), 1);
    }

    #[test]
    fn an_instant_within_a_millisecond_of_the_next_packet_belongs_to_it() {
        assert_eq!((packet_of(959), packet_of(960), packet_of(900), packet_of(-60)), (1, 1, 0, -1));
    }

    #[test]
    fn sender_reports_of_one_clock_have_no_skew() {
        let second = 1_u64 << 32;
        let audio = ReportedClock { ntp: 100 * second, rtp: 48_000 };
        let video = ReportedClock { ntp: 101 * second + second / 2, rtp: 225_000 };
        assert!(report_skew_ms(audio, video).abs() < 1e-6);
        let ahead = ReportedClock { rtp: 225_000 - 900, ..video };
        assert!((report_skew_ms(audio, ahead) - 10.0).abs() < 1e-6);
    }

    #[test]
    fn evenly_spaced_packets_have_no_jitter() {
        let steady = (0..100).map(|n| (f64::from(n) * 20.0, Duration::from_millis(n as u64 * 20 + 7)));
        assert!(jitter_ms(steady) < 1e-9);
    }
}
