//! A session on a virtual clock: no thread, no socket; an hour takes a second where the animator is a test animator.

#[path = "session/windows.rs"]
mod windows;

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use visage::audio::AudioPacket;
use visage::backend::CpuBackend;
use visage::codec::{CodecError, EncodedFrame, FrameKind, OpusDecoder, OpusEncoder, VideoCodec, VideoEncoder};
use visage::media::{FrameSize, PcmBlock, VideoFrame};
use visage::model::portrait::Portrait;
use visage::model::{Animator, Cadence, FramePoll, ModelError, Pack};
use visage::session::{
    Inbox, Meter, Outgoing, OutgoingMedia, Outlet, Session, SessionCommand, SessionEvent, SessionKey, SessionLifetime,
    SessionLimits, SessionParts, SessionSummary,
};
use visage::telemetry::{Loss, Marks, Stage};
use visage::time::{AudioRtpTime, Rate, SampleIndex, Wall};
use visage_engines::PackFiles;

/// What a session has sent.
#[derive(Clone, Default)]
struct SentItems(Arc<Mutex<Vec<Outgoing>>>);

impl SentItems {
    fn take(&self) -> Vec<Outgoing> {
        std::mem::take(&mut *self.0.lock().expect("the sent items"))
    }
}

impl Outlet for SentItems {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, outgoing: Outgoing) -> Result<(), Box<Outgoing>> {
        self.0.lock().expect("a whole sent").push(outgoing);
        Ok(())
    }
}

/// "Encodes" a frame as a hash of its pixels, which distinguishes frames at no cost, and its first pixel.
struct Fingerprint;

impl VideoEncoder for Fingerprint {
    fn encode(&mut self, frame: &VideoFrame, kind: FrameKind) -> Result<EncodedFrame, CodecError> {
        let mut hasher = DefaultHasher::new();
        frame.planes().0.hash(&mut hasher);
        let reported = [&hasher.finish().to_le_bytes()[..], &frame.planes().0[..1]].concat();
        let bytes = Bytes::from(reported);
        Ok(EncodedFrame { bytes, is_key: kind == FrameKind::Key })
    }

    fn set_bitrate(&mut self, _bits_per_second: u32) {}
}

/// An animator whose frames are as bright as their audio is loud.
#[derive(Default)]
struct LevelFace(VecDeque<(SampleIndex, f32)>);

impl Animator for LevelFace {
    fn cadence(&self) -> Cadence {
        Cadence::per_frame(Rate::new(25, 1).expect("above zero"), 1280)
    }

    fn push_audio(&mut self, block: &PcmBlock, at: SampleIndex) -> Result<(), ModelError> {
        self.0.push_back((at, block.level()));
        self.0.drain(..self.0.len().saturating_sub(16));
        Ok(())
    }

    fn poll(
        &mut self,
        at: SampleIndex,
        frame: &mut VideoFrame,
        _marks: &mut Marks,
        _wall: Wall,
    ) -> Result<FramePoll, ModelError> {
        let level = self.0.iter().find(|(its, _)| *its == at).map_or(0.0, |(_, level)| *level);
        frame.planes_mut().0.fill((level * 255.0) as u8);
        Ok(FramePoll::Ready)
    }

    fn reset(&mut self) {
        self.0.clear();
    }
}

struct Rig {
    session: Session,
    inbox: Inbox,
    sent: SentItems,
    meter: Arc<Meter>,
    events: tokio::sync::broadcast::Receiver<SessionEvent>,
    start: Instant,
}

fn rig(animator: Box<dyn Animator>, side_px: u32) -> Rig {
    let rig = rig_without_viewer(animator, side_px);
    rig.inbox.set_watching(1);
    rig
}

fn rig_without_viewer(animator: Box<dyn Animator>, side_px: u32) -> Rig {
    rig_into(SentItems::default(), animator, side_px)
}

fn rig_into(sent: SentItems, animator: Box<dyn Animator>, side_px: u32) -> Rig {
    let (inbox, meter) = (Inbox::new(Arc::default()), Arc::<Meter>::default());
    let (sender, events) = tokio::sync::broadcast::channel(1024);
    let parts = SessionParts {
        key: SessionKey(1),
        inbox: inbox.clone(),
        outlet: Box::new(sent.clone()),
        animator,
        encoder: Box::new(Fingerprint),
        canvas: VideoFrame::black(FrameSize::square(side_px)),
        meter: Arc::clone(&meter),
        events: sender,
    };
    let start = Wall.now();
    let session = Session::new(parts, 1_000_000, start).expect("a session");
    Rig { session, inbox, sent, meter, events, start }
}

impl Rig {
    /// Ticks until `seconds` after the start, delivering each packet when it arrives.
    fn run(&mut self, seconds: f64, packets: &mut Vec<AudioPacket>) {
        let end = self.start + Duration::from_secs_f64(seconds);
        while self.session.next_tick() < end {
            self.step(packets);
        }
    }

    /// One tick, before which the packets are delivered that have arrived by then. Returns when it was.
    fn step(&mut self, packets: &mut Vec<AudioPacket>) -> Instant {
        let now = self.session.next_tick();
        while packets.last().is_some_and(|packet| packet.arrived <= now) {
            self.inbox.push_packet(packets.pop().expect("there is a last one"));
        }
        self.session.tick(now, Wall);
        now
    }

    /// As `run`; returns what was sent, and at which tick.
    fn watch(&mut self, seconds: f64, packets: &mut Vec<AudioPacket>) -> Vec<(Instant, Outgoing)> {
        let end = self.start + Duration::from_secs_f64(seconds);
        let mut left = Vec::new();
        while self.session.next_tick() < end {
            let now = self.step(packets);
            left.extend(self.sent.take().into_iter().map(|thing| (now, thing)));
        }
        left
    }

    fn depth_ms(&self) -> f64 {
        let (id, avatar) = (String::new(), String::new());
        let options = SessionLimits { resolution_px: 512, bitrate_bps: None, audio: true };
        let summary = SessionSummary {
            id,
            avatar,
            codec: VideoCodec::H264,
            age_s: 0.0,
            is_speaking: false,
            options,
            lifetime: SessionLifetime::default(),
            viewer_count: 1,
        };
        self.meter.stats(summary).state.jitter_buffer_ms
    }
}

/// Each packet is late by up to 300 ms; the first to arrive is the last element.
fn through_a_bad_network(mut packets: Vec<AudioPacket>) -> Vec<AudioPacket> {
    let mut random = fastrand::Rng::with_seed(21);
    packets.iter_mut().for_each(|packet| packet.arrived += Duration::from_secs_f64(random.f64() * 0.3));
    packets.sort_by_key(|packet| std::cmp::Reverse(packet.arrived));
    packets
}

/// When loud audio was sent, and when bright frames were.
fn loud_and_bright(left: &[(Instant, Outgoing)]) -> (Vec<Instant>, Vec<Instant>) {
    let mut decoder = OpusDecoder::new().expect("a decoder");
    let (mut loud, mut bright) = (Vec::new(), Vec::new());
    for (at, thing) in left {
        match &thing.media.value {
            OutgoingMedia::Audio(packet) => {
                let samples = decoder.decode(packet).expect("a valid packet");
                let power = samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32;
                loud.extend((power.sqrt() > 0.02).then_some(*at));
            }
            OutgoingMedia::VideoFrame(frame) => bright.extend((frame.bytes[8] > 5).then_some(*at)),
        }
    }
    (loud, bright)
}

/// Bursts like vowels, 20 ms per packet from `from` on; sorted so that the first packet is the last element.
fn speech_packets(start: Instant, from: f64, seconds: f64, pitch_hz: f32) -> Vec<AudioPacket> {
    let mut encoder = OpusEncoder::new().expect("an encoder");
    let count = (seconds * 50.0) as u32;
    let packet = |n: u32| {
        let mut block = [0.0_f32; 960];
        for (i, sample) in block.iter_mut().enumerate() {
            let t = (n * 960 + i as u32) as f32 / 48_000.0;
            let burst = if (t * 2.0).fract() < 0.6 { 0.3 } else { 0.0 };
            let wave = |k: f32| (t * pitch_hz * k * std::f32::consts::TAU).sin() / k;
            *sample = burst * (wave(1.0) + wave(2.0) + wave(3.0) + wave(5.0)) / 2.0;
        }
        let arrived = start + Duration::from_secs_f64(from + f64::from(n) * 0.02);
        let payload = encoder.encode(&block).expect("a packet");
        AudioPacket { rtp: AudioRtpTime::default().plus(n * 960), sequence: Some(u64::from(n)), payload, arrived }
    };
    let mut packets: Vec<_> = (0..count).map(packet).collect();
    packets.reverse();
    packets
}

fn portrait() -> Portrait {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/packs/portrait");
    Portrait::open(PackFiles::read(&folder).expect("a whole pack"), &CpuBackend::new()).expect("a pack that opens")
}

fn frames_in(outgoing: &[Outgoing]) -> Vec<(u64, Bytes)> {
    let frame = |thing: &Outgoing| match &thing.media.value {
        OutgoingMedia::VideoFrame(frame) => Some((thing.media.at.0, frame.bytes.clone())),
        OutgoingMedia::Audio(_) => None,
    };
    outgoing.iter().filter_map(frame).collect()
}

#[test]
fn there_is_a_frame_every_40_ms_and_a_block_of_audio_every_20() {
    let mut rig = rig(Box::new(LevelFace::default()), 64);
    let mut packets = speech_packets(rig.start, 0.5, 8.0, 120.0);
    rig.run(10.0, &mut packets);
    let out = rig.sent.take();
    let frames = frames_in(&out);
    assert!(frames.windows(2).all(|pair| pair[1].0 - pair[0].0 == 640), "a frame is missing");
    assert!((245..=250).contains(&frames.len()), "{} frames in 10 s", frames.len());
    let audio: Vec<_> = out.iter().filter(|thing| matches!(thing.media.value, OutgoingMedia::Audio(_))).collect();
    assert!(audio.windows(2).all(|pair| pair[1].media.at.0 - pair[0].media.at.0 == 320), "a block of audio is missing");
}

#[test]
fn frame_and_audio_of_one_time_are_sent_together_and_share_a_clock() {
    let mut rig = rig(Box::new(LevelFace::default()), 64);
    let mut packets = speech_packets(rig.start, 0.2, 3.0, 120.0);
    while rig.session.next_tick() < rig.start + Duration::from_secs(4) {
        let now = rig.step(&mut packets);
        let out = rig.sent.take();
        for frame in out.iter().filter(|thing| matches!(thing.media.value, OutgoingMedia::VideoFrame(_))) {
            let same = |thing: &&Outgoing| {
                matches!(thing.media.value, OutgoingMedia::Audio(_)) && thing.media.at == frame.media.at
            };
            let audio = out.iter().find(same).expect("the audio of the frame's time in the same tick");
            assert_eq!(audio.clock, frame.clock);
            assert!(frame.clock <= now, "a clock from the future");
        }
    }
}

/// Records what has been sent, and when, before each frame is rendered.
struct RecordingAnimator(SentItems, Arc<Mutex<Vec<(usize, Instant)>>>);

impl Animator for RecordingAnimator {
    fn cadence(&self) -> Cadence {
        Cadence::per_frame(Rate::new(25, 1).expect("above zero"), 1280)
    }

    fn push_audio(&mut self, _block: &PcmBlock, _at: SampleIndex) -> Result<(), ModelError> {
        Ok(())
    }

    fn poll(
        &mut self,
        _at: SampleIndex,
        _frame: &mut VideoFrame,
        _marks: &mut Marks,
        wall: Wall,
    ) -> Result<FramePoll, ModelError> {
        let left = self.0.0.lock().expect("a whole sent").len();
        self.1.lock().expect("the records").push((left, wall.now()));
        Ok(FramePoll::Ready)
    }

    fn reset(&mut self) {}
}

#[test]
fn audio_is_sent_before_its_frame_is_drawn() {
    let (sent, notes) = (SentItems::default(), Arc::<Mutex<Vec<(usize, Instant)>>>::default());
    let mut rig = rig_into(sent.clone(), Box::new(RecordingAnimator(sent, Arc::clone(&notes))), 64);
    rig.inbox.set_watching(1);
    while rig.session.next_tick() < rig.start + Duration::from_secs(1) {
        rig.step(&mut Vec::new());
        let (left, drawn) = (rig.sent.take(), notes.lock().expect("whole notes").pop());
        let Some((before, drawn_at)) = drawn else { continue };
        let [audio, frame] = &left[..] else { panic!("audio and a frame, not {left:?}") };
        assert!(before == 1 && matches!(audio.media.value, OutgoingMedia::Audio(_)), "{before} {left:?}");
        assert!(matches!(frame.media.value, OutgoingMedia::VideoFrame(_)), "{left:?}");
        let encoded = audio.media.marks.at(Stage::Encoded);
        assert!(encoded.is_some() && encoded <= Some(drawn_at), "audio {encoded:?}, frame {drawn_at:?}");
    }
}

#[test]
fn an_interrupt_is_reported_at_once() {
    let mut rig = rig(Box::new(LevelFace::default()), 64);
    let mut packets = speech_packets(rig.start, 1.0, 8.0, 120.0);
    rig.run(2.2, &mut packets);
    rig.inbox.push_command(SessionCommand::Interrupt).expect("room for a command");
    while rig.events.try_recv().is_ok() {}
    rig.step(&mut packets);
    let reported = rig.events.try_recv();
    assert!(matches!(reported, Ok(SessionEvent::SpeakingStopped { .. })), "{reported:?}");
}

#[test]
fn an_interrupt_silences_the_old_utterance_within_100_ms_though_300_ms_of_it_are_buffered() {
    let stop_s = 8.25;
    let mut rig = rig(Box::new(LevelFace::default()), 64);
    let spoken = speech_packets(rig.start, 0.0, stop_s, 150.0);
    let mut packets = through_a_bad_network(spoken);
    let before = rig.watch(stop_s, &mut packets);
    assert!(rig.depth_ms() > 250.0, "a jitter buffer of {} ms", rig.depth_ms());
    assert!(packets.len() > 4, "some of it is still in the network");
    rig.inbox.push_command(SessionCommand::Interrupt).expect("room for a command");
    let after = rig.watch(stop_s + 1.5, &mut packets);
    assert!(after.len() > 100 && packets.is_empty());
    let (loud, bright) = loud_and_bright(&[before, after].concat());
    let asked = rig.start + Duration::from_secs_f64(stop_s);
    for last in [loud.last(), bright.last()] {
        let last = last.expect("it spoke before the interrupt");
        let after = last.saturating_duration_since(asked);
        assert!(after <= Duration::from_millis(100), "{after:?} of the old utterance");
        assert!(asked.saturating_duration_since(*last) < Duration::from_millis(400), "it spoke until the interrupt");
    }
    let stale = rig.meter.report().losses[Loss::StaleUtterance.name()];
    assert!(stale >= 15, "{stale} stale things counted");
}

#[test]
fn a_microphone_that_speaks_on_after_an_interrupt_is_heard_again() {
    let mut rig = rig(Box::new(LevelFace::default()), 64);
    let mut packets = through_a_bad_network(speech_packets(rig.start, 0.0, 14.0, 150.0));
    rig.watch(8.25, &mut packets);
    rig.inbox.push_command(SessionCommand::Interrupt).expect("room for a command");
    let (loud, bright) = loud_and_bright(&rig.watch(13.0, &mut packets));
    for times in [loud, bright] {
        let after = times.iter().map(|at| at.saturating_duration_since(rig.start).as_secs_f64() - 8.25);
        let (quiet, again): (Vec<_>, Vec<_>) = after.partition(|after_s| *after_s < 0.25);
        assert!(quiet.iter().all(|after_s| *after_s <= 0.1), "{quiet:?} of what was spoken before");
        assert!(again.first().is_some_and(|after_s| *after_s < 1.0) && again.len() > 40, "{again:?}");
    }
}

#[test]
fn nothing_is_drawn_or_counted_without_a_viewer() {
    let mut rig = rig_without_viewer(Box::new(LevelFace::default()), 64);
    rig.run(2.0, &mut Vec::new());
    assert_eq!((rig.sent.take().len(), rig.meter.report().frames.due), (0, 0));
    rig.inbox.set_watching(1);
    rig.run(3.0, &mut Vec::new());
    let count = rig.sent.take().iter().filter(|out| matches!(out.media.value, OutgoingMedia::VideoFrame(_))).count();
    assert!((24..=26).contains(&count) && rig.meter.report().frames.due == count as u64, "{count} frames");
}

#[test]
fn an_hour_of_silence_loses_nothing() {
    let mut rig = rig(Box::new(LevelFace::default()), 64);
    for _ in 0..60 {
        let next = rig.session.next_tick().duration_since(rig.start).as_secs_f64() + 60.0;
        rig.run(next, &mut Vec::new());
        rig.sent.take();
    }
    let report = rig.meter.report();
    assert!((89_990..=90_002).contains(&report.frames.due), "{} frames", report.frames.due);
    assert_eq!(report.frames.dropped, 0);
    assert!(report.losses.values().all(|count| *count == 0), "{:?}", report.losses);
}

#[test]
fn a_clock_200_ppm_fast_is_followed_for_five_minutes() {
    let mut rig = rig(Box::new(LevelFace::default()), 64);
    let mut packets = speech_packets(rig.start, 0.1, 300.0, 110.0);
    for (n, packet) in packets.iter_mut().rev().enumerate() {
        packet.arrived = rig.start + Duration::from_secs_f64((0.1 + n as f64 * 0.02) / 1.0002);
    }
    rig.run(295.0, &mut packets);
    let report = rig.meter.report();
    let lost = |loss: Loss| report.losses[loss.name()];
    assert!(lost(Loss::TrimmedBlock) + lost(Loss::LatePacket) + lost(Loss::OverflowPacket) <= 3, "{:?}", report.losses);
}

#[test]
fn garbage_packets_do_not_end_a_session() {
    let mut rig = rig(Box::new(LevelFace::default()), 64);
    let mut random = fastrand::Rng::with_seed(9);
    let mut packets = speech_packets(rig.start, 0.1, 4.0, 110.0);
    for packet in packets.iter_mut().step_by(3) {
        let length = random.usize(0..200);
        packet.payload = (0..length).map(|_| random.u8(..)).collect::<Vec<_>>().into();
        packet.rtp = AudioRtpTime::default().plus(random.u32(..));
    }
    rig.run(5.0, &mut packets);
    let frames = frames_in(&rig.sent.take());
    assert!(frames.len() > 115, "{} frames in 5 s", frames.len());
}

#[test]
fn start_and_end_of_speaking_are_reported() {
    let mut rig = rig(Box::new(LevelFace::default()), 64);
    let mut packets = speech_packets(rig.start, 1.0, 0.6, 120.0);
    rig.run(4.0, &mut packets);
    let reported: Vec<_> = std::iter::from_fn(|| rig.events.try_recv().ok()).collect();
    let started = reported.iter().find_map(|event| match event {
        SessionEvent::SpeakingStarted { at_ms } => Some(*at_ms),
        _ => None,
    });
    assert!(started.is_some_and(|at| (950..1200).contains(&at)), "{reported:?}");
    assert!(reported.iter().any(|event| matches!(event, SessionEvent::SpeakingStopped { .. })), "{reported:?}");
}

/// The frames of a session with audio of `pitch_hz`, alone or beside another session.
fn face_of(pitch_hz: f32, neighbour_hz: Option<f32>) -> Vec<(u64, Bytes)> {
    let pack = portrait();
    let mut own = rig(pack.animator("mira", 256).expect("mira"), 256);
    let mut other = neighbour_hz.map(|hz| (rig(pack.animator("mira", 256).expect("mira again"), 256), hz));
    let mut packets = speech_packets(own.start, 0.1, 1.8, pitch_hz);
    let mut others = other.as_ref().map(|(rig, hz)| speech_packets(rig.start, 0.1, 1.8, *hz)).unwrap_or_default();
    for step in 1..20 {
        own.run(f64::from(step) * 0.1, &mut packets);
        if let Some((rig, _)) = &mut other {
            rig.run(f64::from(step) * 0.1, &mut others);
        }
    }
    frames_in(&own.sent.take())
}

#[test]
fn the_audio_of_one_session_never_changes_the_frames_of_another() {
    let alone = face_of(120.0, None);
    assert_eq!(alone, face_of(120.0, Some(210.0)), "the other session changed the frames");
    assert_ne!(alone, face_of(210.0, None), "two pitches gave the same frames: the test proves nothing");
}
