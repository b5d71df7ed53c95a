//! A peer and its browser on a clock that only exists here: no thread, no socket, no waiting.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::change::SdpAnswer;
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::RtcFactory;
use super::peer::Peer;
use crate::codec::EncodedFrame;
use crate::media::{Timed, Utterance};
use crate::session::{
    Outgoing, OutgoingMedia, SessionHandle, SessionKey, SessionRequest, SessionsConfig, ViewerHandle, ViewerRole,
    Viewers,
};
use crate::telemetry::{Loss, Marks, Stage};
use crate::time::{SampleIndex, Wall};

const STEP: Duration = Duration::from_millis(5);

/// Both ends of a call.
struct Call {
    peer: Peer,
    browser: Rtc,
    voice: Mid,
    is_connected: bool,
    now: Instant,
    door: SocketAddr,
    home: SocketAddr,
    to_peer: VecDeque<Vec<u8>>,
    to_browser: VecDeque<Vec<u8>>,
    /// One datagram of each kind that the browser sent, by its first byte.
    sent: Vec<Vec<u8>>,
    /// All that it sent.
    recorded: Vec<Vec<u8>>,
}

/// The creator of a session that nobody runs.
fn viewer(now: Instant) -> ViewerHandle {
    let config =
        SessionsConfig { max_sessions: 1, max_viewers: 1, workers: 1, resolution_px: 512, bitrate_bps: 500_000 };
    let request = SessionRequest::default();
    let session = SessionHandle::new(SessionKey(1), Arc::from("nobody"), &request, &config, now);
    Viewers::join(&Arc::new(session), ViewerRole::Creator, now).expect("a viewer slot")
}

impl Call {
    fn new() -> Self {
        let now = Wall.now();
        let (door, home) = (SocketAddr::from(([127, 0, 0, 1], 1000)), SocketAddr::from(([127, 0, 0, 1], 2000)));
        let mut browser = Rtc::builder().clear_codecs().enable_opus(true, false).enable_h264(true).build(now);
        browser.add_local_candidate(Candidate::host(home, "udp").expect("a candidate"));
        let mut change = browser.sdp_api();
        let voice = change.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        change.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = change.apply().expect("an offer");
        let (rtc, _, answer) = RtcFactory::new(&[door]).answer(&offer.to_sdp_string(), now).expect("an answer");
        let answer = SdpAnswer::from_sdp_string(&answer).expect("an answer");
        browser.sdp_api().accept_answer(pending, answer).expect("a fitting answer");
        let peer = Peer::new(rtc, viewer(now), now);
        let (to_peer, to_browser) = (VecDeque::new(), VecDeque::new());
        let (sent, recorded, is_connected) = (Vec::new(), Vec::new(), false);
        let mut call =
            Self { peer, browser, voice, is_connected, now, door, home, to_peer, to_browser, sent, recorded };
        call.live(Duration::from_secs(2));
        assert!(call.is_connected && call.peer.stats().is_connected, "connected within two seconds");
        call
    }

    fn live(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.pass();
            self.poll_browser();
            self.deliver();
        }
    }

    /// Time passes for both.
    fn pass(&mut self) {
        self.now += STEP;
        self.browser.handle_input(Input::Timeout(self.now)).expect("a sane clock");
        self.wake();
    }

    fn wake(&mut self) {
        let (now, out) = (self.now, &mut self.to_browser);
        let mut transmit = |datagram: &str0m::net::Transmit| {
            out.push_back(datagram.contents.to_vec());
            now
        };
        self.peer.handle_timeout(now, &mut transmit).expect("a machine that works");
    }

    fn poll_browser(&mut self) {
        loop {
            match self.browser.poll_output().expect("a machine that works") {
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
            let datagram = Receive::new(Protocol::Udp, self.door, self.home, &bytes).expect("a datagram");
            self.browser.handle_input(Input::Receive(self.now, datagram)).expect("a sane datagram");
            self.poll_browser();
        }
    }

    /// As the floor does it, once it knows whose datagram it is; false if it is no datagram of WebRTC at all.
    fn reach_peer(&mut self, bytes: &[u8]) -> bool {
        let (now, out) = (self.now, &mut self.to_browser);
        let Ok(datagram) = Receive::new(Protocol::Udp, self.home, self.door, bytes) else { return false };
        let mut transmit = |datagram: &str0m::net::Transmit| {
            out.push_back(datagram.contents.to_vec());
            now
        };
        // A machine that fails ends its session, which is what this is about.
        let _ = self.peer.receive(now, datagram, &mut transmit);
        true
    }

    fn talk(&mut self, seconds: u64) {
        for n in 0..seconds * 50 {
            let writer = self.browser.writer(self.voice).expect("a line for voice");
            let pt = writer.payload_params().next().expect("a codec").pt();
            let time = MediaTime::new(n * 960, Frequency::FORTY_EIGHT_KHZ);
            writer.write(pt, self.now, time, [0xf8, 0xff, 0xfe].as_slice()).expect("a writer that writes");
            self.live(Duration::from_millis(20));
        }
    }

    fn show(&mut self, number: u64, bytes: usize) {
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
        self.peer.send(&outgoing, &Arc::from(vec![0x65; bytes]), now, &mut transmit).expect("a machine that works");
    }
}

#[test]
fn a_peer_that_lives_is_kept_and_garbage_from_its_address_does_not_keep_a_dead_one() {
    let mut call = Call::new();
    call.talk(1);
    call.live(Duration::from_secs(20));
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
            // The signature is wrong: of a STUN request it stands before the fingerprint, of everything else at the end.
            let from = bytes.len() - 20;
            bytes[from..from + 8].iter_mut().for_each(|byte| *byte = random.u8(..));
            reached += u32::from(call.reach_peer(&bytes));
            // What is not signed, or was sent before, says nothing either.
            let is_rtp = super::demux::is_rtp(kind);
            reached += u32::from((is_rtp || super::demux::is_dtls(kind)) && call.reach_peer(kind));
        }
        (0..20).for_each(|_| call.pass());
    }
    assert!(reached > 49 * kinds.len() as u32, "{reached} pieces of garbage of {} kinds reached the peer", kinds.len());
}

#[test]
fn a_peer_that_only_looks_is_kept_and_what_it_said_does_not_keep_a_dead_one_when_said_again() {
    let mut call = Call::new();
    for number in 0..500 {
        call.show(number, 1_000);
        call.live(Duration::from_millis(40));
        assert_eq!(call.peer.timeouts().end_reason(call.now), None, "after {number} pictures, without a word of voice");
    }
    // Somebody on the way wrote down all that was signed, and says it again and again, oldest and newest.
    let is_signed = |bytes: &&Vec<u8>| !super::demux::is_dtls(bytes) && !super::demux::is_rtp(bytes);
    let signed: Vec<Vec<u8>> = call.recorded.iter().filter(is_signed).cloned().collect();
    let has = |kind: std::ops::Range<u8>| signed.iter().any(|bytes| kind.contains(&bytes[0]));
    assert!(has(0..4) && has(128..192) && signed.len() > 100, "{} of STUN and RTCP", signed.len());
    let (died, authentic) = (call.now, call.peer.authenticated());
    for (number, bytes) in signed.iter().rev().cycle().enumerate() {
        assert!(call.now - died < Duration::from_secs(10), "a dead peer is kept alive by what it said before");
        if call.peer.timeouts().end_reason(call.now).is_some() {
            break;
        }
        call.reach_peer(bytes);
        if number % 5 == 0 {
            call.show(500 + number as u64, 1_000);
            call.pass();
        }
    }
    assert!(call.peer.authenticated() > authentic + 100, "the machine itself takes it for the peer's");
}

#[test]
fn a_peer_that_reports_nothing_and_only_asks_whether_we_consent_is_kept() {
    let mut call = Call::new();
    for number in 0..750 {
        call.show(number, 1_000);
        for _ in 0..8 {
            call.pass();
            call.poll_browser();
            call.to_peer.retain(|bytes| bytes[0] < 4);
            call.deliver();
        }
        assert_eq!(call.peer.timeouts().end_reason(call.now), None, "after {number} pictures, without a report");
    }
}

#[test]
fn what_looks_like_dtls_is_counted_once_connected() {
    let mut call = Call::new();
    let strays = |call: &Call| call.peer.viewer.session.meter.report().losses[Loss::StrayPacket.name()];
    let before = strays(&call);
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..100 {
        let bytes: Vec<u8> = std::iter::once(22).chain((0..80).map(|_| random.u8(..))).collect();
        let (now, home, door) = (call.now, call.home, call.door);
        let datagram = Receive::new(Protocol::Udp, home, door, &bytes).expect("a datagram");
        call.peer.receive_dtls(now, datagram, &mut |_| now).expect("a machine that goes on");
    }
    assert_eq!(strays(&call) - before, 100);
    call.live(Duration::from_secs(1));
    assert_eq!(call.peer.timeouts().end_reason(call.now), None);
}

#[test]
fn pictures_that_the_way_out_is_too_narrow_for_are_counted() {
    let mut call = Call::new();
    // Many more than the way carries: the machine spreads them over seconds.
    (0..200).for_each(|number| call.show(number, 30_000));
    call.live(Duration::from_secs(5));
    let meter = Arc::clone(&call.peer.viewer.session.meter);
    let on_the_way = |frames: crate::session::FrameCounts| frames.due - frames.on_time - frames.late - frames.dropped;
    let report = meter.report();
    assert!(on_the_way(report.frames) <= 64 && report.frames.dropped >= 100, "{:?}", report.frames);
    assert_eq!(report.losses[Loss::UnsentFrame.name()], report.frames.dropped);
    meter.close();
    let frames = meter.report().frames;
    assert_eq!((frames.due, on_the_way(frames)), (200, 0), "{frames:?}");
}
