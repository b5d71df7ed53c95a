//! A session with several viewers over real UDP: one encode for all, joining and leaving at any time.

use std::sync::atomic::{AtomicUsize, Ordering};

use visage::rtc::JoinedViewer;
use visage::session::{SessionLifetime, SessionOptions, ViewerError, ViewerRole};

use super::*;

const WATCH: [(MediaKind, Direction); 2] =
    [(MediaKind::Audio, Direction::RecvOnly), (MediaKind::Video, Direction::RecvOnly)];

/// An animator that counts its frames; each of them is encoded once.
struct Counted(Ramp, Arc<AtomicUsize>);

impl Animator for Counted {
    fn cadence(&self) -> Cadence {
        self.0.cadence()
    }

    fn push_audio(&mut self, block: &PcmBlock, at: SampleIndex) -> Result<(), ModelError> {
        self.0.push_audio(block, at)
    }

    fn poll(
        &mut self,
        at: SampleIndex,
        frame: &mut VideoFrame,
        marks: &mut Marks,
        wall: Wall,
    ) -> Result<FramePoll, ModelError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.poll(at, frame, marks, wall)
    }

    fn reset(&mut self) {}
}

struct CountedRamps(Ramps, Arc<AtomicUsize>);

impl Pack for CountedRamps {
    fn name(&self) -> &'static str {
        "counted"
    }

    fn avatars(&self) -> Arc<[AvatarInfo]> {
        self.0.avatars()
    }

    fn animator(&self, _avatar: &str, _side_px: u32) -> Result<Box<dyn Animator>, ModelError> {
        Ok(Box::new(Counted(Ramp, Arc::clone(&self.1))))
    }

    fn still(&self, avatar: &str, side_px: u32) -> Result<Still, ModelError> {
        self.0.still(avatar, side_px)
    }
}

/// A server of one session with so many viewers, and the count of its encoded frames.
fn server(max_viewers: usize) -> (Server, Arc<AtomicUsize>) {
    let text = || "ramp".to_owned();
    let avatar = AvatarInfo { name: text(), title: text(), kind: AvatarKind::Head, background: text() };
    let encoded = Arc::<AtomicUsize>::default();
    let pack = Arc::new(CountedRamps(Ramps([avatar]), Arc::clone(&encoded)));
    let config = SessionsConfig { max_sessions: 1, max_viewers, workers: 1, resolution_px: 128, bitrate_bps: 300_000 };
    let sessions = Sessions::open(config, pack, Wall).expect("workers");
    let config = RtcConfig { host: LOOPBACK, udp_port: 0, public_ips: Vec::new(), capacity: 1 };
    let counters = sessions.registry().counters();
    let net = RtcServer::start(&config, Arc::clone(&sessions), counters, Wall).expect("a port");
    (Server { sessions, net }, encoded)
}

async fn create(endpoint: &Server, lifetime: SessionLifetime) -> (Client, Joined) {
    let (mut client, offer) = Client::offering(&CALL).await;
    let options = SessionOptions { lifetime, ..SessionOptions::default() };
    let request = SessionRequest { options, ..SessionRequest::default() };
    let joined = endpoint.net.join(&offer, request).await.expect("a session");
    client.accept(&joined.answer);
    (client, joined)
}

async fn watch(endpoint: &Server, session: &str) -> (Client, JoinedViewer) {
    let (mut client, offer) = Client::offering(&WATCH).await;
    let joined = endpoint.net.join_viewer(session, &offer, ViewerRole::ReceiveOnly).await.expect("a viewer slot");
    client.accept(&joined.answer);
    (client, joined)
}

impl Client {
    fn accept(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).expect("an answer");
        let pending = self.pending.take().expect("an offer");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("a fitting answer");
    }
}

/// Waits for housekeeping, which runs ten times a second.
async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let end = Wall.now() + LIMIT;
    while !is_so() {
        assert!(Wall.now() < end, "in {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn one_encode_is_sent_to_every_viewer_and_late_ones_start_with_a_keyframe() {
    runtime().block_on(async {
        let (endpoint, encoded) = server(50);
        let (mut creator, joined) = create(&endpoint, SessionLifetime::Creator).await;
        let (mut early, _) = watch(&endpoint, &joined.id).await;
        let many = |client: &Client| client.frame_times().len() >= 25;
        let both = tokio::join!(creator.live(LIMIT, many), early.live(LIMIT, many));
        assert_eq!(both, (true, true), "{} and {}", creator.frame_times().len(), early.frame_times().len());

        let keyframes = creator.keyframes();
        let (mut one, _) = watch(&endpoint, &joined.id).await;
        let (mut two, _) = watch(&endpoint, &joined.id).await;
        let more = creator.frame_times().len() + 25;
        let all = tokio::join!(
            creator.live(LIMIT, |client| client.frame_times().len() >= more),
            early.live(LIMIT, |client| client.frame_times().len() >= more),
            one.live(LIMIT, many),
            two.live(LIMIT, many),
        );
        assert_eq!(all, (true, true, true, true));
        for late in [&one, &two] {
            assert!(late.of(MediaKind::Video)[0].is_key, "a late viewer starts with a keyframe");
            assert!(late.of(MediaKind::Audio).len() >= 25, "{} audio packets", late.of(MediaKind::Audio).len());
        }
        let asked = creator.keyframes() - keyframes;
        assert!((1..=2).contains(&asked), "{asked} keyframes for two viewers that joined together");

        let encoded = encoded.load(Ordering::Relaxed);
        let received: usize = [&creator, &early, &one, &two].iter().map(|client| client.frame_times().len()).sum();
        assert!(received > encoded * 5 / 4, "{received} frames arrived, {encoded} were encoded");
        let session = endpoint.sessions.find(&joined.id).expect("a session");
        let viewers = session.viewers.list(Wall.now());
        assert!(viewers.len() == 4 && viewers.iter().all(|viewer| viewer.frames.on_time >= 20), "{viewers:?}");
        endpoint.net.close().await;
        let frames = session.meter.report().frames;
        assert_eq!(frames.due, frames.on_time + frames.late + frames.dropped, "{frames:?}");
    });
}

#[test]
fn a_viewer_that_leaves_frees_its_slot_and_the_others_continue() {
    runtime().block_on(async {
        let (endpoint, _) = server(2);
        let (mut creator, joined) = create(&endpoint, SessionLifetime::Creator).await;
        let (mut viewer, watching) = watch(&endpoint, &joined.id).await;
        let (_, offer) = Client::offering(&WATCH).await;
        let refused = endpoint.net.join_viewer(&joined.id, &offer, ViewerRole::ReceiveOnly).await.expect_err("full");
        assert!(matches!(refused, JoinError::Viewer(ViewerError::Full { limit: 2 })), "{refused}");
        let some = |client: &Client| client.frame_times().len() >= 5;
        assert_eq!(tokio::join!(creator.live(LIMIT, some), viewer.live(LIMIT, some)), (true, true));

        let session = endpoint.sessions.find(&joined.id).expect("a session");
        assert!(session.viewers.dismiss(&watching.id) && !session.viewers.dismiss(&watching.id), "once");
        assert!(viewer.live(LIMIT, |client| client.is_closed).await, "its connection is closed");
        assert_eq!(session.viewers.count(), 1);
        let more = creator.frame_times().len() + 10;
        assert!(creator.live(LIMIT, |client| client.frame_times().len() >= more).await, "the creator continues");
        watch(&endpoint, &joined.id).await;
        endpoint.net.close().await;
    });
}

#[test]
fn a_session_ends_with_its_creator_or_its_last_viewer_as_requested() {
    runtime().block_on(async {
        for (lifetime, outlives_creator, outlives_viewers) in [
            (SessionLifetime::Creator, false, false),
            (SessionLifetime::Viewers, true, false),
            (SessionLifetime::UntilDeleted, true, true),
        ] {
            let (endpoint, _) = server(3);
            let (_creator, joined) = create(&endpoint, lifetime).await;
            let (_viewer, watching) = watch(&endpoint, &joined.id).await;
            let session = endpoint.sessions.find(&joined.id).expect("a session");
            session.viewers.dismiss(&joined.viewer);
            eventually("the creator left", || {
                session.viewers.list(Wall.now()).iter().all(|one| one.id != *joined.viewer)
            })
            .await;
            assert_eq!(endpoint.sessions.find(&joined.id).is_some(), outlives_creator, "{lifetime:?}");
            session.viewers.dismiss(&watching.id);
            eventually("all viewers left", || session.viewers.count() == 0).await;
            assert_eq!(endpoint.sessions.find(&joined.id).is_some(), outlives_viewers, "{lifetime:?}");
            endpoint.net.close().await;
        }
    });
}

#[test]
fn a_session_without_a_viewer_encodes_nothing_until_one_joins() {
    runtime().block_on(async {
        let (endpoint, encoded) = server(3);
        let options = SessionOptions { lifetime: SessionLifetime::UntilDeleted, ..SessionOptions::default() };
        let request = SessionRequest { options, ..SessionRequest::default() };
        let session = endpoint.net.create(request).await.expect("a session");
        for _ in 0..2 {
            let before = encoded.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(encoded.load(Ordering::Relaxed), before, "there is no viewer");
            let (mut viewer, watching) = watch(&endpoint, &session.id).await;
            assert!(viewer.live(LIMIT, |client| client.frame_times().len() >= 10).await);
            assert!(viewer.of(MediaKind::Video)[0].is_key);
            session.viewers.dismiss(&watching.id);
            eventually("it left", || session.viewers.count() == 0).await;
        }
        assert!(endpoint.sessions.end(&session.id, EndReason::Deleted));
        endpoint.net.close().await;
    });
}

#[test]
fn the_microphone_has_one_owner_and_audio_of_others_is_ignored() {
    runtime().block_on(async {
        let (endpoint, _) = server(3);
        let (_creator, joined) = create(&endpoint, SessionLifetime::Viewers).await;
        let speak = async || {
            let (mut client, offer) = Client::offering(&CALL).await;
            let joined = endpoint.net.join_viewer(&joined.id, &offer, ViewerRole::Speaker).await?;
            client.accept(&joined.answer);
            Ok::<_, JoinError>((client, joined))
        };
        let refused = speak().await.err().expect("taken");
        assert!(matches!(refused, JoinError::Viewer(ViewerError::MicrophoneTaken)), "{refused}");
        // An offer to send is answered as sendonly: no audio is received.
        let (_, offer) = Client::offering(&CALL).await;
        let silent = endpoint.net.join_viewer(&joined.id, &offer, ViewerRole::ReceiveOnly).await.expect("a slot");
        assert!(!silent.answer.contains("a=sendrecv") && silent.answer.contains("a=sendonly"), "{}", silent.answer);

        let session = endpoint.sessions.find(&joined.id).expect("a session");
        session.viewers.dismiss(&joined.viewer);
        eventually("the creator left", || session.viewers.count() == 1).await;
        let (mut speaker, taken) = speak().await.expect("the microphone is free");
        assert!(taken.answer.contains("a=sendrecv"), "{}", taken.answer);
        speaker.next_audio = Some(Wall.now());
        assert!(speaker.live(LIMIT, |client| client.frame_times().len() >= 10).await);
        endpoint.net.close().await;
    });
}
