//! The device thread, which owns a GPU.
//!
//! Decides the log lines about the GPU's health.

use std::io;

use crate::backend::Health;
use crate::backend::gpu::DeviceLoop;

/// Starts the loop of a GPU on a thread. It ends when the last command sender is dropped.
///
/// # Errors
/// If the thread cannot be started.
pub fn start_device_thread(device: DeviceLoop) -> io::Result<()> {
    std::thread::Builder::new().name("gpu".to_owned()).spawn(move || device.run(log)).map(drop)
}

/// Faults are logged before callers see them.
fn log(health: &Health) {
    match health {
        Health::Ready => tracing::info!("the GPU accepts sessions again"),
        Health::Recovering { found } => tracing::warn!("the GPU accepts no sessions for now: {found}"),
        Health::Lost { found } => tracing::error!("the GPU accepts no sessions any more: {found}"),
    }
}
