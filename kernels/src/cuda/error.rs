//! The driver's errors as values.
//!
//! Decides which kind of fault an error number stands for. Does not decide what follows from it.

use std::path::PathBuf;

use thiserror::Error;

use super::sys::{CUresult, Status};

/// What a fault means for work on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// An allocation failed; the context stays usable.
    OutOfMemory,
    /// A launch failed on the device; nothing more runs in this context.
    Launch,
    /// The device is lost: it fell off the bus, its driver was reset, or its memory is damaged.
    Lost,
    /// Another call was refused: a bug of visage, or of the driver.
    Refused,
}

impl FaultKind {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OutOfMemory => "out of memory",
            Self::Launch => "a failed launch",
            Self::Lost => "a lost device",
            Self::Refused => "a refused call",
        }
    }

    /// Whether nothing more runs until the context is re-created.
    #[must_use]
    pub fn ends_the_context(self) -> bool {
        matches!(self, Self::Launch | Self::Lost)
    }
}

/// A call that failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{call} returned {status} ({})", name_of(*status))]
pub struct CudaError {
    /// The entry point.
    pub call: &'static str,
    /// The error number.
    pub status: Status,
}

impl CudaError {
    /// Whether it only says that something cannot be captured.
    #[must_use]
    pub fn is_about_capture(&self) -> bool {
        (900..=909).contains(&self.status)
    }

    /// What it means.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self.status {
            2 => FaultKind::OutOfMemory,
            // The driver is shutting down, the device is unavailable, memory or links are damaged, the context was destroyed,
            // the MPS server is gone, unknown.
            4 | 46 | 101 | 214 | 220 | 226 | 709 | 806 | 810 | 999 => FaultKind::Lost,
            // An illegal address, a time-out, an assertion, or an illegal instruction.
            700 | 702 | 710 | 714..=719 => FaultKind::Launch,
            _ => FaultKind::Refused,
        }
    }
}

/// `CUDA_ERROR_NOT_READY`: the work before an event is not done.
pub(super) const NOT_READY: Status = 600;

/// Names by number, so that users can search for the errors that they see.
macro_rules! names {
    ($($name:ident)*) => {
        fn name_of(status: Status) -> &'static str {
            match status {
                $(number if number == CUresult::$name as Status => stringify!($name),)*
                900..=909 => "one of CUDA_ERROR_STREAM_CAPTURE_*",
                _ => "see cuda.h",
            }
        }
    };
}

names! {
    CUDA_ERROR_INVALID_VALUE
    CUDA_ERROR_OUT_OF_MEMORY
    CUDA_ERROR_NOT_INITIALIZED
    CUDA_ERROR_DEINITIALIZED
    CUDA_ERROR_STUB_LIBRARY
    CUDA_ERROR_DEVICE_UNAVAILABLE
    CUDA_ERROR_NO_DEVICE
    CUDA_ERROR_INVALID_DEVICE
    CUDA_ERROR_INVALID_IMAGE
    CUDA_ERROR_INVALID_CONTEXT
    CUDA_ERROR_NO_BINARY_FOR_GPU
    CUDA_ERROR_ECC_UNCORRECTABLE
    CUDA_ERROR_INVALID_PTX
    CUDA_ERROR_NVLINK_UNCORRECTABLE
    CUDA_ERROR_JIT_COMPILER_NOT_FOUND
    CUDA_ERROR_UNSUPPORTED_PTX_VERSION
    CUDA_ERROR_CONTAINED
    CUDA_ERROR_OPERATING_SYSTEM
    CUDA_ERROR_INVALID_HANDLE
    CUDA_ERROR_ILLEGAL_STATE
    CUDA_ERROR_NOT_FOUND
    CUDA_ERROR_NOT_READY
    CUDA_ERROR_ILLEGAL_ADDRESS
    CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES
    CUDA_ERROR_LAUNCH_TIMEOUT
    CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE
    CUDA_ERROR_CONTEXT_IS_DESTROYED
    CUDA_ERROR_ASSERT
    CUDA_ERROR_HARDWARE_STACK_ERROR
    CUDA_ERROR_ILLEGAL_INSTRUCTION
    CUDA_ERROR_MISALIGNED_ADDRESS
    CUDA_ERROR_INVALID_ADDRESS_SPACE
    CUDA_ERROR_INVALID_PC
    CUDA_ERROR_LAUNCH_FAILED
    CUDA_ERROR_NOT_PERMITTED
    CUDA_ERROR_NOT_SUPPORTED
    CUDA_ERROR_SYSTEM_NOT_READY
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
    CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE
    CUDA_ERROR_MPS_CONNECTION_FAILED
    CUDA_ERROR_MPS_RPC_FAILURE
    CUDA_ERROR_MPS_CLIENT_TERMINATED
    CUDA_ERROR_UNKNOWN
}

/// Why there is no driver.
#[derive(Debug, Error)]
pub enum DriverError {
    /// The library could not be loaded.
    #[error("wanted NVIDIA's driver, found {found}: {}; install the driver, or run on the CPU", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
        /// The loader's error.
        found: String,
    },
    /// The library lacks entry points.
    #[error("wanted a driver with {}, which this one lacks: {}; install driver 525 or newer", calls.join(", "), path.display())]
    TooOld {
        /// Its path.
        path: PathBuf,
        /// The missing entry points.
        calls: Vec<&'static str>,
    },
    /// It did not initialise, or a device did not open.
    #[error("cannot open device {ordinal}: {source}")]
    Device {
        /// The device's number.
        ordinal: u32,
        /// The error.
        source: CudaError,
    },
    /// There are fewer devices.
    #[error("wanted device {ordinal}, found {found} devices")]
    NoSuchDevice {
        /// The device's number.
        ordinal: u32,
        /// Number of devices.
        found: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: CUresult) -> FaultKind {
        CudaError { call: "cuEventQuery", status: status as Status }.kind()
    }

    #[test]
    fn an_error_ends_the_context_if_the_headers_say_that_nothing_more_runs() {
        use CUresult as E;
        let launch = [
            E::CUDA_ERROR_ILLEGAL_ADDRESS,
            E::CUDA_ERROR_LAUNCH_TIMEOUT,
            E::CUDA_ERROR_ASSERT,
            E::CUDA_ERROR_HARDWARE_STACK_ERROR,
            E::CUDA_ERROR_ILLEGAL_INSTRUCTION,
            E::CUDA_ERROR_MISALIGNED_ADDRESS,
            E::CUDA_ERROR_INVALID_ADDRESS_SPACE,
            E::CUDA_ERROR_INVALID_PC,
            E::CUDA_ERROR_LAUNCH_FAILED,
        ];
        let lost = [
            E::CUDA_ERROR_DEINITIALIZED,
            E::CUDA_ERROR_DEVICE_UNAVAILABLE,
            E::CUDA_ERROR_INVALID_DEVICE,
            E::CUDA_ERROR_ECC_UNCORRECTABLE,
            E::CUDA_ERROR_NVLINK_UNCORRECTABLE,
            E::CUDA_ERROR_CONTAINED,
            E::CUDA_ERROR_CONTEXT_IS_DESTROYED,
            E::CUDA_ERROR_MPS_RPC_FAILURE,
            E::CUDA_ERROR_MPS_CLIENT_TERMINATED,
            E::CUDA_ERROR_UNKNOWN,
        ];
        // Calls that were wrong or too early: the context stays usable.
        let refused = [
            E::CUDA_ERROR_INVALID_VALUE,
            E::CUDA_ERROR_JIT_COMPILER_NOT_FOUND,
            E::CUDA_ERROR_MAP_FAILED,
            E::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
            E::CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE,
            E::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
        ];
        assert_eq!(kind(E::CUDA_ERROR_OUT_OF_MEMORY), FaultKind::OutOfMemory);
        assert!(launch.into_iter().all(|status| kind(status) == FaultKind::Launch));
        assert!(lost.into_iter().all(|status| kind(status) == FaultKind::Lost));
        assert!(refused.into_iter().all(|status| kind(status) == FaultKind::Refused));
        assert!(launch.into_iter().chain(lost).all(|status| kind(status).ends_the_context()));
        assert!(!kind(E::CUDA_ERROR_OUT_OF_MEMORY).ends_the_context());
    }

    #[test]
    fn capture_errors_are_those_between_the_first_and_the_last_of_the_headers() {
        let is_about = |status| CudaError { call: "cuLaunchKernel", status }.is_about_capture();
        let [first, last] =
            [CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, CUresult::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD];
        assert!((first as Status..=last as Status).all(is_about));
        assert!(!is_about(CUresult::CUDA_ERROR_NOT_READY as Status) && !is_about(910));
        let said = CudaError { call: "cuInit", status: 803 }.to_string();
        assert_eq!(said, "cuInit returned 803 (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)");
    }
}
