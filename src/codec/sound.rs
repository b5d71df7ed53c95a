//! Sound files: WAV, MP3, FLAC, Ogg Vorbis and Ogg Opus, from bytes to one voice at 48 and 16 kHz.
//!
//! Decides what is a sound that can be said. Claims of headers are never believed: memory grows with what decodes.

use std::io::Cursor;
use std::time::Duration;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};
use symphonia::core::audio::SampleBuffer;
use symphonia::core::codecs::{CODEC_TYPE_NULL, CODEC_TYPE_OPUS, CodecParameters, Decoder, DecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::probe::Hint;
use thiserror::Error;

use super::VoiceDecoder;
use crate::media::{BLOCK_LINE_SAMPLES, BLOCK_VOICE_SAMPLES, PcmBlock};
use crate::time::{LINE_HZ, VOICE_HZ};

/// Rates that are taken, in Hz.
const RATES_HZ: std::ops::RangeInclusive<u32> = 4_000..=192_000;
/// Samples that the resampler takes at once.
const RESAMPLED_AT_ONCE: usize = 1024;

/// Why bytes are no sound that can be said.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SoundError {
    /// There is nothing.
    #[error("wanted a sound file, found an empty one")]
    Empty,
    /// It is something else.
    #[error("wanted WAV, MP3, FLAC or Ogg, found {found}")]
    NotSound {
        /// What it is, as far as that can be told.
        found: String,
    },
    /// A film without sound, say.
    #[error("wanted a file with sound in it, found no track that can be decoded")]
    NoTrack,
    /// The rate is out of range.
    #[error("wanted 4 to 192 kHz, found {found} Hz")]
    Rate {
        /// The rate.
        found: u32,
    },
    /// It would be said for too long.
    #[error("wanted at most {limit:?} of sound, found more")]
    TooLong {
        /// The limit.
        limit: Duration,
    },
    /// The library gave up.
    #[error("wanted to decode the sound, found: {found}")]
    Broken {
        /// What it said.
        found: String,
    },
}

/// A whole sound: one voice at both rates.
#[derive(Clone, Debug)]
pub struct Sound {
    voice: Vec<f32>,
    line: Vec<f32>,
    is_truncated: bool,
}

impl Sound {
    /// Length.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.voice.len() as f64 / f64::from(VOICE_HZ))
    }

    /// Whether the file ended in the middle: what was there is here.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// Block number `n` of 20 ms, the last one filled up with silence; none after the end.
    #[must_use]
    pub fn block(&self, n: usize) -> Option<PcmBlock> {
        let voice = self.voice.get(n * BLOCK_VOICE_SAMPLES..).filter(|rest| !rest.is_empty())?;
        let line = self.line.get(n * BLOCK_LINE_SAMPLES..).unwrap_or_default();
        let mut block = PcmBlock::silence();
        block.voice.iter_mut().zip(voice).for_each(|(to, from)| *to = *from);
        block.line.iter_mut().zip(line).for_each(|(to, from)| *to = *from);
        Some(block)
    }
}

/// Decodes a sound file of at most `limit`.
///
/// # Errors
/// If the bytes are no sound, too long, or nothing of them decodes.
pub fn decode_sound(bytes: &[u8], limit: Duration) -> Result<Sound, SoundError> {
    if bytes.is_empty() {
        return Err(SoundError::Empty);
    }
    let mut reader = open(bytes)?;
    let track =
        reader.tracks().iter().find(|track| track.codec_params.codec != CODEC_TYPE_NULL).ok_or(SoundError::NoTrack)?;
    let (id, params) = (track.id, track.codec_params.clone());
    let mut pcm = Pcm { limit, ..Pcm::default() };
    let outcome = if params.codec == CODEC_TYPE_OPUS {
        decode_opus(&mut *reader, id, &params, &mut pcm)
    } else {
        decode_other(&mut *reader, id, &params, &mut pcm)
    };
    let is_cut = outcome?;
    if pcm.samples.is_empty() {
        return Err(SoundError::Broken { found: "no sound at all".to_owned() });
    }
    let claimed = params.n_frames.unwrap_or(0);
    let is_truncated = is_cut || pcm.samples.len() as u64 + u64::from(pcm.rate_hz / 50) < claimed;
    Ok(pcm.into_sound(is_truncated))
}

fn open(bytes: &[u8]) -> Result<Box<dyn FormatReader>, SoundError> {
    let stream = MediaSourceStream::new(
        Box::new(Cursor::new(bytes.to_vec())),
        symphonia::core::io::MediaSourceStreamOptions::default(),
    );
    let probed = symphonia::default::get_probe().format(
        &Hint::new(),
        stream,
        &FormatOptions::default(),
        &MetadataOptions::default(),
    );
    probed.map(|probed| probed.format).map_err(|error| SoundError::NotSound { found: told(bytes, &error) })
}

/// What the first bytes look like, or what the library said.
fn told(bytes: &[u8], error: &SymphoniaError) -> String {
    let starts: [(&[u8], &str); 6] = [
        (b"\x89PNG", "a PNG picture"),
        (b"\xff\xd8\xff", "a JPEG picture"),
        (b"%PDF", "a PDF document"),
        (b"PK", "a ZIP archive"),
        (b"<", "HTML or XML"),
        (b"RIFF", "a damaged WAV file"),
    ];
    let known = starts.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, name)| (*name).to_owned());
    known.unwrap_or_else(|| format!("{} bytes of something else ({error})", bytes.len()))
}

/// Mono samples as they come.
#[derive(Default)]
struct Pcm {
    samples: Vec<f32>,
    rate_hz: u32,
    limit: Duration,
}

impl Pcm {
    fn set_rate(&mut self, rate_hz: u32) -> Result<(), SoundError> {
        if !RATES_HZ.contains(&rate_hz) {
            return Err(SoundError::Rate { found: rate_hz });
        }
        self.rate_hz = rate_hz;
        Ok(())
    }

    fn add(&mut self, interleaved: &[f32], channels: usize) -> Result<(), SoundError> {
        let mono =
            interleaved.chunks_exact(channels.max(1)).map(|frame| frame.iter().sum::<f32>() / frame.len() as f32);
        // A file may hold any floats; a voice is finite and within its range.
        self.samples.extend(mono.map(|sample| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }));
        let length = self.samples.len() as f64 / f64::from(self.rate_hz.max(1));
        if length > self.limit.as_secs_f64() { Err(SoundError::TooLong { limit: self.limit }) } else { Ok(()) }
    }

    fn into_sound(self, is_truncated: bool) -> Sound {
        let voice = resampled(self.samples, self.rate_hz, VOICE_HZ);
        let line = resampled(voice.clone(), VOICE_HZ, LINE_HZ);
        Sound { voice, line, is_truncated }
    }
}

/// Whether the file ended in the middle.
type IsCut = bool;

fn decode_other(
    reader: &mut dyn FormatReader,
    id: u32,
    params: &CodecParameters,
    pcm: &mut Pcm,
) -> Result<IsCut, SoundError> {
    let decoder = symphonia::default::get_codecs().make(params, &DecoderOptions::default());
    let mut decoder: Box<dyn Decoder> = decoder.map_err(|_no_codec| SoundError::NoTrack)?;
    let mut buffer: Option<SampleBuffer<f32>> = None;
    loop {
        let packet = match reader.next_packet() {
            Ok(packet) if packet.track_id() == id => packet,
            Ok(_other_track) => continue,
            Err(error) => return Ok(is_cut(&error)),
        };
        match decoder.decode(&packet) {
            Ok(decoded) => {
                let spec = *decoded.spec();
                pcm.set_rate(spec.rate)?;
                let fits = buffer
                    .as_ref()
                    .is_some_and(|buffer| buffer.capacity() >= decoded.capacity() * spec.channels.count());
                if !fits {
                    buffer = Some(SampleBuffer::new(decoded.capacity() as u64, spec));
                }
                let Some(buffer) = &mut buffer else { continue };
                buffer.copy_interleaved_ref(decoded);
                pcm.add(buffer.samples(), spec.channels.count())?;
            }
            // A damaged packet is left out, as players do.
            Err(SymphoniaError::DecodeError(_)) => {}
            Err(error) => return Ok(is_cut(&error)),
        }
    }
}

fn decode_opus(
    reader: &mut dyn FormatReader,
    id: u32,
    params: &CodecParameters,
    pcm: &mut Pcm,
) -> Result<IsCut, SoundError> {
    let broken = |error: super::CodecError| SoundError::Broken { found: error.to_string() };
    let mut decoder = VoiceDecoder::new().map_err(broken)?;
    pcm.set_rate(VOICE_HZ)?;
    // OpusHead, bytes 10 and 11 (RFC 7845, section 5.1): samples before the sound begins.
    let head = params.extra_data.as_deref().unwrap_or_default();
    let mut skip = head.get(10..12).map_or(0, |bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
    let cut = loop {
        match reader.next_packet() {
            Ok(packet) if packet.track_id() == id => {
                // A damaged packet is left out, as players do.
                let Ok(samples) = decoder.decode(packet.buf()) else { continue };
                let skipped = skip.min(samples.len());
                skip -= skipped;
                pcm.add(&samples[skipped..], 1)?;
            }
            Ok(_other_track) => {}
            Err(error) => break is_cut(&error),
        }
    };
    Ok(cut)
}

/// The library tells the regular end and a missing end alike as an unexpected end; only other errors cut a sound.
fn is_cut(error: &SymphoniaError) -> IsCut {
    !matches!(error, SymphoniaError::IoError(end) if end.kind() == std::io::ErrorKind::UnexpectedEof)
}

/// `samples` at another rate, its delay taken out.
fn resampled(samples: Vec<f32>, from_hz: u32, to_hz: u32) -> Vec<f32> {
    if from_hz == to_hz {
        return samples;
    }
    let resampler = Fft::<f32>::new(from_hz as usize, to_hz as usize, RESAMPLED_AT_ONCE, 1, FixedSync::Both);
    let Ok(mut resampler) = resampler else { return Vec::new() };
    let mut out = vec![0.0; resampler.process_all_needed_output_len(samples.len())];
    let capacity = out.len();
    let written = {
        let input = InterleavedSlice::new(&samples, 1, samples.len());
        let output = InterleavedSlice::new_mut(&mut out, 1, capacity);
        let (Ok(input), Ok(mut output)) = (input, output) else { return Vec::new() };
        resampler.process_all_into_buffer(&input, &mut output, samples.len(), None).map_or(0, |(_, written)| written)
    };
    out.truncate(written);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A WAV file of a 440 Hz tone.
    fn wav(rate_hz: u32, channels: u16, bits: u16, seconds: f32) -> Vec<u8> {
        let frames = (rate_hz as f32 * seconds) as u32;
        let bytes_a_frame = u32::from(channels) * u32::from(bits / 8);
        let mut file = Vec::new();
        file.extend(b"RIFF");
        file.extend((36 + frames * bytes_a_frame).to_le_bytes());
        file.extend(b"WAVEfmt \x10\0\0\0\x01\0");
        file.extend(channels.to_le_bytes());
        file.extend(rate_hz.to_le_bytes());
        file.extend((rate_hz * bytes_a_frame).to_le_bytes());
        file.extend((bytes_a_frame as u16).to_le_bytes());
        file.extend(bits.to_le_bytes());
        file.extend(b"data");
        file.extend((frames * bytes_a_frame).to_le_bytes());
        for n in 0..frames {
            let value = (n as f32 / rate_hz as f32 * 440.0 * std::f32::consts::TAU).sin() * 0.5;
            for _ in 0..channels {
                match bits {
                    8 => file.push((value * 127.0 + 128.0) as u8),
                    16 => file.extend(((value * 32767.0) as i16).to_le_bytes()),
                    _ => file.extend(&((value * 8_388_607.0) as i32).to_le_bytes()[..3]),
                }
            }
        }
        file
    }

    #[test]
    fn wav_of_every_kind_becomes_one_voice_of_its_length_and_loudness() {
        for (rate_hz, channels, bits) in
            [(8_000, 1, 8), (44_100, 2, 16), (96_000, 6, 24), (48_000, 1, 16), (16_000, 1, 16)]
        {
            let sound = decode_sound(&wav(rate_hz, channels, bits, 1.0), LIMIT).expect("a good file");
            assert!((sound.duration().as_secs_f64() - 1.0).abs() < 0.02, "{rate_hz}: {:?}", sound.duration());
            let blocks: Vec<_> = (0..).map_while(|n| sound.block(n)).collect();
            assert!(
                (0.3..0.4).contains(&blocks[25].level()),
                "{rate_hz} Hz, {channels} channels: {}",
                blocks[25].level()
            );
            assert!(!sound.is_truncated());
        }
    }

    #[test]
    fn a_cut_file_is_said_as_far_as_it_goes_and_marked() {
        let file = wav(44_100, 2, 16, 2.0);
        let sound = decode_sound(&file[..file.len() / 2], LIMIT).expect("half a file");
        assert!(sound.is_truncated());
        assert!((0.8..1.1).contains(&sound.duration().as_secs_f64()));
    }

    #[test]
    fn what_is_no_sound_is_named() {
        assert_eq!(decode_sound(&[], LIMIT).unwrap_err(), SoundError::Empty);
        let picture = decode_sound(b"\x89PNG\r\n\x1a\n0000000000000", LIMIT).unwrap_err();
        assert!(picture.to_string().contains("PNG"), "{picture}");
        assert!(matches!(
            decode_sound(&wav(16_000, 1, 16, 3.0), Duration::from_secs(2)),
            Err(SoundError::TooLong { .. })
        ));
    }

    #[test]
    fn a_header_that_claims_four_gigabytes_is_not_believed() {
        let mut file = wav(16_000, 1, 16, 0.5);
        file[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode_sound(&file, LIMIT).is_ok_and(|sound| sound.duration() < Duration::from_secs(1)));
    }

    #[test]
    fn mutated_files_never_panic() {
        let mut random = fastrand::Rng::with_seed(11);
        let good = wav(22_050, 2, 16, 0.2);
        for _ in 0..300 {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..8) {
                let at = random.usize(0..bytes.len().min(64));
                bytes[at] = random.u8(..);
            }
            bytes.truncate(random.usize(1..=bytes.len()));
            let _ = decode_sound(&bytes, LIMIT);
        }
    }
}
