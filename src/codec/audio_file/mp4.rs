//! MP4 and M4A (ISO/IEC 14496-12, 14496-14), plain or fragmented: the packets of the first audio track.
//!
//! Decides which boxes are read, by their actual content, never by the counts they claim. symphonia's reader is not used: it
//! allocates the number of entries that a table claims, up to 4 GB, which ends the process.

use std::collections::VecDeque;
use std::time::Duration;

use super::decoders::PacketDecoder;
use super::flac::STREAM_INFO_BYTES;
use super::pipeline::Frames;
use super::source::ByteSource;
use super::{AudioFileError, FrameReader, MAX_BUFFERED_BYTES, Progress};

/// Maximum size of the `moov` box: enough for 12 hours of AAC.
const MAX_TABLE_BYTES: u64 = 8 << 20;
/// Maximum size of a packet: a second of raw samples.
const MAX_PACKET_BYTES: u32 = 1 << 20;

/// Position and size of a packet.
type Location = (u64, u32);

/// Reads packets.
pub(super) struct Mp4Reader {
    source: ByteSource,
    decoder: PacketDecoder,
    track: Track,
    places: VecDeque<Location>,
    is_cut: bool,
}

/// Properties of the selected track, from the `moov` box.
struct Track {
    id: u32,
    expected: Option<Duration>,
    /// Default size of packets in fragments.
    fragment_bytes: u32,
}

fn damaged(found: &str) -> AudioFileError {
    AudioFileError::Damaged { format: "MP4", found: found.to_owned() }
}

/// The type of a box and the size of its body.
type BoxHead = ([u8; 4], Option<u64>);

/// The header of the next box: its type and the size of its body; `None` for "to the end of the file".
fn box_head(source: &mut ByteSource) -> Result<Option<BoxHead>, AudioFileError> {
    let Some(head) = source.take_exact(8)? else { return Ok(None) };
    let name = [head[4], head[5], head[6], head[7]];
    let length = match u32::from_be_bytes([head[0], head[1], head[2], head[3]]) {
        0 => None,
        1 => {
            let long = source.take_exact(8)?.ok_or_else(|| damaged("a truncated box"))?;
            Some(long.try_into().map_or(0, u64::from_be_bytes).saturating_sub(16))
        }
        length => Some(u64::from(length).saturating_sub(8)),
    };
    Ok(Some((name, length)))
}

/// The boxes within a body; a truncated last one is dropped.
fn boxes(body: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let length = usize::try_from(long(rest, 0)?).ok()?;
        let name = rest.get(4..8)?;
        let inside = rest.get(8..length)?;
        rest = &rest[length..];
        Some((name, inside))
    })
}

/// The first box at the end of a path.
fn inside<'a>(body: &'a [u8], path: &[&[u8]]) -> Option<&'a [u8]> {
    path.iter().try_fold(body, |body, name| boxes(body).find(|(its, _)| its == name).map(|(_, inside)| inside))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// The rows of a table whose header of `head` bytes ends with their number: those actually present.
fn rows(table: &[u8], head: usize, width: usize) -> impl Iterator<Item = &[u8]> {
    let count = head.checked_sub(4).and_then(|at| long(table, at)).unwrap_or(0);
    table.get(head..).unwrap_or(&[]).chunks_exact(width).take(count as usize)
}

impl Mp4Reader {
    pub fn open(mut source: ByteSource) -> Result<Box<dyn FrameReader>, AudioFileError> {
        while let Some((name, length)) = box_head(&mut source)? {
            match (&name, length) {
                (b"moov", Some(length)) if length <= MAX_TABLE_BYTES => {
                    let table = source.take_exact(length as usize)?.ok_or_else(|| damaged("a truncated moov box"))?;
                    return Self::with_table(source, &table);
                }
                (b"moov", _) => return Err(damaged("a moov box of more than 8 MB")),
                (b"mdat", _) => {
                    // The `moov` box comes last: audio follows once it was read.
                    source.make_seekable(MAX_BUFFERED_BYTES)?;
                    let next = length.map(|length| source.position().saturating_add(length));
                    let Some(next) = next.filter(|next| source.length_bytes().is_some_and(|end| next < &end)) else {
                        break;
                    };
                    source.go_to(next)?;
                }
                (_, Some(length)) => drop(source.skip(length)?),
                (_, None) => break,
            }
        }
        Err(AudioFileError::NoTrack)
    }

    fn with_table(source: ByteSource, table: &[u8]) -> Result<Box<dyn FrameReader>, AudioFileError> {
        let is_sound =
            |track: &&[u8]| inside(track, &[b"mdia", b"hdlr"]).and_then(|hdlr| hdlr.get(8..12)) == Some(b"soun");
        let track = boxes(table).filter(|(name, _)| name == b"trak").map(|(_, track)| track).find(is_sound);
        let track = track.ok_or(AudioFileError::NoTrack)?;
        let samples = inside(track, &[b"mdia", b"minf", b"stbl"]).ok_or(AudioFileError::NoTrack)?;
        let mut decoder = decoder_of(inside(samples, &[b"stsd"]).ok_or(AudioFileError::NoTrack)?)?;
        if let Some(skip) = run_in(track) {
            decoder.skip(skip);
        }
        let places = places_of(samples);
        let track = Track {
            id: track_id(track).unwrap_or(1),
            expected: duration_of(track),
            fragment_bytes: fragment_bytes(table).unwrap_or(0),
        };
        Ok(Box::new(Self { source, decoder, track, places, is_cut: false }))
    }

    /// Reads the next fragment; returns whether there was one.
    fn next_fragment(&mut self) -> Result<bool, AudioFileError> {
        loop {
            let start = self.source.position();
            let Some((name, length)) = box_head(&mut self.source)? else { return Ok(false) };
            match (&name, length) {
                (b"moof", Some(length)) if length <= MAX_TABLE_BYTES => {
                    let Some(table) = self.source.take_exact(length as usize)? else {
                        self.is_cut = true;
                        return Ok(false);
                    };
                    self.places.extend(fragment_places(&table, start, &self.track));
                    if !self.places.is_empty() {
                        return Ok(true);
                    }
                }
                (_, Some(length)) => drop(self.source.skip(length)?),
                (_, None) => return Ok(false),
            }
        }
    }
}

impl FrameReader for Mp4Reader {
    fn read(&mut self, frames: &mut Frames) -> Result<Progress, AudioFileError> {
        let Some((at, length)) = self.places.pop_front() else {
            let has_more = self.next_fragment()?;
            return Ok(if has_more {
                Progress::More
            } else if self.is_cut {
                Progress::Truncated
            } else {
                Progress::Complete
            });
        };
        let is_there = length <= MAX_PACKET_BYTES && self.source.go_to(at)?;
        let packet = if is_there { self.source.take_exact(length as usize)? } else { None };
        let Some(packet) = packet else {
            self.places.clear();
            self.is_cut = true;
            return Ok(Progress::Truncated);
        };
        self.decoder.decode(&packet, frames)?;
        Ok(Progress::More)
    }

    fn expected(&self) -> Option<Duration> {
        self.track.expected
    }

    fn position(&self) -> u64 {
        self.source.position()
    }
}

/// The id of a track: after two times of 4 or 8 bytes.
fn track_id(track: &[u8]) -> Option<u32> {
    let head = inside(track, &[b"tkhd"])?;
    long(head, if head.first() == Some(&1) { 20 } else { 12 })
}

/// Time scale and duration of a track.
fn media_time(track: &[u8]) -> Option<(u32, u64)> {
    let head = inside(track, &[b"mdia", b"mdhd"])?;
    if head.first() == Some(&1) {
        let length = head.get(24..32)?.try_into().ok()?;
        Some((long(head, 20)?, u64::from_be_bytes(length)))
    } else {
        Some((long(head, 12)?, u64::from(long(head, 16)?)))
    }
}

fn duration_of(track: &[u8]) -> Option<Duration> {
    let (scale, length) = media_time(track)?;
    Duration::try_from_secs_f64(length as f64 / f64::from(scale)).ok().filter(|duration| !duration.is_zero())
}

/// Priming frames that an edit list drops; the time scale of audio is its sample rate.
fn run_in(track: &[u8]) -> Option<u64> {
    let edits = inside(track, &[b"edts", b"elst"])?;
    let times = if edits.first() == Some(&1) {
        rows(edits, 8, 20).filter_map(|row| Some(i64::from_be_bytes(row[8..16].try_into().ok()?))).collect::<Vec<_>>()
    } else {
        rows(edits, 8, 12).filter_map(|row| Some(i64::from(long(row, 4)?.cast_signed()))).collect()
    };
    // Negative media times are pauses before the audio.
    times.into_iter().find(|time| *time >= 0).map(i64::cast_unsigned)
}

/// The decoder for the first sample description of a track.
fn decoder_of(descriptions: &[u8]) -> Result<PacketDecoder, AudioFileError> {
    let (name, entry) = boxes(descriptions.get(8..).unwrap_or(&[])).next().ok_or(AudioFileError::NoTrack)?;
    // Versions 1 and 2 of QuickTime's sample description are longer.
    let head = match entry.get(8..10) {
        Some([0, 1]) => 44,
        Some([0, 2]) => 64,
        _ => 28,
    };
    let extra = entry.get(head..).unwrap_or(&[]);
    let of = |name: &[u8]| inside(extra, &[name]).or_else(|| inside(extra, &[b"wave", name]));
    let missing = || damaged("a track without codec configuration");
    match name {
        b"mp4a" => of_esds(of(b"esds").ok_or_else(missing)?),
        b"alac" => PacketDecoder::alac(of(b"alac").and_then(|body| body.get(4..)).ok_or_else(missing)?),
        b"fLaC" => {
            PacketDecoder::flac(of(b"dfLa").and_then(|body| body.get(8..8 + STREAM_INFO_BYTES)).ok_or_else(missing)?)
        }
        b"Opus" => of_dops(of(b"dOps").ok_or_else(missing)?),
        other => {
            Err(AudioFileError::Unsupported { wanted: "AAC, ALAC, FLAC, MP3 or Opus in MP4", found: codec_name(other) })
        }
    }
}

/// Opus in ISOBMFF (0.8.1, section 4.3.2): the fields of Ogg's header in big-endian order.
fn of_dops(dops: &[u8]) -> Result<PacketDecoder, AudioFileError> {
    let [version, channels, skip_high, skip_low, rate @ .., gain_high, gain_low, mapping] =
        dops.get(..11).unwrap_or(&[])
    else {
        return Err(damaged("a truncated Opus header"));
    };
    let rate: Vec<u8> = rate.iter().rev().copied().collect();
    let head = [&[*version, *channels, *skip_low, *skip_high][..], &rate, &[*gain_low, *gain_high, *mapping]].concat();
    PacketDecoder::opus(&head)
}

fn codec_name(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name).into_owned();
    match name {
        b"drms" | b"enca" => format!("\"{text}\", an encrypted track"),
        b"ac-3" | b"ec-3" => format!("\"{text}\" (Dolby Digital)"),
        b"samr" | b"sawb" => format!("\"{text}\" (AMR)"),
        _ => format!("\"{text}\""),
    }
}

/// An elementary stream descriptor (ISO/IEC 14496-1, section 7.2.6.5): the stream type and the decoder's configuration.
fn of_esds(esds: &[u8]) -> Result<PacketDecoder, AudioFileError> {
    let breaks_off = || damaged("a truncated descriptor");
    let stream = descriptor(esds.get(4..).unwrap_or(&[]), 3).ok_or_else(breaks_off)?;
    let flags = *stream.get(2).ok_or_else(breaks_off)?;
    let optional =
        [(0x80, 2), (0x20, 2)].iter().map(|(flag, bytes)| if flags & flag == 0 { 0 } else { *bytes }).sum::<usize>();
    let config = descriptor(stream.get(3 + optional..).unwrap_or(&[]), 4).ok_or_else(breaks_off)?;
    match config.first() {
        Some(0x40 | 0x66..=0x68) => {
            let settings = descriptor(config.get(13..).unwrap_or(&[]), 5).ok_or_else(breaks_off)?;
            PacketDecoder::aac(settings)
        }
        Some(0x69 | 0x6b) => PacketDecoder::mp3(),
        other => Err(AudioFileError::Unsupported {
            wanted: "AAC or MP3 in an MPEG-4 track",
            found: format!("stream type {}", other.copied().unwrap_or(0)),
        }),
    }
}

/// The body of the first descriptor with this tag; lengths have 7 bits per byte.
fn descriptor(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut rest = bytes;
    loop {
        let (&found, mut after) = rest.split_first()?;
        let mut length = 0;
        for _ in 0..4 {
            let (&byte, next) = after.split_first()?;
            (length, after) = (length << 7 | usize::from(byte & 0x7f), next);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let body = &after[..length.min(after.len())];
        if found == tag {
            return Some(body);
        }
        rest = after.get(length..)?;
    }
}

/// Locations of packets, from the tables of chunk offsets, samples per chunk, and sample sizes.
fn places_of(samples: &[u8]) -> VecDeque<Location> {
    let table = |name: &[u8]| inside(samples, &[name]).unwrap_or(&[]);
    let short = rows(table(b"stco"), 8, 4).filter_map(|row| long(row, 0).map(u64::from));
    let wide = rows(table(b"co64"), 8, 8).filter_map(|row| Some(u64::from_be_bytes(row.try_into().ok()?)));
    let runs: Vec<(u32, u32)> =
        rows(table(b"stsc"), 8, 12).filter_map(|row| Some((long(row, 0)?, long(row, 4)?))).collect();
    let stsz = table(b"stsz");
    let alike = long(stsz, 4).filter(|bytes| *bytes > 0);
    // Packets of constant size have no size table; reading ends at the end of the file.
    let count = long(stsz, 8).unwrap_or(0).min(MAX_TABLE_BYTES as u32);
    let mut sizes = rows(stsz, 12, 4)
        .filter_map(|row| long(row, 0))
        .chain(alike.into_iter().flat_map(|bytes| std::iter::repeat_n(bytes, count as usize)));
    let (mut places, mut run) = (VecDeque::new(), 0);
    for (chunk, start) in (1_u32..).zip(short.chain(wide)) {
        while runs.get(run + 1).is_some_and(|(first, _)| *first <= chunk) {
            run += 1;
        }
        let mut at = start;
        for _ in 0..runs.get(run).map_or(0, |(_, packets)| *packets) {
            let Some(bytes) = sizes.next() else { return places };
            places.push_back((at, bytes));
            at += u64::from(bytes);
        }
    }
    places
}

/// The default size of packets in fragments.
fn fragment_bytes(table: &[u8]) -> Option<u32> {
    long(inside(table, &[b"mvex", b"trex"])?, 16)
}

/// Locations of the packets of a fragment that begins at `start` (ISO/IEC 14496-12, sections 8.8.7 and 8.8.8).
fn fragment_places(table: &[u8], start: u64, track: &Track) -> Vec<Location> {
    let mut places = Vec::new();
    for (_, part) in boxes(table).filter(|(name, _)| name == b"traf") {
        let Some(head) = inside(part, &[b"tfhd"]) else { continue };
        if long(head, 4) != Some(track.id) {
            continue;
        }
        let flags = long(head, 0).unwrap_or(0);
        let field = |flag: u32, before: &[(u32, usize)]| {
            let at = 8 + before.iter().map(|(flag, bytes)| if flags & flag == 0 { 0 } else { *bytes }).sum::<usize>();
            head.get(at..).filter(|_| flags & flag != 0)
        };
        let base = field(1, &[]).and_then(|bytes| Some(u64::from_be_bytes(bytes.first_chunk().copied()?)));
        let bytes = field(0x10, &[(1, 8), (2, 4), (8, 4)]).and_then(|bytes| long(bytes, 0));
        let mut at = base.unwrap_or(start);
        for (_, run) in boxes(part).filter(|(name, _)| name == b"trun") {
            at = run_places(run, (base.unwrap_or(start), at), bytes.unwrap_or(track.fragment_bytes), &mut places);
        }
    }
    places
}

/// The packets of one run; returns where the next run begins unless it has an offset of its own.
fn run_places(run: &[u8], (base, next): (u64, u64), usual_bytes: u32, places: &mut Vec<Location>) -> u64 {
    let flags = long(run, 0).unwrap_or(0);
    let has = |flag: u32| usize::from(flags & flag != 0) * 4;
    let offset = long(run, 8).filter(|_| flags & 1 != 0);
    let mut at = offset.map_or(next, |offset| base.saturating_add_signed(i64::from(offset.cast_signed())));
    let width = has(0x100) + has(0x200) + has(0x400) + has(0x800);
    let head = 8 + has(1) + has(4);
    let count = long(run, 4).unwrap_or(0) as usize;
    let rows = run.get(head..).unwrap_or(&[]);
    // Without a row per packet their number is unproven: one second of packets is enough for a fragment.
    let count = count.min(rows.len().checked_div(width).unwrap_or(1_000));
    for n in 0..count {
        let bytes = if flags & 0x200 == 0 { Some(usual_bytes) } else { long(rows, n * width + has(0x100)) };
        places.push((at, bytes.unwrap_or(usual_bytes)));
        at += u64::from(bytes.unwrap_or(usual_bytes));
    }
    at
}
