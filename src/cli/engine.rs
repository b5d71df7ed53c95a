//! Which engine runs the networks: the one that was asked for, never another.

use visage_engines::cache::Engine;

use super::error::CliError;
use super::flags::BackendChoice;
use crate::backend::{Backend, CpuBackend};

/// The engine of that name, for `sessions` at once; `engines` are those compiled for the cards that were named or are here.
pub fn chosen(name: BackendChoice, sessions: usize, engines: Vec<Engine>) -> Result<Box<dyn Backend>, CliError> {
    match name {
        BackendChoice::CpuBackend => Ok(Box::new(CpuBackend::new())),
        BackendChoice::Tensorrt => on_card(sessions, engines),
    }
}

/// Rows that sessions share in one run, where a graph takes any number.
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
const ROWS: usize = 4;

/// Each session has a step on its way up and some outputs on their way back.
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
const BLOCKS_PER_SESSION: usize = 6;

/// The first card, on a thread of its own; of the engines it takes those that are for it.
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
pub fn on_card(slots: usize, engines: Vec<Engine>) -> Result<Box<dyn Backend>, CliError> {
    use crate::backend::gpu::{DRIVER, GpuConfig, card};
    use crate::session::start_device_thread;

    let config = GpuConfig { driver: DRIVER.into(), ordinal: 0, slots, rows: ROWS, blocks: slots * BLOCKS_PER_SESSION };
    let (card, owner) = card(config, Box::new(visage_kernels::tensorrt::BuiltEngines::new(engines)));
    start_device_thread(owner)?;
    Ok(Box::new(card))
}

/// There is no such engine in this program.
#[cfg(not(any(feature = "tensorrt-rtx", feature = "tensorrt")))]
pub fn on_card(_slots: usize, _engines: Vec<Engine>) -> Result<Box<dyn Backend>, CliError> {
    Err(CliError::new(visage_kernels::tensorrt::LibraryError::NotBuilt, "or run on the CPU: --backend cpu"))
}
