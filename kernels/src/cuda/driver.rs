//! The driver's library: loaded, checked for every entry point, kept as long as anything uses it.
//!
//! Decides that nothing is called before all entry points are found. Opens no device.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use libloading::Library;

use super::error::{CudaError, DriverError};
use super::sys::{Calls, Status};

/// The name of the driver's library for the dynamic loader.
pub const LIBRARY: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };

/// NVIDIA's driver, or the stub driver in tests.
#[derive(Clone)]
pub struct Driver {
    loaded: Arc<Loaded>,
}

struct Loaded {
    calls: Calls,
    /// The entry points are in it, so it is dropped last.
    _library: Library,
}

impl Driver {
    /// Loads the driver at `path`, usually [`LIBRARY`], and initialises it.
    ///
    /// # Errors
    /// If it is missing, lacks entry points, or does not initialise.
    pub fn open(path: &Path) -> Result<Self, DriverError> {
        // SAFETY: loading runs the library's initialisers. It is NVIDIA's driver or a file that the caller chose, which may
        // be loaded from any thread.
        let library = unsafe { Library::new(path) };
        let missing =
            |found: libloading::Error| DriverError::Missing { path: path.to_owned(), found: found.to_string() };
        let library = library.map_err(missing)?;
        let calls = Calls::find(&library).map_err(|calls| DriverError::TooOld { path: path.to_owned(), calls })?;
        let driver = Self { loaded: Arc::new(Loaded { calls, _library: library }) };
        // SAFETY: the flags must be zero; the call may come from any thread, any number of times.
        let status = unsafe { (driver.calls().cuInit)(0) };
        check("cuInit", status).map_err(|source| DriverError::Device { ordinal: 0, source })?;
        Ok(driver)
    }

    pub(super) fn calls(&self) -> &Calls {
        &self.loaded.calls
    }

    /// The newest CUDA version that it supports, 12080 for 12.8.
    ///
    /// # Errors
    /// The driver's error.
    pub fn version(&self) -> Result<u32, CudaError> {
        let mut version = 0;
        // SAFETY: the address is that of a number that outlives the call.
        let status = unsafe { (self.calls().cuDriverGetVersion)(&raw mut version) };
        check("cuDriverGetVersion", status).map(|()| version.max(0).unsigned_abs())
    }

    /// Number of devices.
    ///
    /// # Errors
    /// The driver's error.
    pub fn devices(&self) -> Result<u32, CudaError> {
        let mut count = 0;
        // SAFETY: the address is that of a number that outlives the call.
        let status = unsafe { (self.calls().cuDeviceGetCount)(&raw mut count) };
        check("cuDeviceGetCount", status).map(|()| count.max(0).unsigned_abs())
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// An error unless the driver returned zero.
pub(super) fn check(call: &'static str, status: Status) -> Result<(), CudaError> {
    if status == 0 { Ok(()) } else { Err(CudaError { call, status }) }
}
