//! WAVE (Multimedia Programming Interface 1.0, its extensible format, RF64) and AIFF (Audio Interchange File Format 1.3, and
//! AIFF-C): chunks, one of which holds samples.
//!
//! Decides how a header is interpreted. symphonia's reader is not used: it refuses truncated files and headers of streams with
//! unknown lengths, seeks backwards, and allocates what a tag claims.

use super::pcm::{Coding, Extent, Order, PcmFormat, PcmReader};
use super::pipeline::Layout;
use super::source::ByteSource;
use super::{AudioFileError, FrameReader};

/// Format tags.
const PCM: u16 = 1;
const FLOAT: u16 = 3;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
const EXTENSIBLE: u16 = 0xfffe;
/// The longest format chunk; bytes beyond are ignored.
const FORMAT_BYTES: usize = 40;

/// A chunk's name and length.
type ChunkHead = ([u8; 4], [u8; 4]);

/// Reads a chunk header.
fn chunk_head(source: &mut ByteSource) -> Result<Option<ChunkHead>, AudioFileError> {
    let head = source.take_exact(8)?;
    Ok(head.map(|head| ([head[0], head[1], head[2], head[3]], [head[4], head[5], head[6], head[7]])))
}

/// Returns the start of a chunk's body and skips the rest with its padding.
fn chunk_body(source: &mut ByteSource, length: u32, most: usize) -> Result<Vec<u8>, AudioFileError> {
    let wanted = (length as usize).min(most);
    let body = source.peek(wanted)?;
    let body = body[..wanted.min(body.len())].to_vec();
    // Chunks begin at even positions.
    source.skip(u64::from(length) + u64::from(length & 1))?;
    Ok(body)
}

#[expect(clippy::fn_params_excessive_bools, reason = "private; the name states its meaning")]
fn no_samples(is_described: bool) -> AudioFileError {
    if is_described { AudioFileError::NoSamples } else { AudioFileError::NoTrack }
}

fn samples_first(format: &'static str) -> AudioFileError {
    AudioFileError::Damaged { format, found: "samples before their format".to_owned() }
}

/// Opens a WAVE file.
pub(super) fn open_wav(mut source: ByteSource) -> Result<Box<dyn FrameReader>, AudioFileError> {
    source.skip(12)?;
    let (mut format, mut long_bytes) = (None, None);
    while let Some((name, length)) = chunk_head(&mut source)? {
        let length = u32::from_le_bytes(length);
        match &name {
            b"fmt " => format = Some(wav_format(&chunk_body(&mut source, length, FORMAT_BYTES)?)?),
            // RF64 (EBU Tech 3306): the length of the samples in 64 bits.
            b"ds64" => {
                let body = chunk_body(&mut source, length, 16)?;
                long_bytes = body.get(8..16).and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
            }
            b"data" => {
                let format = format.ok_or_else(|| samples_first("WAV"))?;
                let claimed = long_bytes.filter(|_| length == u32::MAX).unwrap_or(u64::from(length));
                return Ok(Box::new(PcmReader::new(source, format, Extent::claimed(claimed))));
            }
            _ => drop(chunk_body(&mut source, length, 0)?),
        }
    }
    Err(no_samples(format.is_some()))
}

fn wav_format(body: &[u8]) -> Result<PcmFormat, AudioFileError> {
    let short = |at: usize| body.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let long = |at: usize| body.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let (Some(tag), Some(channels), Some(rate_hz), Some(bits)) = (short(0), short(2), long(4), short(14)) else {
        let found = format!("a format chunk of {} bytes, less than 16", body.len());
        return Err(AudioFileError::Damaged { format: "WAV", found });
    };
    let is_extensible = tag == EXTENSIBLE;
    let tag = if is_extensible { short(24).unwrap_or(tag) } else { tag };
    let mask = long(20).filter(|mask| is_extensible && *mask != 0);
    Ok(PcmFormat { layout: Layout::new(rate_hz, usize::from(channels), mask)?, coding: wav_coding(tag, bits)? })
}

fn wav_coding(tag: u16, bits: u16) -> Result<Coding, AudioFileError> {
    Ok(match (tag, bits) {
        (PCM, 8) => Coding::Unsigned8,
        (PCM, 16) => Coding::Signed16(Order::Little),
        (PCM, 24) => Coding::Signed24(Order::Little),
        (PCM, 32) => Coding::Signed32(Order::Little),
        (FLOAT, 32) => Coding::Float32(Order::Little),
        (FLOAT, 64) => Coding::Float64(Order::Little),
        (A_LAW, 8) => Coding::ALaw,
        (MU_LAW, 8) => Coding::MuLaw,
        _ => {
            let name = wav_format_name(tag);
            return Err(AudioFileError::Unsupported {
                wanted: "a WAV file of 8, 16, 24 or 32 bits, of floats, A-law or mu-law",
                found: format!("format {tag}{name} of {bits} bits"),
            });
        }
    })
}

/// Names of unsupported formats (RFC 2361).
fn wav_format_name(tag: u16) -> &'static str {
    match tag {
        0x02 => " (Microsoft ADPCM)",
        0x11 => " (IMA ADPCM)",
        0x31 => " (GSM 6.10)",
        0x50 | 0x55 => " (MPEG audio)",
        0x161 => " (Windows Media Audio)",
        _ => "",
    }
}

/// Opens an AIFF or AIFF-C file.
pub(super) fn open_aiff(mut source: ByteSource) -> Result<Box<dyn FrameReader>, AudioFileError> {
    source.skip(12)?;
    let mut format = None;
    while let Some((name, length)) = chunk_head(&mut source)? {
        let length = u32::from_be_bytes(length);
        match &name {
            b"COMM" => format = Some(aiff_format(&chunk_body(&mut source, length, 22)?)?),
            b"SSND" => {
                let format = format.ok_or_else(|| samples_first("AIFF"))?;
                let offset =
                    source.take_exact(8)?.map_or(0, |head| u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
                source.skip(u64::from(offset))?;
                let samples = u64::from(length).saturating_sub(8 + u64::from(offset));
                return Ok(Box::new(PcmReader::new(source, format, Extent::claimed(samples))));
            }
            _ => drop(chunk_body(&mut source, length, 0)?),
        }
    }
    Err(no_samples(format.is_some()))
}

fn aiff_format(body: &[u8]) -> Result<PcmFormat, AudioFileError> {
    let Some((head, rest)) = body.split_at_checked(18) else {
        let found = format!("a format chunk of {} bytes, less than 18", body.len());
        return Err(AudioFileError::Damaged { format: "AIFF", found });
    };
    let short = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    // A rate in 80 bits (IEEE 754 extended): sign and exponent, then 64 bits of mantissa.
    let exponent = i32::from(short(8) & 0x7fff) - 16_383 - 63;
    let mantissa = u64::from_be_bytes([head[10], head[11], head[12], head[13], head[14], head[15], head[16], head[17]]);
    let rate_hz = (mantissa as f64 * 2_f64.powi(exponent)).round() as u32;
    let layout = Layout::new(rate_hz, usize::from(short(0)), None)?;
    Ok(PcmFormat { layout, coding: aiff_coding(rest.get(..4).unwrap_or(b"NONE"), short(6))? })
}

fn aiff_coding(compression: &[u8], bits: u16) -> Result<Coding, AudioFileError> {
    Ok(match (compression, bits) {
        (b"NONE" | b"twos", 1..=8) => Coding::Signed8,
        (b"NONE" | b"twos", 9..=16) => Coding::Signed16(Order::Big),
        (b"NONE" | b"twos" | b"in24", 17..=24) => Coding::Signed24(Order::Big),
        (b"NONE" | b"twos" | b"in32", 25..=32) => Coding::Signed32(Order::Big),
        (b"sowt", 9..=16) => Coding::Signed16(Order::Little),
        (b"fl32" | b"FL32", _) => Coding::Float32(Order::Big),
        (b"fl64" | b"FL64", _) => Coding::Float64(Order::Big),
        (b"alaw" | b"ALAW", _) => Coding::ALaw,
        (b"ulaw" | b"ULAW", _) => Coding::MuLaw,
        _ => {
            return Err(AudioFileError::Unsupported {
                wanted: "an AIFF file of integers, floats, A-law or mu-law",
                found: format!("\"{}\" of {bits} bits", String::from_utf8_lossy(compression)),
            });
        }
    })
}
