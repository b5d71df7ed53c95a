//! Opus (RFC 6716): packets to samples and back.
//!
//! Decides the coding: mono at 48 kHz with in-band FEC. Does not decide when a packet counts as lost.

use bytes::Bytes;
use opus::{Application, Bitrate, Channels, Decoder, Encoder, Signal};

use super::CodecError;
use crate::adapt::{AudioPlan, DEFAULT_AUDIO_PLAN};
use crate::audio::{Decode, Undecodable};
use crate::media::BLOCK_OPUS_SAMPLES;
use crate::time::OPUS_HZ;

/// The longest packet of Opus, 120 ms, in samples at 48 kHz (RFC 6716, section 3.2.5).
const LONGEST_PACKET_SAMPLES: usize = 5_760;
/// The shortest frame of Opus, 2.5 ms, in samples at 48 kHz (RFC 6716, section 2.1.4).
const SHORTEST_FRAME_SAMPLES: usize = 120;
/// The largest packet the encoder writes: 20 ms at 510 kbit/s (RFC 6716, section 2.1.1).
const LARGEST_PACKET_BYTES: usize = 1_275;
/// Complexity, 0 to 10. Above 5 the quality of speech does not improve.
const COMPLEXITY: i32 = 5;

/// Packets of 2.5 to 120 ms to mono samples at 48 kHz in [-1, 1]; stereo packets are mixed. One stream.
#[derive(Debug)]
pub struct OpusDecoder {
    decoder: Decoder,
    /// Room for the longest packet.
    samples: Vec<f32>,
}

impl OpusDecoder {
    /// A decoder in its initial state.
    ///
    /// # Errors
    /// If the library has no memory for one.
    pub fn new() -> Result<Self, CodecError> {
        let decoder = Decoder::new(OPUS_HZ, Channels::Mono).map_err(failed("open a decoder"))?;
        Ok(Self { decoder, samples: vec![0.0; LONGEST_PACKET_SAMPLES] })
    }

    /// Samples at 48 kHz in `packet`, if it begins like an Opus packet.
    #[must_use]
    pub fn packet_samples(packet: &[u8]) -> Option<usize> {
        let samples = opus::packet::get_nb_samples(packet, OPUS_HZ).ok()?;
        (1..=LONGEST_PACKET_SAMPLES).contains(&samples).then_some(samples)
    }

    /// Decodes one packet to as many samples as it holds.
    ///
    /// # Errors
    /// If the bytes are not an Opus packet. Decoding continues with the next packet.
    pub fn decode(&mut self, packet: &[u8]) -> Result<&[f32], CodecError> {
        if packet.is_empty() {
            return Err(refused("decode a packet", "no bytes"));
        }
        self.run(packet, LONGEST_PACKET_SAMPLES, DecodeMode::Packet)
    }

    /// Recovers the packet *before* `next_packet`, which was lost, from the in-band FEC that `next_packet` carries
    /// (RFC 6716, section 2.1.7); conceals it without FEC. `samples` is the length of the lost packet at 48 kHz.
    ///
    /// # Errors
    /// If the bytes are not an Opus packet, or `samples` is not the length of one.
    pub fn decode_fec(&mut self, next_packet: &[u8], samples: usize) -> Result<&[f32], CodecError> {
        if next_packet.is_empty() {
            return Err(refused("recover a packet", "no bytes"));
        }
        self.run(next_packet, whole_frames(samples)?, DecodeMode::Fec)
    }

    /// Packet loss concealment of `samples` samples at 48 kHz (a multiple of 120, at most 5760). The library fades out over longer
    /// gaps.
    ///
    /// # Errors
    /// If `samples` is not the length of a packet.
    pub fn conceal(&mut self, samples: usize) -> Result<&[f32], CodecError> {
        self.run(&[], whole_frames(samples)?, DecodeMode::Packet)
    }

    fn run(&mut self, packet: &[u8], room: usize, mode: DecodeMode) -> Result<&[f32], CodecError> {
        let room = &mut self.samples[..room];
        let heard =
            self.decoder.decode_float(packet, room, mode == DecodeMode::Fec).map_err(failed("decode a packet"))?;
        let samples = &mut self.samples[..heard];
        for sample in samples.iter_mut() {
            *sample = if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
        }
        Ok(samples)
    }
}

impl Decode for OpusDecoder {
    fn samples(&self, packet: &[u8]) -> Option<usize> {
        Self::packet_samples(packet)
    }

    fn decode(&mut self, packet: &[u8], samples: &mut Vec<f32>) -> Result<(), Undecodable> {
        append(Self::decode(self, packet), samples)
    }

    fn recover(&mut self, next: &[u8], count: usize, samples: &mut Vec<f32>) -> Result<(), Undecodable> {
        append(self.decode_fec(next, count), samples)
    }

    fn conceal(&mut self, count: usize, samples: &mut Vec<f32>) -> Result<(), Undecodable> {
        append(Self::conceal(self, count), samples)
    }

    fn reset(&mut self) {
        // Resetting a valid decoder cannot fail.
        drop(self.decoder.reset_state());
    }
}

fn append(decoded: Result<&[f32], CodecError>, samples: &mut Vec<f32>) -> Result<(), Undecodable> {
    let decoded = decoded.map_err(|error| Undecodable { found: error.found })?;
    samples.extend_from_slice(decoded);
    Ok(())
}

/// What a packet is decoded for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DecodeMode {
    Packet,
    Fec,
}

fn whole_frames(samples: usize) -> Result<usize, CodecError> {
    let fits = samples.is_multiple_of(SHORTEST_FRAME_SAMPLES) && (1..=LONGEST_PACKET_SAMPLES).contains(&samples);
    if fits { Ok(samples) } else { Err(refused("conceal", &format!("a gap of {samples} samples"))) }
}

/// Mono speech at 48 kHz to packets of 20 ms. One stream.
#[derive(Debug)]
pub struct OpusEncoder {
    encoder: Encoder,
    clean: Box<[f32; BLOCK_OPUS_SAMPLES]>,
}

impl OpusEncoder {
    /// An encoder for speech with the default plan, in-band FEC, and no DTX.
    ///
    /// # Errors
    /// If the library has no memory for one or refuses a setting.
    pub fn new() -> Result<Self, CodecError> {
        let encoder = configured().map_err(failed("open an encoder"))?;
        let mut encoder = Self { encoder, clean: Box::new([0.0; BLOCK_OPUS_SAMPLES]) };
        encoder.follow(DEFAULT_AUDIO_PLAN)?;
        Ok(encoder)
    }

    /// Encodes 20 ms.
    ///
    /// # Errors
    /// If the library refuses the block. Encoding continues with the next block.
    pub fn encode(&mut self, speech: &[f32; BLOCK_OPUS_SAMPLES]) -> Result<Bytes, CodecError> {
        for (clean, sample) in self.clean.iter_mut().zip(speech) {
            *clean = if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
        }
        let mut packet = [0; LARGEST_PACKET_BYTES];
        let length = self.encoder.encode_float(&self.clean[..], &mut packet).map_err(failed("encode 20 ms"))?;
        Ok(Bytes::copy_from_slice(&packet[..length]))
    }

    /// The encoder's look-ahead in samples at 48 kHz, which is the pre-skip of a file (RFC 7845,
    /// section 4.2).
    ///
    /// # Errors
    /// If the library does not report it.
    pub fn pre_skip_samples(&mut self) -> Result<u16, CodecError> {
        let samples = self.encoder.get_lookahead().map_err(failed("report its delay"))?;
        Ok(u16::try_from(samples).unwrap_or(0))
    }

    /// Applies a plan; the bitrate is clamped to 6 to 128 kbit/s, the expected loss to 100 percent.
    ///
    /// # Errors
    /// If the library refuses.
    pub fn follow(&mut self, plan: AudioPlan) -> Result<(), CodecError> {
        let bits = plan.bitrate_bps.clamp(6_000, 128_000).cast_signed();
        self.encoder.set_bitrate(Bitrate::Bits(bits)).map_err(failed("change its bitrate"))?;
        let loss = i32::from(plan.loss_percent.min(100));
        self.encoder.set_packet_loss_perc(loss).map_err(failed("change its protection"))
    }
}

fn configured() -> opus::Result<Encoder> {
    let mut encoder = Encoder::new(OPUS_HZ, Channels::Mono, Application::Voip)?;
    encoder.set_complexity(COMPLEXITY)?;
    encoder.set_signal(Signal::Voice)?;
    encoder.set_inband_fec(true)?;
    encoder.set_dtx(false)?;
    Ok(encoder)
}

fn failed(what: &'static str) -> impl Fn(opus::Error) -> CodecError {
    move |error| refused(what, error.description())
}

fn refused(what: &'static str, found: &str) -> CodecError {
    CodecError { codec: "opus", what, found: found.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A speech-like signal: 150 Hz with overtones, modulated at 4 Hz.
    fn buzz(block: usize) -> [f32; BLOCK_OPUS_SAMPLES] {
        std::array::from_fn(|i| {
            let t = (block * BLOCK_OPUS_SAMPLES + i) as f32 / OPUS_HZ as f32;
            let swell = 0.5 - 0.5 * (t * 4.0 * std::f32::consts::TAU).cos();
            let tone = |n: f32| (t * 150.0 * n * std::f32::consts::TAU).sin() / n;
            swell * 0.2 * (1..12).map(|n| tone(n as f32)).sum::<f32>()
        })
    }

    fn level(samples: &[f32]) -> f32 {
        (samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32).sqrt()
    }

    fn packets(count: usize) -> Vec<Bytes> {
        let mut encoder = OpusEncoder::new().expect("encoder");
        encoder.follow(AudioPlan { loss_percent: 20, ..DEFAULT_AUDIO_PLAN }).expect("a plan");
        (0..count).map(|n| encoder.encode(&buzz(n)).expect("packet")).collect()
    }

    fn play(decoder: &mut OpusDecoder, packets: &[Bytes]) {
        packets.iter().for_each(|packet| assert_eq!(decoder.decode(packet).expect("samples").len(), 960));
    }

    #[test]
    fn a_decoded_signal_is_as_loud_as_the_encoded_one() {
        let mut decoder = OpusDecoder::new().expect("decoder");
        let heard: Vec<f32> = packets(50).iter().flat_map(|p| decoder.decode(p).expect("samples").to_vec()).collect();
        let said: Vec<f32> = (0..50).flat_map(buzz).collect();
        assert_eq!(heard.len(), said.len());
        let ratio = level(&heard[4_800..]) / level(&said[4_800..]);
        assert!((0.85..1.15).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_lost_packet_is_recovered_from_the_next_one() {
        let packets = packets(20);
        let mut decoder = OpusDecoder::new().expect("decoder");
        play(&mut decoder, &packets[..10]);
        let recovered = decoder.decode_fec(&packets[11], 960).expect("recovered").to_vec();
        assert_eq!(recovered.len(), 960);
        assert!(level(&recovered) > 0.3 * level(&buzz(10)), "{}", level(&recovered));
        assert_eq!(decoder.decode(&packets[11]).expect("samples").len(), 960);
    }

    #[test]
    fn a_long_gap_fades_to_nothing() {
        let mut decoder = OpusDecoder::new().expect("decoder");
        play(&mut decoder, &packets(10));
        (0..25).for_each(|_| assert_eq!(decoder.conceal(960).expect("concealed").len(), 960));
        assert!(level(decoder.conceal(960).expect("concealed")) < 0.01);
        assert!(decoder.conceal(961).is_err());
    }

    #[test]
    fn a_decoder_after_reset_decodes_like_a_new_one() {
        let (packets, fresh) = (packets(12), || OpusDecoder::new().expect("decoder"));
        let next = |mut decoder: OpusDecoder| decoder.decode(&packets[11]).expect("samples").to_vec();
        let (mut ringing, mut forgetful) = (fresh(), fresh());
        play(&mut ringing, &packets[..11]);
        play(&mut forgetful, &packets[..11]);
        forgetful.reset();
        let alone = next(fresh());
        assert_eq!(next(forgetful), alone);
        assert_ne!(next(ringing), alone, "the test does not depend on earlier packets");
    }

    #[test]
    fn garbage_is_refused_and_decoding_continues() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut decoder = OpusDecoder::new().expect("decoder");
        assert!(decoder.decode(&[]).is_err());
        assert!(decoder.decode_fec(&[], 960).is_err());
        for _ in 0..2_000 {
            let junk: Vec<u8> = (0..random.usize(1..1_500)).map(|_| random.u8(..)).collect();
            let expected = OpusDecoder::packet_samples(&junk);
            if let Ok(samples) = decoder.decode(&junk) {
                assert_eq!(Some(samples.len()), expected);
                assert!(samples.iter().all(|s| s.abs() <= 1.0));
            }
            let _ = decoder.decode_fec(&junk, 960);
        }
        assert_eq!(decoder.decode(&packets(1)[0]).expect("samples").len(), 960);
    }

    #[test]
    fn samples_that_are_not_finite_encode_as_silence() {
        let mut encoder = OpusEncoder::new().expect("encoder");
        assert!(encoder.encode(&[f32::NAN; BLOCK_OPUS_SAMPLES]).is_ok());
        assert!(encoder.encode(&[f32::INFINITY; BLOCK_OPUS_SAMPLES]).is_ok());
        assert!(encoder.pre_skip_samples().expect("delay") > 0);
    }
}
