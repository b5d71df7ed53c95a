//! Device memory, freed when dropped.
//!
//! Decides nothing. It is allocated at start, not in the loop.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::device::{Context, Device};
use super::driver::check;
use super::error::CudaError;
use super::sys::CUdeviceptr;

/// Device memory, not initialised.
#[derive(Debug)]
pub struct Memory {
    context: Arc<Context>,
    address: CUdeviceptr,
    bytes: usize,
}

impl Memory {
    /// Allocates `bytes` of device memory.
    ///
    /// # Errors
    /// If there is not enough.
    pub fn take(device: &Device, bytes: usize) -> Result<Self, CudaError> {
        let mut address = 0;
        // SAFETY: the address is that of a number that outlives the call.
        let status = unsafe { (device.calls().cuMemAlloc_v2)(&raw mut address, bytes.max(1)) };
        device.counts().allocations.fetch_add(1, Ordering::Relaxed);
        check("cuMemAlloc_v2", status)?;
        Ok(Self { context: Arc::clone(device.context()), address, bytes })
    }

    /// Its device address.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its length in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The address of byte `at`, if `bytes` bytes from there are inside.
    pub(crate) fn part(&self, at: usize, bytes: usize) -> Option<CUdeviceptr> {
        let end = at.checked_add(bytes)?;
        (end <= self.bytes).then(|| self.address + at as u64)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.context.takes_back() {
            // SAFETY: allocated once in `take`, freed once here; the driver waits for work that uses it.
            unsafe { (self.context.calls().cuMemFree_v2)(self.address) };
        }
    }
}
