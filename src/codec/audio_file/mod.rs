//! Audio files and streams to blocks of 20 ms, decoded on demand: WAV, AIFF, MP3, AAC, FLAC, Ogg, WebM, MP4, raw samples.
//!
//! Decides the format by the first bytes, and how much is decoded ahead: one call of a reader. Opens no
//! files. Never allocates memory by the claims of a header.

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

/// Maximum buffered bytes of a stream whose format cannot be read in order (MP4 with its `moov` box at the end).
pub const MAX_BUFFERED_BYTES: usize = 16 << 20;
/// The supported formats, as errors list them.
pub const AUDIO_FORMATS: &str = "WAV, AIFF, MP3, M4A, AAC, FLAC, Ogg or WebM";

/// Why there is no audio.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AudioFileError {
    /// The file is empty.
    #[error("wanted an audio file ({AUDIO_FORMATS}), found an empty file")]
    Empty,
    /// The file is not an audio file.
    #[error("wanted an audio file ({AUDIO_FORMATS}), found {found}")]
    NotAudio {
        /// What it appears to be.
        found: String,
    },
    /// The file is an audio file of an unsupported kind.
    #[error("wanted {wanted}, found {found}")]
    Unsupported {
        /// What is supported.
        wanted: &'static str,
        /// What the file has.
        found: String,
    },
    /// The container has no audio track.
    #[error("wanted a file with an audio track, found none in it")]
    NoTrack,
    /// The audio track is empty.
    #[error("wanted a file with audio, found an audio track without samples")]
    NoSamples,
    /// The audio is longer than allowed.
    #[error("wanted at most {} s of audio, found more", most.as_secs())]
    TooLong {
        /// The limit.
        most: Duration,
    },
    /// A stream that cannot be read in order is too large to be buffered.
    #[error("wanted an MP4 stream with its moov box first or at most {} MB, found more", most_bytes >> 20)]
    TooLarge {
        /// The limit.
        most_bytes: usize,
    },
    /// The file is damaged in an essential part.
    #[error("wanted an intact {format} file, found {found}")]
    Damaged {
        /// Its format.
        format: &'static str,
        /// The damage.
        found: String,
    },
    /// The file cannot be read.
    #[error("cannot read it: {found}")]
    Read {
        /// The system's message.
        found: String,
    },
}

/// State of a reader after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// There may be more frames.
    More,
    /// The audio ended where it should.
    Complete,
    /// The audio is truncated.
    Truncated,
}

/// A container or an elementary stream.
trait FrameReader: Send {
    /// Appends the next frames to `frames`, which is empty. May append none before the end.
    fn read(&mut self, frames: &mut Frames) -> Result<Progress, AudioFileError>;

    /// Duration by the header; an estimate for some formats.
    fn expected(&self) -> Option<Duration>;

    /// Bytes read so far.
    fn position(&self) -> u64;
}

/// Decodes audio on demand.
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
    /// Reads the header and detects the format by the first bytes.
    ///
    /// # Errors
    /// If it is not an audio file, is unsupported, or its header is damaged.
    pub fn open(input: AudioInput) -> Result<Self, AudioFileError> {
        let mut source = ByteSource::new(input);
        if source.peek(1)?.is_empty() {
            return Err(AudioFileError::Empty);
        }
        skip_tags(&mut source)?;
        Ok(Self::of(reader_for(source)?))
    }

    /// Raw samples without a header.
    #[must_use]
    pub fn open_pcm(input: AudioInput, format: PcmFormat) -> Self {
        Self::of(Box::new(PcmReader::new(ByteSource::new(input), format, Extent::ToEnd)))
    }

    fn of(reader: Box<dyn FrameReader>) -> Self {
        Self { reader, pipeline: BlockPipeline::default(), frames: Frames::default(), end: None }
    }

    /// The next 20 ms, the last block padded with silence; `None` after the end. Blocks as long as the reader does.
    ///
    /// # Errors
    /// If there is no audio at all. Truncated audio ends early instead, see [`AudioDecoder::is_truncated`].
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
            Err(_) => Progress::Truncated,
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

    /// Whether the audio was truncated; known after its end.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.end == Some(Progress::Truncated)
    }

    /// Duration by the header; an estimate for MP3 without a Xing header. `None` if unknown.
    #[must_use]
    pub fn expected_duration(&self) -> Option<Duration> {
        self.reader.expected()
    }

    /// Samples decoded so far, at 48 kHz.
    #[must_use]
    pub fn decoded_samples(&self) -> u64 {
        self.pipeline.samples()
    }

    /// Bytes of the input read so far; 0 for formats that do not report it.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.reader.position()
    }
}

/// A short clip, decoded completely.
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

    /// Its duration.
    #[must_use]
    pub fn duration(&self) -> Duration {
        duration_of(self.samples.len() as u64)
    }

    /// Whether the file was truncated; the samples are those before the damage.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }
}

/// Duration of `samples` at 48 kHz.
#[must_use]
pub fn duration_of(samples: u64) -> Duration {
    let hz = u64::from(OPUS_HZ);
    Duration::new(samples / hz, u32::try_from(samples % hz * 1_000_000_000 / hz).unwrap_or(0))
}

/// Decodes a whole file of at most `most` duration, for short clips. Speech and `render` decode on demand with
/// [`AudioDecoder`].
///
/// # Errors
/// As for [`AudioDecoder`], and if the file is too long.
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

/// Skips ID3 tags at the start, and the zeros that some writers append to them.
fn skip_tags(source: &mut ByteSource) -> Result<(), AudioFileError> {
    /// Maximum padding.
    const MAX_PADDING: usize = 4_096;
    while let Some(bytes) = mpeg::tag_bytes(source.peek(10)?) {
        source.skip(bytes)?;
        let padding = source.peek(MAX_PADDING)?.iter().take(MAX_PADDING).take_while(|byte| **byte == 0).count();
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

/// Names common other file types, and audio formats that are not supported.
fn guess(bytes: &[u8]) -> String {
    let name = match bytes {
        [b'R', b'I', b'F', b'F', ..] => "a RIFF file that is not WAVE",
        [b'#', b'!', b'A', b'M', b'R', ..] => "an AMR file",
        [0x30, 0x26, 0xb2, 0x75, ..] => "a Windows Media file",
        [b'c', b'a', b'f', b'f', ..] => "an Apple CAF file",
        [b'.', b's', b'n', b'd', ..] => "a Sun AU file",
        [b'M', b'T', b'h', b'd', ..] => "a MIDI file",
        [0xff, second, ..] if second & 0xe6 == 0xe4 => "an MPEG layer II file",
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
