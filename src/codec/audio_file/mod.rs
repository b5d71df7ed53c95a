//! AudioClip files: WAV, MP3, FLAC, Ogg Vorbis and Ogg Opus, whole, to voice at 48 kHz.
//!
//! Decides which file it is, mixes channels to one and resamples. Reads no files: bytes are given. What a header claims
//! is never believed when memory is reserved.

mod collect;
mod compressed;
mod ogg;
mod wav;

use std::time::Duration;

use thiserror::Error;

use crate::audio::{DOWNSAMPLER_DELAY_SAMPLES, Downsampler};
use crate::media::{BLOCK_OPUS_SAMPLES, BLOCK_SPEECH_SAMPLES, PcmBlock};
use crate::time::OPUS_HZ;

use collect::Collector;

/// Why a file gave no sound.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AudioFileError {
    /// There are no bytes.
    #[error("wanted a sound file (WAV, MP3, FLAC or Ogg), found an empty file")]
    Empty,
    /// It is something else.
    #[error("wanted a sound file (WAV, MP3, FLAC or Ogg), found {found}")]
    NotSound {
        /// What it looks like.
        found: String,
    },
    /// A sound file, but of a kind that is not understood.
    #[error("wanted {wanted}, found {found}")]
    Unsupported {
        /// What is understood.
        wanted: &'static str,
        /// What it is.
        found: String,
    },
    /// A container without a track of sound.
    #[error("wanted a file with a track of sound, found none in it")]
    NoTrack,
    /// A track of sound with nothing in it.
    #[error("wanted a file with sound in it, found a track without a single sample")]
    NoSamples,
    /// More sound than was allowed.
    #[error("wanted at most {} s of sound, found more", most.as_secs())]
    TooLong {
        /// The limit.
        most: Duration,
    },
    /// The file is damaged where it must not be.
    #[error("wanted a whole {format} file, found damage: {found}")]
    Damaged {
        /// What it should be.
        format: &'static str,
        /// What is wrong.
        found: String,
    },
}

/// A voice in [-1, 1], at 48 kHz and on the 16 kHz line.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioClip {
    voice: Vec<f32>,
    /// A third as long, aligned with the voice.
    line: Vec<f32>,
    is_truncated: bool,
}

impl AudioClip {
    /// The samples at 48 kHz.
    #[must_use]
    pub fn voice(&self) -> &[f32] {
        &self.voice
    }

    /// How long it lasts.
    #[must_use]
    pub fn duration(&self) -> Duration {
        let samples = self.voice.len() as u64;
        let hz = u64::from(OPUS_HZ);
        Duration::new(samples / hz, u32::try_from(samples % hz * 1_000_000_000 / hz).unwrap_or(0))
    }

    /// Whether the file broke off, or its end could not be read: the sound is what was there.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// Block number `n` of 20 ms, the last one filled up with silence; `None` after the end.
    #[must_use]
    pub fn block(&self, n: usize) -> Option<PcmBlock> {
        let voice = self.voice.get(n * BLOCK_OPUS_SAMPLES..).filter(|rest| !rest.is_empty())?;
        let line = self.line.get(n * BLOCK_SPEECH_SAMPLES..).unwrap_or(&[]);
        let mut block = PcmBlock::silence();
        block.playback_48k.iter_mut().zip(voice).for_each(|(out, sample)| *out = *sample);
        block.speech_16k.iter_mut().zip(line).for_each(|(out, sample)| *out = *sample);
        Some(block)
    }

    /// All blocks in order.
    pub fn blocks(&self) -> impl Iterator<Item = PcmBlock> + '_ {
        (0..).map_while(|n| self.block(n))
    }
}

/// The 16 kHz line of a voice, the resampler's delay taken out; whole blocks.
fn line_of(voice: &[f32]) -> Vec<f32> {
    let mut downsampler = Downsampler::new();
    let blocks = voice.len().div_ceil(BLOCK_OPUS_SAMPLES);
    let mut line = Vec::with_capacity((blocks + 1) * BLOCK_SPEECH_SAMPLES);
    for n in 0..=blocks {
        let rest = voice.get(n * BLOCK_OPUS_SAMPLES..).unwrap_or(&[]);
        let (mut block, mut out) = ([0.0; BLOCK_OPUS_SAMPLES], [0.0; BLOCK_SPEECH_SAMPLES]);
        block.iter_mut().zip(rest).for_each(|(to, sample)| *to = *sample);
        downsampler.push(&block, &mut out);
        line.extend_from_slice(&out);
    }
    line.drain(..DOWNSAMPLER_DELAY_SAMPLES);
    line.truncate(blocks * BLOCK_SPEECH_SAMPLES);
    line
}

/// Whether a reader came to the end that the file promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    Missing,
}

/// Decodes a whole file of at most `most` sound.
///
/// # Errors
/// If it is no sound file, one that is not understood, damaged from the start, empty or too long.
pub fn decode_sound(bytes: &[u8], most: Duration) -> Result<AudioClip, AudioFileError> {
    let mut collector = Collector::new(most);
    let end = decode_into(bytes, &mut collector)?;
    let voice = collector.finish()?;
    if voice.is_empty() {
        return Err(AudioFileError::NoSamples);
    }
    Ok(AudioClip { line: line_of(&voice), voice, is_truncated: end == End::Missing })
}

fn decode_into(bytes: &[u8], collector: &mut Collector) -> Result<End, AudioFileError> {
    let bytes = after_id3(bytes);
    match bytes {
        [] => Err(AudioFileError::Empty),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..]
        | [b'R', b'F', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..] => wav::decode(bytes, collector),
        [b'f', b'L', b'a', b'C', ..] => compressed::decode_flac(bytes, collector),
        [b'O', b'g', b'g', b'S', ..] => ogg::decode(bytes, collector),
        // Sync of eleven ones, layer III (ISO 11172-3, section 2.4.1.3).
        [0xff, second, ..] if second & 0xe6 == 0xe2 => compressed::decode_mp3(bytes, collector),
        _ => Err(AudioFileError::NotSound { found: guess(bytes) }),
    }
}

/// What follows the ID3v2 tags at the start (id3.org, version 2.4 of the tag, section 3.1): their pictures are not read.
fn after_id3(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] = rest {
        let size = [a, b, c, d].into_iter().fold(0, |size, byte| (size << 7) | usize::from(byte & 0x7f));
        let footer = if flags & 0x10 == 0 { 0 } else { 10 };
        rest = rest.get(10 + size + footer..).unwrap_or(&[]);
    }
    // Some writers pad after the tag.
    let padding = rest.iter().take(4_096).take_while(|byte| **byte == 0).count();
    if rest.len() < bytes.len() { &rest[padding..] } else { rest }
}

/// Names what people mistake for a sound file.
fn guess(bytes: &[u8]) -> String {
    let name = match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "an MP4 or M4A file",
        [0x1a, 0x45, 0xdf, 0xa3, ..] => "a WebM or Matroska file",
        [b'F', b'O', b'R', b'M', ..] => "an AIFF file",
        [b'R', b'I', b'F', b'F', ..] => "a RIFF file that is not WAVE",
        [0xff, 0xf1 | 0xf9, ..] => "an AAC file",
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, ..] | [b'G', b'I', b'F', b'8', ..] => "a picture",
        [b'%', b'P', b'D', b'F', ..] => "a PDF",
        [b'<', ..] => "a web page or XML",
        [b'P', b'K', ..] | [0x1f, 0x8b, ..] => "an archive",
        _ => return format!("{} bytes of something else", bytes.len()),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
