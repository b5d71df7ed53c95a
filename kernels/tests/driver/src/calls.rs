//! The driver's entry points. Pointers are as NVIDIA documents them, and not null where it says so.
//!
//! Decides what a real driver would refuse: each such call counts as a violation.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sim::{Capture, Captured, Event, Needs, Stream, call, set_current};
use crate::work::{
    ALREADY_LOCKED, CAPTURE_INVALIDATED, CAPTURE_UNSUPPORTED, CAPTURE_WRONG_THREAD, HostFunction, ILLEGAL_STATE,
    INVALID_HANDLE, INVALID_VALUE, Mark, NOT_FOUND, NOT_READY, OUT_OF_MEMORY, Work,
};

use Needs::{Context, GivesBack, GivesBackStill, Nothing, Still};

/// Writes a result.
///
/// # Safety
/// `place` must be the address of a value of the caller.
unsafe fn answer<T>(place: *mut T, value: T) -> u32 {
    // SAFETY: as promised above.
    unsafe { place.write(value) };
    0
}

macro_rules! driver {
    ($($needs:ident $name:ident($($argument:ident: $type:ty),*) |$sim:ident| $body:expr)*) => {
        $(
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($argument: $type),*) -> u32 {
                call($needs, |$sim| $body)
            }
        )*
    };
}

driver! {
    Nothing cuInit(_flags: c_uint) |_sim| 0

    // SAFETY: the caller's address, as documented; also for every `answer` below.
    Nothing cuDriverGetVersion(version: *mut c_int) |_sim| unsafe { answer(version, 12080) }
    // SAFETY: as above.
    Nothing cuDeviceGetCount(count: *mut c_int) |_sim| unsafe { answer(count, 1) }
    // SAFETY: as above.
    Nothing cuDeviceGet(device: *mut c_int, ordinal: c_int) |_sim| unsafe { answer(device, ordinal) }

    Nothing cuDeviceGetName(name: *mut c_char, length: c_int, _device: c_int) |_sim| {
        let text = c"stub".to_bytes_with_nul();
        let bytes = text.len().min(length.max(0) as usize);
        // SAFETY: the caller's text is `length` bytes long, as documented.
        unsafe { ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), bytes) };
        0
    }

    // SAFETY: as above. 75 and 76 are the two parts of the compute capability, 33 is the bus number.
    Nothing cuDeviceGetAttribute(value: *mut c_int, which: c_int, _device: c_int) |_sim| unsafe {
        answer(value, match which { 75 => 8, 76 => 9, 33 => 10, _ => 0 })
    }

    Nothing cuDevicePrimaryCtxRetain(context: *mut u64, _device: c_int) |sim| {
        if sim.retained == 0 {
            sim.retained = sim.handle();
        }
        sim.holders += 1;
        // SAFETY: as above.
        unsafe { answer(context, sim.retained) }
    }

    Context cuMemGetInfo_v2(free: *mut usize, total: *mut usize) |_sim| {
        // SAFETY: as above.
        unsafe { answer(free, 1 << 33) | answer(total, 1 << 34) }
    }

    Still cuMemAlloc_v2(address: *mut u64, bytes: usize) |sim| {
        sim.counts.allocations += 1;
        // SAFETY: as above.
        sim.allocate(bytes).map_or(OUT_OF_MEMORY, |found| unsafe { answer(address, found) })
    }

    // NVIDIA does not document that these two wait for queued work: callers must not rely on it.
    GivesBackStill cuMemFree_v2(address: u64) |sim| {
        sim.counts.frees += 1;
        if sim.length(address).is_some_and(|bytes| sim.is_awaited(address, bytes)) {
            return sim.violation("memory freed that queued work accesses", INVALID_VALUE);
        }
        if sim.free(address) { sim.sticky } else { sim.violation("memory freed that was not allocated", INVALID_VALUE) }
    }

    Still cuMemHostRegister_v2(start: *mut c_void, bytes: usize, _flags: c_uint) |sim| {
        sim.counts.page_locks += 1;
        if sim.lock_pages(start as usize, bytes) { 0 } else { sim.violation("page-locked twice", ALREADY_LOCKED) }
    }

    GivesBackStill cuMemHostUnregister(start: *mut c_void) |sim| {
        sim.counts.frees += 1;
        match sim.unlock_pages(start as usize) {
            Some(bytes) if sim.is_awaited(start as u64, bytes) => {
                sim.violation("unlocked memory that queued work accesses", INVALID_VALUE)
            }
            Some(_) => sim.sticky,
            None => sim.violation("unlocked memory that was not locked", INVALID_VALUE),
        }
    }

    Context cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: u64) |sim| {
        sim.queue(stream, Work::Up { from: from as usize, to, bytes })
    }

    Context cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: u64) |sim| {
        sim.queue(stream, Work::Down { from, to: to as usize, bytes })
    }

    Context cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) |sim| {
        sim.queue(stream, Work::Across { from, to, bytes })
    }

    Context cuStreamCreate(stream: *mut u64, _flags: c_uint) |sim| {
        let handle = sim.handle();
        sim.streams.insert(handle, Stream::default());
        // SAFETY: as above.
        unsafe { answer(stream, handle) }
    }

    // Queued work executes all the same.
    GivesBack cuStreamDestroy_v2(stream: u64) |sim| {
        if sim.destroy_stream(stream) { sim.sticky } else { sim.violation("a stream destroyed twice", INVALID_HANDLE) }
    }

    Still cuStreamSynchronize(stream: u64) |sim| {
        sim.counts.stream_waits += 1;
        // The default stream waits for all others.
        if stream == 0 {
            sim.counts.device_waits += 1;
            return sim.run_all();
        }
        sim.run_stream(stream)
    }

    Still cuCtxSynchronize() |sim| {
        sim.counts.device_waits += 1;
        sim.run_all()
    }

    Context cuStreamWaitEvent(stream: u64, event: u64, flags: c_uint) |sim| {
        let Some(found) = sim.events.get(&event).cloned() else {
            return sim.violation("a wait for an unknown event", INVALID_HANDLE);
        };
        if flags != 0 {
            return sim.violation("a wait with flags", INVALID_VALUE);
        }
        // An event that was not recorded is not waited for.
        let Some(mark) = found.mark else { return 0 };
        sim.counts.waits += 1;
        if sim.counts.waits == sim.ignored_wait { 0 } else { sim.queue(stream, Work::Wait(mark)) }
    }

    Context cuStreamBeginCapture_v2(stream: u64, mode: c_int) |sim| {
        let Some(found) = sim.streams.get_mut(&stream) else { return INVALID_HANDLE };
        if found.capture.is_some() {
            return sim.violation("a capture started twice", ILLEGAL_STATE);
        }
        found.capture = Some(Capture::begin(mode));
        0
    }

    Context cuEventCreate(event: *mut u64, flags: c_uint) |sim| {
        let handle = sim.handle();
        // CU_EVENT_DISABLE_TIMING is 2.
        sim.events.insert(handle, Event { mark: None, is_timed: flags & 2 == 0 });
        // SAFETY: as above.
        unsafe { answer(event, handle) }
    }

    GivesBack cuEventDestroy_v2(event: u64) |sim| {
        if sim.events.remove(&event).is_some() { 0 } else { sim.violation("an event destroyed twice", INVALID_HANDLE) }
    }

    Context cuEventRecord(event: u64, stream: u64) |sim| {
        let mark = Arc::new(Mark::default());
        let Some(found) = sim.events.get_mut(&event) else {
            return sim.violation("a record of an unknown event", INVALID_HANDLE);
        };
        found.mark = Some(Arc::clone(&mark));
        sim.queue(stream, Work::Record(mark))
    }

    Still cuEventQuery(event: u64) |sim| {
        let Some(found) = sim.events.get(&event).cloned() else {
            return sim.violation("a query of an unknown event", INVALID_HANDLE);
        };
        let Some(mark) = found.mark else { return 0 };
        // Repeated queries see progress eventually.
        if !mark.done.load(Ordering::Relaxed) && sim.draw(4) == 0 {
            sim.run_until(&mark);
        }
        if sim.sticky != 0 { sim.sticky } else if mark.done.load(Ordering::Relaxed) { 0 } else { NOT_READY }
    }

    Still cuEventSynchronize(event: u64) |sim| {
        let Some(found) = sim.events.get(&event).cloned() else {
            return sim.violation("a wait for an unknown event", INVALID_HANDLE);
        };
        found.mark.map_or(0, |mark| sim.run_until(&mark))
    }

    Context cuEventElapsedTime(elapsed_ms: *mut f32, start: u64, end: u64) |sim| {
        let marks = [start, end].map(|event| sim.events.get(&event).filter(|event| event.is_timed)?.mark.clone());
        let [Some(start), Some(end)] = marks else {
            return sim.violation("elapsed time between events without timing", INVALID_HANDLE);
        };
        let time = |mark: &Mark| mark.done.load(Ordering::Relaxed).then(|| mark.at_us.load(Ordering::Relaxed));
        let (Some(start), Some(end)) = (time(&start), time(&end)) else { return NOT_READY };
        // SAFETY: as above.
        unsafe { answer(elapsed_ms, (end as f32 - start as f32) / 1000.0) }
    }

    Context cuGraphInstantiateWithFlags(ready: *mut u64, graph: u64, _flags: c_ulonglong) |sim| {
        let Some(captured) = sim.graphs.get(&graph).cloned() else { return INVALID_HANDLE };
        let handle = sim.handle();
        sim.ready.insert(handle, captured);
        // SAFETY: as above.
        unsafe { answer(ready, handle) }
    }

    Context cuGraphLaunch(ready: u64, stream: u64) |sim| {
        let Some(Captured(all)) = sim.ready.get(&ready).cloned() else { return INVALID_HANDLE };
        sim.queue(stream, Work::Captured(all))
    }

    // Queued replays execute all the same.
    GivesBack cuGraphExecDestroy(ready: u64) |sim| {
        if sim.ready.remove(&ready).is_some() { sim.sticky } else { sim.violation("a graph destroyed twice", INVALID_HANDLE) }
    }

    GivesBack cuGraphDestroy(graph: u64) |sim| {
        if sim.graphs.remove(&graph).is_some() { 0 } else { sim.violation("a graph destroyed twice", INVALID_HANDLE) }
    }

    Context cuLaunchHostFunc(stream: u64, function: HostFunction, argument: *mut c_void) |sim| {
        sim.queue(stream, Work::Host { function, argument: argument as usize })
    }

    Still cuModuleLoadData(module: *mut u64, _image: *const c_void) |sim| {
        let handle = sim.handle();
        sim.modules.insert(handle);
        // SAFETY: as above.
        unsafe { answer(module, handle) }
    }

    GivesBack cuModuleUnload(module: u64) |sim| {
        if sim.modules.remove(&module) { 0 } else { sim.violation("a module unloaded twice", INVALID_HANDLE) }
    }

    Context cuModuleGetFunction(function: *mut u64, module: u64, name: *const c_char) |sim| {
        // SAFETY: the name ends with a zero, as documented.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        if !sim.modules.contains(&module) || !sim.references.contains_key(&name) {
            return NOT_FOUND;
        }
        let handle = sim.handle();
        sim.functions.insert(handle, name);
        // SAFETY: as above.
        unsafe { answer(function, handle) }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxSetCurrent(context: u64) -> u32 {
    // It allocates nothing, so only a lost device refuses it.
    set_current(context);
    let mut guard = crate::sim::lock();
    guard.get_or_insert_with(crate::sim::Sim::default).called()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> u32 {
    // As below.
    let mut guard = crate::sim::lock();
    guard.iter_mut().for_each(crate::sim::Sim::release);
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxReset_v2(_device: c_int) -> u32 {
    // It is the recovery from a failure, so only a device that is gone fails it.
    let mut guard = crate::sim::lock();
    guard.as_mut().map_or(0, |sim| {
        sim.reset();
        sim.sticky
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: u64,
    blocks_x: c_uint,
    blocks_y: c_uint,
    blocks_z: c_uint,
    threads_x: c_uint,
    threads_y: c_uint,
    threads_z: c_uint,
    _shared: c_uint,
    stream: u64,
    arguments: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> u32 {
    call(Context, |sim| {
        let reference = sim.functions.get(&function).and_then(|name| sim.references.get(name)).cloned();
        let Some((reference, sizes)) = reference else { return INVALID_HANDLE };
        let copied = |(at, bytes): (usize, &usize)| {
            // SAFETY: the caller passes as many arguments as the kernel has, each as long as registered.
            unsafe { std::slice::from_raw_parts((*arguments.add(at)).cast::<u8>(), *bytes) }.to_vec()
        };
        let arguments = sizes.iter().enumerate().map(copied).collect();
        let grid = [blocks_x, blocks_y, blocks_z, threads_x, threads_y, threads_z];
        if !is_grid(grid) {
            return sim.violation("a grid larger than GPUs take", INVALID_VALUE);
        }
        sim.queue(stream, Work::Kernel { reference, arguments, grid })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamEndCapture(stream: u64, graph: *mut u64) -> u32 {
    // The capture is over, whether or not the call fails.
    let captured =
        crate::sim::lock().as_mut().and_then(|sim| sim.streams.get_mut(&stream)).and_then(|found| found.capture.take());
    call(Context, |sim| {
        // SAFETY: as above.
        let _none = unsafe { answer(graph, 0) };
        let Some(captured) = captured else {
            return sim.violation("a capture ended that was not started", INVALID_HANDLE);
        };
        if !captured.may_end_here() {
            return sim.violation("a capture ended by another thread", CAPTURE_WRONG_THREAD);
        }
        if captured.is_broken {
            return CAPTURE_INVALIDATED;
        }
        if captured.work.iter().any(|work| matches!(work, Work::Record(_) | Work::Wait(_))) {
            return sim.violation("a capture with events of other streams", CAPTURE_UNSUPPORTED);
        }
        let handle = sim.handle();
        sim.graphs.insert(handle, Captured(Arc::new(captured.work)));
        // SAFETY: as above.
        unsafe { answer(graph, handle) }
    })
}

/// Whether every GPU takes it: blocks x, y, z, then threads of a block.
fn is_grid([x, y, z, threads @ ..]: [c_uint; 6]) -> bool {
    let is_within = |number: c_uint, most: c_uint| (1..=most).contains(&number);
    is_within(x, i32::MAX as c_uint)
        && is_within(y, 65_535)
        && is_within(z, 65_535)
        && threads.iter().zip([1024, 1024, 64]).all(|(number, most)| is_within(*number, most))
        && threads.iter().product::<c_uint>() <= 1024
}
