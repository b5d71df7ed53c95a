//! WAVE (Multimedia Programming Interface 1.0, and its extensible form): chunks of plain samples.
//!
//! Decides what a header means and plays what is there of a file that broke off. symphonia's reader is not used: it
//! refuses a file that broke off, a header whose lengths a stream left open and RF64, and reserves what a tag claims.

use super::collect::{Collector, Layout};
use super::{AudioFileError, End};

/// Format tags.
const PCM: u16 = 1;
const FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;
/// Samples that are converted at a time.
const STEP_FRAMES: usize = 4_096;

/// How one sample is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Unsigned8,
    Signed16,
    Signed24,
    Signed32,
    Float32,
    Float64,
}

#[derive(Clone, Copy, Debug)]
struct Format {
    layout: Layout,
    coding: Coding,
}

/// Decodes the samples of a WAVE file.
pub(super) fn decode(bytes: &[u8], collector: &mut Collector) -> Result<End, AudioFileError> {
    let mut format = None;
    let mut rest = bytes.get(12..).unwrap_or(&[]);
    while let [a, b, c, d, w, x, y, z, body @ ..] = rest {
        let claimed = u32::from_le_bytes([*w, *x, *y, *z]) as usize;
        let there = claimed.min(body.len());
        match &[*a, *b, *c, *d] {
            b"fmt " => format = Some(read_format(&body[..there])?),
            b"data" => return decode_data(body, claimed, format, collector),
            _ => {}
        }
        // Chunks begin at even places.
        rest = body.get(there + (there & 1)..).unwrap_or(&[]);
    }
    Err(if format.is_some() { AudioFileError::NoSamples } else { AudioFileError::NoTrack })
}

fn decode_data(
    body: &[u8],
    claimed: usize,
    format: Option<Format>,
    collector: &mut Collector,
) -> Result<End, AudioFileError> {
    let Some(format) = format else {
        return Err(AudioFileError::Damaged { format: "WAV", found: "samples before their format".to_owned() });
    };
    // A writer that could not go back to its header leaves 0 or all ones.
    let is_open = claimed == 0 || claimed == u32::MAX as usize;
    let there = if is_open { body.len() } else { claimed.min(body.len()) };
    collector.begin(format.layout)?;
    let frame_bytes = format.coding.bytes() * format.layout.channels;
    let mut samples = Vec::with_capacity(STEP_FRAMES * format.layout.channels);
    for step in body[..there].chunks(STEP_FRAMES * frame_bytes) {
        samples.clear();
        samples.extend(step.chunks_exact(format.coding.bytes()).map(|sample| format.coding.read(sample)));
        collector.push(&samples)?;
    }
    Ok(if is_open || there == claimed { End::Whole } else { End::Missing })
}

fn read_format(body: &[u8]) -> Result<Format, AudioFileError> {
    let short = |at: usize| body.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let (Some(tag), Some(channels), Some(rate), Some(bits)) = (short(0), short(2), body.get(4..8), short(14)) else {
        let found = format!("a format of {} bytes, of 16 at least", body.len());
        return Err(AudioFileError::Damaged { format: "WAV", found });
    };
    let tag = if tag == EXTENSIBLE { short(24).unwrap_or(tag) } else { tag };
    let rate_hz = u32::from_le_bytes([rate[0], rate[1], rate[2], rate[3]]);
    Ok(Format { layout: Layout::new(rate_hz, usize::from(channels))?, coding: Coding::new(tag, bits)? })
}

impl Coding {
    fn new(tag: u16, bits: u16) -> Result<Self, AudioFileError> {
        match (tag, bits) {
            (PCM, 8) => Ok(Self::Unsigned8),
            (PCM, 16) => Ok(Self::Signed16),
            (PCM, 24) => Ok(Self::Signed24),
            (PCM, 32) => Ok(Self::Signed32),
            (FLOAT, 32) => Ok(Self::Float32),
            (FLOAT, 64) => Ok(Self::Float64),
            _ => Err(AudioFileError::Unsupported {
                wanted: "a WAV file of 8, 16, 24 or 32 bits, or of floats",
                found: format!("format {tag} of {bits} bits"),
            }),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Unsigned8 => 1,
            Self::Signed16 => 2,
            Self::Signed24 => 3,
            Self::Signed32 | Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }

    /// One sample in [-1, 1]; `bytes` are as many as it needs.
    fn read(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Self::Unsigned8, [a]) => (f32::from(*a) - 128.0) / 128.0,
            (Self::Signed16, [a, b]) => f32::from(i16::from_le_bytes([*a, *b])) / 32_768.0,
            (Self::Signed24, [a, b, c]) => i32::from_le_bytes([0, *a, *b, *c]) as f32 / 2_147_483_648.0,
            (Self::Signed32, [a, b, c, d]) => i32::from_le_bytes([*a, *b, *c, *d]) as f32 / 2_147_483_648.0,
            (Self::Float32, [a, b, c, d]) => f32::from_le_bytes([*a, *b, *c, *d]),
            (Self::Float64, [a, b, c, d, e, f, g, h]) => f64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as f32,
            _ => 0.0,
        }
    }
}
