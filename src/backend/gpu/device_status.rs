//! The configuration of a GPU, and its state as sessions and reports read it.
//!
//! Decides nothing: the device thread writes, everyone else reads.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use visage_kernels::nvrtc::Cubin;

use super::super::{BackendError, Health};
use crate::gpu_load::DeviceCounts;

/// The backend's name in errors and reports.
pub const NAME: &str = "tensorrt";

/// How a GPU is used.
#[derive(Clone, Debug)]
pub struct GpuConfig {
    /// The driver's library.
    pub driver: PathBuf,
    /// Which device, as the driver counts.
    pub ordinal: u32,
    /// Maximum number of sessions on each graph and kernel.
    pub slots: usize,
    /// Maximum batch: rows of one run that steps of several sessions share, where the graph has a batch axis.
    pub max_batch: usize,
    /// Pinned buffers for each graph: each step that uploads and each download takes one.
    pub pinned_buffers: usize,
    /// The kernels of visage, compiled for this GPU. Without any, models compute on the CPU instead.
    pub cubins: Vec<Cubin>,
}

/// The state of a device.
#[derive(Debug)]
pub struct DeviceStatus {
    health: Mutex<Health>,
    work: Mutex<DeviceCounts>,
    /// The device's PCI bus address, once it was opened.
    pub bus_address: OnceLock<String>,
}

impl Default for DeviceStatus {
    fn default() -> Self {
        Self { health: Mutex::new(Health::Ready), work: Mutex::default(), bus_address: OnceLock::new() }
    }
}

impl DeviceStatus {
    /// Updates the counters.
    pub fn count(&self, update: impl FnOnce(&mut DeviceCounts)) {
        update(&mut self.work.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The counters.
    pub fn work(&self) -> DeviceCounts {
        *self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails with the reason if the device does not accept sessions now.
    pub fn check_ready(&self) -> Result<(), BackendError> {
        match self.health() {
            Health::Ready => Ok(()),
            Health::Recovering { found } | Health::Lost { found } => Err(BackendError::Device { found }),
        }
    }

    pub fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }
}
