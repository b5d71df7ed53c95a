//! Audio files and streams to blocks of 20 ms, as they are needed: WAV, AIFF, MP3, AAC, FLAC, Ogg, WebM, MP4, raw samples.
//!
//! Decides which format it is by its first bytes, and how much is decoded ahead: what one call of a reader gives. Opens no
//! files: a reader is given. What a header claims is never believed when memory is reserved.

mod decoders;
mod downmix;
mod flac;
mod mp4;
mod mpeg;
mod ogg;
mod pcm;
mod pipeline;
mod source;
mod wav;
mod webm;

use std::time::Duration;

use thiserror::Error;

use crate::media::PcmBlock;
use crate::time::OPUS_HZ;

pub use pcm::{Coding, Order, PcmFormat};
pub use pipeline::{BlockPipeline, Frames, Layout};
pub use source::{AudioInput, ReadSeek};

use pcm::{Extent, PcmReader};
use source::ByteSource;

/// What of a stream is held in memory where its format cannot be read in order (MP4 with its table at the end).
pub const MOST_BUFFERED_BYTES: usize = 16 << 20;
/// The formats that are understood, for people.
pub const AUDIO_FORMATS: &str = "WAV, AIFF, MP3, M4A, AAC, FLAC, Ogg or WebM";

/// Why there is no sound.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AudioFileError {
    /// There are no bytes.
    #[error("wanted an audio file ({AUDIO_FORMATS}), found an empty file")]
    Empty,
    /// It is something else.
    #[error("wanted an audio file ({AUDIO_FORMATS}), found {found}")]
    NotAudio {
        /// What it looks like.
        found: String,
    },
    /// An audio file, but of a kind that is not understood.
    #[error("wanted {wanted}, found {found}")]
    Unsupported {
        /// What is understood.
        wanted: &'static str,
        /// What it is.
        found: String,
    },
    /// A container without an audio track.
    #[error("wanted a file with an audio track, found none in it")]
    NoTrack,
    /// An audio track with nothing in it.
    #[error("wanted a file with sound in it, found a track without a single sample")]
    NoSamples,
    /// More sound than was allowed.
    #[error("wanted at most {} s of sound, found more", most.as_secs())]
    TooLong {
        /// The limit.
        most: Duration,
    },
    /// A stream that cannot be read in order is too large to be held in memory.
    #[error("wanted an MP4 stream with its table of contents first or at most {} MB, found more", most_bytes >> 20)]
    TooLarge {
        /// The limit.
        most_bytes: usize,
    },
    /// The file is damaged where it must not be.
    #[error("wanted a whole {format} file, found damage: {found}")]
    Damaged {
        /// What it should be.
        format: &'static str,
        /// What is wrong.
        found: String,
    },
    /// The file could not be read.
    #[error("cannot read it: {found}")]
    Read {
        /// What the system says.
        found: String,
    },
}

/// How a read of frames went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// There may be more.
    More,
    /// The sound ended where it should.
    Whole,
    /// The sound broke off.
    Broken,
}

/// A container or a plain format.
trait FrameReader: Send {
    /// Appends the next frames to `frames`, which is empty; there may be none although more come.
    fn read(&mut self, frames: &mut Frames) -> Result<Progress, AudioFileError>;

    /// How long the sound is by its header; a guess for some formats.
    fn expected(&self) -> Option<Duration>;

    /// Bytes read so far.
    fn position(&self) -> u64;
}

/// A sound that is decoded as it is needed.
pub struct AudioDecoder {
    reader: Box<dyn FrameReader>,
    pipeline: BlockPipeline,
    frames: Frames,
    end: Option<Progress>,
}

impl std::fmt::Debug for AudioDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AudioDecoder").field("samples", &self.pipeline.samples()).finish_non_exhaustive()
    }
}

impl AudioDecoder {
    /// Reads the header; the format is known by the first bytes.
    ///
    /// # Errors
    /// If it is no audio file, one that is not understood, or damaged in its header.
    pub fn open(input: AudioInput) -> Result<Self, AudioFileError> {
        let mut source = ByteSource::new(input);
        if source.peek(1)?.is_empty() {
            return Err(AudioFileError::Empty);
        }
        skip_tags(&mut source)?;
        Ok(Self::of(reader_for(source)?))
    }

    /// Samples without a header.
    #[must_use]
    pub fn open_pcm(input: AudioInput, format: PcmFormat) -> Self {
        Self::of(Box::new(PcmReader::new(ByteSource::new(input), format, Extent::ToEnd)))
    }

    fn of(reader: Box<dyn FrameReader>) -> Self {
        Self { reader, pipeline: BlockPipeline::default(), frames: Frames::default(), end: None }
    }

    /// The next 20 ms, the last one filled up with silence; `None` after the end. Waits as long as the reader does.
    ///
    /// # Errors
    /// If there is no sound at all. A sound that broke off ends early instead, see [`AudioDecoder::is_truncated`].
    pub fn next_block(&mut self) -> Result<Option<PcmBlock>, AudioFileError> {
        loop {
            if let Some(block) = self.pipeline.next_block() {
                return Ok(Some(block));
            }
            if self.end.is_some() {
                return Ok(None);
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> Result<(), AudioFileError> {
        self.frames.clear();
        let read = self.reader.read(&mut self.frames);
        let read = read.and_then(|progress| self.pipeline.push(&self.frames).map(|()| progress));
        let progress = match read {
            Err(error) if self.pipeline.samples() == 0 => return Err(error),
            Err(_) => Progress::Broken,
            Ok(progress) => progress,
        };
        if progress != Progress::More {
            self.pipeline.finish();
            self.end = Some(progress);
            if self.pipeline.samples() == 0 {
                return Err(AudioFileError::NoSamples);
            }
        }
        Ok(())
    }

    /// Whether the sound broke off; known after its end.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.end == Some(Progress::Broken)
    }

    /// How long the sound is by its header; a guess for MP3 without a tag. `None` if there is nothing to tell it from.
    #[must_use]
    pub fn expected_duration(&self) -> Option<Duration> {
        self.reader.expected()
    }

    /// How much was decoded, in samples at 48 kHz.
    #[must_use]
    pub fn decoded_samples(&self) -> u64 {
        self.pipeline.samples()
    }

    /// Bytes of the input read so far; 0 for formats that do not say.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.reader.position()
    }
}

/// A short sound, decoded whole.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioClip {
    samples: Vec<f32>,
    is_truncated: bool,
}

impl AudioClip {
    /// The samples at 48 kHz, in [-1, 1].
    #[must_use]
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// How long it lasts.
    #[must_use]
    pub fn duration(&self) -> Duration {
        duration_of(self.samples.len() as u64)
    }

    /// Whether the file broke off: the sound is what was there.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }
}

/// How long so many samples at 48 kHz last.
#[must_use]
pub fn duration_of(samples: u64) -> Duration {
    let hz = u64::from(OPUS_HZ);
    Duration::new(samples / hz, u32::try_from(samples % hz * 1_000_000_000 / hz).unwrap_or(0))
}

/// Decodes a whole file of at most `most` sound. For short sounds: what is spoken or rendered is decoded as it is needed, by
/// [`AudioDecoder`].
///
/// # Errors
/// As for [`AudioDecoder`], and if it is too long.
pub fn decode_clip(bytes: &[u8], most: Duration) -> Result<AudioClip, AudioFileError> {
    let mut decoder = AudioDecoder::open(AudioInput::Seekable(Box::new(std::io::Cursor::new(bytes.to_vec()))))?;
    let mut samples = Vec::new();
    while let Some(block) = decoder.next_block()? {
        samples.extend_from_slice(&block.playback_48k[..]);
        if duration_of(samples.len() as u64) > most + Duration::from_millis(crate::media::BLOCK_MS) {
            return Err(AudioFileError::TooLong { most });
        }
    }
    samples.truncate(usize::try_from(decoder.decoded_samples()).unwrap_or(usize::MAX));
    if duration_of(samples.len() as u64) > most {
        return Err(AudioFileError::TooLong { most });
    }
    Ok(AudioClip { samples, is_truncated: decoder.is_truncated() })
}

/// Takes ID3 tags off the front, and the zeros that some writers pad behind them.
fn skip_tags(source: &mut ByteSource) -> Result<(), AudioFileError> {
    /// The longest padding.
    const MOST_PADDING: usize = 4_096;
    while let Some(bytes) = mpeg::tag_bytes(source.peek(10)?) {
        source.skip(bytes)?;
        let padding = source.peek(MOST_PADDING)?.iter().take(MOST_PADDING).take_while(|byte| **byte == 0).count();
        source.take(padding);
    }
    Ok(())
}

fn reader_for(mut source: ByteSource) -> Result<Box<dyn FrameReader>, AudioFileError> {
    let here = source.peek(12)?;
    match here {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..]
        | [b'R', b'F', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..] => wav::open_wav(source),
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C', ..] => wav::open_aiff(source),
        [b'f', b'L', b'a', b'C', ..] => flac::FlacFile::open(source),
        [b'O', b'g', b'g', b'S', ..] => ogg::OggReader::open(source),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => webm::WebmReader::open(source),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => mp4::Mp4Reader::open(source),
        _ if mpeg::is_frame(here) => Ok(mpeg::MpegReader::open(source)),
        _ => Err(AudioFileError::NotAudio { found: guess(here) }),
    }
}

/// Names what people mistake for an audio file, and audio files that are not understood.
fn guess(bytes: &[u8]) -> String {
    let name = match bytes {
        [b'R', b'I', b'F', b'F', ..] => "a RIFF file that is not WAVE",
        [b'#', b'!', b'A', b'M', b'R', ..] => "an AMR file",
        [0x30, 0x26, 0xb2, 0x75, ..] => "a Windows Media file",
        [b'c', b'a', b'f', b'f', ..] => "an Apple CAF file",
        [b'.', b's', b'n', b'd', ..] => "a Sun AU file",
        [b'M', b'T', b'h', b'd', ..] => "a MIDI file",
        [0xff, second, ..] if second & 0xe6 == 0xe4 => "an MPEG audio file of layer II",
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, ..] | [b'G', b'I', b'F', b'8', ..] => "an image",
        [b'%', b'P', b'D', b'F', ..] => "a PDF",
        [b'<', ..] => "a web page or XML",
        [b'P', b'K', ..] | [0x1f, 0x8b, ..] => "an archive",
        _ => "something else",
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
