//! The state of the stub: memory, streams, events, graphs, modules, counters, faults.
//!
//! Decides which calls are violations.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::work::{CAPTURE_INVALIDATED, CAPTURE_UNSUPPORTED, Mark, Reference, Work};

/// The contents of new memory: as `f32` a value that no test uses.
const POISON: u8 = 0xA5;
/// Alignment of device memory.
const ALIGNMENT: usize = 256;

/// Counters of calls and of live objects. Every field is 64 bits wide.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub calls: u64,
    pub allocations: u64,
    pub page_locks: u64,
    pub copies: u64,
    pub launches: u64,
    pub waits: u64,
    pub stream_waits: u64,
    pub device_waits: u64,
    /// Frees of device memory, and unlocks.
    pub frees: u64,
    pub done: u64,
    /// A hash of the interleaving: another order of execution has another.
    pub order: u64,
    pub violations: u64,
    pub living_memory: u64,
    pub living_locks: u64,
    pub living_handles: u64,
    pub living_contexts: u64,
}

/// A fault that was injected.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// How many calls or pieces of work until it happens.
    pub countdown: u64,
    pub status: u32,
    pub kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The n-th call fails, once.
    Call,
    /// The n-th call and all after it fail, until the context is destroyed.
    Sticky,
    /// The same, permanently.
    Gone,
    /// The n-th launch fails when it executes; all calls fail until the context is destroyed.
    Launch,
    /// The n-th copy is very slow.
    SlowCopy,
}

#[derive(Default)]
pub struct Stream {
    pub queue: VecDeque<Work>,
    pub capture: Option<Capture>,
    /// Its simulated time.
    pub now_us: u64,
    /// How often it is still passed over because of a slow copy.
    pub stalled: u32,
    /// Destroyed; it exists only for its queued work.
    pub is_gone: bool,
}

/// A capture under way.
pub struct Capture {
    pub work: Vec<Work>,
    /// The thread that started it, and which threads must not wait or allocate meanwhile: 0 all, 1 this one, 2 none.
    pub thread: usize,
    pub mode: i32,
    /// Such a call was made: the capture is invalid.
    pub is_broken: bool,
}

impl Capture {
    pub fn begin(mode: i32) -> Self {
        Self { work: Vec::new(), thread: this_thread(), mode, is_broken: false }
    }

    fn is_mine(&self) -> bool {
        self.thread == this_thread()
    }

    pub fn gather(&mut self, work: Work) -> u32 {
        self.work.push(work);
        if self.is_broken { CAPTURE_INVALIDATED } else { 0 }
    }

    /// Whether this thread may end it.
    pub fn may_end_here(&self) -> bool {
        self.mode == 2 || self.is_mine()
    }
}

/// An event.
#[derive(Clone, Default)]
pub struct Event {
    pub mark: Option<Arc<Mark>>,
    pub is_timed: bool,
}

/// Captured work.
#[derive(Clone)]
pub struct Captured(pub Arc<Vec<Work>>);

#[derive(Default)]
pub struct Sim {
    /// The state of the random numbers.
    draws: u64,
    /// The seed, which selects the policy.
    sown: u64,
    /// For so many calls nothing executes.
    pub idle_calls: u64,
    pub counts: Counts,
    pub faults: Vec<Fault>,
    pub sticky: u32,
    pub is_gone: bool,
    pub ignored_wait: u64,
    /// The context, and how often it was retained.
    pub retained: u64,
    pub holders: u64,
    memory: BTreeMap<u64, usize>,
    locks: BTreeMap<usize, usize>,
    pub streams: BTreeMap<u64, Stream>,
    pub events: BTreeMap<u64, Event>,
    pub graphs: BTreeMap<u64, Captured>,
    pub ready: BTreeMap<u64, Captured>,
    pub modules: BTreeSet<u64>,
    pub functions: BTreeMap<u64, String>,
    pub references: BTreeMap<String, (Reference, Vec<usize>)>,
    pub complaint: String,
    handles: u64,
}

static SIM: Mutex<Option<Sim>> = Mutex::new(None);

thread_local! {
    /// The context that is current on this thread.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// The state, locked.
pub fn lock() -> MutexGuard<'static, Option<Sim>> {
    SIM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a call requires.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    Context,
    /// A current context, and that no capture forbids it: it may wait or allocate.
    Still,
    /// A current context; it frees something, so an injected fault does not hit it.
    GivesBack,
    /// Both.
    GivesBackStill,
}

impl Needs {
    fn gives_back(self) -> bool {
        matches!(self, Self::GivesBack | Self::GivesBackStill)
    }

    fn is_still(self) -> bool {
        matches!(self, Self::Still | Self::GivesBackStill)
    }
}

/// One call: counted, failed if a fault is due, otherwise executed; then streams progress as the policy says.
pub fn call(needs: Needs, body: impl FnOnce(&mut Sim) -> u32) -> u32 {
    let mut guard = lock();
    let sim = guard.get_or_insert_with(Sim::default);
    sim.counts.calls += 1;
    let failed = if needs.gives_back() { sim.sticky } else { sim.fault_of_call() };
    if failed != 0 {
        return failed;
    }
    if needs != Needs::Nothing && (sim.retained == 0 || CURRENT.get() != sim.retained) {
        return sim.violation("a call without a context", crate::work::INVALID_CONTEXT);
    }
    if needs.is_still() && sim.breaks_a_capture() {
        return sim.violation("a call that a capture forbids", CAPTURE_UNSUPPORTED);
    }
    let status = body(sim);
    sim.go_on();
    status
}

pub fn set_current(context: u64) {
    CURRENT.set(context);
}

/// A number for this thread. The standard library's has a destructor, which would outlive the unloaded library.
fn this_thread() -> usize {
    CURRENT.with(|current| std::ptr::from_ref(current) as usize)
}

impl Sim {
    /// A call that only a lost device refuses.
    pub fn called(&mut self) -> u32 {
        self.counts.calls += 1;
        self.sticky
    }

    /// A new handle; small, so that no address is mistaken for it.
    pub fn handle(&mut self) -> u64 {
        self.handles += 1;
        0x1000 + self.handles * 16
    }

    pub fn violation(&mut self, what: &str, status: u32) -> u32 {
        self.counts.violations += 1;
        what.clone_into(&mut self.complaint);
        status
    }

    /// Sets the seed.
    pub fn set_seed(&mut self, seed: u64) {
        self.idle_calls = 0;
        // Zero would only produce zeros.
        (self.sown, self.draws) = (seed, seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    }

    /// The seed, which selects the policy.
    pub fn seed(&self) -> u64 {
        self.sown
    }

    /// The next number, below `below` (xorshift with a multiplication).
    pub fn draw(&mut self, below: u64) -> u64 {
        self.draws ^= self.draws << 13;
        self.draws ^= self.draws >> 7;
        self.draws ^= self.draws << 17;
        (self.draws.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below.max(1)
    }

    /// Whether a capture forbids this thread to wait or allocate now; if so, that capture becomes invalid.
    fn breaks_a_capture(&mut self) -> bool {
        let captures = self.streams.values_mut().filter_map(|stream| stream.capture.as_mut());
        let forbidding = captures.filter(|capture| capture.mode == 0 || capture.mode == 1 && capture.is_mine());
        forbidding.map(|capture| capture.is_broken = true).count() > 0
    }

    /// Whether queued work accesses these addresses.
    pub fn is_awaited(&self, start: u64, bytes: usize) -> bool {
        self.streams.values().flat_map(|stream| &stream.queue).any(|work| work.touches(start, start + bytes as u64))
    }

    fn fault_of_call(&mut self) -> u32 {
        if self.sticky != 0 {
            return self.sticky;
        }
        let mut status = 0;
        for fault in self.faults.iter_mut().filter(|fault| fault.kind.counts_calls()) {
            fault.countdown = fault.countdown.saturating_sub(1);
            if fault.countdown == 0 {
                status = fault.status;
                self.sticky = if fault.kind == FaultKind::Call { 0 } else { fault.status };
                self.is_gone |= fault.kind == FaultKind::Gone;
            }
        }
        self.faults.retain(|fault| fault.countdown > 0);
        status
    }

    /// Whether a fault of `kind` is due with this piece of work.
    pub fn fault_of_work(&mut self, kind: FaultKind) -> Option<Fault> {
        let fault = self.faults.iter_mut().find(|fault| fault.kind == kind)?;
        fault.countdown = fault.countdown.saturating_sub(1);
        let due = (fault.countdown == 0).then_some(*fault);
        self.faults.retain(|fault| fault.countdown > 0);
        due
    }

    pub fn allocate(&mut self, bytes: usize) -> Option<u64> {
        let layout = Layout::from_size_align(bytes, ALIGNMENT).ok()?;
        // SAFETY: the layout is not empty: no call allocates zero bytes.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            return None;
        }
        // SAFETY: just allocated, as long.
        unsafe { start.write_bytes(POISON, bytes) };
        self.memory.insert(start as u64, bytes);
        Some(start as u64)
    }

    pub fn free(&mut self, address: u64) -> bool {
        let Some(bytes) = self.memory.remove(&address) else { return false };
        let layout = Layout::from_size_align(bytes, ALIGNMENT).expect("as it was allocated");
        // SAFETY: allocated with this layout; it is no longer in the table, so no work reaches it.
        unsafe { dealloc(address as *mut u8, layout) };
        true
    }

    /// Destroys a stream once its work is done. False if it is unknown.
    pub fn destroy_stream(&mut self, name: u64) -> bool {
        let Some(stream) = self.streams.get_mut(&name).filter(|stream| !stream.is_gone) else { return false };
        stream.is_gone = true;
        self.remove_destroyed();
        true
    }

    /// Removes streams that are destroyed and done.
    pub fn remove_destroyed(&mut self) {
        self.streams.retain(|_, stream| !stream.is_gone || !stream.queue.is_empty());
    }

    /// The length of the memory at an address.
    pub fn length(&self, address: u64) -> Option<usize> {
        self.memory.get(&address).copied()
    }

    pub fn is_memory(&self, address: u64, bytes: usize) -> bool {
        let found = self.memory.range(..=address).next_back();
        found.is_some_and(|(start, length)| address + bytes as u64 <= start + *length as u64)
    }

    /// False if part of it is locked already.
    pub fn lock_pages(&mut self, start: usize, bytes: usize) -> bool {
        let last = self.locks.range(..start + bytes).next_back();
        let is_free = last.is_none_or(|(other, length)| other + length <= start);
        is_free && self.locks.insert(start, bytes).is_none()
    }

    /// Unlocks; the number of bytes that were locked there.
    pub fn unlock_pages(&mut self, start: usize) -> Option<usize> {
        self.locks.remove(&start)
    }

    pub fn is_locked(&self, address: usize, bytes: usize) -> bool {
        let found = self.locks.range(..=address).next_back();
        found.is_some_and(|(start, length)| address + bytes <= start + length)
    }

    /// Releases the context once; the last release destroys it.
    pub fn release(&mut self) {
        self.holders = self.holders.saturating_sub(1);
        if self.holders == 0 {
            self.retained = 0;
        }
    }

    /// Destroys the context with everything in it.
    pub fn reset(&mut self) {
        let memory: Vec<u64> = self.memory.keys().copied().collect();
        memory.into_iter().for_each(|address| _ = self.free(address));
        self.locks.clear();
        self.streams.clear();
        self.events.clear();
        self.graphs.clear();
        self.ready.clear();
        self.modules.clear();
        self.functions.clear();
        if !self.is_gone {
            self.sticky = 0;
        }
    }

    pub fn counts(&self) -> Counts {
        let streams = self.streams.values().filter(|stream| !stream.is_gone).count();
        let handles = streams + self.events.len() + self.graphs.len() + self.ready.len() + self.modules.len();
        Counts {
            living_memory: self.memory.len() as u64,
            living_locks: self.locks.len() as u64,
            living_handles: handles as u64,
            living_contexts: u64::from(self.retained != 0),
            ..self.counts
        }
    }
}

impl FaultKind {
    fn counts_calls(self) -> bool {
        matches!(self, Self::Call | Self::Sticky | Self::Gone)
    }
}
