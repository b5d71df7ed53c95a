//! The engines that a pack needs: for which GPUs, which are missing, and their compilation.
//!
//! Decides which compiler is used and the hints of its errors. The caller shows the progress.

use std::time::Duration;

use visage_engines::cache::{Cache, Engine, Step};
use visage_engines::compile::{BuildRequest, CompileError, Compiler, EngineBuilder, MakeError, Planned, Watch};
use visage_engines::search_paths::{engines_in, python_roots, search_order};
use visage_engines::{Flavour, PackError, PackFiles, Precision, Sm, listed, memory};
use visage_kernels::tensorrt;

use super::error::CliError;
use super::flags::{Flags, GpuFlags, LibraryFlags};
use super::packs::{data_dir, environment};
use crate::time::Wall;

/// A pack, a compiler, and the folder for engines.
pub struct EngineBuild<'a> {
    pack: &'a PackFiles,
    cache: &'a Cache,
    compiler: Box<dyn Compiler>,
}

/// An engine, and the cost of obtaining it.
pub struct Made {
    /// The engine.
    pub engine: Engine,
    /// Whether it was compiled now.
    pub was_built: bool,
    /// Time until it was available.
    pub took: Duration,
}

impl<'a> EngineBuild<'a> {
    /// Loads the compiler.
    pub fn open(library: &LibraryFlags, pack: &'a PackFiles, cache: &'a Cache) -> Result<Self, CliError> {
        let order =
            search_order(library.tensorrt_lib.as_deref(), &python_roots(&environment), tensorrt::PYTHON_PACKAGE);
        let compiler = tensorrt::load(&order).map_err(library_error)?;
        Ok(Self { pack, cache, compiler })
    }

    /// The planned engines, existing or missing.
    pub fn plan(&self, sms: Vec<Sm>, precision: Option<Precision>) -> Result<Vec<Planned<'_>>, CliError> {
        let request = BuildRequest { sms, precision, ..BuildRequest::default() };
        self.builder().plan(&request).map_err(with_hint)
    }

    /// Compiles an engine, unless it exists or another process compiles it.
    pub fn make(&self, planned: &Planned<'_>, tell: &dyn Fn(&Step<'_>), watch: &Watch) -> Result<Made, CliError> {
        let mut was_built = false;
        let mut step = |step: Step<'_>| {
            was_built |= step == Step::Building;
            tell(&step);
        };
        let started = Wall.now();
        let engine = self.builder().make(planned, free_bytes(), &mut step, watch).map_err(with_hint)?;
        Ok(Made { engine, was_built, took: Wall.now().duration_since(started) })
    }

    fn builder(&self) -> EngineBuilder<'_> {
        EngineBuilder { pack: self.pack, compiler: &*self.compiler, cache: self.cache, clock: || Wall.date() }
    }
}

/// Checks that the machine has the memory for all missing engines, before the first is compiled.
pub fn check_memory(planned: &[Planned<'_>]) -> Result<(), CliError> {
    let free_bytes = free_bytes();
    let mut missing = planned.iter().filter(|planned| planned.is_missing());
    missing.try_for_each(|planned| planned.check_memory(free_bytes)).map_err(with_hint)
}

/// Free memory. Where the system does not report it, nothing is refused.
fn free_bytes() -> u64 {
    memory::free_bytes().unwrap_or(u64::MAX)
}

/// The folder of engines.
pub fn open_cache(flags: &Flags) -> Result<Cache, CliError> {
    Cache::open(engines_in(&data_dir(flags))).map_err(|error| CliError::new(error, "--data-dir names another folder"))
}

/// A step of a compilation as a message, if users should see it.
pub fn describe(step: &Step<'_>) -> Option<String> {
    match step {
        Step::Quarantined(folder, damage) => Some(format!("damaged engine moved to {}: {damage}", folder.display())),
        Step::Waiting(lock) => Some(format!("another process compiles it; waiting for {}", lock.display())),
        Step::StillWaiting | Step::Building => None,
    }
}

/// The compute capabilities of the GPUs in this machine, in the driver's order.
pub fn local_gpus_in_order() -> Vec<Sm> {
    visage_kernels::find_gpus().into_iter().map(|gpu| gpu.sm).collect()
}

/// The compute capabilities of the GPUs in this machine, without duplicates.
pub fn local_sms() -> Vec<Sm> {
    let mut sms = local_gpus_in_order();
    sms.sort_unstable();
    sms.dedup();
    sms
}

/// The GPUs to compile for: those named, or those present.
pub fn gpus(gpu: &GpuFlags) -> Result<Vec<Sm>, CliError> {
    let sms = if gpu.sm.is_empty() { local_sms() } else { gpu.sm.clone() };
    if sms.is_empty() {
        let (flavour, known) = (tensorrt::FLAVOUR, listed(tensorrt::FLAVOUR.compiles_for()));
        let hint = match flavour {
            Flavour::Rtx => format!("name them: visage engines build --sm 8.9 ({flavour} compiles for {known})"),
            Flavour::Classic => format!("{flavour} compiles only on the GPU itself: run it on that machine"),
        };
        return Err(CliError::message("no GPU in this machine to compile for", hint));
    }
    Ok(sms)
}

/// The error that TensorRT is missing, with a hint.
pub fn library_error(error: tensorrt::LibraryError) -> CliError {
    let hint = error.hint();
    CliError::new(error, hint)
}

fn with_hint(error: MakeError) -> CliError {
    let hint = match &error {
        MakeError::Precision { .. } => "choose one of these with --precision, or omit it",
        MakeError::Memory { .. } => "engines for any GPU can be compiled on any machine: use one with more memory",
        MakeError::Cache(error) if error.is_disk_full() => "free some space: visage engines prune --keep-gb 0",
        MakeError::Compile { source: CompileError::Write { .. }, .. } => {
            "free some space, or check the permissions: visage engines path"
        }
        MakeError::Compile { source: CompileError::Stopped, .. } => "no incomplete file was left; run it again",
        MakeError::Compile { source: CompileError::UnknownSm { sm, .. }, .. } if Flavour::Classic.knows(*sm) => {
            "such GPUs need classic TensorRT: cargo build --release --features tensorrt"
        }
        MakeError::Compile { source: CompileError::UnknownSm { .. }, .. } => {
            "no supported TensorRT compiles for such GPUs: see visage doctor"
        }
        MakeError::Compile { source: CompileError::KnownFault { .. }, .. } => {
            "use fp16 (--precision fp16), fixed shapes, or classic TensorRT: cargo build --release --features tensorrt"
        }
        MakeError::Compile { source: CompileError::NotHere { .. }, .. } => {
            "run it on a machine with such a GPU; TensorRT for RTX compiles without one: cargo build --release --features tensorrt-rtx"
        }
        MakeError::Compile { .. } => "this TensorRT does not support the pack's graph",
        MakeError::Pack(PackError::Digest(_)) => "get the pack again: one of its files has changed",
        MakeError::Pack(_) => {
            "the pack is incomplete: get it again, or correct its pack.toml and create SHA256SUMS again"
        }
        MakeError::Cache(_) => "visage engines path says where engines are kept; --data-dir names another folder",
    };
    CliError::new(error, hint)
}
