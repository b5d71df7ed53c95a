//! Streams: what is queued on one is done in order. Events: what orders one stream behind another, and tells times.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::device::{Context, Device};
use super::driver::check;
use super::error::{CudaError, NOT_READY};
use super::memory::Memory;
use super::pinned::{Flight, Pinned};
use super::sys::{CUevent, CUhostFn, CUstream, Calls};

/// A stream that does not wait for the device's default stream.
const NON_BLOCKING: u32 = 1;
/// An event whose waiter sleeps rather than spins.
const BLOCKING_WAIT: u32 = 1;

/// A queue of the device.
#[derive(Debug)]
pub struct Stream {
    context: Arc<Context>,
    stream: CUstream,
}

// SAFETY: a stream is a handle of the driver, whose calls may come from any thread on which its context is current.
unsafe impl Send for Stream {}

impl Stream {
    /// A new one.
    ///
    /// # Errors
    /// As the driver says.
    pub fn new(device: &Device) -> Result<Self, CudaError> {
        let mut stream = ptr::null_mut();
        // SAFETY: the address is that of a handle that outlives the call.
        let status = unsafe { (device.calls().cuStreamCreate)(&raw mut stream, NON_BLOCKING) };
        check("cuStreamCreate", status)?;
        Ok(Self { context: Arc::clone(device.context()), stream })
    }

    /// The driver's handle, for libraries that queue on it.
    #[must_use]
    pub fn raw(&self) -> CUstream {
        self.stream
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    fn calls(&self, call: &'static str) -> Result<&Calls, CudaError> {
        self.context.living(call)
    }

    /// Copies the first `bytes` of `block` to `target`, and marks `block`'s events around it. The block comes back when the
    /// copy is done.
    ///
    /// # Errors
    /// If it is longer than block or target, or as the driver says.
    pub fn copy_up(&self, block: Pinned, target: &Memory, bytes: usize) -> Result<Flight, CudaError> {
        const CALL: &str = "cuMemcpyHtoDAsync_v2";
        let to = target.part(0, bytes).filter(|_| bytes <= block.len()).ok_or_else(|| Context::refuse(CALL))?;
        self.record(block.begun())?;
        // SAFETY: source and target are long enough. The block goes into a `Flight`, which does not give it back before the
        // event after the copy has come to pass.
        let status = unsafe { (self.calls(CALL)?.cuMemcpyHtoDAsync_v2)(to, block.as_ptr().cast(), bytes, self.stream) };
        self.airborne(block, check(CALL, status))
    }

    /// Copies `bytes` from `at` of `source` to the start of `block`, and marks `block`'s events around it.
    ///
    /// # Errors
    /// As for [`Stream::copy_up`].
    pub fn copy_down(&self, source: &Memory, at: usize, bytes: usize, mut block: Pinned) -> Result<Flight, CudaError> {
        const CALL: &str = "cuMemcpyDtoHAsync_v2";
        let from = source.part(at, bytes).filter(|_| bytes <= block.len()).ok_or_else(|| Context::refuse(CALL))?;
        self.record(block.begun())?;
        let to = block.as_mut_ptr().cast();
        // SAFETY: source and target are long enough; the block is kept by a `Flight` as in `copy_up`.
        let status = unsafe { (self.calls(CALL)?.cuMemcpyDtoHAsync_v2)(to, from, bytes, self.stream) };
        self.airborne(block, check(CALL, status))
    }

    /// A copy that was queued and is marked, or one that was not queued at all. Of what is in between, nobody knows.
    fn airborne(&self, block: Pinned, queued: Result<(), CudaError>) -> Result<Flight, CudaError> {
        queued?;
        match self.record(block.done()) {
            Ok(()) => Ok(Flight::new(block)),
            Err(error) => {
                block.abandon();
                Err(error)
            }
        }
    }

    /// Copies `bytes` from `from` of `source` to `to` of `target`, both on the device.
    ///
    /// # Errors
    /// If it does not fit, or as the driver says.
    pub fn copy_across(
        &self,
        (source, from): (&Memory, usize),
        (target, to): (&Memory, usize),
        bytes: usize,
    ) -> Result<(), CudaError> {
        const CALL: &str = "cuMemcpyDtoDAsync_v2";
        let from = source.part(from, bytes).ok_or_else(|| Context::refuse(CALL))?;
        let to = target.part(to, bytes).ok_or_else(|| Context::refuse(CALL))?;
        // SAFETY: both are pieces of memory of the device; nothing of the host's is touched.
        check(CALL, unsafe { (self.calls(CALL)?.cuMemcpyDtoDAsync_v2)(to, from, bytes, self.stream) })
    }

    /// Marks what has been queued so far.
    ///
    /// # Errors
    /// As the driver says.
    pub fn record(&self, event: &Event) -> Result<(), CudaError> {
        // SAFETY: both handles live as long as their owners, which are lent here.
        check("cuEventRecord", unsafe { (self.calls("cuEventRecord")?.cuEventRecord)(event.event, self.stream) })
    }

    /// Makes what is queued from now on wait for what `event` marks now.
    ///
    /// # Errors
    /// As the driver says.
    pub fn wait(&self, event: &Event) -> Result<(), CudaError> {
        // SAFETY: both handles live as long as their owners, which are lent here; the flags must be zero.
        check("cuStreamWaitEvent", unsafe {
            (self.calls("cuStreamWaitEvent")?.cuStreamWaitEvent)(self.stream, event.event, 0)
        })
    }

    /// Makes what is queued from now on wait until the copy is done.
    ///
    /// # Errors
    /// As the driver says.
    pub fn wait_for(&self, flight: &Flight) -> Result<(), CudaError> {
        self.wait(flight.done())
    }

    /// Whether its context is still there; if not, its handle means nothing.
    ///
    /// # Errors
    /// If the context was thrown away.
    pub fn check(&self) -> Result<(), CudaError> {
        self.calls("cuStreamQuery").map(drop)
    }

    /// Waits on this thread for all that is queued: for starting and closing, not while a show runs.
    ///
    /// # Errors
    /// As the driver says, also about what was queued before.
    pub fn synchronise(&self) -> Result<(), CudaError> {
        self.context.counts.stream_waits.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the handle lives as long as `self`.
        check("cuStreamSynchronize", unsafe { (self.calls("cuStreamSynchronize")?.cuStreamSynchronize)(self.stream) })
    }

    /// Has `function` called with `argument` in the stream's order, on a thread of the driver's.
    ///
    /// # Safety
    /// `argument` must be what `function` takes, on any thread, until the stream has come past it; if the stream is being
    /// captured, until the graph is gone. The function must not call the driver.
    ///
    /// # Errors
    /// As the driver says.
    pub unsafe fn call(&self, function: CUhostFn, argument: *mut std::ffi::c_void) -> Result<(), CudaError> {
        // SAFETY: the caller keeps the promise above; the handle lives as long as `self`.
        check("cuLaunchHostFunc", unsafe {
            (self.calls("cuLaunchHostFunc")?.cuLaunchHostFunc)(self.stream, function, argument)
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.takes_back() {
            // SAFETY: created once, destroyed once; the driver finishes what is queued.
            unsafe { (self.context.calls().cuStreamDestroy_v2)(self.stream) };
        }
    }
}

/// A mark in a stream.
#[derive(Debug)]
pub struct Event {
    context: Arc<Context>,
    event: CUevent,
}

// SAFETY: as for `Stream`.
unsafe impl Send for Event {}

impl Event {
    /// A new one, that marks nothing yet.
    ///
    /// # Errors
    /// As the driver says.
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

    /// Whether all that it marks is done.
    ///
    /// # Errors
    /// As the driver says, also about what was queued before.
    pub fn is_past(&self) -> Result<bool, CudaError> {
        // SAFETY: the handle lives as long as `self`.
        match unsafe { (self.calls("cuEventQuery")?.cuEventQuery)(self.event) } {
            NOT_READY => Ok(false),
            status => check("cuEventQuery", status).map(|()| true),
        }
    }

    /// Waits on this thread until all that it marks is done.
    ///
    /// # Errors
    /// As for [`Event::is_past`].
    pub fn synchronise(&self) -> Result<(), CudaError> {
        // SAFETY: the handle lives as long as `self`.
        check("cuEventSynchronize", unsafe { (self.calls("cuEventSynchronize")?.cuEventSynchronize)(self.event) })
    }

    /// The time from `earlier` to this mark; both must be past.
    ///
    /// # Errors
    /// If one is not, or as the driver says.
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
