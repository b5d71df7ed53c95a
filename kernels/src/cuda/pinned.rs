//! Pinned host memory, which the device copies from and to: page-locked once, handed out in buffers, bounded.
//!
//! Decides that a buffer belongs to one side at a time: a [`Pinned`] to the program, a [`Transfer`] to the device.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::device::{Context, Device};
use super::driver::check;
use super::error::CudaError;
use super::event::Event;

const PAGE_BYTES: usize = 4096;
/// `CU_MEMHOSTREGISTER_PORTABLE`: locked for every context of the process.
const PORTABLE: u32 = 1;

/// A pool of pinned buffers. When none is free, the work that needs one is not started.
#[derive(Clone, Debug)]
pub struct PinnedPool {
    blocks: Arc<Blocks>,
}

#[derive(Debug)]
struct Blocks {
    /// Free buffers, with the events before and after a copy.
    free: Mutex<Vec<(usize, [Event; 2])>>,
    block_bytes: usize,
    count: usize,
    region: Region,
}

impl PinnedPool {
    /// Page-locks memory for `count` buffers of at least `block_bytes`, filled with zeros.
    ///
    /// # Errors
    /// If there is no memory, or the driver does not lock it.
    pub fn reserve(device: &Device, count: usize, block_bytes: usize) -> Result<Self, CudaError> {
        let block_bytes = block_bytes.max(1).next_multiple_of(PAGE_BYTES);
        let region = Region::lock(device, block_bytes * count.max(1))?;
        let events = |_| Ok([Event::new(device)?, Event::new(device)?]);
        let free = (0..count).map(|block| Ok((block, events(block)?))).collect::<Result<_, CudaError>>()?;
        Ok(Self { blocks: Arc::new(Blocks { free: Mutex::new(free), block_bytes, count, region }) })
    }

    /// A free buffer, if there is one.
    #[must_use]
    pub fn take(&self) -> Option<Pinned> {
        let (block, events) = self.blocks.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Pinned { blocks: Arc::clone(&self.blocks), block, events: Some(events) })
    }

    /// The number of buffers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.blocks.count
    }

    /// The number of free buffers.
    #[must_use]
    pub fn free(&self) -> usize {
        self.blocks.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The length of a buffer.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        self.blocks.block_bytes
    }
}

/// A pinned buffer that belongs to the program. It returns to the pool when dropped.
#[derive(Debug)]
pub struct Pinned {
    blocks: Arc<Blocks>,
    block: usize,
    /// `None` only while it returns to the pool.
    events: Option<[Event; 2]>,
}

impl Pinned {
    /// The event before its copy.
    pub(super) fn begun(&self) -> &Event {
        &self.events()[0]
    }

    /// The event after its copy.
    pub(super) fn done(&self) -> &Event {
        &self.events()[1]
    }

    fn events(&self) -> &[Event; 2] {
        self.events.as_ref().expect("a buffer keeps its events until it is dropped")
    }

    /// Never returns it to the pool: it is unknown whether the device still accesses it.
    pub(super) fn abandon(mut self) {
        self.blocks.region.is_touched.store(true, Ordering::Relaxed);
        self.events = None;
    }

    fn place(&self) -> *mut u8 {
        // SAFETY: the block's number is below the count, so the place is within the region.
        unsafe { self.blocks.region.start.add(self.block * self.blocks.block_bytes) }
    }
}

impl Deref for Pinned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: these are `block_bytes` initialised bytes inside the region, which lives as long as `blocks`. Only this
        // buffer's owner reaches them, and no copy is queued: a buffer in a `Transfer` cannot be reached.
        unsafe { std::slice::from_raw_parts(self.place(), self.blocks.block_bytes) }
    }
}

impl DerefMut for Pinned {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.place(), self.blocks.block_bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(events) = self.events.take() {
            self.blocks.free.lock().unwrap_or_else(PoisonError::into_inner).push((self.block, events));
        }
    }
}

/// A pinned buffer that belongs to the device until its copy is done.
#[derive(Debug)]
pub struct Transfer {
    /// `None` only after it was returned.
    block: Option<Pinned>,
}

impl Transfer {
    pub(super) fn new(block: Pinned) -> Self {
        Self { block: Some(block) }
    }

    fn block(&self) -> &Pinned {
        self.block.as_ref().expect("a transfer has its buffer until it is done")
    }

    /// The event after the copy. It is not handed out: recording it elsewhere would return the buffer too early.
    pub(super) fn done(&self) -> &Event {
        self.block().done()
    }

    /// Returns the buffer with the time that its copy took, if it is done; otherwise itself.
    ///
    /// # Errors
    /// If the device failed; then the buffer is not reused.
    pub fn poll(mut self) -> Result<Result<(Pinned, Duration), Self>, CudaError> {
        let landed = self.done().is_past().and_then(|past| {
            let copied = || self.done().since(self.block().begun());
            past.then(copied).transpose()
        });
        match (landed, self.block.take()) {
            (Ok(Some(took)), Some(block)) => Ok(Ok((block, took))),
            (Ok(None), block) => Ok(Err(Self { block })),
            (Err(error), block) => {
                let is_touched = |block: &Pinned| !block.done().context().is_over();
                block.into_iter().filter(is_touched).for_each(Pinned::abandon);
                Err(error)
            }
            (Ok(Some(_)), None) => unreachable!("a transfer has its buffer until it is done"),
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let Some(block) = self.block.take() else { return };
        // If the context is destroyed, so is the copy. An error may be of earlier work, and such an error is reported once: the
        // second wait decides.
        let wait = || block.done().synchronise();
        if !block.done().context().is_over() && wait().or_else(|_earlier| wait()).is_err() {
            block.abandon();
        }
    }
}

/// Host memory that the driver has page-locked.
#[derive(Debug)]
struct Region {
    context: Arc<Context>,
    start: *mut u8,
    layout: Layout,
    /// A copy was queued whose end cannot be observed.
    is_touched: AtomicBool,
}

// SAFETY: the memory is reached only through buffers, each by one owner.
unsafe impl Send for Region {}
// SAFETY: as above; the region itself only holds the start address.
unsafe impl Sync for Region {}

impl Region {
    fn lock(device: &Device, bytes: usize) -> Result<Self, CudaError> {
        const CALL: &str = "cuMemHostRegister_v2";
        let no_memory = || CudaError { call: CALL, status: 2 };
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).map_err(|_too_long| no_memory())?;
        // SAFETY: the layout is not empty: a pool has at least one page.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            return Err(no_memory());
        }
        // SAFETY: the memory is `bytes` long and stays until it is unlocked.
        let status = unsafe { (device.calls().cuMemHostRegister_v2)(start.cast(), bytes, PORTABLE) };
        device.counts().page_locks.fetch_add(1, Ordering::Relaxed);
        check(CALL, status).inspect_err(|_| {
            // SAFETY: allocated above with this layout, not locked, reached by nobody.
            unsafe { dealloc(start, layout) };
        })?;
        Ok(Self { context: Arc::clone(device.context()), start, layout, is_touched: AtomicBool::default() })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let may_unlock = !self.is_touched.load(Ordering::Relaxed) && self.context.takes_back();
        // SAFETY: locked once in `lock`, unlocked once here. All buffers are dropped, and every copy was seen to be done.
        let unlocked = may_unlock && unsafe { (self.context.calls().cuMemHostUnregister)(self.start.cast()) } == 0;
        if unlocked || self.context.is_destroyed() {
            // SAFETY: allocated with this layout, and no copy accesses it: each is done, or the driver confirmed that the context
            // is destroyed. Otherwise the memory stays locked and is leaked, because a copy may access it.
            unsafe { dealloc(self.start, self.layout) };
        }
    }
}
