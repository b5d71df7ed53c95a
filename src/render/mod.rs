//! Renders an MP4 of an avatar speaking an audio file: a session as in live use, on its own clock.
//!
//! Decides where the video begins and ends. Drops nothing: the clock waits for the work. Reads the audio as a stream, so that
//! memory does not depend on its length.

mod mp4;
mod video_file;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thiserror::Error;
use visage_engines::output_file::{OutputFile, is_same_file};

pub use mp4::{Mp4Error, Mp4Writer};

use crate::codec::CodecError;
use crate::codec::audio_file::{AudioDecoder, AudioFileError, AudioInput};
use crate::media::PcmBlock;
use crate::model::{ModelError, Pack};
use crate::session::SessionError;
use crate::time::Wall;
use video_file::VideoFile;

/// Maximum duration of the audio.
const MAX_DURATION: Duration = Duration::from_hours(2);

/// What to render.
#[derive(Clone, Debug)]
pub struct RenderPlan {
    /// The audio file.
    pub audio: PathBuf,
    /// The video file to write; appears only when it is complete.
    pub out: PathBuf,
    /// The avatar; `None`: the pack's first.
    pub avatar: Option<String>,
    /// Side of a frame in pixels.
    pub resolution_px: u32,
    /// Video bitrate in bits per second.
    pub bitrate_bps: u32,
}

/// The result of rendering.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rendered {
    /// Length of the video.
    pub video: Duration,
    /// Number of video frames.
    pub frames: u64,
    /// Time it took.
    pub took: Duration,
    /// Whether the audio was truncated; the intact part is rendered.
    pub is_truncated: bool,
    /// Whether it was stopped early.
    pub was_stopped: bool,
}

/// Why there is no video.
#[derive(Debug, Error)]
pub enum RenderError {
    /// The audio file cannot be opened.
    #[error("cannot read the audio file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is not an audio file that can be decoded.
    #[error("{source}: {path}")]
    Audio {
        /// The file.
        path: PathBuf,
        /// The error.
        source: AudioFileError,
    },
    /// The avatar cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A codec failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The session cannot start.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The video cannot be written; no partial file is left behind.
    #[error("cannot write the video {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The error.
        source: Mp4Error,
    },
}

/// Renders `plan`. `progress` gets the completed share, 0 to 1; `stop` ends the video early, as a complete file.
///
/// # Errors
/// If the audio cannot be read, the avatar cannot be used or the video cannot be written.
pub fn render(
    plan: &RenderPlan,
    pack: &dyn Pack,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(f64),
) -> Result<Rendered, RenderError> {
    let wall = Wall;
    let began = wall.now();
    let (decoder, length_bytes) = open_audio(plan)?;
    let output = create_output(plan).map_err(|source| write_error(plan, Mp4Error::Write(source)))?;
    let file = output.handle().map_err(|source| write_error(plan, Mp4Error::Write(source)))?;
    let mut video = VideoFile::begin(plan, pack, decoder, file)?;
    let was_stopped = loop {
        if stop.load(Ordering::Relaxed) {
            break true;
        }
        if !video.advance(plan, wall)? {
            break false;
        }
        progress(video.share_done(length_bytes));
    };
    let is_truncated = video.is_truncated();
    let (length, frames) = video.finish().map_err(|source| write_error(plan, source))?;
    output.commit().map_err(|source| write_error(plan, Mp4Error::Write(source)))?;
    let took = wall.now().saturating_duration_since(began);
    Ok(Rendered { video: length, frames, took, is_truncated, was_stopped })
}

fn write_error(plan: &RenderPlan, source: Mp4Error) -> RenderError {
    RenderError::Write { path: plan.out.clone(), source }
}

fn audio_error(plan: &RenderPlan, source: AudioFileError) -> RenderError {
    RenderError::Audio { path: plan.audio.clone(), source }
}

/// Opens the audio and decodes its first block; also returns its length in bytes, 0 if unknown. Audio that is too long
/// by its header is refused here; memory does not grow with the length.
fn open_audio(plan: &RenderPlan) -> Result<(OpenAudio, u64), RenderError> {
    let read_error = |source| RenderError::Read { path: plan.audio.clone(), source };
    let file = File::open(&plan.audio).map_err(read_error)?;
    let metadata = file.metadata().map_err(read_error)?;
    if metadata.is_dir() {
        return Err(read_error(io::ErrorKind::IsADirectory.into()));
    }
    // A pipe or a device can be read once, in order.
    let is_file = metadata.is_file();
    let input = if is_file { AudioInput::Seekable(Box::new(file)) } else { AudioInput::Stream(Box::new(file)) };
    let opened =
        AudioDecoder::open(input).and_then(|mut decoder| Ok(OpenAudio { first: decoder.next_block()?, decoder }));
    let audio = opened.map_err(|source| audio_error(plan, source))?;
    if audio.decoder.expected_duration().is_some_and(|length| length > MAX_DURATION) {
        return Err(audio_error(plan, AudioFileError::TooLong { most: MAX_DURATION }));
    }
    Ok((audio, if is_file { metadata.len() } else { 0 }))
}

/// A decoder and its first block.
struct OpenAudio {
    decoder: AudioDecoder,
    first: Option<PcmBlock>,
}

/// Opens the output file, before any work is done.
fn create_output(plan: &RenderPlan) -> io::Result<OutputFile> {
    if is_same_file(&plan.audio, &plan.out) {
        let message = "wanted another file than the audio that is read, found the same one";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    OutputFile::create_seekable(&plan.out)
}
