//! A sound file in, a film of the face that speaks it out: the same show as live, on a clock of its own.
//!
//! Decides where the film begins and ends. Nothing is dropped here: the clock waits for the work.

mod mp4;
mod video_file;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thiserror::Error;
use visage_engines::output_file::{OutputFile, is_same_file};

pub use mp4::{Mp4Error, Mp4Writer};

use crate::codec::CodecError;
use crate::codec::audio_file::{AudioClip, AudioFileError, decode_sound};
use crate::model::{ModelError, Pack};
use crate::session::SessionError;
use crate::time::Wall;
use video_file::VideoFile;

/// Longest sound that is rendered.
const LONGEST: Duration = Duration::from_hours(2);

/// What to render.
#[derive(Clone, Debug)]
pub struct RenderPlan {
    /// The sound file.
    pub audio: PathBuf,
    /// The film to write; appears only when whole.
    pub out: PathBuf,
    /// The avatar; none: the pack's first.
    pub avatar: Option<String>,
    /// Side of the picture in pixels.
    pub resolution_px: u32,
    /// Bits a second of the picture.
    pub bitrate_bps: u32,
}

/// What was rendered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rendered {
    /// Length of the film.
    pub film: Duration,
    /// Pictures in it.
    pub pictures: u64,
    /// Time it took.
    pub took: Duration,
    /// The sound file ended in the middle: what was there is rendered.
    pub is_truncated: bool,
    /// Whether it was ended early from outside.
    pub was_stopped: bool,
}

/// Why there is no film.
#[derive(Debug, Error)]
pub enum RenderError {
    /// The sound file cannot be read.
    #[error("wanted to read a sound file, found {source}: {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a sound file that can be played.
    #[error("{source}: {path}")]
    AudioClip {
        /// Which.
        path: PathBuf,
        /// What was wrong.
        source: AudioFileError,
    },
    /// The avatar cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A codec failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The show could not begin.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The film cannot be written; nothing half is left behind.
    #[error("wanted to write a film, found {source}: {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        source: Mp4Error,
    },
}

/// Renders `plan`. `progress` is told the share done, 0 to 1; `stop` ends the film early but whole.
///
/// # Errors
/// If the sound cannot be read, the avatar cannot be used or the film cannot be written.
pub fn render(
    plan: &RenderPlan,
    pack: &dyn Pack,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(f64),
) -> Result<Rendered, RenderError> {
    let wall = Wall;
    let began = wall.now();
    let sound = read_sound(plan)?;
    let is_truncated = sound.is_truncated();
    let output = create_output(plan).map_err(|source| write_error(plan, Mp4Error::Write(source)))?;
    let file = output.handle().map_err(|source| write_error(plan, Mp4Error::Write(source)))?;
    let mut film = VideoFile::begin(plan, pack, Arc::new(sound), file)?;
    let was_stopped = loop {
        if stop.load(Ordering::Relaxed) {
            break true;
        }
        if !film.go_on(wall).map_err(|source| write_error(plan, source))? {
            break false;
        }
        progress(film.share_done());
    };
    let (length, pictures) = film.finish().map_err(|source| write_error(plan, source))?;
    output.commit().map_err(|source| write_error(plan, Mp4Error::Write(source)))?;
    let took = wall.now().saturating_duration_since(began);
    Ok(Rendered { film: length, pictures, took, is_truncated, was_stopped })
}

fn write_error(plan: &RenderPlan, source: Mp4Error) -> RenderError {
    RenderError::Write { path: plan.out.clone(), source }
}

fn read_sound(plan: &RenderPlan) -> Result<AudioClip, RenderError> {
    let path = plan.audio.clone();
    let bytes = fs::read(&path).map_err(|source| RenderError::Read { path: path.clone(), source })?;
    decode_sound(&bytes, LONGEST).map_err(|source| RenderError::AudioClip { path, source })
}

/// Opens the file to write, before any work is done for it.
fn create_output(plan: &RenderPlan) -> io::Result<OutputFile> {
    if is_same_file(&plan.audio, &plan.out) {
        let message = "wanted another file than the audio that is read, found the same one";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    OutputFile::create_seekable(&plan.out)
}
