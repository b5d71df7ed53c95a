//! The WebRTC endpoint over real UDP: a server with a test avatar, and str0m instances as clients.

#[path = "rtc/viewers.rs"]
mod viewers;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, Frequency, KeyframeRequestKind, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, RawPacket, RtpHeader};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::net::UdpSocket;
use visage::media::{PcmBlock, VideoFrame};
use visage::model::{Animator, AvatarInfo, AvatarKind, Cadence, FramePoll, ModelError, Pack, Still};
use visage::rtc::{JoinError, Joined, RtcConfig, RtcServer};
use visage::session::{
    AdmitError, EndReason, Outgoing, Outlet, SessionEvent, SessionRequest, Sessions, SessionsConfig,
};
use visage::telemetry::{Loss, Marks, Stage};
use visage::time::{Rate, SampleIndex, Wall};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// One frame of silence (RFC 6716: CELT, 20 ms).
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

/// An avatar that renders a moving grey ramp.
struct Ramp;

impl Animator for Ramp {
    fn cadence(&self) -> Cadence {
        Cadence::per_frame(Rate::new(25, 1).expect("above zero"), 1280)
    }

    fn push_audio(&mut self, _block: &PcmBlock, _at: SampleIndex) -> Result<(), ModelError> {
        Ok(())
    }

    fn poll(
        &mut self,
        at: SampleIndex,
        frame: &mut VideoFrame,
        marks: &mut Marks,
        wall: Wall,
    ) -> Result<FramePoll, ModelError> {
        let start = (at.0 / 64) as u8;
        frame.planes_mut().0.iter_mut().zip(0_usize..).for_each(|(luma, n)| *luma = start.wrapping_add(n as u8));
        marks.stamp(Stage::Inferred, wall.now());
        marks.stamp(Stage::Rendered, wall.now());
        Ok(FramePoll::Ready)
    }

    fn reset(&mut self) {}
}

struct Ramps([AvatarInfo; 1]);

impl Pack for Ramps {
    fn name(&self) -> &'static str {
        "ramps"
    }

    fn avatars(&self) -> Arc<[AvatarInfo]> {
        self.0.as_slice().into()
    }

    fn animator(&self, _avatar: &str, _side_px: u32) -> Result<Box<dyn Animator>, ModelError> {
        Ok(Box::new(Ramp))
    }

    fn still(&self, avatar: &str, _side_px: u32) -> Result<Still, ModelError> {
        Err(ModelError::Broken { name: avatar.to_owned(), found: "no still".to_owned() })
    }
}

struct Server {
    sessions: Arc<Sessions>,
    net: RtcServer,
}

fn server(max_sessions: usize) -> Server {
    let text = || "ramp".to_owned();
    let avatar = AvatarInfo { name: text(), title: text(), kind: AvatarKind::Head, background: text() };
    let config = SessionsConfig { max_sessions, max_viewers: 50, workers: 1, resolution_px: 128, bitrate_bps: 300_000 };
    let sessions = Sessions::open(config, Arc::new(Ramps([avatar])), Wall).expect("workers");
    let config = RtcConfig { host: LOOPBACK, udp_port: 0, public_ips: Vec::new(), capacity: max_sessions };
    let net = RtcServer::start(&config, Arc::clone(&sessions), sessions.registry().counters(), Wall).expect("a port");
    Server { sessions, net }
}

impl Server {
    fn address(&self) -> SocketAddr {
        SocketAddr::new(LOOPBACK, self.net.udp_port())
    }

    fn stray_packets(&self) -> u64 {
        self.sessions.registry().counters().snapshot().of(Loss::StrayPacket)
    }

    /// The reason for which a session ends, observed from this call on.
    fn end_reason(&self, id: &str, limit: Duration) -> impl Future<Output = EndReason> + use<> {
        let mut events = self.sessions.find(id).expect("a session").events.subscribe();
        let ended = async move {
            loop {
                if let SessionEvent::Ended(reason) = events.recv().await.expect("an event before the channel closes") {
                    return reason;
                }
            }
        };
        async move { tokio::time::timeout(limit, ended).await.expect("an end in time") }
    }
}

/// A media packet as the client received it.
struct ReceivedPacket {
    mid: Mid,
    header: RtpHeader,
    is_key: bool,
}

struct Client {
    rtc: Rtc,
    socket: UdpSocket,
    mids: Vec<(MediaKind, Mid)>,
    pending: Option<SdpPendingOffer>,
    got: Vec<ReceivedPacket>,
    /// Complete frames.
    frames: Vec<Vec<u8>>,
    is_connected: bool,
    is_closed: bool,
    next_audio: Option<Instant>,
    audio_samples: u64,
    /// The last audio packet as it was sent.
    wire: Vec<u8>,
}

impl Client {
    async fn offering(lines: &[(MediaKind, Direction)]) -> (Self, String) {
        Self::offering_codecs(&[Codec::H264, Codec::Vp8], lines).await
    }

    async fn offering_codecs(codecs: &[Codec], lines: &[(MediaKind, Direction)]) -> (Self, String) {
        let socket = UdpSocket::bind((LOOPBACK, 0)).await.expect("a socket");
        let (h264, vp8) = (codecs.contains(&Codec::H264), codecs.contains(&Codec::Vp8));
        let builder = Rtc::builder().clear_codecs().enable_opus(true, false).enable_h264(h264).enable_vp8(vp8);
        let mut rtc = builder.set_extension(6, Extension::PlayoutDelay).enable_raw_packets(true).build(Wall.now());
        let here = socket.local_addr().expect("an address");
        rtc.add_local_candidate(Candidate::host(here, "udp").expect("a candidate"));
        let mut change = rtc.sdp_api();
        let add =
            |(kind, direction): &(MediaKind, Direction)| (*kind, change.add_media(*kind, *direction, None, None, None));
        let mids = lines.iter().map(add).collect();
        let (offer, pending) = change.apply().expect("an offer");
        let client = Self {
            rtc,
            socket,
            mids,
            pending: Some(pending),
            got: Vec::new(),
            frames: Vec::new(),
            is_connected: false,
            is_closed: false,
            next_audio: None,
            audio_samples: 0,
            wire: Vec::new(),
        };
        (client, offer.to_sdp_string())
    }

    async fn join(server: &Server, lines: &[(MediaKind, Direction)]) -> (Self, Joined) {
        let (client, offer) = Self::offering(lines).await;
        client.joining(server, &offer).await
    }

    async fn joining(mut self, server: &Server, offer: &str) -> (Self, Joined) {
        let joined = server.net.join(offer, SessionRequest::default()).await.expect("a session");
        let answer = SdpAnswer::from_sdp_string(&joined.answer).expect("an answer");
        let pending = self.pending.take().expect("an offer");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("a fitting answer");
        (self, joined)
    }

    fn mid(&self, kind: MediaKind) -> Mid {
        self.mids.iter().find(|(its, _)| *its == kind).expect("a line of that kind").1
    }

    fn of(&self, kind: MediaKind) -> Vec<&ReceivedPacket> {
        let mid = self.mid(kind);
        self.got.iter().filter(|got| got.mid == mid).collect()
    }

    /// RTP times of the frames in the order of arrival.
    fn frame_times(&self) -> Vec<u32> {
        let mut times: Vec<u32> = self.of(MediaKind::Video).iter().map(|got| got.header.timestamp).collect();
        times.dedup();
        times
    }

    fn keyframes(&self) -> usize {
        let mut keys: Vec<u32> =
            self.of(MediaKind::Video).iter().filter(|got| got.is_key).map(|got| got.header.timestamp).collect();
        keys.dedup();
        keys.len()
    }

    fn request_keyframe(&mut self) {
        let mid = self.mid(MediaKind::Video);
        let mut api = self.rtc.direct_api();
        api.stream_rx_by_mid(mid, None).expect("a stream").request_keyframe(KeyframeRequestKind::Pli);
    }

    /// Runs until `is_done`; false if the limit comes first.
    async fn live(&mut self, limit: Duration, is_done: impl Fn(&Self) -> bool) -> bool {
        let end = Wall.now() + limit;
        let mut buffer = vec![0; 2048];
        loop {
            self.talk();
            let wake_at = self.speak().await;
            if is_done(self) || Wall.now() >= end {
                return is_done(self);
            }
            let wake_at = self.next_audio.map_or(wake_at, |at| at.min(wake_at)).min(end);
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    let (length, source) = received.expect("a datagram");
                    let here = self.socket.local_addr().expect("an address");
                    if let Ok(datagram) = Receive::new(Protocol::Udp, source, here, &buffer[..length]) {
                        self.rtc.handle_input(Input::Receive(Wall.now(), datagram)).expect("a sane datagram");
                    }
                }
                () = tokio::time::sleep_until(wake_at.into()) => {
                    self.rtc.handle_input(Input::Timeout(Wall.now())).expect("a sane clock");
                }
            }
        }
    }

    fn talk(&mut self) {
        let now = Wall.now();
        let Some(due) = self.next_audio.filter(|due| self.is_connected && *due <= now) else { return };
        self.next_audio = Some(due + Duration::from_millis(20));
        let Some(writer) = self.rtc.writer(self.mid(MediaKind::Audio)) else { return };
        let pt = writer.payload_params().next().expect("a codec").pt();
        let time = MediaTime::new(self.audio_samples, Frequency::FORTY_EIGHT_KHZ);
        self.audio_samples += 960;
        writer.write(pt, now, time, SILENCE.as_slice()).expect("a writer that writes");
        self.rtc.handle_input(Input::Timeout(now)).expect("a sane clock");
    }

    async fn speak(&mut self) -> Instant {
        loop {
            match self.rtc.poll_output().expect("a client that works") {
                Output::Timeout(at) => return at,
                Output::Transmit(datagram) => {
                    let bytes: &[u8] = &datagram.contents;
                    if bytes[0] >= 128 && !(64..96).contains(&(bytes[1] & 0x7f)) {
                        self.wire = bytes.to_vec();
                    }
                    self.socket.send_to(bytes, datagram.destination).await.expect("a socket that sends");
                }
                Output::Event(Event::Connected) => self.is_connected = true,
                Output::Event(Event::Closed) => self.is_closed = true,
                Output::Event(Event::RawPacket(packet)) => self.take(*packet),
                Output::Event(Event::MediaData(media)) if media.mid == self.mid(MediaKind::Video) => {
                    self.frames.push(media.data.to_vec());
                }
                Output::Event(_) => {}
            }
        }
    }

    fn take(&mut self, packet: RawPacket) {
        let RawPacket::RtpRx(header, payload) = packet else { return };
        let codec = self.rtc.codec_config().find(|params| params.pt() == header.payload_type);
        let Some(kind) = codec.map(|params| params.spec().codec.kind()).filter(|_| !payload.is_empty()) else { return };
        let mid = self.mid(kind);
        self.got.push(ReceivedPacket { mid, header, is_key: kind == MediaKind::Video && is_key(&payload) });
    }
}

/// Whether a packet belongs to a keyframe (RFC 6184: NAL types 5 and 7, alone, aggregated or in fragments).
fn is_key(payload: &[u8]) -> bool {
    let inner = match payload[0] & 0x1f {
        24 => payload.get(3),
        28 => payload.get(1),
        _ => payload.first(),
    };
    inner.is_some_and(|first| matches!(first & 0x1f, 5 | 7))
}

const CALL: [(MediaKind, Direction); 2] =
    [(MediaKind::Audio, Direction::SendRecv), (MediaKind::Video, Direction::RecvOnly)];
const LIMIT: Duration = Duration::from_secs(8);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn video_and_audio_share_one_time_line() {
    runtime().block_on(async {
        let server = server(2);
        let (mut client, joined) = Client::join(&server, &CALL).await;
        assert!(joined.answer.matches("a=msid:visage ").count() == 2, "one stream: {}", joined.answer);
        assert_eq!(joined.answer.matches("H264/90000").count(), 1, "one kind of H.264: {}", joined.answer);
        let enough = |client: &Client| client.frame_times().len() >= 25 && client.of(MediaKind::Audio).len() >= 50;
        assert!(client.live(LIMIT, enough).await, "{} frames", client.frame_times().len());

        let times = client.frame_times();
        assert!(
            times.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) % 3600 == 0 && pair[1] > pair[0]),
            "{times:?}"
        );
        let audio = client.of(MediaKind::Audio);
        assert!(audio.iter().all(|got| got.header.timestamp % 960 == 0));
        let (audio_s, video_s) = (f64::from(audio[49].header.timestamp) / 48e3, f64::from(times[24]) / 90e3);
        assert!((audio_s - video_s).abs() < 0.5, "audio at {audio_s} s, video at {video_s} s");
        assert!(client.of(MediaKind::Video)[0].is_key, "the first frame is a keyframe");
        let delays = |got: &&ReceivedPacket| got.header.ext_vals.play_delay_min.map(|delay| delay.numer());
        assert_eq!(client.of(MediaKind::Video).iter().find_map(delays), Some(0), "no play-out delay is asked for");
        let frames = server.sessions.registry().stats(&joined.id, Wall.now()).expect("a session").meter.frames;
        assert!(frames.on_time + frames.late >= 25, "frames are counted when they leave: {frames:?}");
        server.net.close().await;
    });
}

#[test]
fn a_picture_loss_indication_is_answered_with_a_keyframe() {
    runtime().block_on(async {
        let server = server(1);
        let (mut client, _) = Client::join(&server, &CALL).await;
        assert!(client.live(LIMIT, |client| client.frame_times().len() >= 20).await);
        let before = client.keyframes();
        let asked = Wall.now();
        client.request_keyframe();
        assert!(client.live(LIMIT, |client| client.keyframes() > before).await, "no keyframe");
        assert!(Wall.now() - asked < Duration::from_millis(700), "after {:?}", Wall.now() - asked);
    });
}

#[test]
fn garbage_and_replays_are_counted_and_affect_no_session() {
    runtime().block_on(async {
        let server = server(2);
        let (mut one, first) = Client::join(&server, &CALL).await;
        let (mut two, _) = Client::join(&server, &CALL).await;
        one.next_audio = Some(Wall.now());
        let both = |client: &Client| client.frame_times().len() >= 5;
        assert!(one.live(LIMIT, |client| both(client) && client.audio_samples >= 960 * 25).await);
        assert!(two.live(LIMIT, both).await);

        let other_socket = UdpSocket::bind((LOOPBACK, 0)).await.expect("a socket");
        let mut random = fastrand::Rng::with_seed(7);
        for n in 0..200_usize {
            let mut bytes: Vec<u8> = (0..random.usize(0..400)).map(|_| random.u8(..)).collect();
            if let Some(first) = bytes.first_mut() {
                *first = [0, 1, 22, 128, 144, 255][n % 6];
            }
            let socket = if n % 2 == 0 { &other_socket } else { &one.socket };
            socket.send_to(&bytes, server.address()).await.expect("a socket that sends");
        }
        other_socket.send_to(&forged_request(&first.answer), server.address()).await.expect("a socket that sends");
        for _ in 0..10 {
            one.socket.send_to(&one.wire, server.address()).await.expect("a socket that sends");
        }
        let (seen_one, seen_two) = (one.frame_times().len(), two.frame_times().len());
        assert!(one.live(LIMIT, |client| client.frame_times().len() >= seen_one + 25).await, "the first continues");
        assert!(two.live(LIMIT, |client| client.frame_times().len() >= seen_two + 25).await, "the second continues");
        assert!(server.stray_packets() >= 101, "{} stray_packets", server.stray_packets());
        let refused =
            server.sessions.registry().stats(&first.id, Wall.now()).expect("a session").meter.losses["stray_packet"];
        assert!(refused >= 10, "{refused} of its own were refused");
    });
}

/// A binding request with the right user name and a wrong MESSAGE-INTEGRITY.
fn forged_request(answer: &str) -> Vec<u8> {
    let name = answer.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).expect("a name").to_owned() + ":x";
    let mut bytes = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    bytes.extend([9; 12]);
    bytes.extend([0, 6, 0, name.len() as u8]);
    bytes.extend(name.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend([0, 0x24, 0, 4, 1, 2, 3, 4, 0, 8, 0, 20]);
    bytes.extend([5; 20]);
    let length = (bytes.len() - 20) as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

#[test]
fn a_peer_that_disappears_frees_its_slot() {
    runtime().block_on(async {
        let server = server(1);
        let (mut client, joined) = Client::join(&server, &CALL).await;
        assert!(client.live(LIMIT, |client| client.frame_times().len() >= 5).await);
        drop(client);
        assert_eq!(server.end_reason(&joined.id, Duration::from_secs(10)).await, EndReason::Silent);
        let (mut next, _) = Client::join(&server, &CALL).await;
        assert!(next.live(LIMIT, |client| client.frame_times().len() >= 5).await, "the slot is free again");
    });
}

/// Takes everything and sends nothing.
struct Discard;

impl Outlet for Discard {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, _outgoing: Outgoing) -> Result<(), Box<Outgoing>> {
        Ok(())
    }
}

#[test]
fn frames_in_flight_when_a_session_ends_are_counted_as_dropped() {
    runtime().block_on(async {
        let server = server(1);
        let ticket = server.sessions.start(&SessionRequest::default(), Box::new(Discard)).expect("a session");
        ticket.inbox.set_watching(1);
        let mut events = ticket.events.subscribe();
        while !matches!(events.recv().await.expect("an event"), SessionEvent::Quality(_)) {}
        assert!(server.sessions.end(&ticket.id, EndReason::Deleted));
        let report = server.sessions.registry().totals();
        assert!(report.frames.due >= 20 && report.frames.dropped == report.frames.due, "{:?}", report.frames);
        // A busy machine may be too late for some; the rest was encoded and is in flight.
        let lost = [Loss::UnsentFrame, Loss::LateFrame].map(|loss| report.losses[loss.name()]);
        assert!(lost[0] > 0 && lost[0] + lost[1] == report.frames.due, "{lost:?}");
    });
}

#[test]
fn closing_is_signalled_in_both_directions() {
    runtime().block_on(async {
        let server = server(3);
        let (mut leaver, left) = Client::join(&server, &CALL).await;
        assert!(leaver.live(LIMIT, |client| client.frame_times().len() >= 3).await);
        let end = server.end_reason(&left.id, Duration::from_secs(2));
        leaver.rtc.close().expect("a close");
        leaver.speak().await;
        assert_eq!(end.await, EndReason::PeerClosed);

        let (mut ended, session) = Client::join(&server, &CALL).await;
        assert!(ended.live(LIMIT, |client| client.frame_times().len() >= 3).await);
        assert!(server.sessions.end(&session.id, EndReason::Deleted));
        assert!(
            ended.live(Duration::from_secs(2), |client| client.is_closed).await,
            "the server closes the connection"
        );

        let (mut last, _) = Client::join(&server, &CALL).await;
        assert!(last.live(LIMIT, |client| client.frame_times().len() >= 3).await);
        let began = Wall.now();
        server.net.close().await;
        assert!(Wall.now() - began < Duration::from_secs(2));
        assert!(last.live(Duration::from_secs(2), |client| client.is_closed).await, "shutdown closes the connection");
        let (_, offer) = Client::offering(&CALL).await;
        assert!(matches!(server.net.join(&offer, SessionRequest::default()).await, Err(JoinError::Closing)));
        assert!(server.sessions.registry().list(Wall.now()).is_empty(), "no session is left");
    });
}

#[test]
fn every_shape_of_offer_that_receives_video_is_served() {
    use Direction::{RecvOnly, SendOnly, SendRecv};
    use MediaKind::{Audio, Video};
    let shapes: [&[(MediaKind, Direction)]; 5] = [
        &[(Video, RecvOnly)],
        &[(Audio, RecvOnly), (Video, RecvOnly)],
        &[(Video, RecvOnly), (Audio, SendRecv)],
        &[(Audio, SendOnly), (Video, RecvOnly)],
        &[(Audio, SendRecv), (Video, SendRecv)],
    ];
    runtime().block_on(async {
        let server = server(shapes.len());
        for shape in shapes {
            let (mut client, _) = Client::join(&server, shape).await;
            let hears = |client: &Client| match shape.iter().find(|(kind, _)| *kind == Audio) {
                Some((_, RecvOnly | SendRecv)) => client.of(Audio).len() >= 5,
                _ => true,
            };
            let is_served = |client: &Client| client.frame_times().len() >= 5 && hears(client);
            assert!(client.live(LIMIT, is_served).await, "{shape:?}");
        }
    });
}

#[test]
fn refused_offers_leave_no_session_behind() {
    runtime().block_on(async {
        let server = server(1);
        let net = &server.net;
        let join =
            |offer: String| async move { net.join(&offer, SessionRequest::default()).await.map(|joined| joined.id) };
        let (_, offer) = Client::offering(&CALL).await;
        let unusable = offer.replace("packetization-mode=1", "packetization-mode=0").replace("VP8/", "VP9/");
        assert!(matches!(join(unusable).await, Err(JoinError::NoUsableVideo { offered }) if offered.contains("VP9")));
        for bad in [
            "",
            "v=0",
            "hello",
            &offer[..offer.len() / 2],
            &offer.replace("a=fingerprint", "a=finger"),
            &"v=0\r\n".repeat(20_000),
        ] {
            let found = join(bad.to_owned()).await;
            assert!(matches!(found, Err(JoinError::BadOffer { .. } | JoinError::NoUsableVideo { .. })), "{found:?}");
        }
        let deaf = Client::offering(&[(MediaKind::Video, Direction::SendOnly)]).await.1;
        assert!(matches!(join(deaf).await, Err(JoinError::BadOffer { .. })));
        assert!(server.sessions.registry().list(Wall.now()).is_empty(), "no session is left");

        assert!(join(offer.clone()).await.is_ok());
        assert!(matches!(join(offer).await, Err(JoinError::Admit(AdmitError::Full { limit: 1 }))));
    });
}

#[cfg(not(feature = "vp8"))]
#[test]
fn an_offer_with_only_vp8_is_refused_by_a_build_without_it() {
    runtime().block_on(async {
        let server = server(1);
        let (_, offer) = Client::offering_codecs(&[Codec::Vp8], &CALL).await;
        let refused = server.net.join(&offer, SessionRequest::default()).await.map(|joined| joined.id);
        assert!(
            matches!(&refused, Err(JoinError::NoUsableVideo { offered }) if offered.starts_with("VP8/90000")),
            "{refused:?}"
        );
        assert!(server.sessions.registry().list(Wall.now()).is_empty(), "no session is left");
    });
}

#[cfg(feature = "vp8")]
mod vp8 {
    use super::*;
    use visage::codec::VideoCodec;
    use visage_kernels::vp8::Decoder;

    /// Whether a frame is a keyframe (RFC 6386, section 9.1).
    fn is_key(frame: &[u8]) -> bool {
        frame[0] & 1 == 0
    }

    #[test]
    fn an_offer_with_only_vp8_gets_frames_that_decode() {
        runtime().block_on(async {
            let server = server(1);
            let (client, offer) = Client::offering_codecs(&[Codec::Vp8], &CALL).await;
            let (mut client, joined) = client.joining(&server, &offer).await;
            assert!(joined.answer.contains("VP8/90000") && !joined.answer.contains("H264"), "{}", joined.answer);
            assert_eq!(server.sessions.find(&joined.id).expect("a session").codec, VideoCodec::Vp8);
            let (mut decoder, mut seen, mut keys) = (Decoder::new().expect("a decoder"), 0, Vec::new());
            assert!(client.live(LIMIT, |client| client.frames.len() >= 20).await, "{} frames", client.frames.len());

            client.request_keyframe();
            let before = client.frames.len();
            let has_key = |client: &Client| client.frames[before..].iter().any(|frame| is_key(frame));
            assert!(client.live(LIMIT, has_key).await, "a picture loss indication is answered with a keyframe");

            let ticket = server.sessions.find(&joined.id).expect("a session");
            ticket.inbox.set_bitrate(120_000);
            let after = client.frames.len() + 25;
            assert!(client.live(LIMIT, |client| client.frames.len() >= after).await, "the stream continues");
            for (n, frame) in client.frames.iter().enumerate() {
                let (width, height, luma) = decoder.decode(frame).expect("a frame");
                assert_eq!(width, height);
                // The avatar is a ramp of luma, dark and bright in every row: a low bitrate blurs it, but does not make it grey.
                let (least, most) = (luma.iter().min().expect("pixels"), luma.iter().max().expect("pixels"));
                assert!(most - least > 60, "frame {n} has luma from {least} to {most}");
                seen += 1;
                keys.extend(is_key(frame).then_some(n));
            }
            assert!(seen >= 45 && keys[0] == 0, "{seen} frames, keys {keys:?}");
            server.net.close().await;
        });
    }

    #[test]
    fn a_peer_that_supports_both_codecs_gets_h264() {
        runtime().block_on(async {
            let server = server(1);
            let (mut client, joined) = Client::join(&server, &CALL).await;
            assert_eq!(server.sessions.find(&joined.id).expect("a session").codec, VideoCodec::H264);
            assert!(!joined.answer.contains("VP8"), "{}", joined.answer);
            assert!(client.live(LIMIT, |client| client.frame_times().len() >= 5).await);
        });
    }
}
