//! From a pack's graphs to engines: what has to be made, what that takes, and making it.
//!
//! Decides which engines a pack needs on which cards and whether this machine can make them. How a graph is compiled is the
//! business of a [`Compiler`]; where an engine lies is the cache's.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use crate::cache::{Built, Cache, CacheError, Engine, Found, ObtainError, Step};
use crate::{Digest, EngineKey, Flavour, GraphManifest, PackError, PackFiles, Precision, Profile, Sm, Version};

/// What turns graphs into engines.
pub trait Compiler {
    /// Which product it is.
    fn flavour(&self) -> Flavour;

    /// The exact version of the library that is loaded.
    fn version(&self) -> Version;

    /// Compiles a graph into a new file at `engine`.
    ///
    /// # Errors
    /// If the graph cannot be compiled or the file not written, or if `watch` says to stop.
    fn compile(&self, order: &Order<'_>, engine: &Path, watch: &Watch) -> Result<Built, CompileError>;
}

/// Told how far a compilation is, on whatever thread the compiler uses; may stop it.
pub type Watch = std::sync::Arc<dyn Fn(Progress<'_>) -> ControlFlow<()> + Send + Sync>;

/// How far a compilation is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// What is being done, in the compiler's words.
    pub stage: &'a str,
    /// Steps of it that are done.
    pub done: u32,
    /// Steps that it has.
    pub of: u32,
}

/// What is to be compiled.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The ONNX file.
    pub onnx: &'a Onnx<'a>,
    /// The cards.
    pub sm: Sm,
    /// Ranges of shapes.
    pub profiles: &'a [Profile],
}

/// An ONNX graph: in memory if all of it is in one file, on disk if its weights lie beside it.
#[derive(Clone, Debug)]
pub enum Onnx<'a> {
    /// Its bytes.
    Bytes(Cow<'a, [u8]>),
    /// Its path.
    File(PathBuf),
}

/// Why a graph was not compiled.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The compiler does not know such cards.
    #[error("wanted an engine for compute capability {sm}, {flavour} {version} compiles for {}", crate::listed(flavour.compiles_for()))]
    UnknownSm {
        /// As asked.
        sm: Sm,
        /// What was to compile.
        flavour: Flavour,
        /// Its version.
        version: Version,
    },
    /// The graph is none, or one that the compiler cannot compile.
    #[error("wanted a graph that {flavour} compiles, it says: {found}")]
    Graph {
        /// What compiled.
        flavour: Flavour,
        /// What it said.
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
    /// The pack has no such precision of a graph.
    #[error("wanted {wanted} of the graph \"{graph}\", the pack has {found}")]
    Precision {
        /// The graph.
        graph: String,
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
    #[error("\"{graph}\" for compute capability {sm}: {source}")]
    Compile {
        /// The graph.
        graph: String,
        /// The cards.
        sm: Sm,
        /// Why.
        source: CompileError,
    },
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// An engine that is there or has to be made.
#[derive(Clone, Debug)]
pub struct Planned<'a> {
    /// Its key.
    pub key: EngineKey,
    /// The graph.
    pub onnx: Onnx<'a>,
    /// Memory that compiling it takes, roughly.
    pub memory_bytes: u64,
    /// Seconds that it takes, roughly.
    pub seconds: u64,
    /// What the cache holds.
    pub found: Found,
}

/// What to make.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The cards.
    pub sms: Vec<Sm>,
    /// The precision, for graphs that have it. The first that a graph has unless said.
    pub precision: Option<Precision>,
    /// Digests of kernels that engines call.
    pub kernels: BTreeMap<String, Digest>,
}

/// Memory that a compiler takes besides a graph's weights, and for each byte of weights: 10.9 GB were seen for 3.15 GB.
const COMPILER_BYTES: u64 = 600_000_000;
const COMPILER_RATIO: u64 = 4;
/// Seconds it takes for each gigabyte of weights: 62 were seen for 3.15 GB, on two cores.
const COMPILER_SECONDS: u64 = 20;

/// A pack, what compiles its graphs, and where the engines go.
#[derive(Clone, Copy)]
pub struct Forge<'a> {
    /// Where the graphs come from.
    pub pack: &'a PackFiles,
    /// What compiles them.
    pub compiler: &'a dyn Compiler,
    /// Where engines are kept.
    pub cache: &'a Cache,
}

impl<'a> Forge<'a> {
    /// The engines that the pack needs for a wish, and which of them are there already.
    ///
    /// # Errors
    /// If the pack lacks a file or a precision, the compiler does not know the cards, or the cache cannot be read.
    pub fn plan(&self, wish: &Wish, now: SystemTime) -> Result<Vec<Planned<'a>>, MakeError> {
        let manifest = self.pack.manifest()?;
        let mut planned = Vec::new();
        for graph in &manifest.graphs {
            for sm in &wish.sms {
                planned.push(self.planned(graph, wish, *sm, now)?);
            }
        }
        Ok(planned)
    }

    fn planned(&self, graph: &GraphManifest, wish: &Wish, sm: Sm, now: SystemTime) -> Result<Planned<'a>, MakeError> {
        let (key, onnx) = keyed(self.pack, graph, wish, self.compiler, sm)?;
        let graph_bytes = graph_bytes(self.pack, graph, key.precision)?;
        let found = self.cache.find(&key, now)?;
        let memory_bytes = COMPILER_BYTES + COMPILER_RATIO * graph_bytes;
        let seconds = 1 + COMPILER_SECONDS * graph_bytes / 1_000_000_000;
        Ok(Planned { key, onnx, memory_bytes, seconds, found })
    }

    /// Makes an engine that is planned, if it is not there: `free_bytes` is the memory that the machine has left.
    ///
    /// # Errors
    /// If memory is short, weights are damaged, compiling fails or is stopped, or files cannot be written; nothing half
    /// done is left.
    pub fn make(
        &self,
        planned: &Planned<'_>,
        (now, free_bytes): (SystemTime, u64),
        tell: &mut dyn FnMut(Step<'_>),
        watch: &Watch,
    ) -> Result<Engine, MakeError> {
        let graph = || planned.key.graph.clone();
        let compile = |path: &Path| {
            planned.key.weights.keys().try_for_each(|weights| self.pack.check_large(weights))?;
            if free_bytes < planned.memory_bytes {
                return Err(MakeError::Memory { graph: graph(), wanted_bytes: planned.memory_bytes, free_bytes });
            }
            let order = Order { onnx: &planned.onnx, sm: planned.key.sm, profiles: &planned.key.profiles };
            let done = self.compiler.compile(&order, path, watch);
            done.map_err(|source| MakeError::Compile { graph: graph(), sm: planned.key.sm, source })
        };
        self.cache.obtain(&planned.key, now, tell, compile).map_err(|error| match error {
            ObtainError::Cache(error) => MakeError::Cache(error),
            ObtainError::Build(error) => error,
        })
    }
}

fn keyed<'a>(
    pack: &'a PackFiles,
    graph: &GraphManifest,
    wish: &Wish,
    compiler: &dyn Compiler,
    sm: Sm,
) -> Result<(EngineKey, Onnx<'a>), MakeError> {
    let (flavour, version) = (compiler.flavour(), compiler.version());
    if !flavour.knows(sm) {
        let source = CompileError::UnknownSm { sm, flavour, version };
        return Err(MakeError::Compile { graph: graph.name.clone(), sm, source });
    }
    let (precision, path) = graph.in_precision(wish.precision).map_err(|found| MakeError::Precision {
        graph: graph.name.clone(),
        wanted: wish.precision.unwrap_or(Precision::Fp32),
        found,
    })?;
    let weights = graph.weights.iter().map(|path| Ok((path.clone(), pack.digest(path)?)));
    let key = EngineKey {
        graph: graph.name.clone(),
        shapes: graph.shapes.clone(),
        onnx: pack.digest(path)?,
        weights: weights.collect::<Result<_, PackError>>()?,
        sm,
        flavour,
        version,
        precision,
        profiles: graph.profiles.clone(),
        kernels: wish.kernels.clone(),
        flags: BTreeSet::new(),
    };
    Ok((key, pack.onnx(path, &graph.weights)?))
}

/// Bytes of a graph with its weights.
fn graph_bytes(pack: &PackFiles, graph: &GraphManifest, precision: Precision) -> Result<u64, PackError> {
    let files = graph.onnx.get(&precision).into_iter().chain(&graph.weights);
    files.map(|path| pack.size_bytes(path)).sum()
}

#[cfg(test)]
mod tests;
