//! How a card is used, and what is true of it for both sides to read.
//!
//! Decides nothing: the owner writes, sessions and reports read.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::super::Health;
use crate::gpu_load::DeviceCounts;

/// The engine's name in errors and reports.
pub const NAME: &str = "tensorrt";

/// How the card is used.
#[derive(Clone, Debug)]
pub struct GpuConfig {
    /// The driver's library.
    pub driver: PathBuf,
    /// Which card.
    pub ordinal: u32,
    /// Sessions at once on each graph.
    pub slots: usize,
    /// Rows that one run takes at most, of however many sessions, where the graph takes any number.
    pub rows: usize,
    /// Blocks of locked memory for each graph: each step to be uploaded and each output on its way back has one.
    pub blocks: usize,
}

/// What is true of the device, for both sides to read.
#[derive(Debug)]
pub struct DeviceStatus {
    health: Mutex<Health>,
    work: Mutex<DeviceCounts>,
    /// Where the device is on the bus, once it was opened.
    pub bus_address: OnceLock<String>,
}

impl Default for DeviceStatus {
    fn default() -> Self {
        Self { health: Mutex::new(Health::Ready), work: Mutex::default(), bus_address: OnceLock::new() }
    }
}

impl DeviceStatus {
    /// Counts what was done.
    pub fn count(&self, more: impl FnOnce(&mut DeviceCounts)) {
        more(&mut self.work.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What was done so far.
    pub fn work(&self) -> DeviceCounts {
        *self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn say(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }
}
