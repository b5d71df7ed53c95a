//! The way from sessions to the thread that owns the device: bounded, and refused when full.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::super::BackendError;
use super::command::DeviceCommand;
use super::device_status::DeviceStatus;

/// Orders that may wait for the thread that owns the device.
pub const ORDERS: usize = 256;

/// The way to the thread that owns the device.
#[derive(Clone, Debug)]
pub struct CommandSender {
    orders: SyncSender<DeviceCommand>,
    pub board: Arc<DeviceStatus>,
}

impl CommandSender {
    /// A way to whoever takes what comes out of the other end.
    pub fn new(board: Arc<DeviceStatus>) -> (Self, Receiver<DeviceCommand>) {
        let (orders, taken) = sync_channel(ORDERS);
        (Self { orders, board }, taken)
    }

    /// Whether both lead to the same device.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.board, &other.board)
    }

    /// Hands an order over, or does not if too many wait.
    pub fn hand_over(&self, order: DeviceCommand) -> Result<(), BackendError> {
        self.orders.try_send(order).map_err(|refused| match refused {
            TrySendError::Full(_) => BackendError::Busy { found: "too many orders wait for the card" },
            TrySendError::Disconnected(_) => closed(),
        })
    }
}

/// What is told once nobody takes orders any more.
pub fn closed() -> BackendError {
    BackendError::Device { found: "the thread that owns it has ended".to_owned() }
}
