//! Ogg (RFC 3533): pages to packets, and the three supported codecs.
//!
//! Decides which streams are played: the first that is Opus (RFC 7845), Vorbis or FLAC, and after its end the next, as in
//! a chained file, which concatenated files and streaming text to speech produce. Checksums are not verified: the decoder
//! detects damage. symphonia's reader is not used: it does not report a missing last page, which is the sign of a truncated
//! file, keeps Opus samples past the end, and allocates what a comment claims.

use std::time::Duration;

use super::decoders::PacketDecoder;
use super::flac::STREAM_INFO_BYTES;
use super::pipeline::Frames;
use super::source::ByteSource;
use super::{AudioFileError, FrameReader, Progress};
use crate::time::OPUS_HZ;

/// Flags of a page (RFC 3533, section 6).
const CONTINUED: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;
/// Length of a page header without its segment table.
const HEAD_BYTES: usize = 27;
/// Maximum packet: ten times a second of any of the codecs.
const MAX_PACKET_BYTES: usize = 1 << 20;
/// Bytes at the end of a file that are searched for its last page, which is shorter.
const TAIL_BYTES: u64 = 128 << 10;

struct Page {
    flags: u8,
    granule: u64,
    serial: u32,
    lacing: Vec<u8>,
    body: Vec<u8>,
    /// Whether the body is complete.
    is_whole: bool,
}

/// Consumes the next page, or data up to the next possible page.
fn next_page(source: &mut ByteSource) -> Result<Option<Page>, AudioFileError> {
    loop {
        let here = source.peek(HEAD_BYTES)?;
        if here.len() < HEAD_BYTES {
            return Ok(None);
        }
        match here.windows(4).position(|four| four == b"OggS") {
            Some(0) => break,
            Some(at) => source.take(at),
            None => {
                let junk = here.len() - 3;
                source.take(junk);
            }
        }
    }
    let head = source.take_exact(HEAD_BYTES)?.unwrap_or_default();
    let Some(lacing) = source.take_exact(usize::from(head[26]))? else { return Ok(None) };
    let wanted = lacing.iter().map(|length| usize::from(*length)).sum::<usize>();
    let here = source.peek(wanted)?;
    let body = here[..wanted.min(here.len())].to_vec();
    source.take(body.len());
    let granule = head[6..14].try_into().map_or(u64::MAX, u64::from_le_bytes);
    let serial = head[14..18].try_into().map_or(0, u32::from_le_bytes);
    Ok(Some(Page { flags: head[5], granule, serial, lacing, is_whole: body.len() == wanted, body }))
}

/// Decodes the packets of a stream.
enum Player {
    Opus { decoder: Option<PacketDecoder>, headers: u32, pre_skip: u64 },
    Vorbis { identification: Vec<u8>, headers: u32, decoder: Option<PacketDecoder> },
    Flac { decoder: Option<PacketDecoder> },
}

/// One logical stream: between the first and the last page of one serial number.
struct Link {
    player: Player,
    serial: u32,
    partial: Vec<u8>,
    /// Frames given so far.
    frames: u64,
    has_audio: bool,
}

/// Reads the audio streams one after the other.
pub(super) struct OggReader {
    source: ByteSource,
    link: Option<Link>,
    /// Whether a stream's last page was read: the end of the file is then the end of the audio.
    is_ended: bool,
    /// An unsupported codec that was found.
    refused: Option<&'static str>,
    /// The rate of granule positions; 0 before the first stream.
    rate_hz: u32,
    last: Option<(u32, u64)>,
    first_serial: Option<u32>,
}

impl OggReader {
    pub fn open(mut source: ByteSource) -> Result<Box<dyn FrameReader>, AudioFileError> {
        let last = last_page(&mut source)?;
        Ok(Box::new(Self { source, link: None, is_ended: false, refused: None, rate_hz: 0, last, first_serial: None }))
    }

    fn begin_link(&mut self, page: &Page) -> Result<(), AudioFileError> {
        let Some(player) = player_of(&page.body)? else {
            self.refused = self.refused.or(codec_name(&page.body));
            return Ok(());
        };
        if self.first_serial.is_none() {
            self.first_serial = Some(page.serial);
            self.rate_hz = rate_of(&page.body);
        }
        self.link = Some(Link { player, serial: page.serial, partial: Vec::new(), frames: 0, has_audio: false });
        self.is_ended = false;
        Ok(())
    }

    fn end(&self) -> Result<Progress, AudioFileError> {
        match self.refused {
            Some(codec) if self.first_serial.is_none() => {
                Err(AudioFileError::Unsupported { wanted: "Opus, Vorbis or FLAC in Ogg", found: codec.to_owned() })
            }
            _ if self.first_serial.is_none() => Err(AudioFileError::NoTrack),
            _ => Ok(if self.is_ended { Progress::Complete } else { Progress::Truncated }),
        }
    }
}

impl FrameReader for OggReader {
    fn read(&mut self, frames: &mut Frames) -> Result<Progress, AudioFileError> {
        let Some(page) = next_page(&mut self.source)? else { return self.end() };
        // Concurrent streams all begin before the first page of audio; one that begins later replaces the current one.
        let is_next = self.link.as_ref().is_none_or(|link| link.has_audio && page.serial != link.serial);
        if page.flags & FIRST != 0 && is_next {
            self.begin_link(&page)?;
        }
        let Some(link) = self.link.as_mut().filter(|link| link.serial == page.serial) else {
            return Ok(Progress::More);
        };
        link.page(&page, frames)?;
        if page.flags & LAST != 0 && page.is_whole {
            self.link = None;
            self.is_ended = true;
        }
        Ok(Progress::More)
    }

    fn expected(&self) -> Option<Duration> {
        let (_, samples) = self.last.filter(|(serial, _)| Some(*serial) == self.first_serial)?;
        (self.rate_hz > 0).then(|| Duration::try_from_secs_f64(samples as f64 / f64::from(self.rate_hz)).ok()).flatten()
    }

    fn position(&self) -> u64 {
        self.source.position()
    }
}

impl Link {
    fn page(&mut self, page: &Page, frames: &mut Frames) -> Result<(), AudioFileError> {
        if page.flags & CONTINUED == 0 {
            self.partial.clear();
        }
        let mut body = &page.body[..];
        for length in &page.lacing {
            let Some((segment, after)) = body.split_at_checked(usize::from(*length)) else { break };
            body = after;
            if self.partial.len() < MAX_PACKET_BYTES {
                self.partial.extend_from_slice(segment);
            }
            if *length < 255 {
                let packet = std::mem::take(&mut self.partial);
                self.player.play(&packet, frames)?;
            }
        }
        self.count(page, frames);
        Ok(())
    }

    /// The last page states the length of the audio: samples of the last packet beyond it are dropped.
    fn count(&mut self, page: &Page, frames: &mut Frames) {
        let Some(layout) = frames.layout else { return };
        self.has_audio = true;
        let count = frames.count() as u64;
        let end = page.granule.saturating_sub(self.player.pre_skip());
        if page.flags & LAST != 0 && page.is_whole && page.granule != u64::MAX && end >= self.frames {
            let kept = count.min(end - self.frames) as usize;
            frames.samples.truncate(kept * layout.channels);
        }
        self.frames += frames.count() as u64;
    }
}

fn player_of(first: &[u8]) -> Result<Option<Player>, AudioFileError> {
    if let Some(head) = first.strip_prefix(b"OpusHead") {
        let pre_skip = head.get(2..4).map_or(0, |bytes| u64::from(u16::from_le_bytes([bytes[0], bytes[1]])));
        return Ok(Some(Player::Opus { decoder: Some(PacketDecoder::opus(head)?), headers: 0, pre_skip }));
    }
    if first.starts_with(b"\x01vorbis") {
        return Ok(Some(Player::Vorbis { identification: Vec::new(), headers: 0, decoder: None }));
    }
    Ok(first.starts_with(b"\x7fFLAC").then_some(Player::Flac { decoder: None }))
}

/// The rate of a stream's granule positions.
fn rate_of(first: &[u8]) -> u32 {
    let long = |at: usize| first.get(at..at + 4).map(|b| [b[0], b[1], b[2], b[3]]);
    if first.starts_with(b"\x01vorbis") {
        long(12).map_or(0, u32::from_le_bytes)
    } else if first.starts_with(b"\x7fFLAC") {
        long(27).map_or(0, |bytes| u32::from_be_bytes(bytes) >> 12)
    } else {
        OPUS_HZ
    }
}

fn codec_name(first: &[u8]) -> Option<&'static str> {
    match first {
        [b'S', b'p', b'e', b'e', b'x', ..] => Some("Speex"),
        [0x80, b't', b'h', b'e', b'o', b'r', b'a', ..] => Some("a video in Theora"),
        _ => None,
    }
}

impl Player {
    fn pre_skip(&self) -> u64 {
        if let Self::Opus { pre_skip, .. } = self { *pre_skip } else { 0 }
    }

    fn play(&mut self, packet: &[u8], frames: &mut Frames) -> Result<(), AudioFileError> {
        match self {
            Self::Opus { headers, .. } if *headers < 2 => {
                *headers += 1;
                Ok(())
            }
            Self::Vorbis { identification, headers, decoder } if decoder.is_none() => {
                *headers += 1;
                match *headers {
                    1 => *identification = packet.to_vec(),
                    3 => *decoder = Some(PacketDecoder::vorbis(identification, packet)?),
                    _ => {}
                }
                Ok(())
            }
            // The mapping's header, the magic and a block header precede the stream info (RFC 9639, section 10.1).
            Self::Flac { decoder } if decoder.is_none() => {
                let info = packet.get(17..17 + STREAM_INFO_BYTES).ok_or(AudioFileError::NoTrack)?;
                *decoder = Some(PacketDecoder::flac(info)?);
                Ok(())
            }
            // Frames begin with a sync code of ones; the other packets are metadata.
            Self::Flac { .. } if packet.first() != Some(&0xff) => Ok(()),
            Self::Opus { decoder, .. } | Self::Vorbis { decoder, .. } | Self::Flac { decoder } => {
                decoder.as_mut().map_or(Ok(()), |decoder| decoder.decode(packet, frames))
            }
        }
    }
}

/// Serial number and granule position of the last page of a seekable file.
fn last_page(source: &mut ByteSource) -> Result<Option<(u32, u64)>, AudioFileError> {
    let (Some(length), start) = (source.length_bytes(), source.position()) else { return Ok(None) };
    let mut last = None;
    if source.go_to(length.saturating_sub(TAIL_BYTES).max(start))? {
        while let Some(page) = next_page(source)? {
            last = Some((page.serial, page.granule)).filter(|_| page.granule != u64::MAX).or(last);
        }
    }
    Ok(last.filter(|_| source.go_to(start).unwrap_or(false)))
}
