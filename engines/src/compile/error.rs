//! Errors of planning and building engines.
//!
//! Decides what each error reports.

use std::path::PathBuf;

use thiserror::Error;

use crate::cache::CacheError;
use crate::{Flavour, PackError, Precision, Sm, Version};

/// Why a graph was not compiled.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The compiler does not support these GPUs.
    #[error("{flavour} {version} compiles for {}, not for {sm}", crate::listed(flavour.compiles_for()))]
    UnknownSm {
        /// The requested GPUs.
        sm: Sm,
        /// The compiler.
        flavour: Flavour,
        /// Its version.
        version: Version,
    },
    /// Engines of this kind are known to compute wrongly or to fail.
    #[error("{flavour} {version} compiles no usable engine of this graph for {sm}: {fault}")]
    KnownFault {
        /// The requested GPUs.
        sm: Sm,
        /// The compiler.
        flavour: Flavour,
        /// Its version.
        version: Version,
        /// The fault.
        fault: &'static str,
    },
    /// The compiler needs a GPU of this kind in the machine.
    #[error(
        "wanted a GPU of compute capability {sm} in this machine, because {flavour} compiles on the GPU itself; found: {found}"
    )]
    NotHere {
        /// The requested GPUs.
        sm: Sm,
        /// The compiler.
        flavour: Flavour,
        /// The GPU in the machine, or none.
        found: String,
    },
    /// The file is not a graph, or the compiler rejects it.
    #[error("{flavour} cannot compile the graph: {found}")]
    Graph {
        /// The compiler.
        flavour: Flavour,
        /// Its message.
        found: String,
    },
    /// The GPUs would run it incorrectly or not at all.
    #[error("wanted a graph that {flavour} runs correctly on compute capability {sm}, found {found}")]
    Unsupported {
        /// The requested GPUs.
        sm: Sm,
        /// The compiler.
        flavour: Flavour,
        /// The operator, what happens, and what to do.
        found: String,
    },
    /// The engine cannot be written.
    #[error("cannot write the engine {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The caller stopped it.
    #[error("stopped")]
    Stopped,
}

/// Why an engine cannot be planned or built.
#[derive(Debug, Error)]
pub enum MakeError {
    /// The pack is damaged.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// No graph of the pack has this precision.
    #[error("wanted a graph in {wanted}, the pack has {found}")]
    Precision {
        /// The requested precision.
        wanted: Precision,
        /// The precisions of each graph.
        found: String,
    },
    /// The machine has too little free memory.
    #[error("wanted {} of memory to compile \"{graph}\", {} are free; close programs or compile on another machine", gigabytes(*wanted_bytes), gigabytes(*free_bytes))]
    Memory {
        /// The graph.
        graph: String,
        /// Estimated memory of the compilation.
        wanted_bytes: u64,
        /// Free memory.
        free_bytes: u64,
    },
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The compilation failed.
    #[error("the graph \"{graph}\" was not compiled for compute capability {sm}: {source}")]
    Compile {
        /// The graph.
        graph: String,
        /// The GPUs.
        sm: Sm,
        /// The reason.
        source: CompileError,
    },
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
