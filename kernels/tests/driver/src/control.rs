//! What a test says to the stand-in and asks of it. No part of any driver.

use std::ffi::{CStr, c_char};

use crate::sim::{Counts, Fault, FaultKind, Sim, lock};
use crate::work::Reference;

fn with<T>(body: impl FnOnce(&mut Sim) -> T) -> T {
    body(lock().get_or_insert_with(Sim::default))
}

/// Begins anew with a seed, forgetting counts and faults to come.
#[unsafe(no_mangle)]
pub extern "C" fn stub_seed(seed: u64) {
    with(|sim| {
        sim.sow(seed);
        sim.counts = Counts::default();
        sim.faults.clear();
        (sim.sticky, sim.is_gone, sim.ignored_wait) = (0, false, 0);
    });
}

/// What was asked and what is alive.
///
/// # Safety
/// `counts` must be the place of a value of the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stub_counts(counts: *mut Counts) {
    // SAFETY: as promised above.
    unsafe { counts.write(with(|sim| sim.counts())) };
}

/// Has the n-th call, launch or copy from now on fail: kind 0 once, 1 until the context is thrown away, 2 for good, 3 the
/// launch when it runs, 4 a copy that takes very long.
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

/// Forgets the n-th wait of a stream for an event, counted from the seed; 0 forgets none.
#[unsafe(no_mangle)]
pub extern "C" fn stub_ignore_wait(n: u64) {
    with(|sim| sim.ignored_wait = n);
}

/// What runs when the kernel `name` is launched, and how long its arguments are.
///
/// # Safety
/// `name` must end with a zero; `sizes` must be `count` long and say what `twin` takes.
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

/// Copies the last complaint to `text`, cut to `length` bytes, and says how long it is.
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
