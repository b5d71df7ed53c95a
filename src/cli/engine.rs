//! Which backend runs the networks: the one that was asked for, never another.

use visage_engines::cache::Engine;

use super::error::CliError;
use super::flags::{BackendChoice, Flags};
use crate::backend::{Backend, CpuBackend};

/// The backend of that name, for `sessions` at once; `engines` are those built for the GPUs named or present.
pub fn open_backend(
    name: BackendChoice,
    sessions: usize,
    engines: Vec<Engine>,
    flags: &Flags,
) -> Result<Box<dyn Backend>, CliError> {
    match name {
        BackendChoice::Cpu => Ok(Box::new(CpuBackend::new())),
        BackendChoice::Tensorrt => gpu_backend(sessions, engines, flags),
    }
}

/// The most rows of one run that steps of several sessions share, where a graph has a batch axis.
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
const MAX_BATCH: usize = 4;

/// A step of the portrait's network takes three: one upload and two downloads. Four steps may be under way together.
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
const PINNED_BUFFERS_PER_SESSION: usize = 12;

/// The first GPU, driven by a thread; it uses those of the engines that are built for it.
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
pub fn gpu_backend(slots: usize, engines: Vec<Engine>, flags: &Flags) -> Result<Box<dyn Backend>, CliError> {
    use crate::backend::gpu::{DRIVER, GpuConfig, open};
    use crate::session::start_device_thread;

    let config = GpuConfig {
        driver: DRIVER.into(),
        ordinal: 0,
        slots,
        max_batch: MAX_BATCH,
        pinned_buffers: slots * PINNED_BUFFERS_PER_SESSION,
        cubins: cubins(flags),
    };
    let (gpu, device) = open(config, Box::new(visage_kernels::tensorrt::BuiltEngines::new(engines)));
    start_device_thread(device)?;
    Ok(Box::new(gpu))
}

/// Our own kernels for the first GPU: from the cache, or compiled now. Without them models compute on the CPU what kernels
/// would: it costs a little CPU time, so that it is reported and no error.
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
fn cubins(flags: &Flags) -> Vec<crate::backend::gpu::Cubin> {
    use visage_engines::cubins::Cubins;
    use visage_engines::search_paths::python_roots;
    use visage_kernels::libraries::nvrtc_places;
    use visage_kernels::nvrtc::{Nvrtc, obtain_all};

    use super::engine_build::local_gpus_in_order;
    use super::packs::{data_dir, environment};

    let Some(sm) = local_gpus_in_order().first().copied() else { return Vec::new() };
    let load = || Nvrtc::load(&nvrtc_places(None, &python_roots(&environment)));
    let cache = Cubins::open(data_dir(flags).join("kernels")).map_err(|error| error.to_string());
    let cubins = cache.and_then(|cache| obtain_all(sm, load, &cache).map_err(|error| error.to_string()));
    cubins.unwrap_or_else(|error| {
        eprintln!("note: log-mel is computed on the CPU, because there are no kernels for this GPU: {error}");
        Vec::new()
    })
}

/// This program has no such backend.
#[cfg(not(any(feature = "tensorrt-rtx", feature = "tensorrt")))]
pub fn gpu_backend(_slots: usize, _engines: Vec<Engine>, _flags: &Flags) -> Result<Box<dyn Backend>, CliError> {
    Err(CliError::new(visage_kernels::tensorrt::LibraryError::NotBuilt, "or run on the CPU: --backend cpu"))
}
