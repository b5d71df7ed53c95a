//! MP3 and FLAC, and the decoder of Vorbis, by symphonia.
//!
//! Decides what of a file the library gets to see: no tags, no pictures, and nothing that makes it reserve what a header
//! claims.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::audio::{AudioBufferRef, SampleBuffer};
use symphonia::core::codecs::{CODEC_TYPE_VORBIS, CodecParameters, Decoder, DecoderOptions};
use symphonia::core::formats::{FormatOptions, FormatReader, Packet};
use symphonia::core::io::MediaSourceStream;
use symphonia::default::codecs::{FlacDecoder, MpaDecoder, VorbisDecoder};
use symphonia::default::formats::{FlacReader, MpaReader};

use super::collect::{Collector, Layout};
use super::{AudioFileError, End};

/// The length of FLAC's first block and its head (RFC 9639, section 8.2).
const STREAM_INFO_BYTES: usize = 34;
/// So many packets in a row that do not decode end a file.
const BAD_IN_A_ROW: u32 = 50;

/// Decodes MP3 that begins with a frame.
pub(super) fn decode_mp3(bytes: &[u8], collector: &mut Collector) -> Result<End, AudioFileError> {
    guarded("MP3", || {
        let options = FormatOptions { enable_gapless: true, ..FormatOptions::default() };
        let reader = MpaReader::try_new(source(bytes.to_vec()), &options).map_err(damaged("MP3"))?;
        let parameters = parameters_of(&reader)?;
        let decoder = MpaDecoder::try_new(&parameters, &DecoderOptions::default()).map_err(damaged("MP3"))?;
        // A header counts roughly, and many have none: a tenth of a second is no loss.
        decode_all(reader, decoder, collector)?;
        Ok(end(&parameters, collector, u64::from(parameters.sample_rate.unwrap_or(48_000)) / 10))
    })
}

/// Decodes FLAC.
pub(super) fn decode_flac(bytes: &[u8], collector: &mut Collector) -> Result<End, AudioFileError> {
    let bare = without_tags(bytes)?;
    guarded("FLAC", || {
        let reader = FlacReader::try_new(source(bare), &FormatOptions::default()).map_err(damaged("FLAC"))?;
        let parameters = parameters_of(&reader)?;
        let decoder = FlacDecoder::try_new(&parameters, &DecoderOptions::default()).map_err(damaged("FLAC"))?;
        decode_all(reader, decoder, collector)?;
        Ok(end(&parameters, collector, 0))
    })
}

/// Whether as many frames were read as were promised, give or take `slack`.
fn end(parameters: &CodecParameters, collector: &Collector, slack: u64) -> End {
    let is_short = parameters.n_frames.is_some_and(|wanted| collector.frames().saturating_add(slack) < wanted);
    if is_short { End::Missing } else { End::Whole }
}

/// A FLAC file of its stream info and its frames only.
fn without_tags(bytes: &[u8]) -> Result<Vec<u8>, AudioFileError> {
    let damaged = |found: &str| AudioFileError::Damaged { format: "FLAC", found: found.to_owned() };
    let info = bytes.get(8..8 + STREAM_INFO_BYTES).ok_or_else(|| damaged("no stream info"))?;
    let mut at = 4;
    loop {
        let head = bytes.get(at..at + 4).ok_or_else(|| damaged("it ends before its first frame"))?;
        at += 4 + u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        if head[0] & 0x80 != 0 {
            break;
        }
    }
    let frames = bytes.get(at..).ok_or_else(|| damaged("it ends before its first frame"))?;
    let mut bare = b"fLaC\x80\x00\x00\x22".to_vec();
    bare.extend_from_slice(info);
    bare.extend_from_slice(frames);
    Ok(bare)
}

fn source(bytes: Vec<u8>) -> MediaSourceStream {
    MediaSourceStream::new(Box::new(Cursor::new(bytes)), symphonia::core::io::MediaSourceStreamOptions::default())
}

fn parameters_of(reader: &impl FormatReader) -> Result<CodecParameters, AudioFileError> {
    reader.default_track().map(|track| track.codec_params.clone()).ok_or(AudioFileError::NoTrack)
}

fn decode_all(
    mut reader: impl FormatReader,
    mut decoder: impl Decoder,
    collector: &mut Collector,
) -> Result<(), AudioFileError> {
    let mut bad = 0;
    while let Ok(packet) = reader.next_packet() {
        match decoder.decode(&packet) {
            Ok(frames) => {
                bad = 0;
                take(frames, collector)?;
            }
            Err(_) if bad < BAD_IN_A_ROW => bad += 1,
            Err(_) => break,
        }
    }
    Ok(())
}

/// Decodes the packets of a Vorbis stream.
pub(super) struct Vorbis(VorbisDecoder);

impl Vorbis {
    /// A decoder from the first and the third header (Vorbis I, section 4.2).
    pub fn new(identification: &[u8], setup: &[u8]) -> Result<Self, AudioFileError> {
        if has_monstrous_book(setup) {
            return Err(AudioFileError::Damaged {
                format: "Vorbis",
                found: "a code book too large to be true".to_owned(),
            });
        }
        guarded("Vorbis", || {
            let mut parameters = CodecParameters::new();
            parameters.for_codec(CODEC_TYPE_VORBIS).with_extra_data([identification, setup].concat().into());
            let decoder = VorbisDecoder::try_new(&parameters, &DecoderOptions::default());
            Ok(Self(decoder.map_err(damaged("Vorbis"))?))
        })
    }

    /// Decodes one packet; one that does not decode gives nothing.
    pub fn decode(&mut self, packet: &[u8], collector: &mut Collector) -> Result<(), AudioFileError> {
        guarded("Vorbis", || match self.0.decode(&Packet::new_from_slice(0, 0, 0, packet)) {
            Ok(frames) => take(frames, collector),
            Err(_) => Ok(()),
        })
    }
}

/// Whether a code book in the setup header claims more values than any encoder writes (Vorbis I, section 3.2.1): the
/// library would reserve them all. Books start at any bit, so every bit is looked at.
fn has_monstrous_book(setup: &[u8]) -> bool {
    const SYNC: u64 = 0x56_4342;
    const MOST_VALUES: u64 = 1 << 20;
    (0..setup.len()).any(|at| {
        let mut window = [0; 16];
        let there = (setup.len() - at).min(16);
        window[..there].copy_from_slice(&setup[at..at + there]);
        let bits = u128::from_le_bytes(window);
        (0..8).any(|shift| {
            let field = |from: u32, width: u32| ((bits >> (shift + from)) & ((1 << width) - 1)) as u64;
            field(0, 24) == SYNC && field(24, 16) * field(40, 24) > MOST_VALUES
        })
    })
}

/// Hands decoded frames over.
fn take(frames: AudioBufferRef<'_>, collector: &mut Collector) -> Result<(), AudioFileError> {
    let spec = *frames.spec();
    if frames.frames() == 0 {
        return Ok(());
    }
    let layout = Layout::new(spec.rate, spec.channels.count())?;
    match collector.layout() {
        None => collector.begin(layout)?,
        Some(begun) if begun != layout => return Ok(()),
        Some(_) => {}
    }
    let mut samples = SampleBuffer::<f32>::new(frames.capacity() as u64, spec);
    samples.copy_interleaved_ref(frames);
    collector.push(samples.samples())
}

fn damaged(format: &'static str) -> impl Fn(symphonia::core::errors::Error) -> AudioFileError {
    move |error| AudioFileError::Damaged { format, found: error.to_string() }
}

/// A library that panics over a broken file makes it a broken file, not the end of the process.
fn guarded<T>(format: &'static str, decode: impl FnOnce() -> Result<T, AudioFileError>) -> Result<T, AudioFileError> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(AudioFileError::Damaged { format, found: "the decoder gave up on it".to_owned() }))
}
