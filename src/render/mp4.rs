//! The film's file: MP4 with H.264 and Opus (ISO/IEC 14496-12, 14496-15; Opus in ISOBMFF 0.8.1).
//!
//! Decides how samples are described. The boxes themselves are the library's.

use std::io::{self, Seek, SeekFrom, Write};
use std::num::{NonZeroU16, NonZeroU32};

use shiguredo_mp4::boxes::{
    AudioSampleEntryFields, Avc1Box, AvccBox, DopsBox, OpusBox, SampleEntry, VisualSampleEntryFields,
};
use shiguredo_mp4::mux::{Mp4FileMuxer, MuxError, Sample};
use shiguredo_mp4::{FixedPointNumber, TrackKind, Uint};
use thiserror::Error;

use crate::codec::EncodedPicture;
use crate::media::{BLOCK_VOICE_SAMPLES, PictureSize};
use crate::time::{VIDEO_CLOCK_HZ, VOICE_HZ};

/// Ticks of one picture at 25 a second.
const PICTURE_TICKS: u32 = VIDEO_CLOCK_HZ / 25;
const VOICE_CLOCK: NonZeroU32 = NonZeroU32::new(VOICE_HZ).expect("above zero");
const PICTURE_CLOCK: NonZeroU32 = NonZeroU32::new(VIDEO_CLOCK_HZ).expect("above zero");
const FIRST: NonZeroU16 = NonZeroU16::MIN;

/// Why there is no file.
#[derive(Debug, Error)]
pub enum Mp4Error {
    /// The system refused to write: a full disk, say.
    #[error(transparent)]
    Write(io::Error),
    /// The boxes could not be made.
    #[error("no MP4 can be made of this: {0}")]
    Mux(#[from] MuxError),
    /// The first picture cannot be described.
    #[error("wanted a key picture with its parameter sets first, found none")]
    NoParameters,
}

/// A film being written.
#[derive(Debug)]
pub struct Mp4Writer<W> {
    to: W,
    at: u64,
    muxer: Mp4FileMuxer,
    size: PictureSize,
    has_picture: bool,
    has_voice: bool,
    pre_skip_samples: u16,
}

impl<W: Write + Seek> Mp4Writer<W> {
    /// Starts a film of `size`; the voice's first `pre_skip_samples` (48 kHz) are the encoder's run-in.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(mut to: W, size: PictureSize, pre_skip_samples: u16) -> Result<Self, Mp4Error> {
        let muxer = Mp4FileMuxer::new()?;
        let head = muxer.initial_boxes_bytes();
        to.write_all(head).map_err(Mp4Error::Write)?;
        Ok(Self { at: head.len() as u64, to, muxer, size, has_picture: false, has_voice: false, pre_skip_samples })
    }

    /// Adds 20 ms of voice.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn voice(&mut self, packet: &[u8]) -> Result<(), Mp4Error> {
        let entry = (!self.has_voice).then(|| voice_entry(self.pre_skip_samples));
        self.has_voice = true;
        self.add(packet, |data_offset| Sample {
            track_kind: TrackKind::Audio,
            sample_entry: entry,
            keyframe: true,
            timescale: VOICE_CLOCK,
            duration: BLOCK_VOICE_SAMPLES as u32,
            composition_time_offset: None,
            data_offset,
            data_size: packet.len(),
        })
    }

    /// Adds a picture, shown for 40 ms.
    ///
    /// # Errors
    /// If the first one has no parameter sets, or it cannot be written.
    pub fn picture(&mut self, picture: &EncodedPicture) -> Result<(), Mp4Error> {
        let units = nal_units(&picture.bytes);
        let entry = if self.has_picture { None } else { Some(picture_entry(self.size, &units)?) };
        self.has_picture = true;
        let bytes = length_prefixed(&units);
        let length = bytes.len();
        self.add(&bytes, |data_offset| Sample {
            track_kind: TrackKind::Video,
            sample_entry: entry,
            keyframe: picture.is_key,
            timescale: PICTURE_CLOCK,
            duration: PICTURE_TICKS,
            composition_time_offset: None,
            data_offset,
            data_size: length,
        })
    }

    /// Completes the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> Result<(), Mp4Error> {
        for (at, bytes) in self.muxer.finalize()?.offset_and_bytes_pairs() {
            self.to.seek(SeekFrom::Start(at)).and_then(|_| self.to.write_all(bytes)).map_err(Mp4Error::Write)?;
        }
        self.to.flush().map_err(Mp4Error::Write)
    }

    fn add(&mut self, bytes: &[u8], sample: impl FnOnce(u64) -> Sample) -> Result<(), Mp4Error> {
        self.to.write_all(bytes).map_err(Mp4Error::Write)?;
        self.muxer.append_sample(&sample(self.at))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

fn voice_entry(pre_skip: u16) -> SampleEntry {
    let audio = AudioSampleEntryFields {
        data_reference_index: FIRST,
        channelcount: 1,
        samplesize: 16,
        samplerate: FixedPointNumber::new(VOICE_HZ as u16, 0),
    };
    let dops_box = DopsBox { output_channel_count: 1, pre_skip, input_sample_rate: VOICE_HZ, output_gain: 0 };
    SampleEntry::Opus(OpusBox { audio, dops_box, unknown_boxes: Vec::new() })
}

fn picture_entry(size: PictureSize, units: &[&[u8]]) -> Result<SampleEntry, Mp4Error> {
    let of_type = |kind: u8| units.iter().find(|unit| unit[0] & 0x1f == kind).map(|unit| unit.to_vec());
    let (Some(sps), Some(pps)) = (of_type(7).filter(|sps| sps.len() > 4), of_type(8)) else {
        return Err(Mp4Error::NoParameters);
    };
    let visual = VisualSampleEntryFields {
        data_reference_index: FIRST,
        width: size.width() as u16,
        height: size.height() as u16,
        horizresolution: VisualSampleEntryFields::DEFAULT_HORIZRESOLUTION,
        vertresolution: VisualSampleEntryFields::DEFAULT_VERTRESOLUTION,
        frame_count: VisualSampleEntryFields::DEFAULT_FRAME_COUNT,
        compressorname: VisualSampleEntryFields::NULL_COMPRESSORNAME,
        depth: VisualSampleEntryFields::DEFAULT_DEPTH,
    };
    let avcc_box = AvccBox {
        avc_profile_indication: sps[1],
        profile_compatibility: sps[2],
        avc_level_indication: sps[3],
        length_size_minus_one: Uint::new(3),
        sps_list: vec![sps],
        pps_list: vec![pps],
        chroma_format: None,
        bit_depth_luma_minus8: None,
        bit_depth_chroma_minus8: None,
        sps_ext_list: Vec::new(),
    };
    Ok(SampleEntry::Avc1(Avc1Box { visual, avcc_box, unknown_boxes: Vec::new() }))
}

/// The NAL units of an Annex B stream (ITU-T H.264, annex B), without start codes and empty ones.
fn nal_units(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(found) = stream[at..].windows(3).position(|bytes| bytes == [0, 0, 1]) {
        starts.push(at + found);
        at += found + 3;
    }
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    let unit = |(start, end): (&usize, usize)| {
        let unit = &stream[start + 3..end];
        // A start code may be four bytes long: its first zero belongs to no unit.
        let length = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        &unit[..length]
    };
    starts.iter().zip(ends).map(unit).filter(|unit| !unit.is_empty()).collect()
}

/// Units with their lengths before them; parameter sets stand in the description instead.
fn length_prefixed(units: &[&[u8]]) -> Vec<u8> {
    let pictures = units.iter().filter(|unit| !matches!(unit[0] & 0x1f, 7 | 8));
    pictures.fold(Vec::new(), |mut bytes, unit| {
        bytes.extend((unit.len() as u32).to_be_bytes());
        bytes.extend_from_slice(unit);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_codes_of_three_and_four_bytes_part_the_units() {
        let stream = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65, 9, 9];
        let units = nal_units(&stream);
        assert_eq!(units, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 9, 9]]);
        assert_eq!(length_prefixed(&units), [0, 0, 0, 3, 0x65, 9, 9]);
    }

    #[test]
    fn a_film_that_does_not_start_with_a_key_picture_is_refused() {
        let mut writer = Mp4Writer::new(std::io::Cursor::new(Vec::new()), PictureSize::square(64), 312).expect("a file");
        let delta = EncodedPicture { bytes: vec![0, 0, 1, 0x41, 7].into(), is_key: false };
        assert!(matches!(writer.picture(&delta), Err(Mp4Error::NoParameters)));
    }
}
