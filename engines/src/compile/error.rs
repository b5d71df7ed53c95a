//! Why engines were not compiled.
//!
//! Decides what each error reports; the operations are in `compile`.

use std::path::PathBuf;

use thiserror::Error;

use crate::cache::CacheError;
use crate::{Flavour, PackError, Precision, Sm, Version};

/// Why a graph was not compiled.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The compiler does not know such GPUs.
    #[error("{flavour} {version} compiles for {}, not for {sm}", crate::listed(flavour.compiles_for()))]
    UnknownSm {
        /// As asked.
        sm: Sm,
        /// What was to compile.
        flavour: Flavour,
        /// Its version.
        version: Version,
    },
    /// Engines of this kind are known to compute wrongly or to fail.
    #[error("{flavour} {version} compiles no usable engine of this graph for {sm}: {fault}")]
    KnownFault {
        /// As asked.
        sm: Sm,
        /// What was to compile.
        flavour: Flavour,
        /// Its version.
        version: Version,
        /// What is wrong with such engines.
        fault: &'static str,
    },
    /// The compiler needs such a GPU itself.
    #[error(
        "wanted a GPU of compute capability {sm} in this machine, because {flavour} compiles on the GPU itself; found: {found}"
    )]
    NotHere {
        /// As asked.
        sm: Sm,
        /// What was to compile.
        flavour: Flavour,
        /// What there is.
        found: String,
    },
    /// The graph is none, or one that the compiler cannot compile.
    #[error("wanted a graph that {flavour} compiles, it says: {found}")]
    Graph {
        /// What compiled.
        flavour: Flavour,
        /// What it said.
        found: String,
    },
    /// The GPUs would run it wrongly or not at all.
    #[error("wanted a graph that {flavour} runs correctly on compute capability {sm}, found {found}")]
    Unsupported {
        /// As asked.
        sm: Sm,
        /// What was to compile.
        flavour: Flavour,
        /// The operator, what happens, and what to do.
        found: String,
    },
    /// The engine's file could not be written.
    #[error("wanted to write an engine, found {source}: {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody stopped it.
    #[error("it was stopped")]
    Stopped,
}

/// Why engines could not be planned or made.
#[derive(Debug, Error)]
pub enum MakeError {
    /// The pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// No graph of the pack has such a precision.
    #[error("wanted a graph in {wanted}, the pack has {found}")]
    Precision {
        /// As asked.
        wanted: Precision,
        /// What there is.
        found: String,
    },
    /// The machine has less memory than making it takes.
    #[error("wanted {} of memory to compile \"{graph}\", {} are free; close programs or compile on another machine", gigabytes(*wanted_bytes), gigabytes(*free_bytes))]
    Memory {
        /// The graph.
        graph: String,
        /// What it takes.
        wanted_bytes: u64,
        /// What is there.
        free_bytes: u64,
    },
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Compiling.
    #[error("the graph \"{graph}\" was not compiled for compute capability {sm}: {source}")]
    Compile {
        /// The graph.
        graph: String,
        /// The GPUs.
        sm: Sm,
        /// Why.
        source: CompileError,
    },
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
