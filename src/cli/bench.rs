//! `visage bench`: flags to plan, what runs while it runs, table and JSON.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum as _;
use indicatif::ProgressBar;
use tokio::runtime::Runtime;
use visage_engines::output_file::OutputFile;

use super::error::CliError;
use super::flags::{BenchFlags, Flags};
use crate::api_client::ApiError;
use crate::bench::{
    BenchError, BenchKind, BenchPlan, BenchReport, CHURN_CAPACITY, Progress, Target, compare, run as measure,
};

/// Maximum number of clients that `--ramp` tries.
const MAX_RAMP_SESSIONS: usize = 64;
/// Viewers that a server takes for one session at most.
const MAX_SERVER_VIEWERS: usize = 1024;
/// The least: half of them may be unconnected for one client, and eight are connected at a time.
const MIN_SERVER_VIEWERS: usize = 16;

/// Measures, or compares measurements.
pub fn run(flags: &Flags, wanted: &BenchFlags) -> Result<(), CliError> {
    if let Some([before, after]) = wanted.compare.as_deref() {
        println!("{}", compare(before, after).map_err(with_hint)?);
        return Ok(());
    }
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    let mut progress = |step: Progress| match step {
        Progress::Started { phase, duration } => bar.set_message(format!("{phase}, {} s", duration.as_secs())),
        Progress::Step { done, of } => bar.set_message(format!("{done} of {of}")),
    };
    let report = Runtime::new()?.block_on(measure(plan(flags, wanted)?, &mut progress));
    bar.finish_and_clear();
    print_result(wanted, &report.map_err(with_hint)?)
}

fn plan(flags: &Flags, wanted: &BenchFlags) -> Result<BenchPlan, CliError> {
    let kind = kind(wanted);
    let sessions = match kind {
        BenchKind::Ramp => MAX_RAMP_SESSIONS,
        BenchKind::Churn(_) => CHURN_CAPACITY,
        _ => usize::from(wanted.sessions),
    };
    Ok(BenchPlan {
        target: target(flags, wanted, sessions)?,
        sessions,
        measured: Duration::from_secs(u64::from(wanted.seconds)),
        warm_up: Duration::from_secs(u64::from(wanted.warm_up)),
        avatar: wanted.avatar.clone(),
        interruptions: wanted.interruptions as usize,
        utterances: wanted.utterances as usize,
        kind,
    })
}

fn kind(wanted: &BenchFlags) -> BenchKind {
    match (wanted.viewers, wanted.ramp, wanted.churn, wanted.lips) {
        (Some(viewers), _, _, _) => BenchKind::Viewers(usize::from(viewers)),
        (_, true, _, _) => BenchKind::Ramp,
        (_, _, Some(times), _) => BenchKind::Churn(times as usize),
        (_, _, _, true) => BenchKind::Lips,
        _ => BenchKind::Latency,
    }
}

/// The server named by flag, or a new server of this program on a free port.
fn target(flags: &Flags, wanted: &BenchFlags, sessions: usize) -> Result<Target, CliError> {
    if let Some(url) = &wanted.url {
        return Ok(Target::Url { url: url.clone(), token: wanted.token.clone() });
    }
    let program: PathBuf = std::env::current_exe()?;
    // One session and one viewer more than needed: the server may not have noticed yet that an earlier one ended.
    let sessions = (sessions + 1).to_string();
    let backend = wanted.backend.to_possible_value().expect("every engine has a name");
    let fixed = ["--log", "warn", "--max-sessions", &sessions, "--backend", backend.get_name()];
    let viewers = wanted
        .viewers
        .map(|viewers| (usize::from(viewers) + 2).clamp(MIN_SERVER_VIEWERS, MAX_SERVER_VIEWERS).to_string().into());
    let more = [
        ("--max-viewers", viewers),
        ("--pack", flags.pack.clone().map(OsString::from)),
        ("--data-dir", flags.data_dir.clone().map(OsString::from)),
    ];
    let more = more.into_iter().filter_map(|(flag, value)| Some([OsString::from(flag), value?]));
    let arguments = fixed.map(OsString::from).into_iter().chain(more.flatten()).collect();
    Ok(Target::Child { program, arguments })
}

fn print_result(wanted: &BenchFlags, report: &BenchReport) -> Result<(), CliError> {
    match wanted.json.as_deref() {
        Some("-") => println!("{}", report.json()),
        Some(path) => {
            OutputFile::write(Path::new(path), report.json().as_bytes())
                .map_err(|error| CliError::new(error, format!("--json needs a writable file: {path}")))?;
            println!("{}", report.table());
        }
        None => println!("{}", report.table()),
    }
    Ok(())
}

fn with_hint(error: BenchError) -> CliError {
    let hint = match &error {
        BenchError::NoStart { .. } | BenchError::Api(ApiError::Unreachable { .. }) => {
            "visage serve must start on this machine, or --url must name a running server"
        }
        BenchError::Api(_) => {
            "--token gives the server's token; --sessions and --viewers must not exceed its --max-sessions and --max-viewers"
        }
        BenchError::NotConnected { .. } | BenchError::NoFrames { .. } => {
            "UDP between this machine and the server must not be blocked"
        }
        BenchError::CallsEnded { .. } | BenchError::SpeechStream { .. } => {
            "the server logs why it ends a session (serve --log info)"
        }
        BenchError::ServerEnded { .. } => "the server's own output says why it ended",
        BenchError::File { .. } => "--compare reads two files written by --json",
        BenchError::Opus(_) | BenchError::VideoDecoder { .. } => "this is a bug in bench",
    };
    CliError::new(error, hint)
}
