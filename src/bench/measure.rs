//! From a tape to numbers. Pure arithmetic; `docs/measuring.md` gives every definition in words.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::marker::{Chirp, Echo, VoiceMap, find};
use super::recording::{Frame, PACKET_SAMPLES, Recording, ReportedClock, Unwrapped, frames, ms_between};
use super::speech_loop::VoiceLoop;
use crate::telemetry::Histogram;

/// Length of a frame in milliseconds.
pub const FRAME_MS: f64 = 40.0;
/// Length of a frame in ticks of the video clock.
const FRAME_TICKS: i64 = 3600;
/// Estimates of a marker's place may be off by this (1 ms): a moment so close to the next packet is in that packet.
const PLACE_TOLERANCE: i64 = 48;

/// Frames of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameTally {
    /// Frames that the timeline asks for: one every 40 ms, arrived or not.
    pub due: u64,
    /// Of these, less than one frame later than the timeline.
    pub on_time: u64,
    /// Of these, later than that, or with packets missing.
    pub late: u64,
    /// Of these, never seen.
    pub dropped: u64,
}

/// The stretch of a run that counts.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Its begin.
    pub from: Duration,
    /// Its end.
    pub to: Duration,
}

/// What one caller's tape says.
#[derive(Clone, Debug, Default)]
pub struct CallNumbers {
    /// Frames.
    pub frames: FrameTally,
    /// Lateness of each frame against the timeline, in milliseconds.
    pub lateness: Vec<f64>,
    /// Freezes and their length in milliseconds.
    pub freezes: Vec<f64>,
    /// For each frame, from the packet with its moment of voice leaving to its last packet arriving, in milliseconds.
    pub voice_to_frame: Vec<f64>,
    /// For each frame, its arrival minus the arrival of the voice of the same moment, in milliseconds.
    pub av_offset: Vec<f64>,
    /// Milliseconds by which the sender reports disagree with the streams' common line, if both came.
    pub report_skew_ms: Option<f64>,
    /// Interarrival jitter of the voice (RFC 3550, section 6.4.1) in milliseconds.
    pub voice_jitter_ms: f64,
    /// The same of the frames.
    pub frame_jitter_ms: f64,
    /// Markers sent and found.
    pub markers: (u64, u64),
    /// Times at which the delay of the voice changed.
    pub slips: u64,
    /// Bits a second of video.
    pub video_bps: f64,
    /// Lateness of the caller's own packets.
    pub send_lateness: Histogram,
}

/// Judges one tape. `Err` only if the Opus library cannot be used at all.
///
/// # Errors
/// If no decoder can be made.
pub fn judge(tape: &Recording, voice: &VoiceLoop, window: Window) -> Result<CallNumbers, opus::Error> {
    let heard = Heard::decode(tape)?;
    let (map, markers) = heard.map(tape, voice, window);
    let all: Vec<Frame> =
        frames(&tape.video).into_iter().filter(|f| f.arrived >= window.from && f.arrived < window.to).collect();
    let skew = tape.voice_report.zip(tape.video_report).map(|(voice, video)| report_skew_ms(voice, video));
    let aligned = Aligned { tape, heard: &heard, map: &map, codec_delay: voice.codec_delay };
    let lateness = lateness(&all);
    let arrivals: Vec<Duration> = all.iter().map(|frame| frame.arrived).collect();
    let seconds = (window.to - window.from).as_secs_f64();
    Ok(CallNumbers {
        frames: tally(&all, &lateness, window),
        freezes: freezes(&arrivals, window),
        voice_to_frame: all.iter().filter_map(|frame| aligned.voice_to_frame_ms(frame)).collect(),
        av_offset: all.iter().filter_map(|frame| aligned.av_offset_ms(frame)).collect(),
        report_skew_ms: skew,
        voice_jitter_ms: jitter_ms(heard.packets.iter().map(|(at, arrived)| (*at as f64 / 48.0, *arrived))),
        frame_jitter_ms: jitter_ms(all.iter().map(|f| (f.ticks as f64 / 90.0, f.arrived))),
        markers,
        slips: map.slips() as u64,
        video_bps: all.iter().map(|f| f.length_bytes as f64 * 8.0).sum::<f64>() / seconds,
        send_lateness: send_lateness(tape, window),
        lateness,
    })
}

fn send_lateness(tape: &Recording, window: Window) -> Histogram {
    let mut histogram = Histogram::default();
    let sent = tape.sent.iter().zip(&tape.send_lateness);
    sent.filter(|(at, _)| **at >= window.from && **at < window.to).for_each(|(_, late)| histogram.record(*late));
    histogram
}

/// The returned voice as samples: where each packet lies on the RTP line, and what it says.
struct Heard {
    /// First sample (RTP line at 48 kHz, unwrapped) and arrival of each packet, by sample.
    packets: Vec<(i64, Duration)>,
    /// The sound from `origin` on; gaps are silence.
    sound: Vec<f32>,
    origin: i64,
}

impl Heard {
    fn decode(tape: &Recording) -> Result<Self, opus::Error> {
        let mut line = Unwrapped::default();
        let mut placed: Vec<_> = tape.voice.iter().map(|packet| (line.place(packet.rtp.0), packet)).collect();
        placed.sort_by_key(|(at, _)| *at);
        placed.dedup_by_key(|(at, _)| *at);
        let origin = placed.first().map_or(0, |(at, _)| *at);
        let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono)?;
        let mut sound = Vec::new();
        let mut block = [0.0; 5760];
        for (at, packet) in &placed {
            // A packet that does not decode leaves silence, in which no marker is found: that is its count.
            let length = decoder.decode_float(&packet.payload, &mut block, false).unwrap_or(0);
            let start = (at - origin) as usize;
            sound.resize(sound.len().max(start + length), 0.0);
            sound[start..start + length].copy_from_slice(&block[..length]);
        }
        Ok(Self { packets: placed.iter().map(|(at, packet)| (*at, packet.arrived)).collect(), sound, origin })
    }

    /// Looks for each marker among the packets that came in the second after it was sent.
    fn map(&self, tape: &Recording, voice: &VoiceLoop, window: Window) -> (VoiceMap, (u64, u64)) {
        let sent_to = |limit: Duration| tape.sent.partition_point(|at| *at < limit) as i64 * PACKET_SAMPLES;
        let from = sent_to(window.from.saturating_sub(Duration::from_secs(2)));
        let to = sent_to(window.to.saturating_sub(Duration::from_secs(1)));
        let due: Vec<(i64, Chirp)> = voice.markers(tape.loop_start, from, to).collect();
        let echoes: Vec<Echo> = due.iter().filter_map(|(at, chirp)| self.echo(tape, *at, *chirp)).collect();
        let map = VoiceMap::new(&echoes);
        let found = map.len() as u64;
        (map, (due.len() as u64, found))
    }

    fn echo(&self, tape: &Recording, sent: i64, chirp: Chirp) -> Option<Echo> {
        let left = *tape.sent.get(usize::try_from(sent / PACKET_SAMPLES).ok()?)?;
        let first = self.packets.iter().position(|(_, arrived)| *arrived >= left)?;
        let start = usize::try_from(self.packets[first].0 - self.origin).ok()?;
        let end = (start + 48_000).min(self.sound.len());
        let found = find(self.sound.get(start..end)?, chirp)?;
        Some(Echo { sent, heard: self.origin + (start + found.at) as i64 })
    }

    /// When the packet arrived that holds sample `at` of the RTP line.
    fn arrival_of(&self, at: i64) -> Option<Duration> {
        let after = self.packets.partition_point(|(first, _)| *first <= at);
        let (first, arrived) = self.packets.get(after.checked_sub(1)?)?;
        (at - first < PACKET_SAMPLES).then_some(*arrived)
    }
}

/// Frames against voice.
struct Aligned<'a> {
    tape: &'a Recording,
    heard: &'a Heard,
    map: &'a VoiceMap,
    codec_delay: i64,
}

impl Aligned<'_> {
    /// The frame's moment on the RTP line of the voice. Both streams count the same samples from the same zero; the
    /// sender reports are the check (`report_skew_ms`).
    fn moment(frame: &Frame) -> i64 {
        frame.ticks * 48 / 90
    }

    fn av_offset_ms(&self, frame: &Frame) -> Option<f64> {
        Some(ms_between(self.heard.arrival_of(Self::moment(frame))?, frame.arrived))
    }

    fn voice_to_frame_ms(&self, frame: &Frame) -> Option<f64> {
        // The returned voice was encoded after the line, so it sounds one codec delay later than its RTP time says; and
        // the packet that holds a sample of the caller is the one a codec delay later.
        let original = self.map.sent_of(Self::moment(frame) + self.codec_delay)?;
        let packet = packet_of(original + self.codec_delay);
        Some(ms_between(*self.tape.sent.get(usize::try_from(packet).ok()?)?, frame.arrived))
    }
}

/// The packet that holds `sample` of the line of packets; one that begins within the tolerance counts as begun.
fn packet_of(sample: i64) -> i64 {
    (sample + PLACE_TOLERANCE).div_euclid(PACKET_SAMPLES)
}

/// Milliseconds by which two sender reports put the video behind the voice, when both lines count from the same zero.
#[must_use]
pub fn report_skew_ms(voice: ReportedClock, video: ReportedClock) -> f64 {
    let seconds = |a: u64, b: u64| (a.wrapping_sub(b).cast_signed()) as f64 / 4_294_967_296.0;
    let between_ms = seconds(video.ntp, voice.ntp) * 1000.0;
    // The video's tick now, seen from the voice's tick, on a circle of 2^32 ticks of each clock.
    let voice_ms = f64::from(voice.rtp) / 48.0;
    let video_ms = f64::from(video.rtp) / 90.0;
    between_ms - (video_ms - voice_ms)
}

/// Lateness of each frame in milliseconds: against a timeline of one frame every 40 ms that goes through the tenth
/// percentile of the arrivals, so that neither the single earliest nor the average frame sets it.
#[must_use]
pub fn lateness(frames: &[Frame]) -> Vec<f64> {
    let against_line: Vec<f64> =
        frames.iter().map(|frame| frame.arrived.as_secs_f64() * 1000.0 - frame.ticks as f64 / 90.0).collect();
    let mut sorted = against_line.clone();
    sorted.sort_by(f64::total_cmp);
    let base = sorted.get(sorted.len() / 10).copied().unwrap_or_default();
    against_line.iter().map(|ms| ms - base).collect()
}

/// Counts frames. A slot of the timeline without a frame is dropped, also before the first and after the last frame of the
/// window.
#[must_use]
pub fn tally(frames: &[Frame], lateness: &[f64], window: Window) -> FrameTally {
    let whole_slots = |span: Duration| (span.as_secs_f64() * 1000.0 / FRAME_MS) as u64;
    let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
        let due = whole_slots(window.to.saturating_sub(window.from));
        return FrameTally { due, dropped: due, ..FrameTally::default() };
    };
    let skipped = |pair: &[Frame]| ((pair[1].ticks - pair[0].ticks + FRAME_TICKS / 2) / FRAME_TICKS - 1).max(0) as u64;
    // Up to two slots at the ends are jitter of the window's edge.
    let at_edges = whole_slots(first.arrived - window.from).saturating_sub(2)
        + whole_slots(window.to - last.arrived).saturating_sub(2);
    let dropped = frames.windows(2).map(skipped).sum::<u64>() + at_edges;
    let is_on_time = |(frame, ms): &(&Frame, &f64)| frame.is_whole && **ms < FRAME_MS;
    let on_time = frames.iter().zip(lateness).filter(is_on_time).count() as u64;
    let arrived = frames.len() as u64;
    FrameTally { due: arrived + dropped, on_time, late: arrived - on_time, dropped }
}

/// Lengths of freezes in milliseconds: an interval between frames of at least max(3 x mean, mean + 150 ms), the mean over
/// the 30 intervals before (W3C webrtc-stats, freezeCount). The end of the window closes the last interval.
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

/// Interarrival jitter (RFC 3550, section 6.4.1) at the end of the packets given as media time in milliseconds and arrival.
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
        Frame { ticks: n * FRAME_TICKS, arrived: Duration::from_millis(ms), length_bytes: 1, is_whole: true }
    }

    #[test]
    fn a_skipped_slot_counts_as_dropped_and_a_slow_frame_as_late() {
        let frames: Vec<Frame> = (0..50)
            .filter(|n| ![10, 11, 30].contains(n))
            .map(|n| frame(n, n as u64 * 40 + if n == 20 { 45 } else { 5 }))
            .collect();
        let found = tally(&frames, &lateness(&frames), WINDOW);
        assert_eq!(found, FrameTally { due: 50, on_time: 46, late: 1, dropped: 3 });
    }

    #[test]
    fn a_server_that_falls_silent_drops_all_that_was_due() {
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
    fn a_moment_within_a_millisecond_of_the_next_packet_is_in_it() {
        assert_eq!((packet_of(959), packet_of(960), packet_of(900), packet_of(-60)), (1, 1, 0, -1));
    }

    #[test]
    fn reports_of_one_clock_have_no_skew() {
        let second = 1_u64 << 32;
        let voice = ReportedClock { ntp: 100 * second, rtp: 48_000 };
        let video = ReportedClock { ntp: 101 * second + second / 2, rtp: 225_000 };
        assert!(report_skew_ms(voice, video).abs() < 1e-6);
        let ahead = ReportedClock { rtp: 225_000 - 900, ..video };
        assert!((report_skew_ms(voice, ahead) - 10.0).abs() < 1e-6);
    }

    #[test]
    fn steady_packets_have_no_jitter() {
        let steady = (0..100).map(|n| (f64::from(n) * 20.0, Duration::from_millis(n as u64 * 20 + 7)));
        assert!(jitter_ms(steady) < 1e-9);
    }
}
