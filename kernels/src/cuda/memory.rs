//! Memory of the device. Freed when dropped; taken at start, not while a show runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::device::{Context, Device};
use super::driver::check;
use super::error::CudaError;
use super::sys::CUdeviceptr;

/// A piece of the device's memory. What it holds at first is anything.
#[derive(Debug)]
pub struct Memory {
    context: Arc<Context>,
    address: CUdeviceptr,
    bytes: usize,
}

impl Memory {
    /// Takes `bytes` of the device's memory.
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

    /// Where it begins, as the device counts.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How long it is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where `at` is, if `bytes` bytes from there are within.
    pub(crate) fn part(&self, at: usize, bytes: usize) -> Option<CUdeviceptr> {
        let end = at.checked_add(bytes)?;
        (end <= self.bytes).then(|| self.address + at as u64)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.context.takes_back() {
            // SAFETY: taken once in `take`, given back once here; the driver waits for what still uses it.
            unsafe { (self.context.calls().cuMemFree_v2)(self.address) };
        }
    }
}
