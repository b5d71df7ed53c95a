//! Events: they order streams and measure time.

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::device::{Context, Device};
use super::driver::check;
use super::error::{CudaError, NOT_READY};
use super::sys::{CUevent, Calls};

/// An event with timing; waiting for it sleeps instead of spinning.
const BLOCKING_WAIT: u32 = 1;

/// An event.
#[derive(Debug)]
pub struct Event {
    context: Arc<Context>,
    event: CUevent,
}

// SAFETY: as for `Stream`.
unsafe impl Send for Event {}

impl Event {
    /// A new event, which was not recorded yet.
    ///
    /// # Errors
    /// The driver's error.
    pub fn new(device: &Device) -> Result<Self, CudaError> {
        let mut event = ptr::null_mut();
        // SAFETY: the address is that of a handle that outlives the call.
        let status = unsafe { (device.calls().cuEventCreate)(&raw mut event, BLOCKING_WAIT) };
        check("cuEventCreate", status)?;
        Ok(Self { context: Arc::clone(device.context()), event })
    }

    fn calls(&self, call: &'static str) -> Result<&Calls, CudaError> {
        self.context.living(call)
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The driver's handle.
    pub(super) fn raw(&self) -> CUevent {
        self.event
    }

    /// Whether the work before its last record is done.
    ///
    /// # Errors
    /// The driver's error, also about work that was queued before.
    pub fn is_past(&self) -> Result<bool, CudaError> {
        // SAFETY: the handle lives as long as `self`.
        match unsafe { (self.calls("cuEventQuery")?.cuEventQuery)(self.event) } {
            NOT_READY => Ok(false),
            status => check("cuEventQuery", status).map(|()| true),
        }
    }

    /// Blocks this thread until the work before its last record is done.
    ///
    /// # Errors
    /// As for [`Event::is_past`].
    pub fn synchronise(&self) -> Result<(), CudaError> {
        // SAFETY: the handle lives as long as `self`.
        check("cuEventSynchronize", unsafe { (self.calls("cuEventSynchronize")?.cuEventSynchronize)(self.event) })
    }

    /// The time from `earlier` to this event; the work before both must be done.
    ///
    /// # Errors
    /// If it is not, or the driver's error.
    pub fn since(&self, earlier: &Event) -> Result<Duration, CudaError> {
        let mut elapsed_ms = 0.0_f32;
        // SAFETY: both handles live as long as their owners; the address is that of a number that outlives the call.
        let status = unsafe {
            (self.calls("cuEventElapsedTime")?.cuEventElapsedTime)(&raw mut elapsed_ms, earlier.event, self.event)
        };
        check("cuEventElapsedTime", status).map(|()| Duration::from_secs_f32(elapsed_ms.max(0.0) / 1000.0))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.takes_back() {
            // SAFETY: created once, destroyed once; a stream that waits for it keeps what it needs.
            unsafe { (self.context.calls().cuEventDestroy_v2)(self.event) };
        }
    }
}
