//! `visage render`: flags to plan, progress bar, result.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::runtime::Runtime;
use visage_engines::cache::Engine;

use super::error::CliError;
use super::flags::{BackendChoice, Flags, RenderFlags};
use super::packs::open_pack;
use super::preflight::before_rendering;
use super::prepare::{self, IsClosing};
use crate::codec::audio_file::AudioFileError;
use crate::model::ModelError;
use crate::render::{Mp4Error, RenderError, RenderPlan, Rendered, render};
use crate::serve::StartupTask;

/// Renders a video.
pub fn run(flags: &Flags, wanted: &RenderFlags) -> Result<(), CliError> {
    before_rendering(flags, &wanted.engine)?;
    let plan = RenderPlan {
        audio: wanted.audio.clone(),
        out: wanted.out.clone(),
        avatar: wanted.avatar.clone(),
        resolution_px: wanted.resolution_px,
        bitrate_bps: wanted.bitrate,
    };
    let runtime = Runtime::new()?;
    let stop = stop_on_signal(&runtime)?;
    let bar = progress_bar();
    let pack = open_pack(flags, wanted.engine.backend, 1, engines(flags, wanted, &stop, &bar)?)?;
    let rendered = render(&plan, &pack, &stop, &mut |share| set_progress(&bar, (share * 1000.0) as u64));
    bar.finish_and_clear();
    print_result(wanted, &rendered.map_err(with_hint)?);
    Ok(())
}

/// The engines of the pack, if it runs on a GPU; the bar shows which one is compiled.
fn engines(
    flags: &Flags,
    wanted: &RenderFlags,
    stop: &Arc<AtomicBool>,
    bar: &ProgressBar,
) -> Result<Vec<Engine>, CliError> {
    if wanted.engine.backend == BackendChoice::Cpu {
        return Ok(Vec::new());
    }
    let (stop, shown) = (Arc::clone(stop), bar.clone());
    let is_closing: IsClosing = Arc::new(move || stop.load(Ordering::Relaxed));
    let progress = Arc::new(move |task: StartupTask| shown.set_message(task.task));
    let engines = prepare::engines(flags, &wanted.engine, progress, &is_closing)?;
    bar.set_message("");
    if is_closing() {
        return Err(CliError::message(
            "stopped before rendering started",
            "compiled engines are kept for the next start",
        ));
    }
    Ok(engines)
}

/// Ctrl-C ends the video early; the file is complete.
fn stop_on_signal(runtime: &Runtime) -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    super::serve::on_signal(runtime, move || seen.store(true, Ordering::Relaxed))?;
    Ok(stop)
}

/// Steps of the bar.
const STEPS: u64 = 1000;
/// From this step on the remaining time is estimated from the elapsed time.
const ETA_STEPS: u64 = STEPS / 50;

fn progress_bar() -> ProgressBar {
    ProgressBar::new(STEPS).with_style(style("{bar:40} {percent:>3} %  {msg}"))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a constant template")
}

fn set_progress(bar: &ProgressBar, step: u64) {
    if bar.position() < ETA_STEPS && step >= ETA_STEPS {
        bar.set_style(style("{bar:40} {percent:>3} %  {eta} left"));
    }
    bar.set_position(step);
}

fn with_hint(error: RenderError) -> CliError {
    let hint = match &error {
        RenderError::Read { .. } => "--audio takes the path of a WAV, AIFF, MP3, M4A, AAC, FLAC, Ogg or WebM file",
        RenderError::Audio {
            source: AudioFileError::Empty | AudioFileError::NoTrack | AudioFileError::NoSamples,
            ..
        } => "it contains no audio: choose another file with --audio",
        RenderError::Audio { source: AudioFileError::TooLong { .. }, .. } => "try: ffmpeg -i FILE -t 3600 voice.wav",
        RenderError::Audio { .. } => "convert another format: ffmpeg -i FILE -ac 1 -ar 48000 voice.wav",
        RenderError::Model(ModelError::UnknownAvatar { .. }) => "visage avatars lists them",
        RenderError::Write { source: Mp4Error::Write(found), .. } => write_hint(found.kind()),
        RenderError::Write { .. } => "this is a bug in visage",
        RenderError::Model(_) | RenderError::Codec(_) | RenderError::Session(_) => "run again with --log debug",
    };
    CliError::new(error, hint)
}

fn write_hint(found: io::ErrorKind) -> &'static str {
    match found {
        io::ErrorKind::NotFound => "create the folder first, or choose another one with --out",
        io::ErrorKind::IsADirectory => "--out needs a file name, such as talk.mp4",
        io::ErrorKind::InvalidInput => "name another file with --out",
        _ => "no incomplete file was left; check free space and the folder's permissions",
    }
}

fn print_result(wanted: &RenderFlags, rendered: &Rendered) {
    let (video_s, took_s) = (rendered.video.as_secs_f64(), rendered.took.as_secs_f64());
    let speed = video_s / took_s.max(1e-9);
    if wanted.json {
        let report = json!({
            "out": wanted.out, "video_s": video_s, "frames": rendered.frames, "took_s": took_s, "speed": speed,
            "is_truncated": rendered.is_truncated, "was_stopped": rendered.was_stopped,
        });
        println!("{report}");
        return;
    }
    println!("{}: {video_s:.1} s, {} frames, {speed:.1} times real time", wanted.out.display(), rendered.frames);
    if rendered.is_truncated {
        eprintln!("warning: the audio file is truncated; the video ends with it");
    }
    if rendered.was_stopped {
        eprintln!("warning: stopped early; the video ends there");
    }
}
