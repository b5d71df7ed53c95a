//! Packet log of one client: every packet sent and received, with its time.
//!
//! Decides what is logged and how packets are assembled into frames. `measure` computes metrics from it. Times are durations
//! since the start of the run, so that all analysis is arithmetic without a clock.

use std::time::Duration;

use bytes::Bytes;

use crate::time::{AudioRtpTime, VideoRtpTime};

/// Samples per audio packet (20 ms at 48 kHz).
pub const PACKET_SAMPLES: i64 = 960;

/// A received audio packet.
#[derive(Clone, Debug)]
pub struct AudioPacket {
    /// Time at which it was read from the socket.
    pub arrived: Duration,
    /// RTP timestamp.
    pub rtp: AudioRtpTime,
    /// The Opus packet.
    pub payload: Bytes,
}

/// A received video packet.
#[derive(Clone, Debug)]
pub struct VideoPacket {
    /// Time at which it was read from the socket.
    pub arrived: Duration,
    /// RTP timestamp.
    pub rtp: VideoRtpTime,
    /// RTP sequence number.
    pub sequence: u16,
    /// Marker bit: the last packet of its frame (RFC 6184, section 5.1).
    pub closes_frame: bool,
    /// Payload; empty unless [`super::recorder::Payloads::VideoAndAudio`] is recorded.
    pub payload: Bytes,
    /// Payload size.
    pub length_bytes: usize,
}

/// Clock mapping of an RTCP sender report (RFC 3550, section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReportedClock {
    /// NTP timestamp, 32.32 bits fixed point.
    pub ntp: u64,
    /// RTP timestamp of the same instant.
    pub rtp: u32,
}

/// Packet log of one client.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Send time of audio packet `n`.
    pub sent: Vec<Duration>,
    /// Delay of that packet against its schedule, caused by the client itself.
    pub send_lateness: Vec<Duration>,
    /// Position in the speech loop of packet 0, in packets.
    pub loop_start: usize,
    /// Received audio, in order of arrival.
    pub audio: Vec<AudioPacket>,
    /// Received video, in order of arrival.
    pub video: Vec<VideoPacket>,
    /// Latest sender report of the audio stream.
    pub audio_report: Option<ReportedClock>,
    /// Latest sender report of the video stream.
    pub video_report: Option<ReportedClock>,
}

/// A received frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// RTP timestamp (90 kHz), extended to 64 bits.
    pub ticks: i64,
    /// Arrival of its last packet.
    pub arrived: Duration,
    /// Sum of its payload sizes.
    pub length_bytes: usize,
    /// Whether every packet arrived.
    pub is_complete: bool,
}

/// Extends 32-bit RTP timestamps to 64 bits. Reordering of less than half the 32-bit range is tolerated.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeExtender(Option<i64>);

impl TimeExtender {
    /// The extended timestamp that is nearest to the newest one so far.
    pub fn extend(&mut self, rtp: u32) -> i64 {
        let extended = match self.0 {
            None => i64::from(rtp),
            Some(newest) => newest + i64::from(rtp.wrapping_sub(newest as u32).cast_signed()),
        };
        self.0 = Some(self.0.map_or(extended, |newest| newest.max(extended)));
        extended
    }
}

/// Assembles packets into frames, ordered by RTP timestamp. A frame is complete if its sequence numbers continue those of
/// the previous frame without a gap and end with the marker bit.
#[must_use]
pub fn frames(packets: &[VideoPacket]) -> Vec<Frame> {
    let mut timestamps = TimeExtender::default();
    let mut extended: Vec<(i64, &VideoPacket)> =
        packets.iter().map(|packet| (timestamps.extend(packet.rtp.0), packet)).collect();
    extended.sort_by_key(|(ticks, _)| *ticks);
    let mut last_sequence = None;
    extended.chunk_by(|a, b| a.0 == b.0).map(|group| assemble(group, &mut last_sequence)).collect()
}

fn assemble(group: &[(i64, &VideoPacket)], last_sequence: &mut Option<u16>) -> Frame {
    let origin = group[0].1.sequence;
    let mut offsets: Vec<i16> = group.iter().map(|(_, p)| p.sequence.wrapping_sub(origin).cast_signed()).collect();
    offsets.sort_unstable();
    offsets.dedup();
    let first = origin.wrapping_add(offsets[0].cast_unsigned());
    let last = origin.wrapping_add(offsets[offsets.len() - 1].cast_unsigned());
    let has_no_gap = usize::from(last.wrapping_sub(first)) + 1 == offsets.len();
    let follows = last_sequence.is_none_or(|previous| previous.wrapping_add(1) == first);
    *last_sequence = Some(last);
    Frame {
        ticks: group[0].0,
        arrived: group.iter().map(|(_, packet)| packet.arrived).max().unwrap_or_default(),
        length_bytes: group.iter().map(|(_, packet)| packet.length_bytes).sum(),
        is_complete: has_no_gap && follows && group.iter().any(|(_, packet)| packet.closes_frame),
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
    fn a_frame_is_complete_only_if_no_packet_is_missing() {
        let packets = [
            packet(65_535, 0, 1),
            last_packet(0, 0, 2),
            packet(1, 3600, 40),
            last_packet(3, 3600, 41),
            last_packet(4, 7200, 80),
            last_packet(6, 10_800, 120),
        ];
        let complete: Vec<bool> = frames(&packets).iter().map(|frame| frame.is_complete).collect();
        assert_eq!(complete, [true, false, true, false]);
    }

    #[test]
    fn the_arrival_of_a_frame_is_that_of_its_latest_packet_even_out_of_order() {
        let found = frames(&[last_packet(1, 3600, 44), last_packet(2, 7200, 80), packet(0, 3600, 90)]);
        assert_eq!(found[0].arrived, Duration::from_millis(90));
        assert!(found[0].is_complete && found[1].is_complete);
    }

    proptest! {
        #[test]
        fn extended_timestamps_keep_every_step(start in any::<u32>(), steps in proptest::collection::vec(0_u32..1_000_000, 1..50)) {
            let mut timestamps = TimeExtender::default();
            let (mut rtp, mut expected) = (start, timestamps.extend(start));
            for step in steps {
                rtp = rtp.wrapping_add(step);
                expected += i64::from(step);
                prop_assert_eq!(timestamps.extend(rtp), expected);
            }
        }
    }
}
