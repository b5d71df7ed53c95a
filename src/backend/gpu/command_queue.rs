//! The command queue from sessions to the device thread: bounded, refused when full.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::super::BackendError;
use super::command::DeviceCommand;
use super::device_status::DeviceStatus;

/// Maximum number of queued commands. A step and its downloads are a few commands, and the thread takes them
/// every 100 us while it is busy: a full queue means that the device cannot keep up.
pub const MAX_COMMANDS: usize = 256;

/// The sessions' end of the queue.
#[derive(Clone, Debug)]
pub struct CommandSender {
    commands: SyncSender<DeviceCommand>,
    pub status: Arc<DeviceStatus>,
}

impl CommandSender {
    /// A queue to the thread that owns the device with this status.
    pub fn new(status: Arc<DeviceStatus>) -> (Self, Receiver<DeviceCommand>) {
        let (commands, receiver) = sync_channel(MAX_COMMANDS);
        (Self { commands, status }, receiver)
    }

    /// Whether both belong to the same device.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.status, &other.status)
    }

    /// Sends a command, or refuses it if too many wait.
    pub fn send(&self, command: DeviceCommand) -> Result<(), BackendError> {
        self.commands.try_send(command).map_err(|refused| match refused {
            TrySendError::Full(_) => BackendError::Busy { found: "the command queue of the GPU is full" },
            TrySendError::Disconnected(_) => closed(),
        })
    }
}

/// The error once the device thread has ended.
pub fn closed() -> BackendError {
    BackendError::Device { found: "the device thread has ended".to_owned() }
}
