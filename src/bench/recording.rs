//! What one caller saw: every packet that left and came, with its time.
//!
//! Decides what is written down and how packets are put together to frames. Does not judge them: that is `measure`.
//! Times are durations since the start of the run, so that everything after this file is arithmetic.

use std::time::Duration;

use bytes::Bytes;

use crate::time::{AudioRtpTime, VideoRtpTime};

/// Samples of voice in a packet (20 ms at 48 kHz).
pub const PACKET_SAMPLES: i64 = 960;

/// A packet of the returned voice.
#[derive(Clone, Debug)]
pub struct AudioPacket {
    /// When it was read from the socket.
    pub arrived: Duration,
    /// Its RTP time.
    pub rtp: AudioRtpTime,
    /// The Opus packet.
    pub payload: Bytes,
}

/// A packet of video.
#[derive(Clone, Debug)]
pub struct VideoPacket {
    /// When it was read from the socket.
    pub arrived: Duration,
    /// Its RTP time.
    pub rtp: VideoRtpTime,
    /// Its sequence number.
    pub sequence: u16,
    /// Whether it is the last of its frame (marker bit, RFC 6184 section 5.1).
    pub closes_frame: bool,
    /// Its payload; empty unless the caller was asked to keep pictures.
    pub payload: Bytes,
    /// Bytes of the payload.
    pub length_bytes: usize,
}

/// What a sender report says (RFC 3550, section 6.4.1): this RTP time was that moment of the sender's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReportedClock {
    /// NTP time, 32.32 bits.
    pub ntp: u64,
    /// RTP time of the stream.
    pub rtp: u32,
}

/// Everything one caller saw.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// When packet number `n` of the voice was handed to the socket.
    pub sent: Vec<Duration>,
    /// By how much the caller itself was late with that packet.
    pub send_lateness: Vec<Duration>,
    /// Place in the loop of voice with which packet 0 began, in packets.
    pub loop_start: usize,
    /// Returned voice, in order of arrival.
    pub voice: Vec<AudioPacket>,
    /// Returned video, in order of arrival.
    pub video: Vec<VideoPacket>,
    /// The latest sender report of the voice.
    pub voice_report: Option<ReportedClock>,
    /// The latest sender report of the video.
    pub video_report: Option<ReportedClock>,
}

/// A frame as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// RTP ticks (90 kHz), unwrapped: grows over the whole tape.
    pub ticks: i64,
    /// When its last packet came.
    pub arrived: Duration,
    /// Bytes of its payloads.
    pub length_bytes: usize,
    /// Whether all its packets came.
    pub is_whole: bool,
}

/// Turns 32 bits of RTP time into a line that does not wrap, from packets in roughly rising order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwrapped(Option<i64>);

impl Unwrapped {
    /// The place of `rtp` on the line, nearest to the newest place so far.
    pub fn place(&mut self, rtp: u32) -> i64 {
        let place = match self.0 {
            None => i64::from(rtp),
            Some(newest) => newest + i64::from(rtp.wrapping_sub(newest as u32).cast_signed()),
        };
        self.0 = Some(self.0.map_or(place, |newest| newest.max(place)));
        place
    }
}

/// Puts packets together to frames, in order of RTP time. A frame is whole if its packets follow each other without
/// a gap from the end of the frame before to the one with the marker bit.
#[must_use]
pub fn frames(packets: &[VideoPacket]) -> Vec<Frame> {
    let mut line = Unwrapped::default();
    let mut placed: Vec<(i64, &VideoPacket)> =
        packets.iter().map(|packet| (line.place(packet.rtp.0), packet)).collect();
    placed.sort_by_key(|(ticks, _)| *ticks);
    let mut last_sequence = None;
    placed.chunk_by(|a, b| a.0 == b.0).map(|group| one_frame(group, &mut last_sequence)).collect()
}

fn one_frame(group: &[(i64, &VideoPacket)], before: &mut Option<u16>) -> Frame {
    let origin = group[0].1.sequence;
    let mut steps: Vec<i16> = group.iter().map(|(_, p)| p.sequence.wrapping_sub(origin).cast_signed()).collect();
    steps.sort_unstable();
    steps.dedup();
    let first = origin.wrapping_add(steps[0].cast_unsigned());
    let last = origin.wrapping_add(steps[steps.len() - 1].cast_unsigned());
    let has_all = usize::from(last.wrapping_sub(first)) + 1 == steps.len();
    let follows = before.is_none_or(|before| before.wrapping_add(1) == first);
    *before = Some(last);
    Frame {
        ticks: group[0].0,
        arrived: group.iter().map(|(_, packet)| packet.arrived).max().unwrap_or_default(),
        length_bytes: group.iter().map(|(_, packet)| packet.length_bytes).sum(),
        is_whole: has_all && follows && group.iter().any(|(_, packet)| packet.closes_frame),
    }
}

/// Signed milliseconds from `from` to `to`.
#[must_use]
pub fn ms_between(from: Duration, to: Duration) -> f64 {
    (to.as_secs_f64() - from.as_secs_f64()) * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(sequence: u16, rtp: u32, ms: u64) -> VideoPacket {
        let arrived = Duration::from_millis(ms);
        VideoPacket {
            arrived,
            rtp: VideoRtpTime::default().plus(rtp),
            sequence,
            closes_frame: false,
            payload: Bytes::new(),
            length_bytes: 10,
        }
    }

    fn last_packet(sequence: u16, rtp: u32, ms: u64) -> VideoPacket {
        VideoPacket { closes_frame: true, ..packet(sequence, rtp, ms) }
    }

    #[test]
    fn a_frame_is_whole_only_when_no_packet_is_missing() {
        let packets = [
            packet(65_535, 0, 1),
            last_packet(0, 0, 2),
            packet(1, 3600, 40),
            last_packet(3, 3600, 41),
            last_packet(4, 7200, 80),
            last_packet(6, 10_800, 120),
        ];
        let whole: Vec<bool> = frames(&packets).iter().map(|frame| frame.is_whole).collect();
        assert_eq!(whole, [true, false, true, false]);
    }

    #[test]
    fn a_frame_arrives_with_its_latest_packet_even_out_of_order() {
        let found = frames(&[last_packet(1, 3600, 44), last_packet(2, 7200, 80), packet(0, 3600, 90)]);
        assert_eq!(found[0].arrived, Duration::from_millis(90));
        assert!(found[0].is_whole && found[1].is_whole);
    }

    proptest! {
        #[test]
        fn unwrapped_time_keeps_every_step(start in any::<u32>(), steps in proptest::collection::vec(0_u32..1_000_000, 1..50)) {
            let mut line = Unwrapped::default();
            let (mut rtp, mut expected) = (start, line.place(start));
            for step in steps {
                rtp = rtp.wrapping_add(step);
                expected += i64::from(step);
                prop_assert_eq!(line.place(rtp), expected);
            }
        }
    }
}
