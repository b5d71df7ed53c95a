//! MP3 (ISO/IEC 11172-3, 13818-3) and AAC in ADTS frames (ISO/IEC 13818-7): frames that follow each other, with tags
//! between them.
//!
//! Decides where a frame is, which frames hold no audio, and how much of the encoder's priming and padding is dropped.
//! Concatenated files, which streaming text-to-speech services send, are played to their end: each part has its own priming,
//! and may have its own rate.

use std::time::Duration;

use super::decoders::PacketDecoder;
use super::pipeline::Frames;
use super::source::ByteSource;
use super::{AudioFileError, FrameReader, Progress};

/// The longest frame: MP3 at 320 kbit/s and 32 kHz takes 1441 bytes, and the length in ADTS has 13 bits.
const MAX_FRAME_BYTES: usize = 8_192;
/// Data without a frame for this long is not MP3.
const MAX_JUNK_BYTES: u64 = 1 << 20;
/// Delay of every MP3 decoder in samples (LAME tag specification, "delays").
const DECODER_DELAY: u64 = 529;

/// A frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    bytes: usize,
    samples: u64,
    rate_hz: u32,
    /// The decoder's parameters; they change only between concatenated files.
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mp3 {
        rate_hz: u32,
        channels: u8,
        is_mpeg_1: bool,
    },
    /// The `AudioSpecificConfig`.
    Aac([u8; 2]),
}

/// Kbit/s of layer III by index: MPEG 1, then MPEG 2 and 2.5.
const KBPS: [[u32; 15]; 2] = [
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
const MP3_RATES_HZ: [u32; 3] = [44_100, 48_000, 32_000];
const AAC_RATES_HZ: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Whether `bytes` begin with a frame of either format.
pub(super) fn is_frame(bytes: &[u8]) -> bool {
    head_of(bytes).is_some()
}

fn head_of(bytes: &[u8]) -> Option<Head> {
    match bytes {
        [0xff, second, third, fourth, ..] if second & 0xe6 == 0xe2 => mp3_head(*second, *third, *fourth),
        [0xff, second, rest @ ..] if second & 0xf6 == 0xf0 => adts_head(rest),
        _ => None,
    }
}

/// ISO/IEC 11172-3, section 2.4.1.3; the rates of MPEG 2.5 are a quarter of those of MPEG 1.
fn mp3_head(second: u8, third: u8, fourth: u8) -> Option<Head> {
    let version = second >> 3 & 3;
    let is_mpeg_1 = version == 3;
    let rate_hz = *MP3_RATES_HZ.get(usize::from(third >> 2 & 3))?;
    let rate_hz = match version {
        3 => rate_hz,
        2 => rate_hz / 2,
        0 => rate_hz / 4,
        _ => return None,
    };
    let kbps = KBPS[usize::from(!is_mpeg_1)].get(usize::from(third >> 4)).filter(|kbps| **kbps > 0)?;
    let samples = if is_mpeg_1 { 1_152 } else { 576 };
    let bytes = samples as u32 / 8 * kbps * 1000 / rate_hz + u32::from(third >> 1 & 1);
    let channels = if fourth >> 6 == 3 { 1 } else { 2 };
    Some(Head { bytes: bytes as usize, samples, rate_hz, kind: Kind::Mp3 { rate_hz, channels, is_mpeg_1 } })
}

/// ISO/IEC 13818-7, section 6.2.1, after the sync word.
fn adts_head(rest: &[u8]) -> Option<Head> {
    let [a, b, c, d, ..] = rest else { return None };
    let (profile, index, channels) = (a >> 6, a >> 2 & 15, (a & 1) << 2 | b >> 6);
    let rate_hz = *AAC_RATES_HZ.get(usize::from(index))?;
    let bytes = usize::from(b & 3) << 11 | usize::from(*c) << 3 | usize::from(d >> 5);
    let config = [(profile + 1) << 3 | index >> 1, index << 7 | channels << 3];
    (bytes > 7).then_some(Head { bytes, samples: 1_024, rate_hz, kind: Kind::Aac(config) })
}

/// The encoder's data in a first frame without audio (Xing and LAME tags).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Info {
    frames: Option<u32>,
    delay: u64,
    padding: u64,
}

fn info_in(frame: &[u8], kind: Kind) -> Option<Info> {
    let Kind::Mp3 { channels, is_mpeg_1, .. } = kind else { return None };
    let side_bytes = match (is_mpeg_1, channels) {
        (true, 1) | (false, 2) => 17,
        (true, _) => 32,
        (false, _) => 9,
    };
    if frame.get(36..40) == Some(b"VBRI") {
        let frames = frame.get(50..54).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        return Some(Info { frames, ..Info::default() });
    }
    let tag = frame.get(4 + side_bytes..)?;
    if !tag.starts_with(b"Xing") && !tag.starts_with(b"Info") {
        return None;
    }
    let long = |at: usize| tag.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let flags = long(4).unwrap_or(0);
    let fields = [(1, 4), (2, 4), (4, 100), (8, 4)];
    let lame = 8 + fields.iter().map(|(flag, bytes)| if flags & flag == 0 { 0 } else { *bytes }).sum::<usize>();
    let delays = tag.get(lame + 21..lame + 24).filter(|_| tag.get(lame).is_some_and(u8::is_ascii_alphabetic));
    let delays = delays.map_or(0, |b| u64::from(b[0]) << 16 | u64::from(b[1]) << 8 | u64::from(b[2]));
    Some(Info { frames: long(8).filter(|_| flags & 1 != 0), delay: delays >> 12, padding: delays & 0xfff })
}

/// Reads frames.
pub(super) struct MpegReader {
    source: ByteSource,
    decoder: Option<(Kind, PacketDecoder)>,
    /// Whether the last item was a frame: the next frame then needs no confirmation.
    is_in_step: bool,
    junk_bytes: u64,
    /// Frames that the current part should still have; `None` if its header does not say.
    left: Option<u64>,
    /// Samples of padding after those.
    padding: u64,
    expected: Option<Duration>,
    is_begun: bool,
}

impl MpegReader {
    pub fn open(source: ByteSource) -> Box<dyn FrameReader> {
        Box::new(Self {
            source,
            decoder: None,
            is_in_step: false,
            junk_bytes: 0,
            left: None,
            padding: 0,
            expected: None,
            is_begun: false,
        })
    }

    /// Consumes everything up to the next frame and returns its header, or `None` at the end.
    fn find_frame(&mut self) -> Result<Option<Head>, AudioFileError> {
        loop {
            let here = self.source.peek(10)?;
            if here.len() < 4 {
                return Ok(None);
            }
            if let Some(bytes) = tag_bytes(here) {
                self.source.skip(bytes)?;
                self.is_in_step = false;
                continue;
            }
            let head = head_of(here);
            match head {
                Some(head) if self.is_in_step || self.is_followed(head)? => return Ok(Some(head)),
                _ => {
                    self.is_in_step = false;
                    self.junk_bytes += 1;
                    self.source.take(1);
                }
            }
            if self.junk_bytes > MAX_JUNK_BYTES {
                return Err(AudioFileError::Damaged { format: "MP3", found: "1 MB without a frame".to_owned() });
            }
        }
    }

    /// Whether another frame, a tag or the end follows: eleven sync bits alone do not identify a frame.
    fn is_followed(&mut self, head: Head) -> Result<bool, AudioFileError> {
        let here = self.source.peek(head.bytes + 10)?;
        let Some(next) = here.get(head.bytes..) else { return Ok(false) };
        Ok(next.len() < 4 || tag_bytes(next).is_some() || head_of(next).is_some_and(|next| next.kind == head.kind))
    }

    /// Begins a part, whose priming and padding are dropped.
    fn begin_part(&mut self, head: Head, info: Info) -> Result<(), AudioFileError> {
        let mut decoder = decoder_for(head.kind)?;
        let has_delays = info.delay + info.padding > 0;
        let skip = if has_delays { info.delay + DECODER_DELAY } else { 0 };
        decoder.skip(skip);
        self.decoder = Some((head.kind, decoder));
        let samples = info.frames.map(|frames| u64::from(frames) * head.samples);
        self.left = samples.map(|samples| samples.saturating_sub(info.delay + info.padding));
        self.padding = if has_delays { info.padding.saturating_sub(DECODER_DELAY) } else { 0 };
        if !self.is_begun {
            self.expected = self.left.map(|samples| seconds(samples as f64, head.rate_hz));
        }
        self.is_begun = true;
        Ok(())
    }

    /// Estimates the duration of a file without a tag, as if all its frames were like this one.
    fn guess_length(&mut self, head: Head) {
        if self.is_begun {
            return;
        }
        self.is_begun = true;
        let bytes = self.source.length_bytes().map(|length| length.saturating_sub(self.source.position()));
        self.expected =
            bytes.map(|bytes| seconds(bytes as f64 / head.bytes as f64 * head.samples as f64, head.rate_hz));
    }

    fn decode(&mut self, head: Head, frame: &[u8], frames: &mut Frames) -> Result<(), AudioFileError> {
        if self.decoder.as_ref().is_none_or(|(kind, _)| *kind != head.kind) {
            self.decoder = Some((head.kind, decoder_for(head.kind)?));
            (self.left, self.padding) = (None, 0);
        }
        let Some((_, decoder)) = &mut self.decoder else { return Ok(()) };
        // After the header, and a checksum of two bytes if there is one.
        let body = match head.kind {
            Kind::Mp3 { .. } => 0,
            Kind::Aac(_) => {
                if frame[1] & 1 == 0 {
                    9
                } else {
                    7
                }
            }
        };
        decoder.decode(frame.get(body..).unwrap_or(&[]), frames)?;
        self.trim(frames);
        Ok(())
    }

    /// Drops the padding at the end of a part. What follows belongs to a part without its own header.
    fn trim(&mut self, frames: &mut Frames) {
        let (Some(left), Some(layout)) = (self.left, frames.layout) else { return };
        let count = frames.count() as u64;
        let padding = count.saturating_sub(left).min(self.padding);
        self.padding -= padding;
        self.left = Some(left.saturating_sub(count));
        let start = left.min(count) as usize * layout.channels;
        frames.samples.drain(start..start + padding as usize * layout.channels);
    }
}

fn decoder_for(kind: Kind) -> Result<PacketDecoder, AudioFileError> {
    match kind {
        Kind::Mp3 { .. } => PacketDecoder::mp3(),
        Kind::Aac(config) => PacketDecoder::aac(&config),
    }
}

fn seconds(samples: f64, rate_hz: u32) -> Duration {
    Duration::try_from_secs_f64(samples / f64::from(rate_hz)).unwrap_or_default()
}

impl FrameReader for MpegReader {
    fn read(&mut self, frames: &mut Frames) -> Result<Progress, AudioFileError> {
        let Some(head) = self.find_frame()? else {
            // The header's count is approximate: a missing tenth of a second is not a truncation.
            let is_short = self.left.is_some_and(|left| left > 4_800);
            return Ok(if is_short { Progress::Truncated } else { Progress::Complete });
        };
        let bytes = head.bytes.min(MAX_FRAME_BYTES);
        let Some(frame) = self.source.take_exact(bytes)? else {
            self.source.skip(u64::MAX)?;
            return Ok(Progress::More);
        };
        (self.is_in_step, self.junk_bytes) = (true, 0);
        if let Some(info) = info_in(&frame, head.kind) {
            self.begin_part(head, info)?;
            return Ok(Progress::More);
        }
        self.guess_length(head);
        self.decode(head, &frame, frames)?;
        Ok(Progress::More)
    }

    fn expected(&self) -> Option<Duration> {
        self.expected
    }

    fn position(&self) -> u64 {
        self.source.position()
    }
}

/// The length of a tag that begins here: ID3v2 (id3.org, version 2.4, section 3.1), `ID3v1` or APE.
pub(super) fn tag_bytes(bytes: &[u8]) -> Option<u64> {
    match bytes {
        [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] => {
            let size = [a, b, c, d].into_iter().fold(0, |size, byte| (size << 7) | u64::from(byte & 0x7f));
            let footer = if flags & 0x10 == 0 { 0 } else { 10 };
            Some(10 + size + footer)
        }
        [b'T', b'A', b'G', ..] => Some(128),
        [b'A', b'P', b'E', b'T', b'A', b'G', b'E', b'X', ..] => {
            let size = bytes.get(12..16).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            // The size does not include the header of 32 bytes.
            Some(32 + u64::from(size))
        }
        _ => None,
    }
}
