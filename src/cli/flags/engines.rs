//! Flags of whatever is compiled for graphics cards: engines and kernels.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use visage_engines::{Precision, Sm};

use super::ListFlags;
use super::values::gigabytes;

/// What to do with engines.
#[derive(Debug, Subcommand)]
pub enum EnginesCommand {
    /// Compile the graphs of a pack; no card is needed
    #[command(
        after_help = "Examples:\n  visage engines build --sm 8.9,12.0\n  visage engines build --pack ./sonic --sm 8.9 --precision fp16 --dry-run"
    )]
    Build(BuildFlags),
    /// Run every graph on the CPU and on the card, and say how far the outputs are apart
    Parity(ParityFlags),
    /// List the engines
    List(ListFlags),
    /// Read every engine whole and hold it to its digest
    Verify(ListFlags),
    /// Remove damaged engines, and those used longest ago beyond a limit
    Prune(PruneFlags),
    /// Print the folder they are in
    Path(ListFlags),
}

/// Flags of whatever compiles for graphics cards.
#[derive(Args, Debug)]
pub struct GpuFlags {
    /// Compute capabilities to compile for [default: this machine's cards]
    #[arg(long, env = "VISAGE_SM", value_delimiter = ',', value_name = "SM")]
    pub sm: Vec<Sm>,

    #[command(flatten)]
    pub library: LibraryFlags,

    #[command(flatten)]
    pub keep: KeepFlags,
}

/// How much may stay.
#[derive(Args, Debug)]
pub struct KeepFlags {
    /// Gigabytes of engines that may stay; those used longest ago go first
    #[arg(long, env = "VISAGE_ENGINES_GB", default_value_t = 40.0, value_name = "GB", value_parser = gigabytes)]
    pub keep_gb: f64,
}

impl KeepFlags {
    /// The same in bytes.
    pub fn bytes(&self) -> u64 {
        (self.keep_gb * 1e9) as u64
    }
}

/// Where TensorRT is.
#[derive(Args, Debug)]
pub struct LibraryFlags {
    /// TensorRT's library or the folder it is in [default: the loader's, or that of a Python environment]
    #[arg(long, env = "VISAGE_TENSORRT_LIB", value_name = "PATH")]
    pub tensorrt_lib: Option<PathBuf>,
}

/// Flags of `engines build`.
#[derive(Args, Debug)]
pub struct BuildFlags {
    #[command(flatten)]
    pub card: GpuFlags,

    /// fp32, fp16, bf16 or fp8 [default: the narrowest that a graph has]
    #[arg(long)]
    pub precision: Option<Precision>,

    /// Only say what is there, what is missing and what it takes
    #[arg(long)]
    pub dry_run: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `engines parity`.
#[derive(Args, Debug)]
pub struct ParityFlags {
    #[command(flatten)]
    pub library: LibraryFlags,

    /// Number that the inputs are made from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `engines prune`.
#[derive(Args, Debug)]
pub struct PruneFlags {
    #[command(flatten)]
    pub keep: KeepFlags,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What to do with kernels.
#[derive(Debug, Subcommand)]
pub enum KernelsCommand {
    /// Compile all kernels; no card is needed
    #[command(after_help = "Example:\n  visage kernels build --sm 7.5,8.0,8.6,8.9,9.0,10.0,12.0")]
    Build(KernelBuildFlags),
    /// List the kernels and the cards that they are compiled for
    List(ListFlags),
    /// Run every kernel on this machine's card and compare it with its twin on the CPU
    Check(NvrtcFlags),
}

/// Flags of `kernels build`.
#[derive(Args, Debug)]
pub struct KernelBuildFlags {
    /// Compute capabilities to compile for [default: this machine's cards]
    #[arg(long, env = "VISAGE_SM", value_delimiter = ',', value_name = "SM")]
    pub sm: Vec<Sm>,

    #[command(flatten)]
    pub nvrtc: NvrtcFlags,
}

/// Where NVRTC is.
#[derive(Args, Debug)]
pub struct NvrtcLibraryFlags {
    /// NVRTC's library or the folder it is in [default: the loader's, or that of a Python environment or CUDA's toolkit]
    #[arg(long, env = "VISAGE_NVRTC_LIB", value_name = "PATH")]
    pub nvrtc_lib: Option<PathBuf>,
}

/// Flags of whatever compiles kernels.
#[derive(Args, Debug)]
pub struct NvrtcFlags {
    #[command(flatten)]
    pub library: NvrtcLibraryFlags,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}
