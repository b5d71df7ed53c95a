//! The work that streams queue, and its execution.
//!
//! Decides when work accesses memory: when it executes.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::sim::Sim;

/// The driver's error numbers.
pub const OUT_OF_MEMORY: u32 = 2;
pub const INVALID_VALUE: u32 = 1;
pub const INVALID_CONTEXT: u32 = 201;
pub const INVALID_HANDLE: u32 = 400;
pub const ILLEGAL_STATE: u32 = 401;
pub const NOT_FOUND: u32 = 500;
pub const NOT_READY: u32 = 600;
pub const ILLEGAL_ADDRESS: u32 = 700;
pub const ALREADY_LOCKED: u32 = 712;
pub const CAPTURE_UNSUPPORTED: u32 = 900;
pub const CAPTURE_INVALIDATED: u32 = 901;
pub const CAPTURE_WRONG_THREAD: u32 = 908;

/// A recorded event.
#[derive(Debug, Default)]
pub struct Mark {
    pub done: AtomicBool,
    /// When it was done, in simulated microseconds.
    pub at_us: AtomicU64,
}

/// A host function, or a kernel's reference implementation.
pub type HostFunction = unsafe extern "C" fn(*mut c_void);
pub type Reference = unsafe extern "C" fn(*const *const c_void, *const u32);

/// One piece of work.
#[derive(Clone)]
pub enum Work {
    Up {
        from: usize,
        to: u64,
        bytes: usize,
    },
    Down {
        from: u64,
        to: usize,
        bytes: usize,
    },
    Across {
        from: u64,
        to: u64,
        bytes: usize,
    },
    Record(Arc<Mark>),
    Wait(Arc<Mark>),
    Host {
        function: HostFunction,
        argument: usize,
    },
    Kernel {
        reference: Reference,
        arguments: Vec<Vec<u8>>,
        grid: [u32; 6],
    },
    Captured(Arc<Vec<Work>>),
    /// The next piece of work takes very long.
    Delay,
}

impl Work {
    pub fn is_copy(&self) -> bool {
        matches!(self, Self::Up { .. } | Self::Down { .. } | Self::Across { .. })
    }

    pub fn is_launch(&self) -> bool {
        matches!(self, Self::Host { .. } | Self::Kernel { .. } | Self::Captured(_))
    }

    /// Whether it touches addresses between these, as far as is known: what functions of the host's touch is not known.
    pub fn touches(&self, start: u64, end: u64) -> bool {
        let overlaps = |from: u64, bytes: usize| from < end && start < from + bytes as u64;
        match self {
            Self::Up { from, to, bytes } => overlaps(*from as u64, *bytes) || overlaps(*to, *bytes),
            Self::Down { from, to, bytes } => overlaps(*from, *bytes) || overlaps(*to as u64, *bytes),
            Self::Across { from, to, bytes } => overlaps(*from, *bytes) || overlaps(*to, *bytes),
            Self::Kernel { arguments, .. } => arguments
                .iter()
                .any(|argument| argument.first_chunk().is_some_and(|bytes| overlaps(u64::from_ne_bytes(*bytes), 1))),
            Self::Captured(all) => all.iter().any(|work| work.touches(start, end)),
            Self::Record(_) | Self::Wait(_) | Self::Host { .. } | Self::Delay => false,
        }
    }

    /// A number for the kind of work.
    pub fn kind(&self) -> u64 {
        match self {
            Self::Up { .. } => 1,
            Self::Down { .. } => 2,
            Self::Across { .. } => 3,
            Self::Record(_) => 4,
            Self::Wait(_) => 5,
            Self::Host { .. } => 6,
            Self::Kernel { .. } => 7,
            Self::Captured(_) => 8,
            Self::Delay => 9,
        }
    }

    /// Whether other streams allow it to execute now.
    pub fn is_due(&self) -> bool {
        if let Self::Wait(mark) = self { mark.done.load(Ordering::Relaxed) } else { true }
    }

    /// Executes it; its status is returned by the next call that asks.
    pub fn run(&self, sim: &mut Sim) -> u32 {
        match self {
            Self::Up { from, to, bytes } => {
                let (true, true) = (sim.is_locked(*from, *bytes), sim.is_memory(*to, *bytes)) else {
                    return sim.violation("an upload with an invalid address", ILLEGAL_ADDRESS);
                };
                copy(*from, *to as usize, *bytes);
            }
            Self::Down { from, to, bytes } => {
                let (true, true) = (sim.is_locked(*to, *bytes), sim.is_memory(*from, *bytes)) else {
                    return sim.violation("a download with an invalid address", ILLEGAL_ADDRESS);
                };
                copy(*from as usize, *to, *bytes);
            }
            Self::Across { from, to, bytes } => {
                let (true, true) = (sim.is_memory(*from, *bytes), sim.is_memory(*to, *bytes)) else {
                    return sim.violation("a device copy with an invalid address", ILLEGAL_ADDRESS);
                };
                copy(*from as usize, *to as usize, *bytes);
            }
            Self::Host { function, argument } => {
                // SAFETY: the caller that queued it promised that it may be called with this argument until it is done.
                unsafe { function(*argument as *mut c_void) };
            }
            Self::Kernel { reference, arguments, grid } => {
                let places: Vec<*const c_void> = arguments.iter().map(|argument| argument.as_ptr().cast()).collect();
                // SAFETY: as many arguments as the reference was registered with, each as long.
                unsafe { reference(places.as_ptr(), grid.as_ptr()) };
            }
            Self::Captured(all) => {
                return all.iter().map(|work| work.run(sim)).find(|status| *status != 0).unwrap_or(0);
            }
            Self::Record(_) | Self::Wait(_) | Self::Delay => (),
        }
        0
    }
}

fn copy(from: usize, to: usize, bytes: usize) {
    // SAFETY: both were found to be as long within live memory just now; they may overlap.
    unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
}
