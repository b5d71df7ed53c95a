//! The voice that callers speak: vowel-like bursts with silences, made here, the same every time, with markers in the silences.
//!
//! Decides what is said and encodes it once for all callers: they send the same packets from different places, so
//! that speaking costs them almost nothing.

use std::f32::consts::TAU;

use bytes::Bytes;

use super::marker::{Chirp, MARKER_PERIOD_SAMPLES};
use super::recording::PACKET_SAMPLES;

/// Samples a second.
const HZ: usize = 48_000;
/// Seconds of the loop: whole rounds of the markers' sequence.
const LOOP_SECONDS: usize = 21;
/// Where in each second the marker begins: in the silence after the burst.
const MARKER_AT: usize = HZ * 92 / 100;
/// Where in each second the burst begins and ends.
const BURST: std::ops::Range<usize> = HZ / 10..HZ * 75 / 100;
/// First two formants of five vowels, in hertz.
const VOWELS: [(f32, f32); 5] = [(730.0, 1090.0), (270.0, 2290.0), (300.0, 870.0), (530.0, 1840.0), (570.0, 840.0)];

/// What callers say, as Opus packets of 20 ms that can be repeated without end.
#[derive(Debug)]
pub struct VoiceLoop {
    /// The packets.
    pub packets: Vec<Bytes>,
    /// Samples by which the codec delays the sound (its look-ahead).
    pub codec_delay: i64,
}

impl VoiceLoop {
    /// Makes the loop. Its second round is kept, so that its end fits its beginning.
    ///
    /// # Errors
    /// If the Opus library refuses.
    pub fn new() -> Result<Self, opus::Error> {
        let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip)?;
        encoder.set_bitrate(opus::Bitrate::Bits(32_000))?;
        encoder.set_inband_fec(true)?;
        let sound = sound();
        let rounds = sound.chunks_exact(PACKET_SAMPLES as usize).chain(sound.chunks_exact(PACKET_SAMPLES as usize));
        let packets: Result<Vec<Bytes>, _> =
            rounds.map(|block| encoder.encode_vec_float(block, 1275).map(Bytes::from)).collect();
        let packets = packets?.split_off(sound.len() / PACKET_SAMPLES as usize);
        Ok(Self { packets, codec_delay: i64::from(encoder.get_lookahead()?) })
    }

    /// The markers between the samples `from` and `to` of a caller that began with packet `loop_start`:
    /// first sample on the caller's line, and kind.
    #[expect(clippy::unused_self, reason = "asked of the loop, whose markers stand at places known beforehand")]
    pub fn markers(&self, loop_start: usize, from: i64, to: i64) -> impl Iterator<Item = (i64, Chirp)> + use<> {
        let skipped = loop_start as i64 * PACKET_SAMPLES;
        let period = MARKER_PERIOD_SAMPLES as i64;
        let first = (from + skipped - MARKER_AT as i64).div_euclid(period) + 1;
        (first.max(0)..)
            .map(move |n| (n * period + MARKER_AT as i64 - skipped, Chirp::of(n as usize)))
            .take_while(move |(at, _)| *at < to)
    }
}

/// One round of the voice at 48 kHz.
fn sound() -> Vec<f32> {
    let mut sound = vec![0.0; LOOP_SECONDS * HZ];
    for (n, second) in sound.chunks_exact_mut(HZ).enumerate() {
        let burst = burst(VOWELS[n % VOWELS.len()], VOWELS[(n * 2 + 1) % VOWELS.len()], BURST.len());
        second[BURST].copy_from_slice(&burst);
        Chirp::of(n).samples().iter().enumerate().for_each(|(i, s)| second[MARKER_AT + i] += s);
    }
    sound
}

/// A voiced sound that glides from one vowel to another: pulses of a voice through two resonators, 4 syllables a second.
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

/// A band of about 90 Hz around a centre (two poles).
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

/// A WAV file (16 kHz, 16 bits) of one long vowel, for the test of `stop`.
#[must_use]
pub fn long_vowel_wav(seconds: usize) -> Vec<u8> {
    let sound: Vec<f32> = burst(VOWELS[0], VOWELS[3], seconds * HZ);
    let samples: Vec<u8> = sound
        .chunks_exact(3)
        .flat_map(|three| ((three.iter().sum::<f32>() / 3.0 * 32_000.0) as i16).to_le_bytes())
        .collect();
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
    use super::super::marker::{VoiceMap, find};
    use super::*;

    fn through_opus(sound: &[f32]) -> Vec<f32> {
        let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).expect("encoder");
        let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono).expect("decoder");
        let mut out = vec![0.0; sound.len()];
        for (block, heard) in sound.chunks_exact(960).zip(out.chunks_exact_mut(960)) {
            let packet = encoder.encode_vec_float(block, 1275).expect("encodes");
            decoder.decode_float(&packet, heard, false).expect("decodes");
        }
        out
    }

    #[test]
    fn markers_survive_opus_twice_and_give_its_delay() {
        let voice = VoiceLoop::new().expect("voice");
        let heard = through_opus(&through_opus(&sound()[..8 * HZ]));
        for (at, chirp) in voice.markers(0, 0, 7 * HZ as i64) {
            let around = &heard[at as usize - 20_000..at as usize + 24_000];
            let found = find(around, chirp).expect("found");
            let delay = found.at as i64 - 20_000;
            assert!((delay - 2 * voice.codec_delay).abs() <= 24, "{delay} instead of {}", 2 * voice.codec_delay);
        }
        assert_eq!(VoiceMap::default().len(), 0);
    }

    #[test]
    fn markers_of_a_caller_that_began_later_keep_their_kind() {
        let voice = VoiceLoop::new().expect("voice");
        let all: Vec<_> = voice.markers(0, 0, 10 * HZ as i64).collect();
        let later: Vec<_> = voice.markers(75, 0, 5 * HZ as i64).collect();
        assert_eq!(all[0].0, MARKER_AT as i64);
        assert_eq!(later[0], (all[1].0 - 72_000, all[1].1));
    }
}
