//! A peer and a browser on a virtual clock: no thread, no socket, no waiting.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::peer::Peer;
use super::{Datagram, Peers, RtcFactory};
use crate::codec::EncodedFrame;
use crate::media::{Timed, Utterance};
use crate::model::{Animator, AvatarInfo, ModelError, Pack, Still};
use crate::session::{
    FrameCounts, Outgoing, OutgoingMedia, SessionHandle, SessionKey, SessionRequest, Sessions, SessionsConfig,
    ViewerHandle, ViewerRole, Viewers,
};
use crate::telemetry::{Loss, Marks, Stage};
use crate::time::{SampleIndex, Wall};

const STEP: Duration = Duration::from_millis(5);

/// Both ends of a call.
struct Call {
    peer: Peer,
    browser: Rtc,
    audio: Mid,
    is_connected: bool,
    now: Instant,
    server: SocketAddr,
    client: SocketAddr,
    to_peer: VecDeque<Vec<u8>>,
    to_browser: VecDeque<Vec<u8>>,
    /// One datagram of each kind that the browser sent, by its first two bytes.
    sent: Vec<Vec<u8>>,
    /// All datagrams that it sent.
    recorded: Vec<Vec<u8>>,
}

const CONFIG: SessionsConfig =
    SessionsConfig { max_sessions: 1, max_viewers: 1, workers: 1, resolution_px: 512, bitrate_bps: 500_000 };

/// The creator of a session that nobody runs.
fn viewer(key: SessionKey, now: Instant) -> ViewerHandle {
    let session = SessionHandle::new(key, Arc::from("none"), &SessionRequest::default(), &CONFIG, now);
    Viewers::join(&Arc::new(session), ViewerRole::Creator, now).expect("a viewer slot")
}

/// A browser with its audio line and its pending offer, and the offer.
fn offering(client: SocketAddr, now: Instant) -> ((Rtc, Mid, SdpPendingOffer), String) {
    let mut browser = Rtc::builder().clear_codecs().enable_opus(true, false).enable_h264(true).build(now);
    browser.add_local_candidate(Candidate::host(client, "udp").expect("a candidate"));
    let mut change = browser.sdp_api();
    let audio = change.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
    change.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    let (offer, pending) = change.apply().expect("an offer");
    ((browser, audio, pending), offer.to_sdp_string())
}

impl Call {
    fn new() -> Self {
        let now = Wall.now();
        let (server, client) = (SocketAddr::from(([127, 0, 0, 1], 1000)), SocketAddr::from(([127, 0, 0, 1], 2000)));
        let ((mut browser, audio, pending), offer) = offering(client, now);
        let (rtc, _, answer) = RtcFactory::new(&[server]).answer(&offer, now).expect("an answer");
        let answer = SdpAnswer::from_sdp_string(&answer).expect("an answer");
        browser.sdp_api().accept_answer(pending, answer).expect("a fitting answer");
        let peer = Peer::new(rtc, viewer(SessionKey(1), now), now);
        let (to_peer, to_browser) = (VecDeque::new(), VecDeque::new());
        let (sent, recorded, is_connected) = (Vec::new(), Vec::new(), false);
        let mut call =
            Self { peer, browser, audio, is_connected, now, server, client, to_peer, to_browser, sent, recorded };
        call.run(Duration::from_secs(2));
        assert!(call.is_connected && call.peer.stats().is_connected, "connected within two seconds");
        call
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.advance();
            self.poll_browser();
            self.deliver();
        }
    }

    /// Advances the clock of both ends.
    fn advance(&mut self) {
        self.now += STEP;
        self.browser.handle_input(Input::Timeout(self.now)).expect("a sane clock");
        self.run_peer_timers();
    }

    fn run_peer_timers(&mut self) {
        let (now, out) = (self.now, &mut self.to_browser);
        let mut transmit = |datagram: &str0m::net::Transmit| {
            out.push_back(datagram.contents.to_vec());
            now
        };
        self.peer.handle_timeout(now, &mut transmit).expect("a state machine that works");
    }

    fn poll_browser(&mut self) {
        loop {
            match self.browser.poll_output().expect("a state machine that works") {
                Output::Timeout(_) => return,
                Output::Transmit(datagram) => {
                    let bytes = datagram.contents.to_vec();
                    if self.sent.iter().all(|known| known[..2] != bytes[..2]) {
                        self.sent.push(bytes.clone());
                    }
                    self.recorded.push(bytes.clone());
                    self.to_peer.push_back(bytes);
                }
                Output::Event(Event::Connected) => self.is_connected = true,
                Output::Event(_) => {}
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(bytes) = self.to_peer.pop_front() {
            self.reach_peer(&bytes);
        }
        while let Some(bytes) = self.to_browser.pop_front() {
            let datagram = Receive::new(Protocol::Udp, self.server, self.client, &bytes).expect("a datagram");
            self.browser.handle_input(Input::Receive(self.now, datagram)).expect("a sane datagram");
            self.poll_browser();
        }
    }

    /// Passes a datagram to the peer, as the event loop does after demultiplexing; false if it is no WebRTC datagram.
    fn reach_peer(&mut self, bytes: &[u8]) -> bool {
        let (now, out) = (self.now, &mut self.to_browser);
        let Ok(datagram) = Receive::new(Protocol::Udp, self.client, self.server, bytes) else { return false };
        let mut transmit = |datagram: &str0m::net::Transmit| {
            out.push_back(datagram.contents.to_vec());
            now
        };
        // A peer that fails ends its session, which the tests look at.
        let _ = self.peer.receive(now, datagram, &mut transmit);
        true
    }

    fn send_audio(&mut self, seconds: u64) {
        for n in 0..seconds * 50 {
            let writer = self.browser.writer(self.audio).expect("an audio line");
            let pt = writer.payload_params().next().expect("a codec").pt();
            let time = MediaTime::new(n * 960, Frequency::FORTY_EIGHT_KHZ);
            writer.write(pt, self.now, time, [0xf8, 0xff, 0xfe].as_slice()).expect("a writer that writes");
            self.run(Duration::from_millis(20));
        }
    }

    fn send_frame(&mut self, number: u64, bytes: usize) {
        self.peer.viewer.session.meter.frame_due();
        let mut marks = Marks::default();
        marks.stamp(Stage::PlayoutDue, self.now);
        let value = OutgoingMedia::VideoFrame(EncodedFrame { bytes: Bytes::from(vec![0x65; bytes]), is_key: true });
        let media = Timed { at: SampleIndex(number * 640), utterance: Utterance::default(), marks, value };
        let outgoing = Outgoing { session: SessionKey(1), clock: self.now, media };
        let (now, out) = (self.now, &mut self.to_browser);
        let mut transmit = |datagram: &str0m::net::Transmit| {
            out.push_back(datagram.contents.to_vec());
            now
        };
        self.peer
            .send(&outgoing, &Arc::from(vec![0x65; bytes]), now, &mut transmit)
            .expect("a state machine that works");
    }
}

#[test]
fn a_live_peer_is_kept_and_garbage_from_its_address_does_not_keep_a_dead_one() {
    let mut call = Call::new();
    call.send_audio(1);
    call.run(Duration::from_secs(20));
    assert_eq!(call.peer.timeouts().end_reason(call.now), None, "consent checks alone keep a peer");

    let died = call.now;
    let mut random = fastrand::Rng::with_seed(3);
    let kinds = call.sent.clone();
    assert!([0..4, 20..64, 128..192].iter().all(|kind| kinds.iter().any(|sent| kind.contains(&sent[0]))));
    let mut reached = 0;
    while call.peer.timeouts().end_reason(call.now).is_none() {
        assert!(call.now - died < Duration::from_secs(10), "a dead peer is kept alive by garbage");
        for kind in &kinds {
            let mut bytes = kind.clone();
            // Breaks the authentication tag: before the fingerprint in a STUN request, at the end of everything else.
            let from = bytes.len() - 20;
            bytes[from..from + 8].iter_mut().for_each(|byte| *byte = random.u8(..));
            reached += u32::from(call.reach_peer(&bytes));
            // DTLS is not authenticated, and RTP that was sent before is a replay.
            let is_rtp = super::demux::is_rtp(kind);
            reached += u32::from((is_rtp || super::demux::is_dtls(kind)) && call.reach_peer(kind));
        }
        (0..20).for_each(|_| call.advance());
    }
    assert!(reached > 49 * kinds.len() as u32, "{reached} pieces of garbage of {} kinds reached the peer", kinds.len());
}

#[test]
fn a_peer_that_only_receives_is_kept_and_a_replay_of_its_datagrams_does_not_keep_a_dead_one() {
    let mut call = Call::new();
    for number in 0..500 {
        call.send_frame(number, 1_000);
        call.run(Duration::from_millis(40));
        assert_eq!(call.peer.timeouts().end_reason(call.now), None, "after {number} frames, without audio");
    }
    // An attacker on the path recorded all authenticated datagrams and replays them over and over.
    let is_authenticated = |bytes: &&Vec<u8>| !super::demux::is_dtls(bytes) && !super::demux::is_rtp(bytes);
    let recorded: Vec<Vec<u8>> = call.recorded.iter().filter(is_authenticated).cloned().collect();
    let has = |kind: std::ops::Range<u8>| recorded.iter().any(|bytes| kind.contains(&bytes[0]));
    assert!(has(0..4) && has(128..192) && recorded.len() > 100, "{} of STUN and RTCP", recorded.len());
    let (died, authentic) = (call.now, call.peer.authenticated());
    for (number, bytes) in recorded.iter().rev().cycle().enumerate() {
        assert!(call.now - died < Duration::from_secs(10), "a dead peer is kept alive by a replay");
        if call.peer.timeouts().end_reason(call.now).is_some() {
            break;
        }
        call.reach_peer(bytes);
        if number % 5 == 0 {
            call.send_frame(500 + number as u64, 1_000);
            call.advance();
        }
    }
    assert!(call.peer.authenticated() > authentic + 100, "str0m itself accepts the replay");
}

#[test]
fn a_peer_that_sends_only_consent_checks_is_kept() {
    let mut call = Call::new();
    for number in 0..750 {
        call.send_frame(number, 1_000);
        for _ in 0..8 {
            call.advance();
            call.poll_browser();
            call.to_peer.retain(|bytes| bytes[0] < 4);
            call.deliver();
        }
        assert_eq!(call.peer.timeouts().end_reason(call.now), None, "after {number} frames, without a report");
    }
}

#[test]
fn forged_dtls_is_counted_once_connected() {
    let mut call = Call::new();
    let strays = |call: &Call| call.peer.viewer.session.meter.report().losses[Loss::StrayPacket.name()];
    let before = strays(&call);
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..100 {
        let bytes: Vec<u8> = std::iter::once(22).chain((0..80).map(|_| random.u8(..))).collect();
        let (now, client, server) = (call.now, call.client, call.server);
        let datagram = Receive::new(Protocol::Udp, client, server, &bytes).expect("a datagram");
        call.peer.receive_dtls(now, datagram, &mut |_| now).expect("a peer that goes on");
    }
    assert_eq!(strays(&call) - before, 100);
    call.run(Duration::from_secs(1));
    assert_eq!(call.peer.timeouts().end_reason(call.now), None);
}

#[test]
fn frames_that_exceed_the_capacity_of_the_path_are_counted() {
    let mut call = Call::new();
    // Many more than the path carries: the pacer spreads them over seconds.
    (0..200).for_each(|number| call.send_frame(number, 30_000));
    call.run(Duration::from_secs(5));
    let meter = Arc::clone(&call.peer.viewer.session.meter);
    let in_flight = |frames: FrameCounts| frames.due - frames.on_time - frames.late - frames.dropped;
    let report = meter.report();
    assert!(in_flight(report.frames) <= 64 && report.frames.dropped >= 100, "{:?}", report.frames);
    assert_eq!(report.losses[Loss::UnsentFrame.name()], report.frames.dropped);
    meter.close();
    let frames = meter.report().frames;
    assert_eq!((frames.due, in_flight(frames)), (200, 0), "{frames:?}");
}

/// A pack without avatars.
struct NoAvatars;

impl Pack for NoAvatars {
    fn name(&self) -> &'static str {
        "none"
    }

    fn avatars(&self) -> Arc<[AvatarInfo]> {
        Arc::new([])
    }

    fn animator(&self, avatar: &str, _side_px: u32) -> Result<Box<dyn Animator>, ModelError> {
        Err(ModelError::Broken { name: avatar.to_owned(), found: "no avatars".to_owned() })
    }

    fn still(&self, avatar: &str, _side_px: u32) -> Result<Still, ModelError> {
        Err(ModelError::Broken { name: avatar.to_owned(), found: "no avatars".to_owned() })
    }
}

/// Drives a connected peer among `count` peers for five seconds of audio. Returns how many peers its datagrams accessed at most,
/// including the timers that they made due, and the median time that one took.
fn cost_of_a_datagram(count: u64) -> (u64, Duration) {
    let Call { peer, mut browser, audio, mut now, server, client, .. } = Call::new();
    let sessions = Sessions::open(CONFIG, Arc::new(NoAvatars), Wall).expect("sessions");
    let mut peers = Peers::new(sessions, Arc::default());
    peers.add(Box::new(peer));
    for number in 2..=count {
        let (rtc, _, _) = RtcFactory::new(&[server]).answer(&offering(client, now).1, now).expect("an answer");
        peers.add(Box::new(Peer::new(rtc, viewer(SessionKey(number), now), now)));
    }
    let (mut most, mut times) = (0, Vec::new());
    for step in 0..1_000 {
        now += STEP;
        peers.handle_timeouts(now, &mut |_| now);
        browser.handle_input(Input::Timeout(now)).expect("a sane clock");
        if step % 4 == 0 {
            let writer = browser.writer(audio).expect("an audio line");
            let pt = writer.payload_params().next().expect("a codec").pt();
            let time = MediaTime::new(step * 240, Frequency::FORTY_EIGHT_KHZ);
            writer.write(pt, now, time, [0xf8, 0xff, 0xfe].as_slice()).expect("a writer that writes");
        }
        loop {
            match browser.poll_output().expect("a browser that works") {
                Output::Timeout(_) => break,
                Output::Transmit(sent) => {
                    let (before, began) = (peers.accessed(), Wall.now());
                    let datagram = Datagram { source: client, destination: server, bytes: &sent.contents };
                    peers.receive(now, datagram, &mut |_| now);
                    peers.handle_timeouts(now, &mut |_| now);
                    times.push(Wall.now() - began);
                    most = most.max(peers.accessed() - before);
                }
                Output::Event(_) => {}
            }
        }
    }
    assert!(times.len() > 250, "{} datagrams", times.len());
    times.sort_unstable();
    (most, times[times.len() / 2])
}

#[test]
fn a_datagram_accesses_as_many_peers_among_100_as_alone() {
    let ((alone, time_alone), (among, time_among)) = (cost_of_a_datagram(1), cost_of_a_datagram(100));
    println!("median time of a datagram: {time_alone:?} alone, {time_among:?} among 100 peers");
    assert!(among <= alone && alone <= 6, "{alone} accesses alone, {among} among 100");
}
