//! The control interface for tests. Not part of any driver.
//!
//! Decides nothing.

use std::ffi::{CStr, c_char};

use crate::sim::{Counts, Fault, FaultKind, Sim, lock};
use crate::work::Reference;

fn with<T>(body: impl FnOnce(&mut Sim) -> T) -> T {
    body(lock().get_or_insert_with(Sim::default))
}

/// Resets counters and faults, and sets the seed.
#[unsafe(no_mangle)]
pub extern "C" fn stub_seed(seed: u64) {
    with(|sim| {
        sim.set_seed(seed);
        sim.counts = Counts::default();
        sim.faults.clear();
        (sim.sticky, sim.is_gone, sim.ignored_wait) = (0, false, 0);
    });
}

/// The counters.
///
/// # Safety
/// `counts` must be the address of a value of the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stub_counts(counts: *mut Counts) {
    // SAFETY: as promised above.
    unsafe { counts.write(with(|sim| sim.counts())) };
}

/// Makes the n-th call, launch or copy from now on fail: kind 0 one call, 1 all calls until the context is destroyed, 2 all
/// calls permanently, 3 a launch when it executes; kind 4 makes a copy very slow.
#[unsafe(no_mangle)]
pub extern "C" fn stub_fail(kind: u32, n: u64, status: u32) {
    let kind = match kind {
        0 => FaultKind::Call,
        1 => FaultKind::Sticky,
        2 => FaultKind::Gone,
        3 => FaultKind::Launch,
        _ => FaultKind::SlowCopy,
    };
    with(|sim| sim.faults.push(Fault { countdown: n, status, kind }));
}

/// Ignores the n-th wait of a stream for an event, counted from the seed; 0 ignores none.
#[unsafe(no_mangle)]
pub extern "C" fn stub_ignore_wait(n: u64) {
    with(|sim| sim.ignored_wait = n);
}

/// Registers what executes when the kernel `name` is launched, and the sizes of its arguments.
///
/// # Safety
/// `name` must end with a zero; `sizes` must be `count` long and hold the sizes of the arguments of `reference`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stub_register_kernel(
    name: *const c_char,
    reference: Reference,
    sizes: *const usize,
    count: usize,
) {
    // SAFETY: as promised above.
    let (name, sizes) = unsafe { (CStr::from_ptr(name), std::slice::from_raw_parts(sizes, count)) };
    with(|sim| _ = sim.references.insert(name.to_string_lossy().into_owned(), (reference, sizes.to_vec())));
}

/// Copies the last violation to `text`, cut to `length` bytes, and returns its length.
///
/// # Safety
/// `text` must be `length` bytes long.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stub_complaint(text: *mut u8, length: usize) -> usize {
    with(|sim| {
        let bytes = sim.complaint.len().min(length);
        // SAFETY: as promised above.
        unsafe { std::ptr::copy_nonoverlapping(sim.complaint.as_ptr(), text, bytes) };
        bytes
    })
}
