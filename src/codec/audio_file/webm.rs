//! WebM and Matroska (RFC 8794, RFC 9559): the packets of the first track of sound, as browsers' recorders write them.
//!
//! Decides what is entered, read and skipped. Elements need no end here: a live recording does not know the length of its
//! clusters. symphonia's reader is not used: it needs lengths, and goes back in the file.

use std::time::Duration;

use super::decoders::PacketDecoder;
use super::flac::STREAM_INFO_BYTES;
use super::pipeline::Frames;
use super::source::ByteSource;
use super::{AudioFileError, FrameReader, Progress};

const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_a966;
const TIMESTAMP_SCALE: u32 = 0x2a_d7b1;
const DURATION: u32 = 0x4489;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK_ENTRY: u32 = 0xae;
const CLUSTER: u32 = 0x1f43_b675;
const BLOCK_GROUP: u32 = 0xa0;
const BLOCK: u32 = 0xa1;
const SIMPLE_BLOCK: u32 = 0xa3;
const TRACK_NUMBER: u32 = 0xd7;
const TRACK_TYPE: u32 = 0x83;
const CODEC_ID: u32 = 0x86;
const CODEC_PRIVATE: u32 = 0x63a2;
const CONTENT_ENCODINGS: u32 = 0x6d80;
/// The largest element that is read whole: a packet, or a track's description.
const MOST_ELEMENT_BYTES: u64 = 1 << 20;
/// A type of track.
const SOUND: u64 = 2;

/// Reads packets.
pub(super) struct WebmReader {
    source: ByteSource,
    track: Option<(u64, PacketDecoder)>,
    /// Nanoseconds of a tick.
    scale_ns: u64,
    duration_ticks: Option<f64>,
}

/// A number of 1 to 8 bytes whose first bit set says how many (RFC 8794, section 4); its marker kept or taken off.
fn number(bytes: &[u8], keeps_marker: Marker) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    let whole = bytes.get(..length).filter(|_| length <= 8)?;
    let value = whole.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let marker = 1_u64 << (7 * length);
    Some((if keeps_marker == Marker::Kept { value } else { value & (marker - 1) }, length))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Marker {
    Kept,
    TakenOff,
}

/// An element's name and length at the front of some bytes, and how many bytes both take. A length of nothing but ones is
/// not known.
fn element(bytes: &[u8]) -> Option<(u32, Option<u64>, usize)> {
    let (id, id_bytes) = number(bytes, Marker::Kept)?;
    let (length, length_bytes) = number(&bytes[id_bytes..], Marker::TakenOff)?;
    let is_open = length == (1 << (7 * length_bytes)) - 1;
    Some((u32::try_from(id).ok()?, (!is_open).then_some(length), id_bytes + length_bytes))
}

/// The elements in a body; what breaks off is left out.
fn elements(body: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (id, length, head) = element(rest)?;
        let inside = rest.get(head..)?.get(..usize::try_from(length?).ok()?)?;
        rest = &rest[head + inside.len()..];
        Some((id, inside))
    })
}

fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn float(bytes: &[u8]) -> Option<f64> {
    match bytes.len() {
        4 => Some(f64::from(f32::from_be_bytes(*bytes.first_chunk()?))),
        8 => Some(f64::from_be_bytes(*bytes.first_chunk()?)),
        _ => None,
    }
}

impl WebmReader {
    pub fn open(source: ByteSource) -> Result<Box<dyn FrameReader>, AudioFileError> {
        let mut reader = Self { source, track: None, scale_ns: 1_000_000, duration_ticks: None };
        let mut frames = Frames::default();
        while reader.track.is_none() {
            if reader.read(&mut frames)? != Progress::More {
                return Err(AudioFileError::NoTrack);
            }
        }
        Ok(Box::new(reader))
    }

    fn take_whole(&mut self, length: u64) -> Result<Option<Vec<u8>>, AudioFileError> {
        if length > MOST_ELEMENT_BYTES {
            let found = format!("an element of {length} bytes");
            return Err(AudioFileError::Damaged { format: "WebM", found });
        }
        self.source.take_exact(length as usize)
    }

    fn describe(&mut self, entry: &[u8]) -> Result<(), AudioFileError> {
        let of = |wanted: u32| elements(entry).find(|(id, _)| *id == wanted).map(|(_, body)| body);
        if self.track.is_some() || of(TRACK_TYPE).map(unsigned) != Some(SOUND) {
            return Ok(());
        }
        if of(CONTENT_ENCODINGS).is_some() {
            let found = "packets that are compressed or encrypted".to_owned();
            return Err(AudioFileError::Unsupported { wanted: "a WebM file of plain packets", found });
        }
        let decoder = decoder_of(of(CODEC_ID).unwrap_or(&[]), of(CODEC_PRIVATE).unwrap_or(&[]))?;
        self.track = Some((of(TRACK_NUMBER).map_or(1, unsigned), decoder));
        Ok(())
    }

    /// A block: the track's number, a time, flags, and one packet or several of them (RFC 9559, section 10).
    fn play(&mut self, block: &[u8], frames: &mut Frames) -> Result<(), AudioFileError> {
        let Some((number, head)) = number(block, Marker::TakenOff) else { return Ok(()) };
        let (Some((_, decoder)), Some(flags)) =
            (self.track.as_mut().filter(|(its, _)| *its == number), block.get(head + 2))
        else {
            return Ok(());
        };
        let body = &block[head + 3..];
        packets_of(body, flags >> 1 & 3).into_iter().try_for_each(|packet| decoder.decode(packet, frames))
    }
}

impl FrameReader for WebmReader {
    fn read(&mut self, frames: &mut Frames) -> Result<Progress, AudioFileError> {
        let here = self.source.peek(12)?;
        if here.is_empty() {
            return Ok(Progress::Whole);
        }
        let Some((id, length, head)) = element(here) else { return Ok(Progress::Broken) };
        self.source.take(head);
        let is_known = matches!(id, TRACK_ENTRY | BLOCK | SIMPLE_BLOCK | TIMESTAMP_SCALE | DURATION);
        match (id, length) {
            (SEGMENT | INFO | TRACKS | CLUSTER | BLOCK_GROUP, _) => {}
            (_, Some(length)) if is_known => {
                let Some(body) = self.take_whole(length)? else { return Ok(Progress::Broken) };
                match id {
                    TRACK_ENTRY => self.describe(&body)?,
                    TIMESTAMP_SCALE => self.scale_ns = unsigned(&body),
                    DURATION => self.duration_ticks = float(&body),
                    _ => self.play(&body, frames)?,
                }
            }
            (_, Some(length)) if self.source.skip(length)? => {}
            _ => return Ok(Progress::Broken),
        }
        Ok(Progress::More)
    }

    fn expected(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.duration_ticks? * self.scale_ns as f64 / 1e9).ok()
    }

    fn position(&self) -> u64 {
        self.source.position()
    }
}

fn decoder_of(codec: &[u8], private: &[u8]) -> Result<PacketDecoder, AudioFileError> {
    match codec {
        b"A_OPUS" => PacketDecoder::opus(private.strip_prefix(b"OpusHead").unwrap_or(private)),
        b"A_VORBIS" => match packets_of(private, 1)[..] {
            [identification, _, setup] => PacketDecoder::vorbis(identification, setup),
            _ => Err(AudioFileError::Damaged { format: "WebM", found: "a track without its headers".to_owned() }),
        },
        b"A_FLAC" => PacketDecoder::flac(private.get(8..8 + STREAM_INFO_BYTES).unwrap_or(&[])),
        b"A_MPEG/L3" => PacketDecoder::mp3(),
        other if other.starts_with(b"A_AAC") => PacketDecoder::aac(private),
        other => Err(AudioFileError::Unsupported {
            wanted: "Opus, Vorbis, AAC, FLAC or MP3 in WebM",
            found: String::from_utf8_lossy(other).into_owned(),
        }),
    }
}

/// The packets of a block by its lacing: 0 none, 1 Xiph, 2 of one size, 3 EBML. What does not add up gives none.
fn packets_of(body: &[u8], lacing: u8) -> Vec<&[u8]> {
    let Some((&count, rest)) = body.split_first().filter(|_| lacing != 0) else { return vec![body] };
    let count = usize::from(count) + 1;
    let sizes = match lacing {
        1 => xiph_sizes(rest, count - 1),
        2 => Some((vec![rest.len() / count; count - 1], rest)),
        _ => ebml_sizes(rest, count - 1),
    };
    let Some((sizes, mut rest)) = sizes else { return Vec::new() };
    let mut packets = Vec::new();
    for size in sizes {
        let Some((packet, after)) = rest.split_at_checked(size) else { return packets };
        packets.push(packet);
        rest = after;
    }
    packets.push(rest);
    packets
}

fn xiph_sizes(mut rest: &[u8], count: usize) -> Option<(Vec<usize>, &[u8])> {
    let mut sizes = Vec::new();
    for _ in 0..count {
        let full = rest.iter().take_while(|byte| **byte == 255).count();
        sizes.push(full * 255 + usize::from(*rest.get(full)?));
        rest = &rest[full + 1..];
    }
    Some((sizes, rest))
}

/// The first size, then differences around the middle of each number's range.
fn ebml_sizes(mut rest: &[u8], count: usize) -> Option<(Vec<usize>, &[u8])> {
    let mut sizes: Vec<usize> = Vec::new();
    for _ in 0..count {
        let (value, bytes) = number(rest, Marker::TakenOff)?;
        let middle = (1_i64 << (7 * bytes - 1)) - 1;
        let size = match sizes.last() {
            None => i64::try_from(value).ok()?,
            Some(last) => i64::try_from(*last).ok()? + i64::try_from(value).ok()? - middle,
        };
        sizes.push(usize::try_from(size).ok()?);
        rest = &rest[bytes..];
    }
    Some((sizes, rest))
}
