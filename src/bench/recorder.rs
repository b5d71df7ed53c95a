//! Records the packets of a client: the last interceptor of its stack, before the application.
//!
//! Logs each packet with the time at which it was read from the socket, and consumes it. Computes nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::sender_report::SenderReport;
use rtc::sansio::Protocol;
use rtc::shared::error::Error as RtcError;

use super::connection::{AUDIO_PAYLOAD_TYPE, VIDEO_PAYLOAD_TYPE};
use super::recording::{AudioPacket, Recording, ReportedClock, VideoPacket};
use crate::time::{AudioRtpTime, VideoRtpTime, Wall};

/// What a client logs besides times and sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payloads {
    /// Video and audio, to be decoded later.
    VideoAndAudio,
    /// Audio.
    Audio,
    /// Nothing, and no audio packets at all.
    Nothing,
}

/// The interceptor.
pub struct Recorder {
    recording: Arc<Mutex<Recording>>,
    payloads: Payloads,
    epoch: Instant,
    audio_ssrc: Option<u32>,
    outgoing: VecDeque<TaggedPacket>,
}

impl Recorder {
    /// Writes into `recording`, with times relative to `epoch`.
    #[must_use]
    pub fn new(recording: Arc<Mutex<Recording>>, payloads: Payloads, epoch: Instant) -> Self {
        Self { recording, payloads, epoch, audio_ssrc: None, outgoing: VecDeque::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Recording> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_rtp(&mut self, arrived: Duration, packet: rtc::rtp::Packet) {
        match packet.header.payload_type {
            _ if packet.payload.is_empty() => {}
            AUDIO_PAYLOAD_TYPE => self.log_audio(arrived, packet),
            VIDEO_PAYLOAD_TYPE => self.log_video(arrived, packet),
            _ => {}
        }
    }

    fn log_audio(&mut self, arrived: Duration, packet: rtc::rtp::Packet) {
        self.audio_ssrc = Some(packet.header.ssrc);
        if self.payloads != Payloads::Nothing {
            let rtp = AudioRtpTime::default().plus(packet.header.timestamp);
            self.lock().audio.push(AudioPacket { arrived, rtp, payload: packet.payload });
        }
    }

    fn log_video(&self, arrived: Duration, packet: rtc::rtp::Packet) {
        let length_bytes = packet.payload.len();
        let payload = if self.payloads == Payloads::VideoAndAudio { packet.payload } else { Bytes::new() };
        self.lock().video.push(VideoPacket {
            arrived,
            rtp: VideoRtpTime::default().plus(packet.header.timestamp),
            sequence: packet.header.sequence_number,
            closes_frame: packet.header.marker,
            payload,
            length_bytes,
        });
    }

    fn log_sender_report(&self, report: &SenderReport) {
        let clock = Some(ReportedClock { ntp: report.ntp_time, rtp: report.rtp_time });
        let mut recording = self.lock();
        if self.audio_ssrc == Some(report.ssrc) {
            recording.audio_report = clock;
        } else {
            recording.video_report = clock;
        }
    }

    /// The index of a send time is the packet number: a packet that the stack dropped before keeps its entry.
    fn log_sent(&self, sequence: u16) {
        let sent = Wall.now().saturating_duration_since(self.epoch);
        let log = &mut self.lock().sent;
        let dropped = sequence.wrapping_sub(log.len() as u16);
        log.resize(log.len() + usize::from(dropped) + 1, sent);
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Recorder {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = RtcError;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), RtcError> {
        match message.message.packet {
            Packet::Rtp(packet) => self.log_rtp(message.now.saturating_duration_since(self.epoch), packet),
            Packet::Rtcp(reports) => {
                let reports = reports.iter().filter_map(|report| report.as_any().downcast_ref());
                reports.for_each(|report| self.log_sender_report(report));
            }
            _ => {}
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        None
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), RtcError> {
        if let Packet::Rtp(packet) = &message.message.packet {
            self.log_sent(packet.header.sequence_number);
        }
        self.outgoing.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outgoing.pop_front()
    }
}

impl Interceptor for Recorder {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
