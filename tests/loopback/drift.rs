//! An hour with a sender whose clock drifts: video stays in sync with its audio.
//!
//! Session, playout and Opus are real. The animator outputs the loudness of its audio, and frames are not encoded: the test
//! measures when frames are sent, for which encoding ninety thousand of them is irrelevant.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use visage::audio::AudioPacket;
use visage::codec::{CodecError, EncodedFrame, FrameKind, OpusDecoder, OpusEncoder, VideoEncoder};
use visage::media::{FrameSize, PcmBlock, VideoFrame};
use visage::model::{Animator, Cadence, FramePoll, ModelError};
use visage::session::{Inbox, Outgoing, OutgoingMedia, Outlet, Session, SessionKey, SessionParts};
use visage::telemetry::Marks;
use visage::time::{AudioRtpTime, Rate, SampleIndex, Wall};

/// Every ten seconds the sender sends one swell of 300 ms.
const CYCLE_PACKETS: u32 = 500;
const SWELL_S: f32 = 0.3;
const HOUR_S: u32 = 3_600;
/// Look-ahead of the Opus encoder in seconds, by which the decoded audio is late.
const CODEC_DELAY_S: f64 = 0.0065;

/// Writes the energy of the audio in the 40 ms from the frame's time on, as a number into the first pixels.
#[derive(Default)]
struct Gauge(Vec<(u64, f32)>);

impl Animator for Gauge {
    fn cadence(&self) -> Cadence {
        Cadence::per_frame(Rate::new(25, 1).expect("above zero"), 1280)
    }

    fn push_audio(&mut self, block: &PcmBlock, at: SampleIndex) -> Result<(), ModelError> {
        self.0.push((at.0, block.speech_16k.iter().map(|sample| sample * sample).sum()));
        Ok(())
    }

    fn poll(
        &mut self,
        at: SampleIndex,
        frame: &mut VideoFrame,
        _marks: &mut Marks,
        _wall: Wall,
    ) -> Result<FramePoll, ModelError> {
        let shown: f32 =
            self.0.iter().filter(|(start, _)| (at.0..at.0 + 640).contains(start)).map(|(_, sum)| sum).sum();
        self.0.retain(|(start, _)| *start >= at.0);
        frame.planes_mut().0[..4].copy_from_slice(&shown.to_le_bytes());
        Ok(FramePoll::Ready)
    }

    fn reset(&mut self) {}
}

/// "Encodes" a frame as the number that the gauge wrote.
struct Reading;

impl VideoEncoder for Reading {
    fn encode(&mut self, frame: &VideoFrame, kind: FrameKind) -> Result<EncodedFrame, CodecError> {
        let bytes = Bytes::copy_from_slice(&frame.planes().0[..4]);
        Ok(EncodedFrame { bytes, is_key: kind == FrameKind::Key })
    }

    fn set_bitrate(&mut self, _bits_per_second: u32) {}
}

/// The centre of a swell, weighted by its strength: in RTP time and in the time of the sender reports.
#[derive(Clone, Copy, Default)]
struct Middle {
    weight: f64,
    rtp_s: f64,
    clock_s: f64,
}

impl Middle {
    fn add(&mut self, strength: f64, rtp_s: f64, clock_s: f64) {
        self.weight += strength;
        self.rtp_s += strength * rtp_s;
        self.clock_s += strength * clock_s;
    }
}

/// The receiver: takes what the session sends, and finds the centres of swells in video and audio.
struct Receiver {
    start: Instant,
    decoder: OpusDecoder,
    frames: Vec<Middle>,
    audio_blocks: Vec<Middle>,
    last_at: SampleIndex,
}

#[derive(Clone)]
struct Sink(Arc<Mutex<Receiver>>);

impl Outlet for Sink {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, outgoing: Outgoing) -> Result<(), Box<Outgoing>> {
        self.0.lock().expect("a receiver").take(&outgoing);
        Ok(())
    }
}

impl Receiver {
    fn take(&mut self, outgoing: &Outgoing) {
        let clock_s = (outgoing.clock - self.start).as_secs_f64();
        self.last_at = outgoing.media.at;
        match &outgoing.media.value {
            OutgoingMedia::VideoFrame(frame) => {
                let rtp_s = outgoing.media.at.0 as f64 * 90_000.0 / 16_000.0 / 90_000.0;
                let shown = f32::from_le_bytes(frame.bytes[..4].try_into().expect("four bytes"));
                add_strength(&mut self.frames, f64::from(shown), rtp_s + 0.020, clock_s + 0.020);
            }
            // Between swells there is silence, which need not be decoded.
            OutgoingMedia::Audio(_)
                if !(4.0..7.0).contains(&(outgoing.media.at.since_start().as_secs_f64() % 10.0)) => {}
            OutgoingMedia::Audio(packet) => {
                let rtp_s = outgoing.media.at.0 as f64 * 3.0 / 48_000.0;
                let samples = self.decoder.decode(packet).expect("a valid packet");
                for (n, part) in samples.chunks(48).enumerate() {
                    let strength: f32 = part.iter().map(|sample| sample * sample).sum();
                    let within_s = (n as f64 + 0.5) / 1_000.0 - CODEC_DELAY_S;
                    add_strength(&mut self.audio_blocks, f64::from(strength), rtp_s + within_s, clock_s + within_s);
                }
            }
        }
    }
}

/// Adds to the centre of the swell at this time. Swells are ten seconds apart, and delays far less.
fn add_strength(middles: &mut Vec<Middle>, strength: f64, rtp_s: f64, clock_s: f64) {
    let number = (rtp_s.max(0.0) / 10.0) as usize;
    middles.resize(middles.len().max(number + 1), Middle::default());
    middles[number].add(strength, rtp_s, clock_s);
}

/// The packets of one cycle; the swell is in its centre.
fn cycle() -> Vec<Bytes> {
    let mut encoder = OpusEncoder::new().expect("an encoder");
    let packet = |n: u32| {
        let sample = |i: usize| {
            let t = (n * 960 + i as u32) as f32 / 48_000.0 - 5.0;
            let swell =
                if t.abs() < SWELL_S / 2.0 { 0.5 + 0.5 * (t / SWELL_S * std::f32::consts::TAU).cos() } else { 0.0 };
            let wave = |k: f32| (t * 150.0 * k * std::f32::consts::TAU).sin() / k;
            0.3 * swell * (wave(1.0) + wave(2.0) + wave(3.0))
        };
        encoder.encode(&std::array::from_fn(sample)).expect("a packet")
    };
    (0..CYCLE_PACKETS).map(packet).collect()
}

/// An hour of audio, with packets up to 10 ms late.
fn hour(faster_ppm: f64) -> Receiver {
    let start = Wall.now();
    let receiver = Receiver {
        start,
        decoder: OpusDecoder::new().expect("a decoder"),
        frames: Vec::new(),
        audio_blocks: Vec::new(),
        last_at: SampleIndex::ZERO,
    };
    let (sink, inbox) = (Sink(Arc::new(Mutex::new(receiver))), Inbox::new(Arc::default()));
    inbox.set_watching(1);
    let parts = SessionParts {
        key: SessionKey(1),
        inbox: inbox.clone(),
        outlet: Box::new(sink.clone()),
        animator: Box::new(Gauge::default()),
        encoder: Box::new(Reading),
        canvas: VideoFrame::black(FrameSize::square(16)),
        meter: Arc::default(),
        events: tokio::sync::broadcast::channel(8).0,
    };
    let mut session = Session::new(parts, 1_000_000, start).expect("a session");
    let (packets, mut random) = (cycle(), fastrand::Rng::with_seed(5));
    for n in 0..HOUR_S * 50 {
        let spoken_s = f64::from(n) * 0.02 / (1.0 + faster_ppm * 1e-6);
        let arrived = start + Duration::from_secs_f64(spoken_s + 0.02 + random.f64() * 0.01);
        while session.next_tick() < arrived {
            session.tick(session.next_tick(), Wall);
        }
        let payload = packets[(n % CYCLE_PACKETS) as usize].clone();
        inbox.push_packet(AudioPacket {
            rtp: AudioRtpTime::default().plus(n * 960),
            sequence: Some(n.into()),
            payload,
            arrived,
        });
    }
    drop(session);
    Arc::into_inner(sink.0).expect("the session is dropped").into_inner().expect("a receiver")
}

/// Offset between video and audio for every swell, in milliseconds, by RTP time and by the clock of the sender reports.
fn offsets_ms(receiver: &Receiver) -> Vec<(f64, f64)> {
    let pairs =
        receiver.frames.iter().zip(&receiver.audio_blocks).filter(|(frame, audio)| frame.weight * audio.weight > 0.0);
    let offset = |(frame, audio): (&Middle, &Middle)| {
        let ms = |a: f64, b: f64| (a / frame.weight - b / audio.weight) * 1_000.0;
        (ms(frame.rtp_s, audio.rtp_s), ms(frame.clock_s, audio.clock_s))
    };
    pairs.map(offset).collect()
}

/// The slope of offsets in ms, ten seconds apart, in parts per million.
fn slope_ppm(offsets: &[f64]) -> f64 {
    let middle = (offsets.len() as f64 - 1.0) / 2.0;
    let mean = offsets.iter().sum::<f64>() / offsets.len() as f64;
    let places = || offsets.iter().enumerate().map(|(n, offset)| (n as f64 - middle, offset - mean));
    let across: f64 = places().map(|(x, y)| x * y).sum();
    let along: f64 = places().map(|(x, _)| x * x).sum();
    across / along / 10.0 * 1_000.0
}

fn an_hour_apart(faster_ppm: f64) {
    let receiver = hour(faster_ppm);
    let offsets = offsets_ms(&receiver);
    assert!(offsets.len() >= 355, "{} swells", offsets.len());
    // Playout followed the sender's clock: the server's own differs by 0.7 s.
    let audio_s = receiver.last_at.since_start().as_secs_f64();
    assert!((audio_s - f64::from(HOUR_S)).abs() < 0.2, "{audio_s} s of audio");
    let (by_rtp, by_clock): (Vec<f64>, Vec<f64>) = offsets.into_iter().unzip();
    for offsets in [&by_rtp, &by_clock] {
        let least = offsets.iter().copied().fold(f64::MAX, f64::min);
        let most = offsets.iter().copied().fold(f64::MIN, f64::max);
        assert!(least > -40.0 && most < 20.0, "video is {least} to {most} ms after its audio");
        assert!(slope_ppm(offsets).abs() < 1.0, "they drift by {} ppm", slope_ppm(offsets));
    }
}

#[test]
fn video_stays_in_sync_for_an_hour_with_a_sender_200_ppm_fast() {
    an_hour_apart(200.0);
}

#[test]
fn video_stays_in_sync_for_an_hour_with_a_sender_200_ppm_slow() {
    an_hour_apart(-200.0);
}
