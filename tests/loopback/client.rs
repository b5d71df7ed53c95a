//! The client: a str0m instance that sends speech, decodes video and requests keyframes as a browser does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, Frequency, KeyframeRequestKind, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, RawPacket, RtpHeader};
use str0m::stats::MediaIngressStats;
use str0m::{Candidate, Event, Input, Output, Rtc};

use crate::assembly::{Assembly, Whole};
use crate::speech::Speech;

pub const SERVER: ([u8; 4], u16) = ([192, 0, 2, 1], 4000);
pub const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 2], 5000);
/// A browser without a frame to show requests a keyframe after this, and again if it does not arrive (libwebrtc).
const WAIT_FOR_PICTURE: Duration = Duration::from_secs(3);
const WAIT_FOR_KEY: Duration = Duration::from_millis(200);
/// Side of the cells in which brightness is averaged, in pixels.
const CELL: usize = 8;

/// A decoded frame.
pub struct Seen {
    /// RTP time, unwrapped.
    pub at: u64,
    pub arrived: Instant,
    pub is_key: bool,
    pub bytes: usize,
    pub side_px: usize,
    /// Mean luma of each cell, row by row.
    pub cells: Vec<f32>,
}

pub struct Client {
    rtc: Rtc,
    audio: Mid,
    video: Mid,
    pending: Option<SdpPendingOffer>,
    decoder: Decoder,
    pub wake_at: Instant,
    pub is_connected: bool,
    pub seen: Vec<Seen>,
    /// Audio packets in the order of arrival, with their RTP times.
    pub heard: Vec<(u64, Bytes)>,
    /// The newest statistics of each m-line.
    pub ingress: BTreeMap<Mid, MediaIngressStats>,
    /// Requested keyframes.
    pub asked: Vec<Instant>,
    assembly: Assembly,
    /// Only a keyframe can be decoded.
    needs_key: bool,
    /// When it requests a keyframe unless a frame arrives.
    asks_at: Option<Instant>,
    speaker: Speaker,
}

/// The speech that the client sends, and when.
struct Speaker {
    speech: Speech,
    next_at: Option<Instant>,
    spoken: u64,
    /// How much faster its clock is than the server's.
    faster_ppm: f64,
}

impl Client {
    pub fn new(now: Instant, speech: Speech, faster_ppm: f64) -> (Self, String) {
        let builder = Rtc::builder().clear_codecs().enable_opus(true, false).enable_h264(true);
        let second = Duration::from_secs(1);
        let builder =
            builder.set_extension(6, Extension::PlayoutDelay).set_stats_interval(Some(second)).enable_raw_packets(true);
        let mut rtc = builder.set_rtcp_report_interval_audio(second).build(now);
        rtc.add_local_candidate(Candidate::host(SocketAddr::from(CLIENT), "udp").expect("a candidate"));
        let mut change = rtc.sdp_api();
        let audio = change.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let video = change.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = change.apply().expect("an offer");
        let client = Self {
            rtc,
            audio,
            video,
            pending: Some(pending),
            decoder: Decoder::new().expect("a decoder"),
            wake_at: now,
            is_connected: false,
            seen: Vec::new(),
            heard: Vec::new(),
            ingress: BTreeMap::new(),
            asked: Vec::new(),
            assembly: Assembly::default(),
            needs_key: true,
            asks_at: None,
            speaker: Speaker { speech, next_at: None, spoken: 0, faster_ppm },
        };
        (client, offer.to_sdp_string())
    }

    pub fn accept(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).expect("an answer");
        let pending = self.pending.take().expect("an offer");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("a matching answer");
    }

    /// Payload types of video and of its retransmissions.
    pub fn video_payload_types(&self) -> (u8, u8) {
        let video = self.rtc.media(self.video).expect("a video line");
        let used = video.remote_pts().first().copied().expect("a codec in common");
        let params = self.rtc.codec_config().find(|params| params.pt() == used).expect("its parameters");
        (*used, *params.resend().expect("a retransmission type"))
    }

    pub fn video_stats(&self) -> &MediaIngressStats {
        &self.ingress[&self.video]
    }

    /// When it sends speech next.
    pub fn speaks_at(&self) -> Option<Instant> {
        self.speaker.next_at
    }

    pub fn begin_to_speak(&mut self, at: Instant) {
        self.speaker.next_at = Some(at);
    }

    pub fn receive(&mut self, now: Instant, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (source, here) = (SocketAddr::from(SERVER), SocketAddr::from(CLIENT));
        if let Ok(datagram) = Receive::new(Protocol::Udp, source, here, bytes) {
            self.rtc.handle_input(Input::Receive(now, datagram)).expect("a sane datagram");
        }
        self.speak(now)
    }

    pub fn wake(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.rtc.handle_input(Input::Timeout(now)).expect("a sane clock");
        self.speak(now)
    }

    /// Sends the next 20 ms of speech.
    pub fn talk(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let speaker = &mut self.speaker;
        speaker.next_at = Some(now + Duration::from_secs_f64(0.02 / (1.0 + speaker.faster_ppm * 1e-6)));
        let packet = speaker.speech.packets[speaker.spoken as usize % speaker.speech.packets.len()].clone();
        let time = MediaTime::new(speaker.spoken * 960, Frequency::FORTY_EIGHT_KHZ);
        speaker.spoken += 1;
        let Some(writer) = self.rtc.writer(self.audio) else { return Vec::new() };
        let pt = writer.payload_params().next().expect("a codec").pt();
        writer.write(pt, now, time, &*packet).expect("a writer that writes");
        self.wake(now)
    }

    fn speak(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        loop {
            match self.rtc.poll_output().expect("a client that works") {
                Output::Timeout(at) if at <= now => {
                    self.rtc.handle_input(Input::Timeout(now)).expect("a sane clock");
                }
                Output::Timeout(at) => {
                    self.wake_at = at;
                    return sent;
                }
                Output::Transmit(datagram) => sent.push(datagram.contents.to_vec()),
                Output::Event(event) => self.take(event, now),
            }
        }
    }

    fn take(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => self.is_connected = true,
            Event::RawPacket(packet) => {
                if let RawPacket::RtpRx(header, payload) = *packet {
                    self.look(&header, &payload, now);
                }
            }
            Event::MediaData(media) if media.mid == self.audio => {
                self.heard.push((media.time.numer(), Bytes::copy_from_slice(&media.data)));
            }
            Event::MediaIngressStats(stats) => drop(self.ingress.insert(stats.mid, stats)),
            _ => {}
        }
    }

    /// Decodes frames completed by this packet; requests a keyframe if nothing could be decoded for too long.
    fn look(&mut self, header: &RtpHeader, payload: &[u8], now: Instant) {
        let (video, rtx) = self.video_payload_types();
        let kind = *header.payload_type;
        if kind == video {
            self.assembly.take(header, header.sequence_number, payload);
        } else if let Some((original, payload)) = payload.split_first_chunk().filter(|_| kind == rtx) {
            self.assembly.take(header, u16::from_be_bytes(*original), payload);
        }
        while let Some(whole) = self.assembly.next() {
            self.show(&whole, now);
        }
        if kind == video && *self.asks_at.get_or_insert(now + WAIT_FOR_KEY) <= now {
            self.ask(now);
        }
    }

    fn show(&mut self, whole: &Whole, now: Instant) {
        if self.needs_key && !whole.is_key {
            return;
        }
        let Ok(Some(video)) = self.decoder.decode(&whole.bytes) else {
            return self.ask(now);
        };
        let (width, height) = video.dimensions();
        let cells = cells(video.y(), video.strides().0, width, height);
        let (at, bytes) = (u64::from(whole.time), whole.bytes.len());
        self.seen.push(Seen { at, arrived: now, is_key: whole.is_key, bytes, side_px: width, cells });
        (self.needs_key, self.asks_at) = (false, Some(now + WAIT_FOR_PICTURE));
    }

    fn ask(&mut self, now: Instant) {
        (self.needs_key, self.asks_at) = (true, Some(now + WAIT_FOR_KEY));
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_rx_by_mid(self.video, None) else { return };
        stream.request_keyframe(KeyframeRequestKind::Pli);
        self.asked.push(now);
    }
}

/// Mean luma of each cell of a plane, row by row.
pub fn cells(luma: &[u8], stride: usize, width: usize, height: usize) -> Vec<f32> {
    let mean = |x: usize, y: usize| {
        let rows = (y..y + CELL).map(|row| &luma[row * stride + x..row * stride + x + CELL]);
        rows.flatten().map(|v| f32::from(*v)).sum::<f32>() / (CELL * CELL) as f32
    };
    let columns = width / CELL;
    (0..columns * (height / CELL)).map(|n| mean(n % columns * CELL, n / columns * CELL)).collect()
}
