//! Streams: what is queued on one is done in order.

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

/// A stream that does not wait for the device's default stream.
const NON_BLOCKING: u32 = 1;

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
    pub fn upload(&self, block: Pinned, target: &Memory, bytes: usize) -> Result<Transfer, CudaError> {
        const CALL: &str = "cuMemcpyHtoDAsync_v2";
        let to = target.part(0, bytes).filter(|_| bytes <= block.len()).ok_or_else(|| Context::refuse(CALL))?;
        self.record(block.begun())?;
        // SAFETY: source and target are long enough. The block goes into a `Transfer`, which does not give it back before the
        // event after the copy has come to pass.
        let status = unsafe { (self.calls(CALL)?.cuMemcpyHtoDAsync_v2)(to, block.as_ptr().cast(), bytes, self.stream) };
        self.track(block, check(CALL, status))
    }

    /// Copies `bytes` from `at` of `source` to the start of `block`, and marks `block`'s events around it.
    ///
    /// # Errors
    /// As for [`Stream::upload`].
    pub fn download(&self, source: &Memory, at: usize, bytes: usize, mut block: Pinned) -> Result<Transfer, CudaError> {
        const CALL: &str = "cuMemcpyDtoHAsync_v2";
        let from = source.part(at, bytes).filter(|_| bytes <= block.len()).ok_or_else(|| Context::refuse(CALL))?;
        self.record(block.begun())?;
        let to = block.as_mut_ptr().cast();
        // SAFETY: source and target are long enough; the block is kept by a `Transfer` as in `upload`.
        let status = unsafe { (self.calls(CALL)?.cuMemcpyDtoHAsync_v2)(to, from, bytes, self.stream) };
        self.track(block, check(CALL, status))
    }

    /// A copy that was queued and is marked, or one that was not queued at all. Of what is in between, nobody knows.
    fn track(&self, block: Pinned, queued: Result<(), CudaError>) -> Result<Transfer, CudaError> {
        queued?;
        match self.record(block.done()) {
            Ok(()) => Ok(Transfer::new(block)),
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
    pub fn copy_on_device(
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
        check("cuEventRecord", unsafe { (self.calls("cuEventRecord")?.cuEventRecord)(event.raw(), self.stream) })
    }

    /// Makes what is queued from now on wait for what `event` marks now.
    ///
    /// # Errors
    /// As the driver says.
    pub fn wait(&self, event: &Event) -> Result<(), CudaError> {
        // SAFETY: both handles live as long as their owners, which are lent here; the flags must be zero.
        check("cuStreamWaitEvent", unsafe {
            (self.calls("cuStreamWaitEvent")?.cuStreamWaitEvent)(self.stream, event.raw(), 0)
        })
    }

    /// Makes what is queued from now on wait until the copy is done.
    ///
    /// # Errors
    /// As the driver says.
    pub fn wait_for(&self, transfer: &Transfer) -> Result<(), CudaError> {
        self.wait(transfer.done())
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
