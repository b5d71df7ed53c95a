//! From a pack's graphs to engines: which engines are needed, what building them costs, and the build.
//!
//! Decides which engines a pack needs on which GPUs and whether this machine can build them. A [`Compiler`] compiles a graph;
//! the cache decides where an engine is stored.

mod error;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

pub use error::{CompileError, MakeError};

use crate::cache::{Built, Cache, Engine, Found, ObtainError, Step};
use crate::onnx::Operators;
use crate::{
    Digest, EngineKey, Flavour, GraphManifest, PackError, PackFiles, PackManifest, Precision, Profile, Sm, Version,
};
use crate::{compatibility, memory};

/// Compiles graphs to engines.
pub trait Compiler {
    /// The product.
    fn flavour(&self) -> Flavour;

    /// The exact version of the loaded library.
    fn version(&self) -> Version;

    /// Compiles a graph into a new file at `engine`. The caller measures time and memory.
    ///
    /// # Errors
    /// If the graph cannot be compiled, the file cannot be written, or `watch` stops it.
    fn compile(&self, order: &CompileRequest<'_>, engine: &Path, watch: &Watch) -> Result<Compiled, CompileError>;
}

/// What a compiler reports about an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// GPU memory that a step needs besides the weights, where the compiler reports it.
    pub activation_bytes: Option<u64>,
}

/// Receives the progress of a compilation on any of the compiler's threads; may stop it.
pub type Watch = std::sync::Arc<dyn Fn(Progress<'_>) -> ControlFlow<()> + Send + Sync>;

/// The progress of a compilation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// The current phase, in the compiler's words.
    pub stage: &'a str,
    /// Completed steps of the phase.
    pub done: u32,
    /// Total steps of the phase.
    pub of: u32,
}

/// One compilation.
#[derive(Clone, Copy, Debug)]
pub struct CompileRequest<'a> {
    /// The ONNX graph.
    pub onnx: Onnx<'a>,
    /// The GPUs to compile for.
    pub sm: Sm,
    /// Ranges of shapes.
    pub profiles: &'a [Profile],
}

/// An ONNX graph.
#[derive(Clone, Copy, Debug)]
pub enum Onnx<'a> {
    /// The whole graph in memory.
    Bytes(&'a [u8]),
    /// A file, with its weights beside it or in it.
    File(&'a Path),
}

/// An engine that a pack needs.
#[derive(Clone, Debug)]
pub struct Planned<'a> {
    /// Its key.
    pub key: EngineKey,
    /// Its graph.
    pub onnx: Onnx<'a>,
    /// The graph's path inside the pack.
    pub onnx_path: String,
    /// Estimated memory of the compilation.
    pub memory_bytes: u64,
    /// Estimated duration in seconds.
    pub seconds: u64,
    /// What the cache has.
    pub found: Found,
}

/// Which engines to build.
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// The GPUs.
    pub sms: Vec<Sm>,
    /// The precision; a graph that lacks it uses the next wider one. `None`: the narrowest of each graph.
    pub precision: Option<Precision>,
    /// Digests of the kernels that the engines call.
    pub kernels: BTreeMap<String, Digest>,
}

/// Memory of a compilation: a constant, and a multiple of the weights' size. Measured: 10.9 GB for 3.15 GB of weights.
const COMPILER_BYTES: u64 = 600_000_000;
const COMPILER_RATIO: u64 = 4;
/// Seconds of a compilation per gigabyte of weights. Measured: 62 s for 3.15 GB on two cores.
const COMPILER_SECONDS: u64 = 20;

/// Builds the engines of a pack into a cache.
#[derive(Clone, Copy)]
pub struct EngineBuilder<'a> {
    /// The source of the graphs.
    pub pack: &'a PackFiles,
    /// Compiles them.
    pub compiler: &'a dyn Compiler,
    /// Receives the engines.
    pub cache: &'a Cache,
    /// The wall clock.
    pub clock: fn() -> SystemTime,
}

impl<'a> EngineBuilder<'a> {
    /// The engines that the pack needs for a request, with what the cache has of each.
    ///
    /// # Errors
    /// If the pack lacks a file or a precision, the compiler does not know the GPUs, or the cache cannot be read.
    pub fn plan(&self, request: &BuildRequest) -> Result<Vec<Planned<'a>>, MakeError> {
        let manifest = self.pack.manifest()?;
        request.precision.map_or(Ok(()), |wanted| has(&manifest, wanted))?;
        let mut planned: Vec<Planned<'a>> = Vec::new();
        for graph in &manifest.graphs {
            for (n, sm) in request.sms.iter().enumerate() {
                if !request.sms[..n].contains(sm) {
                    planned.push(self.planned(graph, request, *sm)?);
                }
            }
        }
        Ok(planned)
    }

    fn planned(&self, graph: &GraphManifest, request: &BuildRequest, sm: Sm) -> Result<Planned<'a>, MakeError> {
        let absent = || PackError::Absent { path: graph.name.clone() };
        let (precision, path) = graph.in_precision(request.precision).ok_or_else(absent)?;
        let key = self.key(graph, (precision, path), request, sm)?;
        let onnx = self.pack.onnx(path, &graph.weights)?;
        let files = key.weights.keys().map(String::as_str).chain([path]);
        let graph_bytes = files.map(|file| self.pack.size_bytes(file)).sum::<Result<u64, _>>()?;
        let found = self.cache.find(&key, (self.clock)())?;
        let memory_bytes = COMPILER_BYTES + COMPILER_RATIO * graph_bytes;
        let seconds = 1 + COMPILER_SECONDS * graph_bytes / 1_000_000_000;
        Ok(Planned { key, onnx, onnx_path: path.to_owned(), memory_bytes, seconds, found })
    }

    fn key(
        &self,
        graph: &GraphManifest,
        (precision, path): (Precision, &str),
        request: &BuildRequest,
        sm: Sm,
    ) -> Result<EngineKey, MakeError> {
        let (flavour, version) = (self.compiler.flavour(), self.compiler.version());
        if !flavour.knows(sm) {
            let source = CompileError::UnknownSm { sm, flavour, version };
            return Err(MakeError::Compile { graph: graph.name.clone(), sm, source });
        }
        if let Some(fault) = known_fault((flavour, sm), precision, graph) {
            let source = CompileError::KnownFault { sm, flavour, version, fault };
            return Err(MakeError::Compile { graph: graph.name.clone(), sm, source });
        }
        let weights = self.pack.weights(path, &graph.weights)?.into_iter();
        let weights = weights.map(|file| Ok((file.to_owned(), self.pack.digest(file)?)));
        Ok(EngineKey {
            graph: graph.name.clone(),
            shapes: graph.shapes.clone(),
            onnx: self.pack.digest(path)?,
            weights: weights.collect::<Result<_, PackError>>()?,
            sm,
            flavour,
            version,
            precision,
            profiles: graph.profiles.clone(),
            kernels: request.kernels.clone(),
            flags: BTreeSet::new(),
        })
    }

    /// Builds a planned engine unless the cache has it by now. `free_bytes` is the machine's free memory. While another process
    /// builds it, `watch` is polled and may stop the wait.
    ///
    /// # Errors
    /// If memory is short, the graph or its weights are damaged, the build or the wait fails or is stopped, or files cannot be
    /// written. No incomplete file is left.
    pub fn make(
        &self,
        planned: &Planned<'_>,
        free_bytes: u64,
        report: &mut dyn FnMut(Step<'_>),
        watch: &Watch,
    ) -> Result<Engine, MakeError> {
        let mut step = |step: Step<'_>| {
            let waits = matches!(step, Step::Waiting(_) | Step::StillWaiting);
            report(step);
            if waits { watch(Progress { stage: WAITING, done: 0, of: 1 }) } else { ControlFlow::Continue(()) }
        };
        let compile = |path: &Path| self.compiled(planned, free_bytes, path, watch);
        self.cache.obtain(&planned.key, (self.clock)(), &mut step, compile).map_err(|error| match error {
            ObtainError::Cache(error) => MakeError::Cache(error),
            ObtainError::Build(error) => error,
            ObtainError::Stopped => planned.failed(CompileError::Stopped),
        })
    }

    /// Compiles into a new file and measures the cost. Checks that need no large file come first.
    fn compiled(&self, planned: &Planned<'_>, free_bytes: u64, path: &Path, watch: &Watch) -> Result<Built, MakeError> {
        planned.check_memory(free_bytes)?;
        let files = planned.key.weights.keys().chain([&planned.onnx_path]);
        files.into_iter().try_for_each(|file| self.pack.check_large(file))?;
        self.check_operators(planned)?;
        let order = CompileRequest { onnx: planned.onnx, sm: planned.key.sm, profiles: &planned.key.profiles };
        let began = (self.clock)();
        memory::reset_peak();
        let compiled = self.compiler.compile(&order, path, watch).map_err(|source| planned.failed(source))?;
        // A wall clock that was set back gives no duration.
        let seconds = (self.clock)().duration_since(began).unwrap_or_default().as_secs_f64();
        let Compiled { activation_bytes } = compiled;
        Ok(Built { seconds, peak_memory_bytes: memory::peak_bytes(), activation_bytes })
    }
}

impl EngineBuilder<'_> {
    /// Refuses graphs that the GPUs run incorrectly, before minutes of compilation. A file that cannot be read fails in the
    /// compiler.
    fn check_operators(&self, planned: &Planned<'_>) -> Result<(), MakeError> {
        let (flavour, sm) = (self.compiler.flavour(), planned.key.sm);
        if (flavour, sm) != (Flavour::Rtx, Sm::SM75) {
            return Ok(());
        }
        let operators = match planned.onnx {
            Onnx::Bytes(bytes) => Operators::read(bytes),
            Onnx::File(path) => std::fs::read(path).ok().and_then(|bytes| Operators::read(&bytes)),
        };
        let refused = operators.and_then(|found| compatibility::refusal(flavour, sm, &found, &planned.key.profiles));
        refused.map_or(Ok(()), |found| Err(planned.failed(CompileError::Unsupported { sm, flavour, found })))
    }
}

/// The phase reported while another process builds the engine.
const WAITING: &str = "waiting for another process that builds it";

impl Planned<'_> {
    /// Whether it has to be built.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        !matches!(self.found, Found::Engine(_))
    }

    /// Checks that the machine has enough free memory to build it.
    ///
    /// # Errors
    /// If not, with the memory needed.
    pub fn check_memory(&self, free_bytes: u64) -> Result<(), MakeError> {
        let (graph, wanted_bytes) = (self.key.graph.clone(), self.memory_bytes);
        if wanted_bytes <= free_bytes { Ok(()) } else { Err(MakeError::Memory { graph, wanted_bytes, free_bytes }) }
    }

    fn failed(&self, source: CompileError) -> MakeError {
        MakeError::Compile { graph: self.key.graph.clone(), sm: self.key.sm, source }
    }
}

/// Faults of TensorRT-RTX 1.7 on SM 7.5 that a precision and profiles show: matrix products in fp32 with dynamic shapes return
/// zeros without an error, and bf16 fails at run time. (3-D convolutions fail as well, and do so while compiling.)
fn known_fault((flavour, sm): (Flavour, Sm), precision: Precision, graph: &GraphManifest) -> Option<&'static str> {
    match precision {
        _ if (flavour, sm) != (Flavour::Rtx, Sm::SM75) => None,
        Precision::Fp32 if !graph.profiles.is_empty() => Some("fp32 matrix products with dynamic shapes return zeros"),
        Precision::Bf16 => Some("bf16 fails"),
        _ => None,
    }
}

/// Whether some graph has `wanted`.
fn has(manifest: &PackManifest, wanted: Precision) -> Result<(), MakeError> {
    if manifest.graphs.iter().any(|graph| graph.onnx.contains_key(&wanted)) {
        return Ok(());
    }
    let said = |graph: &GraphManifest| {
        let precisions: Vec<_> = graph.onnx.keys().map(|precision| precision.name()).collect();
        format!("{} in {}", graph.name, precisions.join(" and "))
    };
    let found = manifest.graphs.iter().map(said).collect::<Vec<_>>().join(", ");
    Err(MakeError::Precision { wanted, found })
}

#[cfg(test)]
mod tests;
