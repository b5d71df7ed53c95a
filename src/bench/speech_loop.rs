//! The speech that clients send: synthetic vowels separated by silence, with a marker in each silence. Deterministic.
//!
//! Decides the signal and encodes it once for all clients. They send the same packets from different positions, so that
//! sending costs almost no processor time.

use std::f32::consts::TAU;
use std::time::Duration;

use bytes::Bytes;

use super::marker::{Chirp, MARKER_PERIOD_SAMPLES};
use super::recording::PACKET_SAMPLES;

/// Sample rate.
const HZ: usize = 48_000;
/// Length of the loop in seconds: a multiple of the markers' sequence of seven.
const LOOP_SECONDS: usize = 21;
/// Start of the marker within each second: in the silence after the burst.
const MARKER_AT: usize = HZ * 92 / 100;
/// The vowel burst within each second.
const BURST: std::ops::Range<usize> = HZ / 10..HZ * 75 / 100;
/// First two formants of five vowels in hertz (ah, ee, oo, eh, aw).
const VOWELS: [(f32, f32); 5] = [(730.0, 1090.0), (270.0, 2290.0), (300.0, 870.0), (530.0, 1840.0), (570.0, 840.0)];

/// The speech as Opus packets of 20 ms that loop without a seam.
#[derive(Debug)]
pub struct SpeechLoop {
    /// The Opus packets.
    pub packets: Vec<Bytes>,
    /// Algorithmic delay of the encoder (its look-ahead) in samples at 48 kHz.
    pub codec_delay: i64,
}

impl SpeechLoop {
    /// Synthesises and encodes the loop twice and keeps the second pass, whose encoder state fits the loop's end.
    ///
    /// # Errors
    /// If the Opus library cannot create or configure an encoder.
    pub fn new() -> Result<Self, opus::Error> {
        let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip)?;
        encoder.set_bitrate(opus::Bitrate::Bits(32_000))?;
        encoder.set_inband_fec(true)?;
        let samples = synthesize();
        let blocks = || samples.chunks_exact(PACKET_SAMPLES as usize);
        let packets: Result<Vec<Bytes>, _> =
            blocks().chain(blocks()).map(|block| encoder.encode_vec_float(block, 1275).map(Bytes::from)).collect();
        let packets = packets?.split_off(samples.len() / PACKET_SAMPLES as usize);
        Ok(Self { packets, codec_delay: i64::from(encoder.get_lookahead()?) })
    }

    /// The markers between samples `from` and `to` of a client that started with packet `loop_start`: first sample in the client's
    /// stream, and direction.
    #[expect(clippy::unused_self, reason = "a property of the loop, although the positions are constant")]
    pub fn markers(&self, loop_start: usize, from: i64, to: i64) -> impl Iterator<Item = (i64, Chirp)> + use<> {
        let skipped = loop_start as i64 * PACKET_SAMPLES;
        let period = MARKER_PERIOD_SAMPLES as i64;
        let first = (from + skipped - MARKER_AT as i64).div_euclid(period) + 1;
        (first.max(0)..)
            .map(move |n| (n * period + MARKER_AT as i64 - skipped, Chirp::of(n as usize)))
            .take_while(move |(at, _)| *at < to)
    }
}

/// One pass of the loop at 48 kHz.
fn synthesize() -> Vec<f32> {
    let mut samples = vec![0.0; LOOP_SECONDS * HZ];
    for (n, second) in samples.chunks_exact_mut(HZ).enumerate() {
        let burst = burst(VOWELS[n % VOWELS.len()], VOWELS[(n * 2 + 1) % VOWELS.len()], BURST.len());
        second[BURST].copy_from_slice(&burst);
        Chirp::of(n).samples().iter().enumerate().for_each(|(i, s)| second[MARKER_AT + i] += s);
    }
    samples
}

/// A voiced sound that glides between two vowels (source-filter model): glottal pulses through two formant resonators, with
/// an amplitude modulation of 4 syllables a second.
fn burst(from: (f32, f32), to: (f32, f32), samples: usize) -> Vec<f32> {
    let (mut low, mut high) = (Resonator::default(), Resonator::default());
    let mut phase = 0.0_f32;
    let step = |n: usize| {
        let t = n as f32 / samples as f32;
        phase += (140.0 - 40.0 * t) / HZ as f32;
        let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
        phase -= phase.floor();
        let mix = |a: f32, b: f32| a + (b - a) * t;
        let vowel = low.step(pulse, mix(from.0, to.0)) + 0.6 * high.step(pulse, mix(from.1, to.1));
        let syllables = 0.6 + 0.4 * (TAU * 4.0 * n as f32 / HZ as f32).cos();
        let edge = (n.min(samples - n) as f32 / 480.0).min(1.0);
        1.6 * vowel * syllables * edge
    };
    (0..samples).map(step).map(|s: f32| s.clamp(-0.8, 0.8)).collect()
}

/// Two-pole resonator with a bandwidth of 90 Hz.
#[derive(Default)]
struct Resonator(f32, f32);

impl Resonator {
    fn step(&mut self, input: f32, centre_hz: f32) -> f32 {
        let radius = (-std::f32::consts::PI * 90.0 / HZ as f32).exp();
        let out = 0.1 * input + 2.0 * radius * (TAU * centre_hz / HZ as f32).cos() * self.0 - radius * radius * self.1;
        (self.1, self.0) = (self.0, out);
        out
    }
}

/// Samples of one vowel that is audible from its first sample on (16 bit little endian, mono).
///
/// `rate_hz` divides 48 000.
#[must_use]
pub fn vowel_pcm(rate_hz: usize, length: Duration) -> Vec<u8> {
    // The first glottal pulse comes after a period of 140 Hz.
    const SILENT_START: usize = HZ / 140;
    let samples = (length.as_secs_f64() * HZ as f64) as usize;
    let vowel = burst(VOWELS[0], VOWELS[3], SILENT_START + samples);
    let mean = |group: &[f32]| group.iter().sum::<f32>() / group.len() as f32;
    let groups = vowel[SILENT_START..].chunks_exact(HZ / rate_hz);
    groups.flat_map(|group| ((mean(group) * 32_000.0) as i16).to_le_bytes()).collect()
}

/// A WAV file (16 kHz, 16 bit, mono) of one long vowel, for the measurement of the interruption latency.
#[must_use]
pub fn long_vowel_wav(seconds: u64) -> Vec<u8> {
    let samples = vowel_pcm(16_000, Duration::from_secs(seconds));
    let size = samples.len() as u32;
    let mut wav = Vec::with_capacity(44 + samples.len());
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + size).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend_from_slice(&16_000_u32.to_le_bytes());
    wav.extend_from_slice(&32_000_u32.to_le_bytes());
    wav.extend_from_slice(b"\x02\0\x10\0data");
    wav.extend_from_slice(&size.to_le_bytes());
    wav.extend_from_slice(&samples);
    wav
}

#[cfg(test)]
mod tests {
    use super::super::marker::{DelayMap, find};
    use super::*;

    fn through_opus(samples: &[f32]) -> Vec<f32> {
        let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).expect("encoder");
        let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono).expect("decoder");
        let mut out = vec![0.0; samples.len()];
        for (block, decoded) in samples.chunks_exact(960).zip(out.chunks_exact_mut(960)) {
            let packet = encoder.encode_vec_float(block, 1275).expect("encodes");
            decoder.decode_float(&packet, decoded, false).expect("decodes");
        }
        out
    }

    #[test]
    fn markers_survive_two_opus_passes_and_measure_their_delay() {
        let speech = SpeechLoop::new().expect("speech");
        let returned = through_opus(&through_opus(&synthesize()[..8 * HZ]));
        for (at, chirp) in speech.markers(0, 0, 7 * HZ as i64) {
            let around = &returned[at as usize - 20_000..at as usize + 24_000];
            let found = find(around, chirp).expect("marker");
            let delay = found.at as i64 - 20_000;
            assert!((delay - 2 * speech.codec_delay).abs() <= 24, "{delay} instead of {}", 2 * speech.codec_delay);
        }
        assert_eq!(DelayMap::default().len(), 0);
    }

    #[test]
    fn markers_keep_their_direction_for_a_client_that_starts_later_in_the_loop() {
        let speech = SpeechLoop::new().expect("speech");
        let all: Vec<_> = speech.markers(0, 0, 10 * HZ as i64).collect();
        let later: Vec<_> = speech.markers(75, 0, 5 * HZ as i64).collect();
        assert_eq!(all[0].0, MARKER_AT as i64);
        assert_eq!(later[0], (all[1].0 - 72_000, all[1].1));
    }
}
