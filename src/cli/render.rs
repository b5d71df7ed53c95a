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

/// Renders a film.
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
    let rendered = render(&plan, &pack, &stop, &mut |share| move_on(&bar, (share * 1000.0) as u64));
    bar.finish_and_clear();
    tell(wanted, &rendered.map_err(hinted)?);
    Ok(())
}

/// The engines of the pack, where it is to run on a card; the bar says which is compiled.
fn engines(
    flags: &Flags,
    wanted: &RenderFlags,
    stop: &Arc<AtomicBool>,
    bar: &ProgressBar,
) -> Result<Vec<Engine>, CliError> {
    if wanted.engine.backend == BackendChoice::CpuBackend {
        return Ok(Vec::new());
    }
    let (stopped, told) = (Arc::clone(stop), bar.clone());
    let is_closing: IsClosing = Arc::new(move || stopped.load(Ordering::Relaxed));
    let tell = Arc::new(move |preparation: StartupTask| told.set_message(preparation.task));
    let engines = prepare::engines(flags, &wanted.engine, tell, &is_closing)?;
    bar.set_message("");
    if is_closing() {
        return Err(CliError::said("stopped before the film began", "what was compiled is kept for the next time"));
    }
    Ok(engines)
}

/// Ctrl-C ends the film early but whole.
fn stop_on_signal(runtime: &Runtime) -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    super::serve::on_signal(runtime, move || seen.store(true, Ordering::Relaxed))?;
    Ok(stop)
}

/// Steps of the bar.
const STEPS: u64 = 1000;
/// From this step on the time that is left can be told from the time it took.
const TELLING: u64 = STEPS / 50;

fn progress_bar() -> ProgressBar {
    ProgressBar::new(STEPS).with_style(style("{bar:40} {percent:>3} %  {msg}"))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a constant template")
}

fn move_on(bar: &ProgressBar, step: u64) {
    if bar.position() < TELLING && step >= TELLING {
        bar.set_style(style("{bar:40} {percent:>3} %  {eta} left"));
    }
    bar.set_position(step);
}

fn hinted(error: RenderError) -> CliError {
    let hint = match &error {
        RenderError::Read { .. } => "--audio wants the path of a WAV, MP3, FLAC or Ogg file",
        RenderError::AudioClip {
            source: AudioFileError::Empty | AudioFileError::NoTrack | AudioFileError::NoSamples,
            ..
        } => "there is nothing in it to say: choose another file with --audio",
        RenderError::AudioClip { source: AudioFileError::TooLong { .. }, .. } => {
            "try: ffmpeg -i FILE -t 3600 voice.wav"
        }
        RenderError::AudioClip { .. } => "if it is sound of another kind: ffmpeg -i FILE -ac 1 -ar 48000 voice.wav",
        RenderError::Model(ModelError::UnknownAvatar { .. }) => "visage avatars lists them",
        RenderError::Write { source: Mp4Error::Write(found), .. } => written(found.kind()),
        RenderError::Write { .. } => "this is a bug of visage",
        RenderError::Model(_) | RenderError::Codec(_) | RenderError::Session(_) => {
            "visage render --log debug says more"
        }
    };
    CliError::new(error, hint)
}

fn written(found: io::ErrorKind) -> &'static str {
    match found {
        io::ErrorKind::NotFound => "make the folder first, or choose another one with --out",
        io::ErrorKind::IsADirectory => "--out wants the name of the video file itself, such as talk.mp4",
        io::ErrorKind::InvalidInput => "name another file with --out",
        _ => "nothing half was left behind; look at the free space and the folder's permissions",
    }
}

fn tell(wanted: &RenderFlags, rendered: &Rendered) {
    let (film_s, took_s) = (rendered.film.as_secs_f64(), rendered.took.as_secs_f64());
    let speed = film_s / took_s.max(1e-9);
    if wanted.json {
        let report = json!({
            "out": wanted.out, "film_s": film_s, "pictures": rendered.pictures, "took_s": took_s, "speed": speed,
            "is_truncated": rendered.is_truncated, "was_stopped": rendered.was_stopped,
        });
        println!("{report}");
        return;
    }
    println!("{}: {film_s:.1} s, {} pictures, {speed:.1} times real time", wanted.out.display(), rendered.pictures);
    if rendered.is_truncated {
        eprintln!("warning: the sound file ends in the middle; what was there is in the film");
    }
    if rendered.was_stopped {
        eprintln!("warning: stopped early; the film ends where the work did");
    }
}
