//! An open device: its primary context, which TensorRT shares, and counters of calls.
//!
//! Decides nothing about order: streams and events do.

use std::ffi::{c_char, c_int};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use visage_engines::Sm;

use super::driver::{Driver, check};
use super::error::{CudaError, DriverError};
use super::sys::{CUcontext, CUdevice, CUdevice_attribute, Calls};
use crate::gpus::bus_address;

/// The driver's status after which calling it is unsafe.
const CONTEXT_IS_DESTROYED: u32 = 709;

/// An open device. One thread uses it at a time, after [`Device::enter`].
#[derive(Clone, Debug)]
pub struct Device {
    context: Arc<Context>,
}

/// The context, which everything on the device keeps alive.
#[derive(Debug)]
pub(super) struct Context {
    driver: Driver,
    device: CUdevice,
    context: CUcontext,
    pub counts: Counts,
    /// Its handles are invalid: the driver may have reused their values.
    is_over: AtomicBool,
    /// The driver has confirmed that it is destroyed: nothing in it runs any more.
    is_destroyed: AtomicBool,
}

/// Calls that must not happen in the loop, since the device was opened.
#[derive(Debug, Default)]
pub struct Counts {
    /// Allocations of device memory.
    pub allocations: AtomicU64,
    /// Page locks of host memory.
    pub page_locks: AtomicU64,
    /// Synchronisations of whole streams.
    pub stream_waits: AtomicU64,
}

impl Counts {
    /// Their sum.
    #[must_use]
    pub fn total(&self) -> u64 {
        [&self.allocations, &self.page_locks, &self.stream_waits]
            .map(|count| count.load(Ordering::Relaxed))
            .iter()
            .sum()
    }
}

// SAFETY: a context is a driver handle; calls may come from any thread on which it is current.
unsafe impl Send for Context {}
// SAFETY: as above; the driver serialises calls on one context.
unsafe impl Sync for Context {}

impl Device {
    /// Opens a device and makes its context current on this thread.
    ///
    /// # Errors
    /// If there is no such device or the driver refuses.
    pub fn open(driver: &Driver, ordinal: u32) -> Result<Self, DriverError> {
        let failed = |source: CudaError| DriverError::Device { ordinal, source };
        let found = driver.devices().map_err(failed)?;
        if ordinal >= found {
            return Err(DriverError::NoSuchDevice { ordinal, found });
        }
        let (mut device, mut context) = (0, std::ptr::null_mut());
        // SAFETY: the addresses are those of values that outlive the calls; the ordinal is below the count.
        let status = unsafe { (driver.calls().cuDeviceGet)(&raw mut device, ordinal as c_int) };
        check("cuDeviceGet", status).map_err(failed)?;
        // SAFETY: the device is the one just got.
        let status = unsafe { (driver.calls().cuDevicePrimaryCtxRetain)(&raw mut context, device) };
        check("cuDevicePrimaryCtxRetain", status).map_err(failed)?;
        let context = Context {
            driver: driver.clone(),
            device,
            context,
            counts: Counts::default(),
            is_over: AtomicBool::default(),
            is_destroyed: AtomicBool::default(),
        };
        let opened = Self { context: Arc::new(context) };
        opened.enter().map_err(failed)?;
        Ok(opened)
    }

    /// Makes the device current on this thread.
    ///
    /// # Errors
    /// If the context is lost.
    pub fn enter(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained for as long as `self.context` lives.
        let status = unsafe { (self.calls().cuCtxSetCurrent)(self.context.context) };
        check("cuCtxSetCurrent", status)
    }

    /// Its name, such as `NVIDIA GeForce RTX 4090`.
    ///
    /// # Errors
    /// The driver's error.
    pub fn name(&self) -> Result<String, CudaError> {
        let mut text = [0_u8; 256];
        // SAFETY: the driver writes at most the number of bytes passed to it, the last of them zero.
        let status = unsafe {
            (self.calls().cuDeviceGetName)(text.as_mut_ptr().cast::<c_char>(), text.len() as c_int, self.context.device)
        };
        check("cuDeviceGetName", status)?;
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        Ok(String::from_utf8_lossy(&text[..end]).into_owned())
    }

    /// Its compute capability.
    ///
    /// # Errors
    /// The driver's error.
    pub fn sm(&self) -> Result<Sm, CudaError> {
        let major = self.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = self.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        Ok(Sm::new(major as u8, minor as u8))
    }

    /// Its PCI bus address, as [`bus_address`] writes it.
    ///
    /// # Errors
    /// The driver's error.
    pub fn bus_address(&self) -> Result<String, CudaError> {
        let domain = self.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID)?;
        let bus = self.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)?;
        let device = self.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID)?;
        Ok(bus_address(domain, bus, device))
    }

    fn attribute(&self, which: CUdevice_attribute) -> Result<u32, CudaError> {
        let mut value = 0;
        // SAFETY: the address is that of a number that outlives the call; the attribute is one of the header's.
        let status = unsafe { (self.calls().cuDeviceGetAttribute)(&raw mut value, which, self.context.device) };
        check("cuDeviceGetAttribute", status).map(|()| value.max(0).unsigned_abs())
    }

    /// Its free and its total memory, in bytes.
    ///
    /// # Errors
    /// The driver's error.
    pub fn memory_bytes(&self) -> Result<(u64, u64), CudaError> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: the addresses are those of numbers that outlive the call.
        let status = unsafe { (self.calls().cuMemGetInfo_v2)(&raw mut free, &raw mut total) };
        check("cuMemGetInfo_v2", status).map(|()| (free as u64, total as u64))
    }

    /// Counters of calls.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.context.counts
    }

    /// Resets the primary context and everything in it, whichever code created it: the recovery from a fault that ends it.
    /// Objects in it are abandoned rather than freed.
    ///
    /// # Errors
    /// If the driver refuses, which a lost device may.
    pub fn reset(&self) -> Result<(), CudaError> {
        self.context.is_over.store(true, Ordering::Relaxed);
        // SAFETY: the device is a handle from the driver. No handle into the context is used again: all check `is_over`.
        let status = unsafe { (self.calls().cuDevicePrimaryCtxReset_v2)(self.context.device) };
        self.context.is_destroyed.store(status == 0, Ordering::Relaxed);
        check("cuDevicePrimaryCtxReset_v2", status)
    }

    pub(super) fn calls(&self) -> &Calls {
        self.context.calls()
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

impl Context {
    pub fn calls(&self) -> &Calls {
        self.driver.calls()
    }

    /// The entry points, unless the context was destroyed.
    pub fn living(&self, call: &'static str) -> Result<&Calls, CudaError> {
        if self.is_over() { Err(CudaError { call, status: CONTEXT_IS_DESTROYED }) } else { Ok(self.calls()) }
    }

    /// Whether handles into it may still be freed; makes it current for that.
    pub fn takes_back(&self) -> bool {
        // SAFETY: the context is retained until `self` is dropped.
        !self.is_over() && unsafe { (self.calls().cuCtxSetCurrent)(self.context) } == 0
    }

    /// Whether it was destroyed, or should have been.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Whether nothing in it runs any more. A context that is over may have refused its destruction.
    pub fn is_destroyed(&self) -> bool {
        self.is_destroyed.load(Ordering::Relaxed)
    }

    /// The error of a call with memory that is too short.
    pub fn refuse(call: &'static str) -> CudaError {
        CudaError { call, status: 1 }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once in `open`, released once here. A refusal cannot be handled.
        unsafe { (self.driver.calls().cuDevicePrimaryCtxRelease_v2)(self.device) };
    }
}
