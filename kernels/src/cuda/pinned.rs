//! Host memory that the device copies from and to by itself: locked once, lent in blocks, bounded.
//!
//! Decides that a block belongs to one side at a time: a [`Pinned`] to the program, a [`Transfer`] to the device.

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
/// The lock holds for every context of the process.
const PORTABLE: u32 = 1;

/// Blocks of locked memory. Whoever finds none free does not begin.
#[derive(Clone, Debug)]
pub struct PinnedPool {
    blocks: Arc<Blocks>,
}

#[derive(Debug)]
struct Blocks {
    /// Blocks that nobody has, with the events that mark a copy's begin and end.
    free: Mutex<Vec<(usize, [Event; 2])>>,
    block_bytes: usize,
    count: usize,
    region: Region,
}

impl PinnedPool {
    /// Locks memory for `count` blocks of at least `block_bytes`.
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

    /// A free block, if there is one.
    #[must_use]
    pub fn take(&self) -> Option<Pinned> {
        let (block, events) = self.blocks.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Pinned { blocks: Arc::clone(&self.blocks), block, events: Some(events) })
    }

    /// How many blocks there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.blocks.count
    }

    /// How many are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.blocks.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How long a block is.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        self.blocks.block_bytes
    }
}

/// A block that belongs to the program. It goes back to the pool when dropped.
#[derive(Debug)]
pub struct Pinned {
    blocks: Arc<Blocks>,
    block: usize,
    /// None only while it is given back.
    events: Option<[Event; 2]>,
}

impl Pinned {
    /// The mark before its copy.
    pub(super) fn begun(&self) -> &Event {
        &self.events()[0]
    }

    /// The mark behind its copy.
    pub(super) fn done(&self) -> &Event {
        &self.events()[1]
    }

    fn events(&self) -> &[Event; 2] {
        self.events.as_ref().expect("a block keeps its events until it is dropped")
    }

    /// Never gives it back: nobody knows whether the device still touches it.
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
        // SAFETY: the place is that of `block_bytes` initialised bytes within the region, which lives as long as `blocks`.
        // Only this block's owner reaches them, and no copy is queued: a block in a `Transfer` cannot be reached.
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

/// A block that belongs to the device until its copy is done.
#[derive(Debug)]
pub struct Transfer {
    /// None only after it was given back.
    block: Option<Pinned>,
}

impl Transfer {
    pub(super) fn new(block: Pinned) -> Self {
        Self { block: Some(block) }
    }

    fn block(&self) -> &Pinned {
        self.block.as_ref().expect("a transfer has its block until it lands")
    }

    /// The mark behind the copy. Nobody else may get it: who marked something else with it would have the block come back too
    /// early.
    pub(super) fn done(&self) -> &Event {
        self.block().done()
    }

    /// Gives the block back with the time that its copy took, if it is done; otherwise itself.
    ///
    /// # Errors
    /// If the device failed; then nobody gets the block again.
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
            (Ok(Some(_)), None) => unreachable!("a transfer has its block until it lands"),
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let Some(block) = self.block.take() else { return };
        // Where the context is gone, so is the copy.
        if !block.done().context().is_over() && block.done().synchronise().is_err() {
            block.abandon();
        }
    }
}

/// Memory of the program's that the driver has locked.
#[derive(Debug)]
struct Region {
    context: Arc<Context>,
    start: *mut u8,
    layout: Layout,
    /// Some copy was queued whose end nobody can see.
    is_touched: AtomicBool,
}

// SAFETY: the memory is reached only through blocks, each by one owner.
unsafe impl Send for Region {}
// SAFETY: as above; the region itself only says where it starts.
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
        // SAFETY: locked once in `lock`, unlocked once here.
        let unlocked =
            self.context.takes_back() && unsafe { (self.context.calls().cuMemHostUnregister)(self.start.cast()) } == 0;
        if unlocked && !self.is_touched.load(Ordering::Relaxed) || self.context.is_destroyed() {
            // SAFETY: allocated with this layout; all blocks are gone, and with them every copy: each was seen to land, or
            // the driver says that the context that copied is destroyed. Otherwise it is left, as nobody knows who touches it.
            unsafe { dealloc(self.start, self.layout) };
        }
    }
}
