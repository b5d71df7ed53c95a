//! Raw samples: their encodings, and the reader that WAV, AIFF and raw streams share.
//!
//! Decides where the samples end. Reads only the bytes that are available, so that a stream is not delayed.

use std::time::Duration;

use super::pipeline::{Frames, Layout};
use super::source::ByteSource;
use super::{AudioFileError, FrameReader, Progress};

/// Frames converted at a time.
const STEP_FRAMES: usize = 4_096;
/// Writers to a pipe cannot know the length of the samples and claim 0, all ones, or (sox, gstreamer)
/// a value just below 2 GiB.
const OPEN_BYTES: u64 = 0x7fff_0000;
/// A chunk header, and the type of a list within the chunk.
const CHUNK_HEAD_BYTES: usize = 12;

/// The encoding of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// 8 bits, 128 is silence.
    Unsigned8,
    /// 8 bits, two's complement.
    Signed8,
    /// 16 bits.
    Signed16(Order),
    /// 24 bits.
    Signed24(Order),
    /// 32 bits.
    Signed32(Order),
    /// Single precision.
    Float32(Order),
    /// Double precision.
    Float64(Order),
    /// ITU-T G.711 A-law.
    ALaw,
    /// ITU-T G.711 mu-law.
    MuLaw,
}

/// The byte order of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Little-endian.
    Little,
    /// Big-endian.
    Big,
}

impl Coding {
    /// Size of one sample in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Unsigned8 | Self::Signed8 | Self::ALaw | Self::MuLaw => 1,
            Self::Signed16(_) => 2,
            Self::Signed24(_) => 3,
            Self::Signed32(_) | Self::Float32(_) => 4,
            Self::Float64(_) => 8,
        }
    }

    /// One sample in [-1, 1]; `bytes` has its size.
    fn read(self, bytes: &[u8]) -> f32 {
        match self {
            Self::Unsigned8 => (f32::from(bytes[0]) - 128.0) / 128.0,
            Self::Signed8 => f32::from(bytes[0].cast_signed()) / 128.0,
            Self::ALaw => f32::from(a_law(bytes[0])) / 32_768.0,
            Self::MuLaw => f32::from(mu_law(bytes[0])) / 32_768.0,
            Self::Signed16(order) => f32::from(i16::from_le_bytes(little(bytes, order))) / 32_768.0,
            Self::Signed24(order) => {
                let [a, b, c] = little(bytes, order);
                i32::from_le_bytes([0, a, b, c]) as f32 / 2_147_483_648.0
            }
            Self::Signed32(order) => i32::from_le_bytes(little(bytes, order)) as f32 / 2_147_483_648.0,
            Self::Float32(order) => f32::from_le_bytes(little(bytes, order)),
            Self::Float64(order) => f64::from_le_bytes(little(bytes, order)) as f32,
        }
    }
}

/// The bytes of a sample in little-endian order.
fn little<const N: usize>(bytes: &[u8], order: Order) -> [u8; N] {
    let mut little = [0; N];
    little.copy_from_slice(&bytes[..N]);
    if order == Order::Big {
        little.reverse();
    }
    little
}

/// ITU-T G.711, table 1: even bits are inverted, three bits of segment, four of value.
fn a_law(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let (segment, value) = (i16::from(byte >> 4 & 7), i16::from(byte & 15) << 4);
    let size = if segment == 0 { value + 8 } else { (value + 0x108) << (segment - 1) };
    if byte & 0x80 == 0 { -size } else { size }
}

/// ITU-T G.711, table 2: all bits are inverted, a bias of 33 in 14 bits.
fn mu_law(byte: u8) -> i16 {
    let byte = !byte;
    let (segment, value) = (i16::from(byte >> 4 & 7), i16::from(byte & 15));
    let size = (((value << 3) + 0x84) << segment) - 0x84;
    if byte & 0x80 == 0 { size } else { -size }
}

/// The format of raw samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcmFormat {
    /// Rate and channels.
    pub layout: Layout,
    /// The encoding of a sample.
    pub coding: Coding,
}

impl PcmFormat {
    /// Size of a frame in bytes.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.coding.bytes() * self.layout.channels
    }

    /// Appends the complete frames in `bytes` to `frames`.
    pub fn read(&self, bytes: &[u8], frames: &mut Frames) {
        frames.layout = Some(self.layout);
        let whole = bytes.len() / self.frame_bytes() * self.frame_bytes();
        let samples = bytes[..whole].chunks_exact(self.coding.bytes());
        frames.samples.extend(samples.map(|sample| self.coding.read(sample)));
    }
}

/// Where the samples end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// After this many bytes.
    Bytes(u64),
    /// At the end of the file.
    ToEnd,
    /// At the end of the file or the next chunk, whichever comes first: the header has no length.
    ToEndOrChunk,
}

impl Extent {
    /// The meaning of a header's length of the samples.
    pub fn claimed(bytes: u64) -> Self {
        if bytes == 0 || (OPEN_BYTES..=u64::from(u32::MAX)).contains(&bytes) || bytes == u64::MAX {
            Self::ToEndOrChunk
        } else {
            Self::Bytes(bytes)
        }
    }
}

/// Reads raw samples.
pub(super) struct PcmReader {
    source: ByteSource,
    format: PcmFormat,
    extent: Extent,
    expected_bytes: Option<u64>,
}

impl PcmReader {
    /// The samples begin at the next byte of `source`.
    pub fn new(source: ByteSource, format: PcmFormat, extent: Extent) -> Self {
        let rest = source.length_bytes().map(|length| length.saturating_sub(source.position()));
        let expected_bytes = match extent {
            Extent::Bytes(bytes) => Some(rest.map_or(bytes, |rest| rest.min(bytes))),
            _ => rest,
        };
        Self { source, format, extent, expected_bytes }
    }
}

impl FrameReader for PcmReader {
    fn read(&mut self, frames: &mut Frames) -> Result<Progress, AudioFileError> {
        let frame_bytes = self.format.frame_bytes();
        let is_open = self.extent == Extent::ToEndOrChunk;
        if let Extent::Bytes(left) = self.extent
            && left < frame_bytes as u64
        {
            return Ok(Progress::Complete);
        }
        // Detects a chunk before its bytes are read as samples.
        let ahead = if is_open { CHUNK_HEAD_BYTES } else { 0 };
        let here = self.source.peek(frame_bytes + ahead)?;
        let is_last = here.len() < frame_bytes + ahead;
        let mut usable = if is_last { here.len() } else { here.len() - ahead };
        let chunk = if is_open { chunk_in(&here[..(usable + ahead).min(here.len())]) } else { None };
        usable = chunk.unwrap_or(usable).min(STEP_FRAMES * frame_bytes);
        if let Extent::Bytes(left) = self.extent {
            usable = usable.min(usize::try_from(left).unwrap_or(usize::MAX));
        }
        let whole = usable / frame_bytes * frame_bytes;
        self.format.read(&here[..whole], frames);
        self.source.take(whole);
        if let Extent::Bytes(left) = &mut self.extent {
            *left -= whole as u64;
        }
        Ok(match (self.extent, whole) {
            (Extent::Bytes(0), _) => Progress::Complete,
            (_, 1..) => Progress::More,
            (Extent::Bytes(_), 0) => Progress::Truncated,
            (_, 0) => Progress::Complete,
        })
    }

    fn expected(&self) -> Option<Duration> {
        let frames = self.expected_bytes? as f64 / self.format.frame_bytes() as f64;
        Duration::try_from_secs_f64(frames / f64::from(self.format.layout.rate_hz)).ok()
    }

    fn position(&self) -> u64 {
        self.source.position()
    }
}

/// The position of a chunk that writers append to samples. Its name alone could be samples: a list must also have a known type,
/// other chunks must be short; noise matches once in 10^12 positions.
fn chunk_in(bytes: &[u8]) -> Option<usize> {
    const LISTS: [&[u8]; 3] = [b"INFO", b"adtl", b"exif"];
    const SHORT: [&[u8]; 8] = [b"id3 ", b"ID3 ", b"bext", b"iXML", b"cue ", b"smpl", b"fact", b"PEAK"];
    let is_chunk = |head: &[u8]| {
        let is_short = head[6] < 16 && head[7] == 0;
        (&head[..4] == b"LIST" && LISTS.contains(&&head[8..])) || (is_short && SHORT.contains(&&head[..4]))
    };
    // Chunks begin at even positions.
    (0..bytes.len().saturating_sub(CHUNK_HEAD_BYTES - 1)).step_by(2).find(|at| is_chunk(&bytes[*at..*at + 12]))
}
