//! Flags of everything that is compiled for GPUs: engines and kernels.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use visage_engines::{Precision, Sm};

use super::ListFlags;
use super::values::gigabytes;

/// What to do with engines.
#[derive(Debug, Subcommand)]
pub enum EnginesCommand {
    /// Compile the graphs of a pack; no GPU is needed
    #[command(
        after_help = "Examples:\n  visage engines build --sm 8.9,12.0\n  visage engines build --pack ./sonic --sm 8.9 --precision fp16 --dry-run"
    )]
    Build(BuildFlags),
    /// Run every graph on the CPU and on the GPU, and compare the outputs
    Parity(ParityFlags),
    /// List the engines
    List(ListFlags),
    /// Verify the checksum of every engine
    Verify(ListFlags),
    /// Remove damaged engines, and the least recently used ones above a limit
    Prune(PruneFlags),
    /// Print the folder of engines
    Path(ListFlags),
}

/// Flags of everything that compiles for GPUs.
#[derive(Args, Debug)]
pub struct GpuFlags {
    /// Compute capabilities to compile for [default: this machine's GPUs]
    #[arg(long, env = "VISAGE_SM", value_delimiter = ',', value_name = "SM")]
    pub sm: Vec<Sm>,

    #[command(flatten)]
    pub library: LibraryFlags,

    #[command(flatten)]
    pub keep: KeepFlags,
}

/// The size limit of the cache.
#[derive(Args, Debug)]
pub struct KeepFlags {
    /// Size limit of all engines in gigabytes; the least recently used ones are removed first
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
    /// TensorRT library or its folder [default: the loader's path, a Python environment]
    #[arg(long, env = "VISAGE_TENSORRT_LIB", value_name = "PATH")]
    pub tensorrt_lib: Option<PathBuf>,
}

/// Flags of `engines build`.
#[derive(Args, Debug)]
pub struct BuildFlags {
    #[command(flatten)]
    pub gpu: GpuFlags,

    /// fp32, fp16, bf16 or fp8 [default: the lowest precision of each graph]
    #[arg(long)]
    pub precision: Option<Precision>,

    /// Only list what exists, what is missing and what it needs
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

    /// Seed of the random inputs
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
    /// Compile all kernels; no GPU is needed
    #[command(after_help = "Example:\n  visage kernels build --sm 7.5,8.0,8.6,8.9,9.0,10.0,12.0")]
    Build(KernelBuildFlags),
    /// List the kernels and the GPUs that they are compiled for
    List(ListFlags),
    /// Run every kernel on this machine's GPU and compare it with its CPU reference implementation
    Check(NvrtcFlags),
}

/// Flags of `kernels build`.
#[derive(Args, Debug)]
pub struct KernelBuildFlags {
    /// Compute capabilities to compile for [default: this machine's GPUs]
    #[arg(long, env = "VISAGE_SM", value_delimiter = ',', value_name = "SM")]
    pub sm: Vec<Sm>,

    #[command(flatten)]
    pub nvrtc: NvrtcFlags,
}

/// Where NVRTC is.
#[derive(Args, Debug)]
pub struct NvrtcLibraryFlags {
    /// NVRTC library or its folder [default: the loader's path, a Python environment, the CUDA toolkit]
    #[arg(long, env = "VISAGE_NVRTC_LIB", value_name = "PATH")]
    pub nvrtc_lib: Option<PathBuf>,
}

/// Flags of everything that compiles kernels.
#[derive(Args, Debug)]
pub struct NvrtcFlags {
    #[command(flatten)]
    pub library: NvrtcLibraryFlags,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}
