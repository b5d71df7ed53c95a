//! Packet decoders: Opus by libopus, the others by symphonia.
//!
//! Decides which part of a file a library sees. The readers parse containers themselves, because symphonia's allocate what a
//! header claims (a table that claims 4 GB of entries ends the process) and lose parts of concatenated files.

use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::audio::{AudioBufferRef, SampleBuffer};
use symphonia::core::codecs::{
    CODEC_TYPE_AAC, CODEC_TYPE_ALAC, CODEC_TYPE_FLAC, CODEC_TYPE_MP3, CODEC_TYPE_VORBIS, CodecParameters, CodecType,
    Decoder, DecoderOptions,
};
use symphonia::core::errors::Error;
use symphonia::core::formats::Packet;
use symphonia::default::codecs::{AacDecoder, AlacDecoder, FlacDecoder, MpaDecoder, VorbisDecoder};

use super::AudioFileError;
use super::pipeline::{Frames, Layout};
use crate::codec::OpusDecoder;
use crate::time::OPUS_HZ;

/// This many undecodable packets in a row end the audio.
const MAX_BAD_IN_A_ROW: u32 = 50;
/// The longest frame of ALAC: Apple's encoders write 4096 samples.
const MAX_ALAC_FRAME: u32 = 65_536;

/// Decodes packets of one codec to frames.
pub(super) struct PacketDecoder {
    format: &'static str,
    codec: Codec,
    /// Frames still to be dropped: the encoder's priming samples.
    skip: u64,
    bad_in_a_row: u32,
}

enum Codec {
    Opus(Box<OpusDecoder>),
    Symphonia(Box<dyn Decoder>),
}

impl PacketDecoder {
    /// Opus by its identification header without the magic (RFC 7845, section 5.1).
    pub fn opus(head: &[u8]) -> Result<Self, AudioFileError> {
        let [_, channels, skip_low, skip_high, _, _, _, _, _, _, mapping, ..] = head else {
            return Err(AudioFileError::Damaged { format: "Opus", found: "a truncated header".to_owned() });
        };
        if *channels == 0 || *channels > 2 || *mapping > 1 {
            let found = format!("{channels} channels of mapping {mapping}");
            return Err(AudioFileError::Unsupported { wanted: "Opus of one or two channels", found });
        }
        let decoder =
            OpusDecoder::new().map_err(|error| AudioFileError::Damaged { format: "Opus", found: error.to_string() })?;
        let skip = u64::from(u16::from_le_bytes([*skip_low, *skip_high]));
        Ok(Self { format: "Opus", codec: Codec::Opus(Box::new(decoder)), skip, bad_in_a_row: 0 })
    }

    /// MP3: one decoder for frames of one rate and number of channels.
    pub fn mp3() -> Result<Self, AudioFileError> {
        Self::symphonia("MP3", CODEC_TYPE_MP3, Vec::new(), |parameters| {
            Ok(Box::new(MpaDecoder::try_new(parameters, &DecoderOptions::default())?))
        })
    }

    /// FLAC by its stream info (RFC 9639, section 8.2).
    pub fn flac(stream_info: &[u8]) -> Result<Self, AudioFileError> {
        Self::symphonia("FLAC", CODEC_TYPE_FLAC, stream_info.to_vec(), |parameters| {
            Ok(Box::new(FlacDecoder::try_new(parameters, &DecoderOptions::default())?))
        })
    }

    /// AAC by its `AudioSpecificConfig` (ISO/IEC 14496-3, section 1.6.2.1).
    pub fn aac(config: &[u8]) -> Result<Self, AudioFileError> {
        let decoder = Self::symphonia("AAC", CODEC_TYPE_AAC, config.to_vec(), |parameters| {
            Ok(Box::new(AacDecoder::try_new(parameters, &DecoderOptions::default())?))
        });
        decoder.map_err(|error| AudioFileError::Unsupported {
            wanted: "AAC-LC with one or two channels",
            found: match error {
                AudioFileError::Damaged { .. } => "another profile or more channels".to_owned(),
                other => other.to_string(),
            },
        })
    }

    /// ALAC by its magic cookie.
    pub fn alac(cookie: &[u8]) -> Result<Self, AudioFileError> {
        let frame = cookie.first_chunk().map_or(u32::MAX, |bytes| u32::from_be_bytes(*bytes));
        if frame > MAX_ALAC_FRAME {
            let found = format!("a frame of {frame} samples");
            return Err(AudioFileError::Damaged { format: "ALAC", found });
        }
        Self::symphonia("ALAC", CODEC_TYPE_ALAC, cookie.to_vec(), |parameters| {
            Ok(Box::new(AlacDecoder::try_new(parameters, &DecoderOptions::default())?))
        })
    }

    /// Vorbis by its first and its third header (Vorbis I, section 4.2).
    pub fn vorbis(identification: &[u8], setup: &[u8]) -> Result<Self, AudioFileError> {
        if has_oversized_codebook(setup) {
            let found = "an oversized codebook".to_owned();
            return Err(AudioFileError::Damaged { format: "Vorbis", found });
        }
        Self::symphonia("Vorbis", CODEC_TYPE_VORBIS, [identification, setup].concat(), |parameters| {
            Ok(Box::new(VorbisDecoder::try_new(parameters, &DecoderOptions::default())?))
        })
    }

    fn symphonia(
        format: &'static str,
        codec: CodecType,
        extra: Vec<u8>,
        open: impl FnOnce(&CodecParameters) -> Result<Box<dyn Decoder>, Error>,
    ) -> Result<Self, AudioFileError> {
        let mut parameters = CodecParameters::new();
        parameters.for_codec(codec).with_extra_data(extra.into());
        let decoder = guarded(format, || open(&parameters).map_err(damaged(format)))?;
        Ok(Self { format, codec: Codec::Symphonia(decoder), skip: 0, bad_in_a_row: 0 })
    }

    /// Drops the next `frames` frames.
    pub fn skip(&mut self, frames: u64) {
        self.skip = frames;
    }

    /// Appends the frames of `packet`. An undecodable packet gives none.
    ///
    /// # Errors
    /// If too many packets in a row are undecodable.
    pub fn decode(&mut self, packet: &[u8], frames: &mut Frames) -> Result<(), AudioFileError> {
        let first = frames.samples.len();
        let decoded = match &mut self.codec {
            Codec::Opus(decoder) => decode_opus(decoder, packet, frames),
            Codec::Symphonia(decoder) => guarded(self.format, || {
                let packet = Packet::new_from_slice(0, 0, 0, packet);
                decoder.decode(&packet).map_err(damaged(self.format)).and_then(|decoded| take(decoded, frames))
            }),
        };
        if let Err(error) = decoded {
            frames.samples.truncate(first);
            self.bad_in_a_row += 1;
            return if self.bad_in_a_row > MAX_BAD_IN_A_ROW { Err(error) } else { Ok(()) };
        }
        self.bad_in_a_row = 0;
        let channels = frames.layout.map_or(1, |layout| layout.channels);
        let skipped = self.skip.min(((frames.samples.len() - first) / channels) as u64);
        self.skip -= skipped;
        frames.samples.drain(first..first + skipped as usize * channels);
        Ok(())
    }
}

fn decode_opus(decoder: &mut OpusDecoder, packet: &[u8], frames: &mut Frames) -> Result<(), AudioFileError> {
    let samples = decoder.decode(packet);
    let samples = samples.map_err(|error| AudioFileError::Damaged { format: "Opus", found: error.to_string() })?;
    frames.layout = Some(Layout::new(OPUS_HZ, 1, None)?);
    frames.samples.extend_from_slice(samples);
    Ok(())
}

/// Appends decoded frames; symphonia's channels are in the order of a WAVE mask, with the same bits.
pub(super) fn take(decoded: AudioBufferRef<'_>, frames: &mut Frames) -> Result<(), AudioFileError> {
    let spec = *decoded.spec();
    if decoded.frames() == 0 {
        return Ok(());
    }
    let layout = Layout::new(spec.rate, spec.channels.count(), Some(spec.channels.bits()))?;
    if frames.layout.is_some_and(|begun| begun != layout) {
        frames.samples.clear();
    }
    let mut samples = SampleBuffer::<f32>::new(decoded.capacity() as u64, spec);
    samples.copy_interleaved_ref(decoded);
    frames.layout = Some(layout);
    frames.samples.extend_from_slice(samples.samples());
    Ok(())
}

pub(super) fn damaged(format: &'static str) -> impl Fn(Error) -> AudioFileError {
    move |error| AudioFileError::Damaged { format, found: error.to_string() }
}

/// Turns a panic of a library into an error, so that a damaged file does not end the process.
pub(super) fn guarded<T>(
    format: &'static str,
    decode: impl FnOnce() -> Result<T, AudioFileError>,
) -> Result<T, AudioFileError> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(AudioFileError::Damaged { format, found: "the decoder panicked".to_owned() }))
}

/// Whether a codebook in the setup header claims more values than any encoder writes (Vorbis I, section 3.2.1): the
/// library would allocate them all. Codebooks start at any bit, so every bit position is tried.
fn has_oversized_codebook(setup: &[u8]) -> bool {
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
