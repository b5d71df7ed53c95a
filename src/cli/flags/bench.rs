//! Flags of `visage bench`.

use std::path::PathBuf;

use clap::Args;

use super::BackendChoice;
use super::values::secret;

/// A server takes 1024 viewers for each session, its creator included.
const MAX_VIEWERS: i64 = 1023;

/// Flags of `bench`.
#[derive(Args, Debug)]
pub struct BenchFlags {
    /// Number of concurrent sessions
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub sessions: u16,

    /// Measured seconds, after the warm-up
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,

    /// Seconds before the measurement
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub warm_up: u32,

    /// URL of a server to measure instead of a new one
    #[arg(long, env = "VISAGE_BENCH_URL")]
    pub url: Option<String>,

    /// Secret of that server
    #[arg(long, env = "VISAGE_TOKEN", hide_env_values = true, value_parser = secret)]
    pub token: Option<String>,

    /// Backend of the new server: cpu, or tensorrt on an NVIDIA GPU
    #[arg(long, env = "VISAGE_BACKEND", value_enum, default_value_t = BackendChoice::Cpu, hide_possible_values = true)]
    pub backend: BackendChoice,

    /// Avatar [default: the pack's first]
    #[arg(long, env = "VISAGE_AVATAR")]
    pub avatar: Option<String>,

    /// Write the result as JSON; - for stdout
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,

    /// Add this many viewers to one session; measure their frames and what each costs the server
    #[arg(long, conflicts_with_all = ["sessions", "ramp", "churn", "lips", "compare"], value_parser = clap::value_parser!(u16).range(1..=MAX_VIEWERS))]
    pub viewers: Option<u16>,

    /// Add sessions until frames are late
    #[arg(long, conflicts_with_all = ["churn", "compare"])]
    pub ramp: bool,

    /// Join and leave this many times; check memory and threads
    #[arg(long, value_name = "TIMES", conflicts_with = "compare", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub churn: Option<u32>,

    /// Interrupt speech this many times and measure how long it goes on
    #[arg(long, value_name = "TIMES", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub interruptions: u32,

    /// Stream this many utterances over the WebSocket and measure how soon they are heard
    #[arg(long, value_name = "TIMES", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub utterances: u32,

    /// Measure in the video how long after a sound the lips move
    #[arg(long)]
    pub lips: bool,

    /// Compare two result files
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"])]
    pub compare: Option<Vec<PathBuf>>,
}
