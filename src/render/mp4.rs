//! The video file: MP4 with H.264 and Opus (ISO/IEC 14496-12, 14496-15; Opus in ISOBMFF 0.8.1).
//!
//! Decides how samples are described. The library writes the boxes.

use std::io::{self, Seek, SeekFrom, Write};
use std::num::{NonZeroU16, NonZeroU32};

use shiguredo_mp4::boxes::{
    AudioSampleEntryFields, Avc1Box, AvccBox, DopsBox, EdtsBox, ElstBox, ElstEntry, MoovBox, OpusBox, SampleEntry,
    VisualSampleEntryFields,
};
use shiguredo_mp4::mux::{Mp4FileMuxer, MuxError, Sample};
use shiguredo_mp4::{Encode, FixedPointNumber, TrackKind, Uint};
use thiserror::Error;

use crate::codec::EncodedFrame;
use crate::media::{BLOCK_OPUS_SAMPLES, FrameSize};
use crate::time::{OPUS_HZ, VIDEO_CLOCK_HZ};

const AUDIO_CLOCK: NonZeroU32 = NonZeroU32::new(OPUS_HZ).expect("above zero");
const VIDEO_CLOCK: NonZeroU32 = NonZeroU32::new(VIDEO_CLOCK_HZ).expect("above zero");
const FIRST: NonZeroU16 = NonZeroU16::MIN;

/// Why the file cannot be written.
#[derive(Debug, Error)]
pub enum Mp4Error {
    /// The system refused to write, such as on a full disk.
    #[error(transparent)]
    Write(io::Error),
    /// The library cannot build the boxes.
    #[error("cannot write the MP4 structure: {0}")]
    Mux(#[from] MuxError),
    /// The first frame has no parameter sets.
    #[error("wanted a keyframe with its parameter sets first, found none")]
    NoParameters,
}

/// An MP4 file being written.
#[derive(Debug)]
pub struct Mp4Writer<W> {
    to: W,
    at: u64,
    muxer: Mp4FileMuxer,
    size: FrameSize,
    has_video: bool,
    has_audio: bool,
    pre_skip_samples: u16,
}

impl<W: Write + Seek> Mp4Writer<W> {
    /// Starts a file of `size`; the first `pre_skip_samples` (48 kHz) of the audio are the encoder's delay.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(mut to: W, size: FrameSize, pre_skip_samples: u16) -> Result<Self, Mp4Error> {
        let muxer = Mp4FileMuxer::new()?;
        let head = muxer.initial_boxes_bytes();
        to.write_all(head).map_err(Mp4Error::Write)?;
        Ok(Self { at: head.len() as u64, to, muxer, size, has_video: false, has_audio: false, pre_skip_samples })
    }

    /// Adds 20 ms of audio.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn audio(&mut self, packet: &[u8]) -> Result<(), Mp4Error> {
        let entry = (!self.has_audio).then(|| audio_entry(self.pre_skip_samples));
        self.has_audio = true;
        self.add(packet, |data_offset| Sample {
            track_kind: TrackKind::Audio,
            sample_entry: entry,
            keyframe: true,
            timescale: AUDIO_CLOCK,
            duration: BLOCK_OPUS_SAMPLES as u32,
            composition_time_offset: None,
            data_offset,
            data_size: packet.len(),
        })
    }

    /// Adds a frame, shown for `ticks` of the video clock ([`VIDEO_CLOCK_HZ`]).
    ///
    /// # Errors
    /// If the first one has no parameter sets, or it cannot be written.
    pub fn video(&mut self, frame: &EncodedFrame, ticks: u32) -> Result<(), Mp4Error> {
        let units = nal_units(&frame.bytes);
        let entry = if self.has_video { None } else { Some(video_entry(self.size, &units)?) };
        self.has_video = true;
        let bytes = length_prefixed(&units);
        let length = bytes.len();
        self.add(&bytes, |data_offset| Sample {
            track_kind: TrackKind::Video,
            sample_entry: entry,
            keyframe: frame.is_key,
            timescale: VIDEO_CLOCK,
            duration: ticks,
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
        let boxes = self.muxer.finalize()?;
        let moov = skip_run_in(boxes.moov_box(), self.pre_skip_samples).encode_to_vec().map_err(MuxError::from)?;
        for (at, bytes) in boxes.offset_and_bytes_pairs() {
            let bytes = if at == self.at { &moov } else { bytes };
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

/// The `moov` box, with the edit list of the audio track set so that the encoder's delay is skipped and audio and video start
/// together (Opus in ISOBMFF 0.8.1, section 4.4).
fn skip_run_in(moov: &MoovBox, pre_skip: u16) -> MoovBox {
    let mut moov = moov.clone();
    let movie_hz = u64::from(moov.mvhd_box.timescale.get());
    let audio = moov.trak_boxes.iter_mut().filter(|track| track.mdia_box.mdhd_box.timescale == AUDIO_CLOCK);
    for audio_track in audio {
        let heard = audio_track.mdia_box.mdhd_box.duration.saturating_sub(u64::from(pre_skip));
        let entry = ElstEntry {
            edit_duration: heard * movie_hz / u64::from(OPUS_HZ),
            media_time: i64::from(pre_skip),
            media_rate: FixedPointNumber::new(1, 0),
        };
        audio_track.tkhd_box.duration = entry.edit_duration;
        let elst_box = Some(ElstBox { entries: vec![entry] });
        audio_track.edts_box = Some(EdtsBox { elst_box, unknown_boxes: Vec::new() });
    }
    moov
}

fn audio_entry(pre_skip: u16) -> SampleEntry {
    let audio = AudioSampleEntryFields {
        data_reference_index: FIRST,
        channelcount: 1,
        samplesize: 16,
        samplerate: FixedPointNumber::new(OPUS_HZ as u16, 0),
    };
    let dops_box = DopsBox { output_channel_count: 1, pre_skip, input_sample_rate: OPUS_HZ, output_gain: 0 };
    SampleEntry::Opus(OpusBox { audio, dops_box, unknown_boxes: Vec::new() })
}

fn video_entry(size: FrameSize, units: &[&[u8]]) -> Result<SampleEntry, Mp4Error> {
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
    let video = units.iter().filter(|unit| !matches!(unit[0] & 0x1f, 7 | 8));
    video.fold(Vec::new(), |mut bytes, unit| {
        bytes.extend((unit.len() as u32).to_be_bytes());
        bytes.extend_from_slice(unit);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::codec::{FrameKind, H264Encoder, OpusEncoder, VideoEncoder};
    use crate::media::VideoFrame;
    use crate::time::Rate;

    #[test]
    fn start_codes_of_three_and_four_bytes_part_the_units() {
        let stream = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65, 9, 9];
        let units = nal_units(&stream);
        assert_eq!(units, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 9, 9]]);
        assert_eq!(length_prefixed(&units), [0, 0, 0, 3, 0x65, 9, 9]);
    }

    #[test]
    fn a_file_that_does_not_start_with_a_keyframe_is_refused() {
        let mut writer = Mp4Writer::new(std::io::Cursor::new(Vec::new()), FrameSize::square(64), 312).expect("a file");
        let delta = EncodedFrame { bytes: vec![0, 0, 1, 0x41, 7].into(), is_key: false };
        assert!(matches!(writer.video(&delta, 3600), Err(Mp4Error::NoParameters)));
    }

    /// A second of video: white frames and a loud tone in its second half, black frames and silence before.
    fn video_of_a_beep() -> Vec<u8> {
        let (size, rate) = (FrameSize::square(64), Rate::new(25, 1).expect("a rate"));
        let mut video = H264Encoder::new(size, rate, 200_000).expect("an encoder");
        let mut audio = OpusEncoder::new().expect("an encoder");
        let mut bytes = std::io::Cursor::new(Vec::new());
        let mut writer = Mp4Writer::new(&mut bytes, size, audio.pre_skip_samples().expect("a delay")).expect("a file");
        for n in 0..25_usize {
            let mut frame = VideoFrame::black(size);
            frame.planes_mut().0.fill(if n < 13 { 16 } else { 235 });
            writer.video(&video.encode(&frame, FrameKind::Any).expect("a frame"), 3600).expect("written");
            for block in n * 2..n * 2 + 2 {
                let at = |n: usize| (n + block * BLOCK_OPUS_SAMPLES) as f32;
                let loud = if block < 26 { 0.0 } else { 0.5 };
                let tone = std::array::from_fn(|n| (at(n) * 0.06).sin() * loud);
                writer.audio(&audio.encode(&tone).expect("a packet")).expect("written");
            }
        }
        writer.finish().expect("complete");
        bytes.into_inner()
    }

    /// The output of another program, if it is installed.
    fn asked(program: &str, arguments: &[&str], video: &Path) -> Option<Vec<u8>> {
        let said = Command::new(program).args(arguments[..1].iter()).arg(video).args(&arguments[1..]).output();
        Some(said.ok()?.stdout)
    }

    #[test]
    fn video_and_audio_start_together_in_another_player() {
        let folder = tempfile::tempdir().expect("a folder");
        let video = folder.path().join("beep.mp4");
        std::fs::write(&video, video_of_a_beep()).expect("written");
        let pcm = ["-i", "-v", "error", "-ac", "1", "-ar", "48000", "-f", "s16le", "-"];
        let streams = ["-i", "-v", "error", "-count_frames", "-of", "csv=p=0", "-show_entries"];
        let streams = [&streams[..], &["stream=codec_name,start_time,nb_read_frames"]].concat();
        let (Some(audio_track), Some(said)) = (asked("ffmpeg", &pcm, &video), asked("ffprobe", &streams, &video))
        else {
            eprintln!("skipped: ffmpeg and ffprobe are not installed");
            return;
        };
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.contains("h264,0.000000,25") && said.contains("opus,0.000000"), "{said}");
        let loud = audio_track.as_chunks::<2>().0.iter().position(|two| i16::from_le_bytes(*two).abs() > 3_000);
        let onset = loud.expect("a beep");
        assert!(onset.abs_diff(26 * BLOCK_OPUS_SAMPLES) < 120, "the beep starts at sample {onset}");
    }

    #[test]
    fn a_full_disk_is_reported() {
        #[derive(Debug)]
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        impl Seek for Full {
            fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
                Ok(0)
            }
        }
        let refused = Mp4Writer::new(Full, FrameSize::square(64), 312).expect_err("full");
        assert!(matches!(refused, Mp4Error::Write(error) if error.kind() == io::ErrorKind::StorageFull));
    }
}
