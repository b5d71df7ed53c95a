//! FLAC (RFC 9639): stream info, skipped metadata, and frames, which symphonia's reader finds.

use std::io::{Cursor, Read};
use std::time::Duration;

use symphonia::core::codecs::{Decoder, DecoderOptions};
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions, ReadOnlySource};
use symphonia::default::codecs::FlacDecoder;
use symphonia::default::formats::FlacReader;

use super::decoders::{damaged, guarded, take};
use super::pipeline::Frames;
use super::source::ByteSource;
use super::{AudioFileError, FrameReader, Progress};

/// Length of FLAC's first metadata block (RFC 9639, section 8.2).
pub(super) const STREAM_INFO_BYTES: usize = 34;
/// This many undecodable frames in a row end a file.
const MAX_BAD_IN_A_ROW: u32 = 50;

/// Reads a FLAC file.
pub(super) struct FlacFile {
    reader: FlacReader,
    decoder: FlacDecoder,
    expected_frames: Option<u64>,
    rate_hz: u32,
    given_frames: u64,
    bad_in_a_row: u32,
}

impl FlacFile {
    pub fn open(mut source: ByteSource) -> Result<Box<dyn FrameReader>, AudioFileError> {
        let info = without_tags(&mut source)?;
        let rate_hz = u32::from_be_bytes([0, info[10], info[11], info[12]]) >> 4;
        // 36 bits; 0 if the encoder did not know it.
        let expected =
            u64::from(info[13] & 15) << 32 | u64::from(u32::from_be_bytes([info[14], info[15], info[16], info[17]]));
        let bare = [&b"fLaC\x80\x00\x00\x22"[..], &info].concat();
        guarded("FLAC", || {
            let bytes = ReadOnlySource::new(Cursor::new(bare).chain(source));
            let stream = MediaSourceStream::new(Box::new(bytes), MediaSourceStreamOptions::default());
            let reader = FlacReader::try_new(stream, &FormatOptions::default()).map_err(damaged("FLAC"))?;
            let parameters = reader.default_track().ok_or(AudioFileError::NoTrack)?.codec_params.clone();
            let decoder = FlacDecoder::try_new(&parameters, &DecoderOptions::default()).map_err(damaged("FLAC"))?;
            let expected_frames = Some(expected).filter(|frames| *frames > 0);
            Ok(Box::new(Self { reader, decoder, expected_frames, rate_hz, given_frames: 0, bad_in_a_row: 0 })
                as Box<dyn FrameReader>)
        })
    }
}

/// Consumes everything before the first frame and returns the stream info.
fn without_tags(source: &mut ByteSource) -> Result<Vec<u8>, AudioFileError> {
    let damaged = |found: &str| AudioFileError::Damaged { format: "FLAC", found: found.to_owned() };
    let mut info = None;
    source.take(4);
    loop {
        let head = source.take_exact(4)?.ok_or_else(|| damaged("it ends before its first frame"))?;
        let length = u32::from_be_bytes([0, head[1], head[2], head[3]]);
        if head[0].trailing_zeros() >= 7 && info.is_none() {
            info = source.peek(STREAM_INFO_BYTES)?.get(..STREAM_INFO_BYTES).map(<[u8]>::to_vec);
        }
        if !source.skip(u64::from(length))? {
            return Err(damaged("it ends before its first frame"));
        }
        if head[0] & 0x80 != 0 {
            return info.ok_or_else(|| damaged("no stream info"));
        }
    }
}

impl FrameReader for FlacFile {
    fn read(&mut self, frames: &mut Frames) -> Result<Progress, AudioFileError> {
        let packet = guarded("FLAC", || Ok(self.reader.next_packet()))?;
        let Ok(packet) = packet else {
            let is_short = self.expected_frames.is_some_and(|expected| self.given_frames < expected);
            return Ok(if is_short { Progress::Truncated } else { Progress::Complete });
        };
        let decoded = guarded("FLAC", || {
            self.decoder.decode(&packet).map_err(damaged("FLAC")).and_then(|decoded| take(decoded, frames))
        });
        self.bad_in_a_row = if decoded.is_err() { self.bad_in_a_row + 1 } else { 0 };
        self.given_frames += frames.count() as u64;
        if self.bad_in_a_row > MAX_BAD_IN_A_ROW {
            decoded?;
        }
        Ok(Progress::More)
    }

    fn expected(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.expected_frames? as f64 / f64::from(self.rate_hz.max(1))).ok()
    }

    fn position(&self) -> u64 {
        0
    }
}
