//! The command line: flags to plans, results to text, errors to hints.
//!
//! Decides how results are printed. Does none of the work.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is where the program speaks")]

#[cfg(feature = "bench")]
mod bench;
mod compatibility;
mod doctor;
mod embedded;
mod engine;
mod engine_build;
mod engines;
mod environment;
mod error;
mod flags;
#[cfg(feature = "cuda")]
mod kernels;
mod lists;
mod packs;
mod parity;
mod preflight;
mod prepare;
mod render;
mod serve;
mod startup_guard;
mod top;
mod wrap;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use error::CliError;
use flags::{Command, Flags, LogFormat};

/// The exit code of wrong usage, as clap has it.
const WRONG_USAGE: u8 = 2;

/// Runs the program: 0 done, 1 not done, 2 wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    visage_kernels::malloc::give_back_early();
    visage_kernels::open_files::raise_limit();
    let flags = Flags::parse();
    start_log(&flags);
    if let Err(unknown) = environment::check(&Flags::command(), variables()) {
        let hint = unknown.hint();
        CliError::new(unknown, hint).print();
        return ExitCode::from(WRONG_USAGE);
    }
    match run(&flags) {
        Ok(code) => code,
        Err(error) => error.print(),
    }
}

fn run(flags: &Flags) -> Result<ExitCode, CliError> {
    if !matches!(flags.command, Command::Serve(_) | Command::Render(_) | Command::Bench(_)) {
        visage_kernels::sigpipe::end_quietly();
    }
    let done = match &flags.command {
        Command::Serve(wanted) => serve::run(flags, wanted),
        Command::Render(wanted) => render::run(flags, wanted),
        #[cfg(feature = "bench")]
        Command::Bench(wanted) => bench::run(flags, wanted),
        #[cfg(not(feature = "bench"))]
        Command::Bench(_) => Err(CliError::message(
            "this program was built without bench",
            "build it with: cargo build --release --features bench",
        )),
        Command::Top(wanted) => top::run(wanted),
        Command::Avatars(list) => lists::avatars(flags, list),
        Command::Packs(list) => lists::packs(flags, list),
        Command::Engines(wanted) => engines::run(flags, wanted),
        #[cfg(feature = "cuda")]
        Command::Kernels(wanted) => kernels::run(flags, wanted),
        #[cfg(not(feature = "cuda"))]
        Command::Kernels(_) => Err(CliError::message(
            "this program was built without CUDA kernels",
            "build it with: cargo build --release --features cuda",
        )),
        Command::Completions { shell } => {
            lists::completions(*shell);
            Ok(())
        }
        // What it finds is a result, not an error.
        Command::Doctor(wanted) => return Ok(doctor::run(flags, wanted)),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Names of the environment's variables; those that are not UTF-8 are none of ours.
fn variables() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

/// Talk goes to stderr. The libraries below only speak up when something is wrong.
fn start_log(flags: &Flags) {
    let level = flags.log.parse().unwrap_or(LevelFilter::INFO);
    let filter = Targets::new().with_default(LevelFilter::WARN).with_target("visage", level);
    let is_terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let log = tracing_subscriber::registry().with(filter);
    match flags.log_format {
        LogFormat::Text => log.with(lines.with_ansi(is_terminal)).init(),
        LogFormat::Json => log.with(lines.json().flatten_event(true).with_span_list(false)).init(),
    }
}
