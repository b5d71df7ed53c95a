//! Every flag, every `VISAGE_*` variable and every default, here and in the modules below.

mod bench;
mod doctor;
mod engines;
mod values;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use bench::BenchFlags;
pub use doctor::{DoctorFlags, DoctorTarget};
pub use engines::{
    BuildFlags, EnginesCommand, GpuFlags, KernelsCommand, LibraryFlags, NvrtcLibraryFlags, ParityFlags, PruneFlags,
};
#[cfg(feature = "cuda")]
pub use engines::{KernelBuildFlags, NvrtcFlags};

pub use values::LogFormat;
use values::{base_path, host_name, secret};

use crate::serve::BasePath;

/// Live talking avatars in a browser: speech in, lip-synced video of an avatar out.
#[derive(Debug, Parser)]
#[command(name = "visage", version, after_help = EXIT_CODES, max_term_width = 100, disable_help_subcommand = true)]
pub struct Flags {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Folder for certificates and engines [default: the platform's data folder]
    #[arg(long, env = "VISAGE_DATA_DIR", global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Folder of a pack to use instead of the built-in one
    #[arg(long, env = "VISAGE_PACK", global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub pack: Option<PathBuf>,

    /// Log level on stderr
    #[arg(long, env = "VISAGE_LOG", global = true, help_heading = EVERYWHERE, default_value = "info", value_name = "LEVEL",
          value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub log: String,

    /// How lines of the log are written: text, or json with one object per line
    #[arg(long, env = "VISAGE_LOG_FORMAT", global = true, help_heading = EVERYWHERE, value_enum, default_value_t = LogFormat::Text, hide_possible_values = true, value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// Listed apart from the options of one command.
const EVERYWHERE: &str = "Options of every command";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed (the error says why), 2 wrong usage.

Examples:
  visage serve                                    the page on http://127.0.0.1:8010
  visage render --audio voice.wav --out talk.mp4  an MP4 of an avatar that speaks an audio file
  visage bench --sessions 4                       end-to-end latency with synthetic WebRTC clients";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the page and the API
    #[command(
        after_help = "Examples:\n  visage serve\n  visage serve --host 0.0.0.0 --tls self-signed   for a phone on the same network\n  visage serve --max-sessions 16 --token s3cret --public-ip 203.0.113.7"
    )]
    Serve(ServeFlags),
    /// Render an MP4 of an avatar speaking an audio file
    #[command(
        after_help = "Examples:\n  visage render --audio voice.wav --out talk.mp4\n  visage render --audio voice.mp3 --out talk.mp4 --avatar nora\n\nThe sound is Opus, which some older players do not play. For AAC:\n  ffmpeg -i talk.mp4 -c:v copy -c:a aac talk-aac.mp4"
    )]
    Render(RenderFlags),
    /// Measure end-to-end latency with synthetic WebRTC clients
    #[command(
        after_help = "Examples:\n  visage bench\n  visage bench --sessions 8 --seconds 30 --json result.json\n  visage bench --ramp\n  visage bench --viewers 50\n  visage bench --compare before.json after.json"
    )]
    Bench(BenchFlags),
    /// Show GPUs, sessions and cores of a server or of this machine
    #[command(after_help = "Examples:\n  visage top\n  visage top --url http://127.0.0.1:8010\n  visage top --json")]
    Top(TopFlags),
    /// List the avatars
    #[command(after_help = "Examples:\n  visage avatars\n  visage avatars --json")]
    Avatars(ListFlags),
    /// List the packs
    #[command(after_help = "Examples:\n  visage packs\n  visage packs --json")]
    Packs(ListFlags),
    /// Compile a pack's graphs for GPUs, and manage the engines
    #[command(subcommand)]
    Engines(EnginesCommand),
    /// Compile visage's CUDA kernels for GPUs, and verify them against CPU reference implementations
    #[command(subcommand)]
    Kernels(KernelsCommand),
    /// Check this machine; print problems, causes and commands
    #[command(
        after_help = "Exit codes: 0 OK, 1 a check fails for the target, 2 wrong usage.\n\nExamples:\n  visage doctor\n  visage doctor --for gpu --fix-hints\n  visage doctor --explain \"no kernel image is available for execution on the device\"\n  visage doctor --host 0.0.0.0 --turn turn:turn.example.org:3478"
    )]
    Doctor(DoctorFlags),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  visage completions bash > /etc/bash_completion.d/visage")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// More threads than any machine has cores, and fewer than a system refuses.
const MAX_WORKERS: i64 = 1024;

/// Where to listen.
#[derive(Args, Clone, Copy, Debug)]
pub struct ListenFlags {
    /// Address to listen on; 0.0.0.0 for all
    #[arg(long, env = "VISAGE_HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// TCP port of the page and the API; 0 picks a free one
    #[arg(long, env = "VISAGE_PORT", default_value_t = 8010)]
    pub port: u16,

    /// UDP port of all media [default: the same number as --port]
    #[arg(long, env = "VISAGE_UDP_PORT")]
    pub udp_port: Option<u16>,
}

/// What the page needs for https.
#[derive(Args, Clone, Debug)]
pub struct TlsFlags {
    /// Certificate chain in PEM
    #[arg(long, env = "VISAGE_TLS_CERT", requires = "tls_key", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Private key in PEM
    #[arg(long, env = "VISAGE_TLS_KEY", requires = "tls_cert", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// "self-signed" creates a certificate in the data folder (a phone needs https for its microphone)
    #[arg(long, env = "VISAGE_TLS", conflicts_with = "tls_cert", hide_possible_values = true)]
    pub tls: Option<Tls>,
}

/// Flags of `serve`.
#[derive(Args, Debug)]
pub struct ServeFlags {
    #[command(flatten)]
    pub listen: ListenFlags,

    /// Address at which browsers reach this machine, if it differs from the machine's own; repeatable
    #[arg(long, env = "VISAGE_PUBLIC_IP", value_delimiter = ',', value_name = "ADDRESS")]
    pub public_ip: Vec<IpAddr>,

    /// Maximum number of sessions
    #[arg(long, env = "VISAGE_MAX_SESSIONS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_sessions: u16,

    /// Viewers of one session at once, its creator included
    #[arg(long, env = "VISAGE_MAX_VIEWERS", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_viewers: u16,

    /// Secret that every API request must contain
    #[arg(long, env = "VISAGE_TOKEN", hide_env_values = true, value_parser = secret)]
    pub token: Option<String>,

    #[command(flatten)]
    pub tls: TlsFlags,

    /// Origin of another page that may call the API; repeatable
    #[arg(long, env = "VISAGE_ALLOW_ORIGIN", value_delimiter = ',', value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,

    /// Host name under which requests may reach this server, such as that of a proxy; repeatable. IP addresses and localhost are
    /// always allowed
    #[arg(long, env = "VISAGE_ALLOW_HOST", value_delimiter = ',', value_name = "NAME", value_parser = host_name)]
    pub allow_host: Vec<String>,

    /// Path below which a proxy publishes this server, such as /avatar; the proxy may remove it from requests or pass it on.
    /// X-Forwarded-Prefix of a proxy does the same
    #[arg(long, env = "VISAGE_BASE_PATH", default_value = "/", value_name = "PATH", value_parser = base_path)]
    pub base_path: BasePath,

    /// Width and height of the video in pixels
    #[arg(long, env = "VISAGE_RESOLUTION_PX", default_value_t = 512, value_parser = clap::value_parser!(u32).range(128..=1024))]
    pub resolution_px: u32,

    /// Threads that run networks, draw and encode [default: one per core]
    #[arg(long, env = "VISAGE_WORKERS", value_parser = clap::value_parser!(u16).range(1..=MAX_WORKERS))]
    pub workers: Option<u16>,

    /// Write the time at which each frame passed each stage to this file (Chrome trace format)
    #[arg(long, env = "VISAGE_TRACE", value_name = "FILE")]
    pub trace: Option<PathBuf>,

    #[command(flatten)]
    pub engine: EngineFlags,

    /// Print the listening address as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// What runs the networks.
#[derive(Args, Debug)]
pub struct EngineFlags {
    /// What runs the networks: cpu, or tensorrt on an NVIDIA GPU
    #[arg(long, env = "VISAGE_BACKEND", value_enum, default_value_t = BackendChoice::Cpu, hide_possible_values = true)]
    pub backend: BackendChoice,

    #[command(flatten)]
    pub gpu: GpuFlags,
}

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tls {
    /// Created on this machine and stored in the data folder.
    SelfSigned,
}

/// Flags of `render`.
#[derive(Args, Debug)]
pub struct RenderFlags {
    /// Audio file: WAV, AIFF, MP3, M4A, AAC, FLAC, Ogg or WebM, at most 2 hours
    #[arg(long, value_name = "FILE")]
    pub audio: PathBuf,

    /// MP4 file to write: H.264 and Opus, which players older than about 2020 do not play
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Avatar [default: the pack's first]
    #[arg(long, env = "VISAGE_AVATAR")]
    pub avatar: Option<String>,

    /// Width and height of the video in pixels
    #[arg(long, env = "VISAGE_RESOLUTION_PX", default_value_t = 512, value_parser = clap::value_parser!(u32).range(128..=1024))]
    pub resolution_px: u32,

    /// Video bitrate in bits per second
    #[arg(long, env = "VISAGE_RENDER_BITRATE", default_value_t = 2_500_000, value_parser = clap::value_parser!(u32).range(100_000..=50_000_000))]
    pub bitrate: u32,

    #[command(flatten)]
    pub engine: EngineFlags,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `top`.
#[derive(Args, Debug)]
pub struct TopFlags {
    /// URL of a server to watch instead of this machine
    #[arg(long, env = "VISAGE_TOP_URL")]
    pub url: Option<String>,

    /// Secret of that server
    #[arg(long, env = "VISAGE_TOKEN", hide_env_values = true, value_parser = secret)]
    pub token: Option<String>,

    /// Print one reading as JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `avatars` and `packs`.
#[derive(Args, Debug)]
pub struct ListFlags {
    /// Print a JSON list
    #[arg(long)]
    pub json: bool,
}

/// A backend by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// Any CPU
    Cpu,
    /// An NVIDIA GPU, where the program was built for it
    Tensorrt,
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use clap::{Arg, CommandFactory};

    use super::*;

    /// Every flag of every command, with the words that name the command.
    fn all(command: &clap::Command, words: &[String]) -> Vec<(Vec<String>, Arg)> {
        let own = command.get_arguments().map(|argument| (words.to_vec(), argument.clone()));
        let below = command.get_subcommands().flat_map(|below| {
            let words: Vec<_> = words.iter().cloned().chain([below.get_name().to_owned()]).collect();
            all(below, &words)
        });
        own.chain(below).collect()
    }

    fn flags() -> Vec<(Vec<String>, Arg)> {
        let mut command = Flags::command();
        command.build();
        all(&command, &["visage".to_owned()])
    }

    fn is_number(argument: &Arg) -> bool {
        let number = [
            TypeId::of::<u8>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
            TypeId::of::<i64>(),
            TypeId::of::<f32>(),
            TypeId::of::<f64>(),
        ];
        number.iter().any(|number| argument.get_value_parser().type_id() == *number)
    }

    /// Parses one flag of a command; what the command needs besides is given as well.
    fn parse(words: &[String], name: &str, value: &str) -> Result<Flags, clap::Error> {
        let mut line = words.to_vec();
        line.push(format!("--{name}={value}"));
        if words.last().is_some_and(|word| word == "render") {
            line.extend(["--audio=a.wav".to_owned(), "--out=a.mp4".to_owned()]);
        }
        Flags::try_parse_from(line)
    }

    /// Every value of these is a sensible one.
    const WITHOUT_RANGE: &[&str] = &["seed"];

    #[test]
    fn every_numeric_flag_has_a_range_and_refuses_what_is_beyond() {
        let numeric: Vec<_> = flags().into_iter().filter(|(_, argument)| is_number(argument)).collect();
        let names: Vec<_> = numeric.iter().filter_map(|(_, argument)| argument.get_long()).collect();
        for known in ["port", "udp-port", "max-sessions", "workers", "seconds", "churn", "keep-gb", "bitrate"] {
            assert!(names.contains(&known), "the walk does not find --{known}: {names:?}");
        }
        for (words, name) in numeric.iter().filter_map(|(words, argument)| Some((words, argument.get_long()?))) {
            for value in ["-1", "18446744073709551616", "1e999", "-1e999", "NaN", "inf", "-0.5", "", "0x10", "٣"] {
                assert!(parse(words, name, value).is_err(), "{words:?} --{name}={value}");
            }
            let is_refused = parse(words, name, &u64::MAX.to_string()).is_err();
            assert_eq!(is_refused, !WITHOUT_RANGE.contains(&name), "{words:?} --{name}: wanted a greatest value");
        }
    }

    #[test]
    fn an_empty_token_is_refused_wherever_there_is_one() {
        let with_token = flags().into_iter().filter(|(_, argument)| argument.get_long() == Some("token"));
        let commands: Vec<_> = with_token.map(|(words, _)| words).collect();
        assert_eq!(commands.len(), 3, "{commands:?}");
        for words in commands {
            for (value, is_accepted) in [("", false), ("  ", false), ("s3cret", true)] {
                assert_eq!(parse(&words, "token", value).is_ok(), is_accepted, "{words:?} --token={value}");
            }
        }
    }
}
