//! Compiles missing engines before a network runs on a GPU.
//!
//! Decides which engines are needed and who receives the progress. `engine_build` compiles.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

use visage_engines::Sm;
use visage_engines::cache::{Cache, Engine, Found, Step};
use visage_engines::compile::{Planned, Watch};
use visage_kernels::tensorrt;

use super::engine_build::{EngineBuild, check_memory, describe, local_sms, open_cache};
use super::error::CliError;
use super::flags::{BackendChoice, EngineFlags, Flags, GpuFlags};
use super::packs::pack_files;
use crate::serve::StartupTask;
use crate::time::Wall;

/// Whether the program was asked to stop.
pub type IsClosing = Arc<dyn Fn() -> bool + Send + Sync>;

/// Receives the progress of the start.
pub type Progress = Arc<dyn Fn(StartupTask) + Send + Sync>;

/// The engines of the pack for the named GPUs, or for those of this machine that the backend uses; missing ones are compiled.
/// If the program is asked to stop, compilation stops and the existing engines are returned. Engines that will be opened
/// are marked unverified: a process that dies while it opens one leaves the mark, and the next start reads it completely.
pub fn engines(
    flags: &Flags,
    wanted: &EngineFlags,
    progress: Progress,
    is_closing: &IsClosing,
) -> Result<Vec<Engine>, CliError> {
    let is_used = wanted.backend == BackendChoice::Tensorrt;
    let sms = target_sms(&wanted.gpu, wanted.backend);
    if sms.is_empty() {
        return Ok(Vec::new());
    }
    let (started, pack, cache) = (Wall.date(), pack_files(flags)?, open_cache(flags)?);
    let build = EngineBuild::open(&wanted.gpu.library, &pack, &cache)?;
    let planned = build.plan(sms, None)?;
    let mut engines: Vec<Engine> = planned.iter().filter_map(existing).collect();
    check_memory(&planned)?;
    let all_compiled = compile_missing(&build, &planned, &Watcher { progress, is_closing }, &mut engines)?;
    if all_compiled {
        remove_least_recent(&cache, &wanted.gpu, started)?;
        if is_used {
            engines.iter().for_each(Engine::mark_unverified);
        }
    }
    Ok(engines)
}

/// The compute capabilities that need engines.
fn target_sms(gpu: &GpuFlags, backend: BackendChoice) -> Vec<Sm> {
    let is_used = backend == BackendChoice::Tensorrt;
    if gpu.sm.is_empty() && is_used { usable_sms() } else { gpu.sm.clone() }
}

/// Receivers of the progress, and the source of a stop.
struct Watcher<'a> {
    progress: Progress,
    is_closing: &'a IsClosing,
}

/// Compiles missing engines, one after another, into `engines`. `false` if it was stopped.
fn compile_missing(
    build: &EngineBuild<'_>,
    planned: &[Planned<'_>],
    watcher: &Watcher<'_>,
    engines: &mut Vec<Engine>,
) -> Result<bool, CliError> {
    let missing: Vec<_> = planned.iter().filter(|planned| planned.is_missing()).collect();
    let expected_s = missing.iter().map(|planned| planned.seconds).sum();
    if !missing.is_empty() {
        tracing::info!("compiling {} engines first, in about {expected_s} s", missing.len());
    }
    for planned in missing {
        let log = |step: &Step<'_>| describe(step).into_iter().for_each(|line| tracing::warn!("{line}"));
        let compiled = build.make(planned, &log, &watcher.watch(planned, expected_s));
        if (watcher.is_closing)() {
            return Ok(false);
        }
        let compiled = compiled?;
        tracing::info!("engine {} compiled in {:.1} s", planned.key.stem(), compiled.took.as_secs_f64());
        engines.push(compiled.engine);
    }
    Ok(true)
}

/// Keeps the folder of engines below its limit. Engines used since `started` stay.
fn remove_least_recent(cache: &Cache, gpu: &GpuFlags, started: SystemTime) -> Result<(), CliError> {
    for stem in cache.thin_out(gpu.keep.bytes(), started)?.removed {
        tracing::info!("engine {stem} removed: all engines together exceed {} GB", gpu.keep.keep_gb);
    }
    Ok(())
}

fn existing(planned: &Planned<'_>) -> Option<Engine> {
    match &planned.found {
        Found::Engine(engine) => Some((**engine).clone()),
        _ => None,
    }
}

/// The GPUs of this machine that this program's compiler supports. A warning names each of the others.
fn usable_sms() -> Vec<Sm> {
    let (usable, others): (Vec<_>, Vec<_>) =
        local_sms().into_iter().partition(|sm| tensorrt::IS_BUILT && tensorrt::FLAVOUR.knows(*sm));
    for sm in others {
        let (why, hint) = if tensorrt::IS_BUILT {
            ("the TensorRT of this program does not support it", "visage doctor names the flavour that does")
        } else {
            ("this program was built without TensorRT", "cargo build --release --features tensorrt-rtx")
        };
        tracing::warn!("the GPU of compute capability {sm} is not used: {why}; {hint}");
    }
    usable
}

impl Watcher<'_> {
    fn watch(&self, planned: &Planned<'_>, expected_s: u64) -> Watch {
        let (stem, progress) = (planned.key.stem(), Arc::clone(&self.progress));
        let is_closing = Arc::clone(self.is_closing);
        progress(StartupTask { task: format!("compiling {stem}"), done: 0, total: 1, expected_s });
        Arc::new(move |step| {
            let task = format!("compiling {stem}: {}", step.stage);
            progress(StartupTask { task, done: step.done, total: step.of, expected_s });
            if is_closing() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }
}
