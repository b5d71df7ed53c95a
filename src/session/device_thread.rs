//! The thread that drives a GPU.
//!
//! Decides what is logged about its state.

use std::io;

use crate::backend::Health;
use crate::backend::gpu::DeviceLoop;

/// Starts the loop of a device on its own thread. The thread ends when the backend and everything loaded on it is dropped.
///
/// # Errors
/// If the thread cannot be started.
pub fn start_device_thread(device: DeviceLoop) -> io::Result<()> {
    std::thread::Builder::new().name("gpu".to_owned()).spawn(move || device.run(log)).map(drop)
}

/// Operators see a fault in the log before users report it.
fn log(health: &Health) {
    match health {
        Health::Ready => tracing::info!("the GPU accepts sessions again"),
        Health::Recovering { found } => tracing::warn!("the GPU accepts no sessions for now: {found}"),
        Health::Lost { found } => tracing::error!("the GPU accepts no sessions any more: {found}"),
    }
}
