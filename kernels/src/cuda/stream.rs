//! Streams: queues of the device, each executed in order.
//!
//! Decides who owns a pinned buffer during a copy.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::device::{Context, Device};
use super::driver::check;
use super::error::CudaError;
use super::event::Event;
use super::memory::Memory;
use super::pinned::{Pinned, Transfer};
use super::sys::{CUhostFn, CUstream, Calls};

/// `CU_STREAM_NON_BLOCKING`: does not synchronise with the default stream.
const NON_BLOCKING: u32 = 1;

/// A stream.
#[derive(Debug)]
pub struct Stream {
    context: Arc<Context>,
    stream: CUstream,
}

// SAFETY: a stream is a driver handle; calls may come from any thread on which its context is current.
unsafe impl Send for Stream {}

impl Stream {
    /// A new stream.
    ///
    /// # Errors
    /// The driver's error.
    pub fn new(device: &Device) -> Result<Self, CudaError> {
        let mut stream = ptr::null_mut();
        // SAFETY: the address is that of a handle that outlives the call.
        let status = unsafe { (device.calls().cuStreamCreate)(&raw mut stream, NON_BLOCKING) };
        check("cuStreamCreate", status)?;
        Ok(Self { context: Arc::clone(device.context()), stream })
    }

    /// The driver's handle, for libraries that queue work on it.
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

    /// Queues a copy of the first `bytes` of `block` to `target` (host to device). [`Transfer::poll`] returns the buffer when it
    /// is done.
    ///
    /// # Errors
    /// If it does not fit, or the driver's error.
    pub fn upload(&self, block: Pinned, target: &Memory, bytes: usize) -> Result<Transfer, CudaError> {
        const CALL: &str = "cuMemcpyHtoDAsync_v2";
        let to = target.part(0, bytes).filter(|_| bytes <= block.len()).ok_or_else(|| Context::refuse(CALL))?;
        self.record(block.begun())?;
        // SAFETY: source and target are long enough. The buffer goes into a `Transfer`, which does not return it before the
        // event after the copy.
        let status = unsafe { (self.calls(CALL)?.cuMemcpyHtoDAsync_v2)(to, block.as_ptr().cast(), bytes, self.stream) };
        self.track(block, check(CALL, status))
    }

    /// Queues a copy of `bytes` from byte `at` of `source` to the start of `block` (device to host).
    ///
    /// # Errors
    /// As for [`Stream::upload`].
    pub fn download(&self, source: &Memory, at: usize, bytes: usize, mut block: Pinned) -> Result<Transfer, CudaError> {
        const CALL: &str = "cuMemcpyDtoHAsync_v2";
        let from = source.part(at, bytes).filter(|_| bytes <= block.len()).ok_or_else(|| Context::refuse(CALL))?;
        self.record(block.begun())?;
        let to = block.as_mut_ptr().cast();
        // SAFETY: source and target are long enough; the buffer is kept by a `Transfer` as in `upload`.
        let status = unsafe { (self.calls(CALL)?.cuMemcpyDtoHAsync_v2)(to, from, bytes, self.stream) };
        self.track(block, check(CALL, status))
    }

    /// A copy that was queued with an event after it. If the event fails, the end of the copy cannot be polled: it is waited for
    /// here, and if that fails too, the buffer is never reused.
    fn track(&self, block: Pinned, queued: Result<(), CudaError>) -> Result<Transfer, CudaError> {
        queued?;
        match self.record(block.done()) {
            Ok(()) => Ok(Transfer::new(block)),
            Err(error) => {
                if self.synchronise().is_err() {
                    block.abandon();
                }
                Err(error)
            }
        }
    }

    /// Queues a copy of `bytes` from byte `from` of `source` to byte `to` of `target`, both on the device.
    ///
    /// # Errors
    /// If it does not fit, or the driver's error.
    pub fn copy_on_device(
        &self,
        (source, from): (&Memory, usize),
        (target, to): (&Memory, usize),
        bytes: usize,
    ) -> Result<(), CudaError> {
        const CALL: &str = "cuMemcpyDtoDAsync_v2";
        let from = source.part(from, bytes).ok_or_else(|| Context::refuse(CALL))?;
        let to = target.part(to, bytes).ok_or_else(|| Context::refuse(CALL))?;
        // SAFETY: both are pieces of device memory; no host memory is accessed.
        check(CALL, unsafe { (self.calls(CALL)?.cuMemcpyDtoDAsync_v2)(to, from, bytes, self.stream) })
    }

    /// Records an event after the work queued so far.
    ///
    /// # Errors
    /// The driver's error.
    pub fn record(&self, event: &Event) -> Result<(), CudaError> {
        // SAFETY: both handles live as long as their owners, which are borrowed here.
        check("cuEventRecord", unsafe { (self.calls("cuEventRecord")?.cuEventRecord)(event.raw(), self.stream) })
    }

    /// Work queued from now on waits for the last record of `event`.
    ///
    /// # Errors
    /// The driver's error.
    pub fn wait(&self, event: &Event) -> Result<(), CudaError> {
        // SAFETY: both handles live as long as their owners, which are borrowed here; the flags must be zero.
        check("cuStreamWaitEvent", unsafe {
            (self.calls("cuStreamWaitEvent")?.cuStreamWaitEvent)(self.stream, event.raw(), 0)
        })
    }

    /// Work queued from now on waits until the copy is done.
    ///
    /// # Errors
    /// The driver's error.
    pub fn wait_for(&self, transfer: &Transfer) -> Result<(), CudaError> {
        self.wait(transfer.done())
    }

    /// Whether its context still exists; if not, its handle is invalid.
    ///
    /// # Errors
    /// If the context was destroyed.
    pub fn check(&self) -> Result<(), CudaError> {
        self.calls("cuStreamQuery").map(drop)
    }

    /// Blocks this thread until everything queued is done: for starting and closing, not in the loop.
    ///
    /// # Errors
    /// The driver's error, also about work queued before.
    pub fn synchronise(&self) -> Result<(), CudaError> {
        self.context.counts.stream_waits.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the handle lives as long as `self`.
        check("cuStreamSynchronize", unsafe { (self.calls("cuStreamSynchronize")?.cuStreamSynchronize)(self.stream) })
    }

    /// Queues a call of `function` with `argument`, on a thread of the driver.
    ///
    /// # Safety
    /// `argument` must be valid for `function`, on any thread, until the call is done; if the stream is being captured, until
    /// the graph is dropped. The function must not call the driver.
    ///
    /// # Errors
    /// The driver's error.
    pub unsafe fn call(&self, function: CUhostFn, argument: *mut std::ffi::c_void) -> Result<(), CudaError> {
        // SAFETY: the caller guarantees the above; the handle lives as long as `self`.
        check("cuLaunchHostFunc", unsafe {
            (self.calls("cuLaunchHostFunc")?.cuLaunchHostFunc)(self.stream, function, argument)
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.takes_back() {
            // SAFETY: created once, destroyed once; the driver finishes queued work.
            unsafe { (self.context.calls().cuStreamDestroy_v2)(self.stream) };
        }
    }
}
