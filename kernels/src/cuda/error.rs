//! What the driver answers, as values.
//!
//! Decides which kind of fault a number stands for. Does not decide what follows from it.

use std::path::PathBuf;

use thiserror::Error;

use super::sys::Status;

/// What a fault means for whoever runs on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// There was no memory; the device goes on.
    OutOfMemory,
    /// What ran on the device failed; nothing more runs in this context.
    Launch,
    /// The device is gone: it fell off the bus, its driver was reset, its memory is damaged.
    Lost,
    /// Something else was refused: a bug of ours, or of the driver.
    Refused,
}

impl FaultKind {
    /// As reports say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OutOfMemory => "out of memory",
            Self::Launch => "a failed launch",
            Self::Lost => "a lost device",
            Self::Refused => "a refused call",
        }
    }

    /// Whether nothing more runs until the device is opened anew.
    #[must_use]
    pub fn ends_the_context(self) -> bool {
        matches!(self, Self::Launch | Self::Lost)
    }
}

/// A call that failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{call} answered {status} ({})", name_of(*status))]
pub struct CudaError {
    /// The driver's name of the call.
    pub call: &'static str,
    /// The driver's number of the error.
    pub status: Status,
}

impl CudaError {
    /// Whether it says no more than that something cannot be captured.
    #[must_use]
    pub fn is_about_capture(&self) -> bool {
        (900..=909).contains(&self.status)
    }

    /// What it means.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self.status {
            2 => FaultKind::OutOfMemory,
            46 | 101 | 205 | 214 | 220 | 221 | 708 | 709 | 999 => FaultKind::Lost,
            4 | 700 | 702 | 710 | 714..=719 => FaultKind::Launch,
            _ => FaultKind::Refused,
        }
    }
}

/// Number of "not yet": an event that has not come to pass.
pub(super) const NOT_READY: Status = 600;

/// Names of cuda.h for the errors that people paste.
fn name_of(status: Status) -> &'static str {
    match status {
        1 => "CUDA_ERROR_INVALID_VALUE",
        2 => "CUDA_ERROR_OUT_OF_MEMORY",
        3 => "CUDA_ERROR_NOT_INITIALIZED",
        4 => "CUDA_ERROR_DEINITIALIZED",
        46 => "CUDA_ERROR_DEVICE_UNAVAILABLE",
        100 => "CUDA_ERROR_NO_DEVICE",
        101 => "CUDA_ERROR_INVALID_DEVICE",
        200 => "CUDA_ERROR_INVALID_IMAGE",
        201 => "CUDA_ERROR_INVALID_CONTEXT",
        209 => "CUDA_ERROR_NO_BINARY_FOR_GPU",
        214 => "CUDA_ERROR_ECC_UNCORRECTABLE",
        400 => "CUDA_ERROR_INVALID_HANDLE",
        500 => "CUDA_ERROR_NOT_FOUND",
        600 => "CUDA_ERROR_NOT_READY",
        700 => "CUDA_ERROR_ILLEGAL_ADDRESS",
        702 => "CUDA_ERROR_LAUNCH_TIMEOUT",
        708 => "CUDA_ERROR_CONTEXT_ALREADY_IN_USE",
        709 => "CUDA_ERROR_CONTEXT_IS_DESTROYED",
        719 => "CUDA_ERROR_LAUNCH_FAILED",
        999 => "CUDA_ERROR_UNKNOWN",
        803 => "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        900..=909 => "one of CUDA_ERROR_STREAM_CAPTURE_*",
        _ => "see cuda.h",
    }
}

/// Why there is no driver.
#[derive(Debug, Error)]
pub enum DriverError {
    /// The library could not be loaded.
    #[error("wanted NVIDIA's driver, found {found}: {}; install the driver, or run on the CPU", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What the loader said.
        found: String,
    },
    /// The library lacks calls.
    #[error("wanted a driver with {}, which this one lacks: {}; install driver 525 or newer", calls.join(", "), path.display())]
    TooOld {
        /// Where it is.
        path: PathBuf,
        /// What is missing.
        calls: Vec<&'static str>,
    },
    /// It would not start, or a device would not open.
    #[error("wanted device {ordinal}, {source}")]
    Device {
        /// Which.
        ordinal: u32,
        /// What failed.
        source: CudaError,
    },
    /// There are not that many devices.
    #[error("wanted device {ordinal}, the driver knows {found}")]
    NoSuchDevice {
        /// Which.
        ordinal: u32,
        /// How many there are.
        found: u32,
    },
}
