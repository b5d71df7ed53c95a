//! Which engine runs the networks: the one that was asked for, never another.

use visage_engines::cache::Engine;

use super::error::CliError;
use super::flags::BackendChoice;
use crate::backend::{Backend, CpuBackend};

/// The engine of that name, for `sessions` at once; `engines` are those compiled for the GPUs that were named or are here.
pub fn open_backend(name: BackendChoice, sessions: usize, engines: Vec<Engine>) -> Result<Box<dyn Backend>, CliError> {
    match name {
        BackendChoice::Cpu => Ok(Box::new(CpuBackend::new())),
        BackendChoice::Tensorrt => gpu_backend(sessions, engines),
    }
}

/// Rows that sessions share in one run, where a graph takes any number.
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
const BATCH: usize = 4;

/// Each session has a step on its way up and some outputs on their way back.
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
const PINNED_PER_SESSION: usize = 6;

/// The first GPU, on a thread of its own; of the engines it takes those that are for it.
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
pub fn gpu_backend(slots: usize, engines: Vec<Engine>) -> Result<Box<dyn Backend>, CliError> {
    use crate::backend::gpu::{DRIVER, GpuConfig, gpu};
    use crate::session::start_device_thread;

    let config =
        GpuConfig { driver: DRIVER.into(), ordinal: 0, slots, rows: BATCH, blocks: slots * PINNED_PER_SESSION };
    let (gpu, owner) = gpu(config, Box::new(visage_kernels::tensorrt::BuiltEngines::new(engines)));
    start_device_thread(owner)?;
    Ok(Box::new(gpu))
}

/// There is no such engine in this program.
#[cfg(not(any(feature = "tensorrt-rtx", feature = "tensorrt")))]
pub fn gpu_backend(_slots: usize, _engines: Vec<Engine>) -> Result<Box<dyn Backend>, CliError> {
    Err(CliError::new(visage_kernels::tensorrt::LibraryError::NotBuilt, "or run on the CPU: --backend cpu"))
}
