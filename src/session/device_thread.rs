//! The thread that owns a card.
//!
//! Decides what the log says of it.

use std::io;

use crate::backend::Health;
use crate::backend::gpu::DeviceLoop;

/// Starts the loop of a card on a thread of its own. It ends when nobody can order anything any more.
///
/// # Errors
/// If the thread cannot be started.
pub fn start_device_thread(device: DeviceLoop) -> io::Result<()> {
    std::thread::Builder::new().name("gpu".to_owned()).spawn(move || device.run(log)).map(drop)
}

/// The operator reads of a fault in the log before callers notice it.
fn log(health: &Health) {
    match health {
        Health::Ready => tracing::info!("the GPU accepts sessions again"),
        Health::Recovering { found } => tracing::warn!("the GPU accepts no sessions for now: {found}"),
        Health::Lost { found } => tracing::error!("the GPU accepts no sessions any more: {found}"),
    }
}
