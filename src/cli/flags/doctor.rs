//! Flags of `visage doctor`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{BackendChoice, LibraryFlags, ListenFlags, NvrtcLibraryFlags, TlsFlags};
use crate::doctor::probe::relay::Server;
use crate::doctor::probe::subprocess::DriverQuery;

/// Flags of `doctor`.
#[derive(Args, Debug)]
pub struct DoctorFlags {
    /// Backend to check for [default: the one that serve would use]
    #[arg(long = "for", value_name = "TARGET")]
    pub target: Option<DoctorTarget>,

    /// Print only the commands, line by line
    #[arg(long, conflicts_with = "json")]
    pub fix_hints: bool,

    /// Explain an error or a visible fault by its text or code: its causes, those present on this machine first
    #[arg(long, value_name = "TEXT", conflicts_with = "fix_hints")]
    pub explain: Option<String>,

    /// More symptoms for --explain; symptoms.toml in the data folder is read as well
    #[arg(long, value_name = "FILE")]
    pub symptoms: Option<PathBuf>,

    /// Print which driver each CUDA toolkit and each GPU needs, with sources
    #[arg(long, conflicts_with_all = ["fix_hints", "explain"])]
    pub rules: bool,

    /// STUN or TURN server to test, such as turn:turn.example.org:3478
    #[arg(long, env = "VISAGE_DOCTOR_TURN", value_name = "SERVER")]
    pub turn: Option<Server>,

    /// Check a machine that `doctor --json` described instead of this one
    #[arg(long, value_name = "FILE", conflicts_with = "turn")]
    pub machine: Option<PathBuf>,

    #[command(flatten)]
    pub listen: ListenFlags,

    #[command(flatten)]
    pub tls: TlsFlags,

    /// Maximum number of sessions
    #[arg(long, env = "VISAGE_MAX_SESSIONS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_sessions: u16,

    #[command(flatten)]
    pub library: LibraryFlags,

    #[command(flatten)]
    pub nvrtc: NvrtcLibraryFlags,

    /// The backend that serve would use
    #[arg(long, env = "VISAGE_BACKEND", value_enum, default_value_t = BackendChoice::Cpu, hide = true)]
    pub backend: BackendChoice,

    /// Print findings and the machine as JSON
    #[arg(long)]
    pub json: bool,

    /// Answer one query about the driver, for a parent process
    #[arg(long, hide = true, exclusive = true)]
    pub ask: Option<DriverQuery>,
}

/// The backend to check for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorTarget {
    /// An NVIDIA GPU.
    Gpu,
    /// The processor.
    Cpu,
}
