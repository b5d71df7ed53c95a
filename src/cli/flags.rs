//! Every flag, every `VISAGE_*` variable and every default, here and in the files below.

mod engines;
mod values;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use engines::{
    BuildFlags, EnginesCommand, GpuFlags, KernelsCommand, LibraryFlags, NvrtcLibraryFlags, ParityFlags, PruneFlags,
};
#[cfg(feature = "cuda")]
pub use engines::{KernelBuildFlags, NvrtcFlags};

pub use values::LogFormat;
use values::{base_path, host_name, secret};

use crate::doctor::probe::relay::Server;
use crate::doctor::probe::subprocess::Question;
use crate::serve::BasePath;

/// Live talking avatars in a browser: a voice comes in, a face that speaks it goes out, in step.
#[derive(Debug, Parser)]
#[command(name = "visage", version, after_help = EXIT_CODES, max_term_width = 100, disable_help_subcommand = true)]
pub struct Flags {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Folder for what must be kept (certificates, engines) [default: the platform's data folder]
    #[arg(long, env = "VISAGE_DATA_DIR", global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Folder of another pack than the built-in one
    #[arg(long, env = "VISAGE_PACK", global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub pack: Option<PathBuf>,

    /// What to say on stderr
    #[arg(long, env = "VISAGE_LOG", global = true, help_heading = EVERYWHERE, default_value = "info", value_name = "LEVEL",
          value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub log: String,

    /// How lines of the log are written: text, or json with one object per line
    #[arg(long, env = "VISAGE_LOG_FORMAT", global = true, help_heading = EVERYWHERE, value_enum, default_value_t = LogFormat::Text, hide_possible_values = true, value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// Not in between those of one command.
const EVERYWHERE: &str = "Options of every command";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 it could not be done (the error says why), 2 wrong usage.

Examples:
  visage serve                                    the page on http://127.0.0.1:8010
  visage render --audio voice.wav --out talk.mp4  a film of a face that speaks a file
  visage bench --sessions 4                       how late the face is";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the page and the API
    #[command(
        after_help = "Examples:\n  visage serve\n  visage serve --host 0.0.0.0 --tls self-signed   for a phone on the same network\n  visage serve --max-sessions 16 --token s3cret --public-ip 203.0.113.7"
    )]
    Serve(ServeFlags),
    /// Make a film of a face that speaks a sound file
    #[command(
        after_help = "Examples:\n  visage render --audio voice.wav --out talk.mp4\n  visage render --audio voice.mp3 --out talk.mp4 --avatar nora"
    )]
    Render(RenderFlags),
    /// Measure the delay of the whole path with synthetic callers
    #[command(
        after_help = "Examples:\n  visage bench\n  visage bench --sessions 8 --seconds 30 --json result.json\n  visage bench --ramp\n  visage bench --compare before.json after.json"
    )]
    Bench(BenchFlags),
    /// Watch graphics cards, sessions and cores, of a server or of this machine
    #[command(after_help = "Examples:\n  visage top\n  visage top --url http://127.0.0.1:8010\n  visage top --json")]
    Top(TopFlags),
    /// List the avatars
    #[command(after_help = "Examples:\n  visage avatars\n  visage avatars --json")]
    Avatars(ListFlags),
    /// List the packs
    #[command(after_help = "Examples:\n  visage packs\n  visage packs --json")]
    Packs(ListFlags),
    /// Compile a pack's graphs for graphics cards, and keep the engines in order
    #[command(subcommand)]
    Engines(EnginesCommand),
    /// Compile visage's own kernels for graphics cards, and hold them to their twins
    #[command(subcommand)]
    Kernels(KernelsCommand),
    /// Say what is wrong with this machine, why, and what to type
    #[command(
        after_help = "Exit codes: 0 fine, 1 something fails for the target, 2 wrong usage.\n\nExamples:\n  visage doctor\n  visage doctor --for gpu --fix-hints\n  visage doctor --explain \"no kernel image is available for execution on the device\"\n  visage doctor --host 0.0.0.0 --turn turn:turn.example.org:3478"
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

/// What makes the page https.
#[derive(Args, Clone, Debug)]
pub struct TlsFlags {
    /// Certificate chain in PEM
    #[arg(long, env = "VISAGE_TLS_CERT", requires = "tls_key", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Private key in PEM
    #[arg(long, env = "VISAGE_TLS_KEY", requires = "tls_cert", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// "self-signed" makes a certificate and keeps it in the data folder (a phone needs https for its microphone)
    #[arg(long, env = "VISAGE_TLS", conflicts_with = "tls_cert", hide_possible_values = true)]
    pub tls: Option<Tls>,
}

/// Flags of `serve`.
#[derive(Args, Debug)]
pub struct ServeFlags {
    #[command(flatten)]
    pub door: ListenFlags,

    /// Address under which browsers reach this machine, where it differs from its own; repeatable
    #[arg(long, env = "VISAGE_PUBLIC_IP", value_delimiter = ',', value_name = "ADDRESS")]
    pub public_ip: Vec<IpAddr>,

    /// Sessions at once
    #[arg(long, env = "VISAGE_MAX_SESSIONS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_sessions: u16,

    /// Secret that every API request must carry
    #[arg(long, env = "VISAGE_TOKEN", hide_env_values = true, value_parser = secret)]
    pub token: Option<String>,

    #[command(flatten)]
    pub tls: TlsFlags,

    /// Origin of other pages that may call the API; repeatable
    #[arg(long, env = "VISAGE_ALLOW_ORIGIN", value_delimiter = ',', value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,

    /// Host name under which browsers may reach this server, such as the name that a proxy passes on; repeatable. Addresses,
    /// localhost and the names of other flags need none
    #[arg(long, env = "VISAGE_ALLOW_HOST", value_delimiter = ',', value_name = "NAME", value_parser = host_name)]
    pub allow_host: Vec<String>,

    /// Path below which a proxy publishes this server, such as /avatar; the proxy may remove it from requests or pass it on.
    /// X-Forwarded-Prefix of a proxy does the same
    #[arg(long, env = "VISAGE_BASE_PATH", default_value = "/", value_name = "PATH", value_parser = base_path)]
    pub base_path: BasePath,

    /// Side of the picture in pixels
    #[arg(long, env = "VISAGE_RESOLUTION_PX", default_value_t = 512, value_parser = clap::value_parser!(u32).range(128..=1024))]
    pub resolution_px: u32,

    /// Threads that draw [default: one for each core]
    #[arg(long, env = "VISAGE_WORKERS", value_parser = clap::value_parser!(u16).range(1..=MAX_WORKERS))]
    pub workers: Option<u16>,

    /// Write when each frame passed each stage to this file (Chrome's trace format)
    #[arg(long, env = "VISAGE_TRACE", value_name = "FILE")]
    pub trace: Option<PathBuf>,

    #[command(flatten)]
    pub engine: EngineFlags,

    /// Say where it listens as one line of JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// What runs the networks.
#[derive(Args, Debug)]
pub struct EngineFlags {
    /// What runs the networks: cpu, or tensorrt on an NVIDIA card
    #[arg(long, env = "VISAGE_BACKEND", value_enum, default_value_t = BackendChoice::CpuBackend, hide_possible_values = true)]
    pub backend: BackendChoice,

    #[command(flatten)]
    pub card: GpuFlags,
}

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tls {
    /// Made here and kept in the data folder.
    SelfSigned,
}

/// Flags of `render`.
#[derive(Args, Debug)]
pub struct RenderFlags {
    /// AudioClip file: WAV, MP3, FLAC or Ogg
    #[arg(long, value_name = "FILE")]
    pub audio: PathBuf,

    /// VideoFile to write, MP4
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Avatar [default: the pack's first]
    #[arg(long, env = "VISAGE_AVATAR")]
    pub avatar: Option<String>,

    /// Side of the picture in pixels
    #[arg(long, env = "VISAGE_RESOLUTION_PX", default_value_t = 512, value_parser = clap::value_parser!(u32).range(128..=1024))]
    pub resolution_px: u32,

    /// Bits a second of the picture
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
    /// A server to watch instead of this machine
    #[arg(long, env = "VISAGE_TOP_URL")]
    pub url: Option<String>,

    /// Its secret
    #[arg(long, env = "VISAGE_TOKEN", hide_env_values = true, value_parser = secret)]
    pub token: Option<String>,

    /// One reading as JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `avatars` and `packs`.
#[derive(Args, Debug)]
pub struct ListFlags {
    /// As a JSON list
    #[arg(long)]
    pub json: bool,
}

/// An engine by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// Any CPU
    CpuBackend,
    /// An NVIDIA card, where the program was built for it
    Tensorrt,
}

/// Flags of `doctor`.
#[derive(Args, Debug)]
pub struct DoctorFlags {
    /// What faces shall be drawn with [default: what serve would use here]
    #[arg(long = "for", value_name = "TARGET")]
    pub target: Option<DoctorTarget>,

    /// Print only what to type, line by line
    #[arg(long, conflicts_with = "json")]
    pub fix_hints: bool,

    /// Tell the causes of an error that was seen, by its text or code, and which of them is seen on this machine
    #[arg(long, value_name = "TEXT", conflicts_with = "fix_hints")]
    pub explain: Option<String>,

    /// Tell which driver each CUDA toolkit and each card needs, and where that is from
    #[arg(long, conflicts_with_all = ["fix_hints", "explain"])]
    pub rules: bool,

    /// STUN or TURN server that must answer, such as turn:turn.example.org:3478
    #[arg(long, env = "VISAGE_DOCTOR_TURN", value_name = "SERVER")]
    pub turn: Option<Server>,

    /// Look at a machine that `doctor --json` described instead of this one
    #[arg(long, value_name = "FILE", conflicts_with = "turn")]
    pub machine: Option<PathBuf>,

    #[command(flatten)]
    pub door: ListenFlags,

    #[command(flatten)]
    pub tls: TlsFlags,

    /// Sessions at once
    #[arg(long, env = "VISAGE_MAX_SESSIONS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_sessions: u16,

    #[command(flatten)]
    pub library: LibraryFlags,

    #[command(flatten)]
    pub nvrtc: NvrtcLibraryFlags,

    /// What serve would use here
    #[arg(long, env = "VISAGE_BACKEND", value_enum, default_value_t = BackendChoice::CpuBackend, hide = true)]
    pub backend: BackendChoice,

    /// Print findings and the machine as JSON
    #[arg(long)]
    pub json: bool,

    /// Answer one question about the driver for the doctor that started this program
    #[arg(long, hide = true, exclusive = true)]
    pub ask: Option<Question>,
}

/// What faces are drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorTarget {
    /// An NVIDIA card.
    Gpu,
    /// The processor.
    CpuBackend,
}

/// Flags of `bench`.
#[derive(Args, Debug)]
pub struct BenchFlags {
    /// Callers at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub sessions: u16,

    /// Seconds that count, after the warm-up
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,

    /// Seconds before that
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub warm_up: u32,

    /// A server to measure instead of one of its own
    #[arg(long, env = "VISAGE_BENCH_URL")]
    pub url: Option<String>,

    /// Its secret
    #[arg(long, env = "VISAGE_TOKEN", hide_env_values = true, value_parser = secret)]
    pub token: Option<String>,

    /// What runs the networks of a server of its own: cpu, or tensorrt on an NVIDIA card
    #[arg(long, env = "VISAGE_BACKEND", value_enum, default_value_t = BackendChoice::CpuBackend, hide_possible_values = true)]
    pub backend: BackendChoice,

    /// Avatar [default: the pack's first]
    #[arg(long, env = "VISAGE_AVATAR")]
    pub avatar: Option<String>,

    /// Write the result as JSON; - for stdout
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,

    /// Add sessions until it breaks
    #[arg(long, conflicts_with_all = ["churn", "compare"])]
    pub ramp: bool,

    /// Join and leave this often, and look at memory and threads
    #[arg(long, value_name = "TIMES", conflicts_with = "compare", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub churn: Option<u32>,

    /// Measure how soon a stop is heard, this often
    #[arg(long, value_name = "TIMES", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub stops: u32,

    /// Look at the pictures: how long after a sound the lips move
    #[arg(long)]
    pub lips: bool,

    /// Compare two result files
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"])]
    pub compare: Option<Vec<PathBuf>>,
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
