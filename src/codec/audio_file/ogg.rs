//! Ogg (RFC 3533): pages to packets, and the two codecs in them that are sound.
//!
//! Decides which stream is played: the first that is Opus (RFC 7845) or Vorbis. Checksums are not looked at: a decoder
//! notices damage. symphonia's reader is not used: it does not say whether the last page was there, which is how a file
//! that broke off is known, keeps samples of Opus past the end, and reserves what a comment claims.

use super::collect::{Collector, Layout};
use super::compressed::Vorbis;
use super::{AudioFileError, End};
use crate::codec::OpusDecoder;
use crate::time::OPUS_HZ;

/// Flags of a page (RFC 3533, section 6).
const CONTINUED: u8 = 1;
const LAST: u8 = 4;
/// The head of a page without its lacing.
const HEAD_BYTES: usize = 27;
/// The longest packet that is put together: ten times what a second of either codec takes.
const MOST_PACKET_BYTES: usize = 1 << 20;

struct Page<'a> {
    flags: u8,
    granule: u64,
    serial: u32,
    lacing: &'a [u8],
    body: &'a [u8],
    /// Whether all of the body is there.
    is_whole: bool,
}

/// Reads the page at the start of `rest`, or after the next place that looks like one.
fn next_page<'a>(rest: &mut &'a [u8]) -> Option<Page<'a>> {
    let at = rest.windows(4).position(|four| four == b"OggS")?;
    let page = rest.get(at..)?;
    let head = page.get(..HEAD_BYTES)?;
    let lacing = page.get(HEAD_BYTES..HEAD_BYTES + usize::from(head[26]))?;
    let body = &page[HEAD_BYTES + lacing.len()..];
    let wanted = lacing.iter().map(|length| usize::from(*length)).sum::<usize>();
    let there = wanted.min(body.len());
    *rest = &body[there..];
    Some(Page {
        flags: head[5],
        granule: u64::from_le_bytes(head[6..14].try_into().ok()?),
        serial: u32::from_le_bytes(head[14..18].try_into().ok()?),
        lacing,
        body: &body[..there],
        is_whole: there == wanted,
    })
}

/// What plays a stream's packets.
enum Player {
    /// Neither codec was met yet.
    None,
    Opus {
        decoder: Box<OpusDecoder>,
        headers: u32,
        pre_skip: u64,
        skip: usize,
    },
    Vorbis {
        identification: Vec<u8>,
        headers: u32,
        decoder: Option<Box<Vorbis>>,
    },
}

/// Decodes the first stream of sound.
pub(super) fn decode(bytes: &[u8], collector: &mut Collector) -> Result<End, AudioFileError> {
    let mut rest = bytes;
    let mut stream = Stream { player: Player::None, serial: 0, partial: Vec::new(), end: 0, is_ended: false };
    while let Some(page) = next_page(&mut rest) {
        stream.page(&page, collector)?;
        if stream.is_ended {
            break;
        }
    }
    stream.finish(collector)
}

struct Stream {
    player: Player,
    serial: u32,
    partial: Vec<u8>,
    /// The last time that a page told, in samples.
    end: u64,
    is_ended: bool,
}

impl Stream {
    fn page(&mut self, page: &Page<'_>, collector: &mut Collector) -> Result<(), AudioFileError> {
        if matches!(self.player, Player::None) {
            self.player = player_of(page.body)?;
            self.serial = page.serial;
        }
        if matches!(self.player, Player::None) || page.serial != self.serial {
            return Ok(());
        }
        if page.flags & CONTINUED == 0 {
            self.partial.clear();
        }
        self.packets(page, collector)?;
        if page.granule != u64::MAX && page.is_whole {
            self.end = page.granule;
        }
        self.is_ended = page.flags & LAST != 0 && page.is_whole;
        Ok(())
    }

    fn packets(&mut self, page: &Page<'_>, collector: &mut Collector) -> Result<(), AudioFileError> {
        let mut body = page.body;
        for length in page.lacing {
            let Some((segment, after)) = body.split_at_checked(usize::from(*length)) else { break };
            body = after;
            if self.partial.len() < MOST_PACKET_BYTES {
                self.partial.extend_from_slice(segment);
            }
            if *length < 255 {
                let packet = std::mem::take(&mut self.partial);
                self.player.play(&packet, collector)?;
            }
        }
        Ok(())
    }

    fn finish(self, collector: &mut Collector) -> Result<End, AudioFileError> {
        let pre_skip = match self.player {
            Player::None => return Err(AudioFileError::NoTrack),
            Player::Opus { pre_skip, .. } => pre_skip,
            Player::Vorbis { .. } => 0,
        };
        if self.is_ended {
            collector.keep(self.end.saturating_sub(pre_skip));
        }
        Ok(if self.is_ended { End::Whole } else { End::Missing })
    }
}

fn player_of(first: &[u8]) -> Result<Player, AudioFileError> {
    if let Some(head) = first.strip_prefix(b"OpusHead") {
        return opus_player(head);
    }
    if first.starts_with(b"\x01vorbis") {
        return Ok(Player::Vorbis { identification: Vec::new(), headers: 0, decoder: None });
    }
    Ok(Player::None)
}

/// The identification header after its magic (RFC 7845, section 5.1).
fn opus_player(head: &[u8]) -> Result<Player, AudioFileError> {
    let [_, channels, skip_low, skip_high, _, _, _, _, _, _, mapping, ..] = head else {
        return Err(AudioFileError::Damaged { format: "Opus", found: "a header that breaks off".to_owned() });
    };
    if *channels == 0 || *channels > 2 || *mapping > 1 {
        let found = format!("{channels} channels of mapping {mapping}");
        return Err(AudioFileError::Unsupported { wanted: "Opus of one or two channels", found });
    }
    let decoder =
        OpusDecoder::new().map_err(|error| AudioFileError::Damaged { format: "Opus", found: error.to_string() })?;
    let skip = usize::from(u16::from_le_bytes([*skip_low, *skip_high]));
    Ok(Player::Opus { decoder: Box::new(decoder), headers: 0, pre_skip: skip as u64, skip })
}

impl Player {
    fn play(&mut self, packet: &[u8], collector: &mut Collector) -> Result<(), AudioFileError> {
        match self {
            Self::None => Ok(()),
            Self::Opus { headers, .. } if *headers < 2 => {
                *headers += 1;
                if *headers == 2 { collector.begin(Layout::new(OPUS_HZ, 1)?) } else { Ok(()) }
            }
            Self::Opus { decoder, skip, .. } => {
                // A packet that does not decode is left out.
                let Ok(samples) = decoder.decode(packet) else { return Ok(()) };
                let skipped = samples.len().min(*skip);
                *skip -= skipped;
                collector.push(&samples[skipped..])
            }
            Self::Vorbis { identification, headers, decoder } => {
                *headers += 1;
                match (*headers, decoder) {
                    (1, _) => *identification = packet.to_vec(),
                    (2, _) => {}
                    (3, decoder) => *decoder = Some(Box::new(Vorbis::new(identification, packet)?)),
                    (_, Some(decoder)) => return decoder.decode(packet, collector),
                    (_, None) => {}
                }
                Ok(())
            }
        }
    }
}
