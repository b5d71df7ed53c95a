//! A peer that joins over HTTP and connects over UDP, as a browser does, with a str0m instance of its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use reqwest::Client;
use serde_json::{Value, json};
use str0m::change::SdpAnswer;
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::net::UdpSocket;
use visage::codec::OpusDecoder;
use visage::time::Wall;

use super::{TestServer, response_of};

/// One frame of silence (RFC 6716: CELT, 20 ms).
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

/// A call that sends silence and records what it receives.
pub struct Call {
    rtc: Rtc,
    socket: UdpSocket,
    audio: Mid,
    video: Mid,
    next_audio: Option<Instant>,
    audio_samples: u64,
    /// The path of its session.
    pub location: String,
    /// Encoded frames.
    pub frames: Vec<Vec<u8>>,
    /// Number of audio packets received.
    pub audio_packets: usize,
    /// When the first audible packet arrived.
    pub loud_at: Option<Instant>,
    decoder: OpusDecoder,
}

impl Call {
    /// Joins a session with these options.
    pub async fn join(server: &TestServer, options: Value) -> Self {
        Self::join_at(&server.base, options).await
    }

    /// Joins at the URL of a server.
    pub async fn join_at(url: &str, options: Value) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let mut rtc = Rtc::builder().clear_codecs().enable_opus(true, false).enable_h264(true).build(Wall.now());
        let here = socket.local_addr().expect("an address");
        rtc.add_local_candidate(Candidate::host(here, "udp").expect("a candidate"));
        let mut change = rtc.sdp_api();
        let audio = change.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let video = change.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = change.apply().expect("an offer");
        let body = json!({ "sdp": offer.to_sdp_string(), "options": options });
        let (status, joined) = response_of(Client::new().post(format!("{url}/v1/sessions")).json(&body)).await;
        assert_eq!(status, 201, "{joined}");
        let answer = SdpAnswer::from_sdp_string(joined["sdp"].as_str().expect("an answer")).expect("an answer");
        rtc.sdp_api().accept_answer(pending, answer).expect("a matching answer");
        let location = joined["location"].as_str().expect("a location").to_owned();
        let (frames, audio_packets) = (Vec::new(), 0);
        let (loud_at, decoder) = (None, OpusDecoder::new().expect("a decoder"));
        Self {
            rtc,
            socket,
            audio,
            video,
            next_audio: None,
            audio_samples: 0,
            location,
            frames,
            audio_packets,
            loud_at,
            decoder,
        }
    }

    /// Runs until `is_done`, or for at most `limit`; returns whether it is done.
    pub async fn live(&mut self, limit: Duration, is_done: impl Fn(&Self) -> bool) -> bool {
        let end = Wall.now() + limit;
        let here: SocketAddr = self.socket.local_addr().expect("an address");
        let mut buffer = vec![0; 2048];
        while !is_done(self) && Wall.now() < end {
            self.speak();
            let wake_at = self.settle().await;
            let wake_at = self.next_audio.map_or(wake_at, |at| at.min(wake_at)).min(end);
            let input = tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    let (length, source) = received.expect("a datagram");
                    let datagram = Receive::new(Protocol::Udp, source, here, &buffer[..length]);
                    Input::Receive(Wall.now(), datagram.expect("a datagram of the server"))
                }
                () = tokio::time::sleep_until(wake_at.into()) => Input::Timeout(Wall.now()),
            };
            self.rtc.handle_input(input).expect("a sane input");
        }
        is_done(self)
    }

    fn speak(&mut self) {
        let now = Wall.now();
        let Some(due) = self.next_audio.filter(|due| *due <= now) else { return };
        self.next_audio = Some(due + Duration::from_millis(20));
        let Some(writer) = self.rtc.writer(self.audio) else { return };
        let kind = writer.payload_params().next().expect("a codec").pt();
        let time = MediaTime::new(self.audio_samples, Frequency::FORTY_EIGHT_KHZ);
        self.audio_samples += 960;
        writer.write(kind, now, time, SILENCE.as_slice()).expect("a writer that writes");
        self.rtc.handle_input(Input::Timeout(now)).expect("a sane clock");
    }

    fn hear(&mut self, packet: &[u8]) {
        self.audio_packets += 1;
        let loudest =
            self.decoder.decode(packet).map_or(0.0, |samples| samples.iter().fold(0.0, |most, s| s.abs().max(most)));
        if loudest > 0.05 && self.loud_at.is_none() {
            self.loud_at = Some(Wall.now());
        }
    }

    async fn settle(&mut self) -> Instant {
        loop {
            match self.rtc.poll_output().expect("a working client") {
                Output::Timeout(at) => return at,
                Output::Transmit(datagram) => {
                    self.socket.send_to(&datagram.contents, datagram.destination).await.expect("a socket that sends");
                }
                Output::Event(Event::Connected) => self.next_audio = Some(Wall.now()),
                Output::Event(Event::MediaData(media)) if media.mid == self.video => {
                    self.frames.push(media.data.to_vec());
                }
                Output::Event(Event::MediaData(media)) if media.mid == self.audio => self.hear(&media.data),
                Output::Event(_) => {}
            }
        }
    }

    /// Width of the newest frame that decodes.
    pub fn width_px(&self) -> usize {
        let mut decoder = Decoder::new().expect("a decoder");
        let widths = self.frames.iter().filter_map(|video| Some(decoder.decode(video).ok()??.dimensions().0));
        widths.last().expect("a frame that decodes")
    }
}
