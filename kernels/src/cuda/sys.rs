//! The driver's entry points that visage uses, as a table: all are looked up before any is called.
//!
//! Decides which there are, and that their arguments are those of NVIDIA's headers, from which cudarc's bindings were
//! generated. cudarc's own functions are only compared with, never called: they panic if the library or a symbol is missing,
//! and know one library for the whole process.

#![expect(non_snake_case, reason = "the functions have the driver's names")]

use std::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};

use cudarc::driver::sys;
use libloading::Library;

pub use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdevice_attribute, CUdeviceptr, CUevent, CUfunction, CUgraph, CUgraphExec, CUhostFn,
    CUmodule, CUresult, CUstream, CUstreamCaptureMode,
};

/// The result of a call: 0 or an error number. Not an enum: a newer driver returns errors that the header does not name.
pub type Status = c_uint;

macro_rules! calls {
    ($($name:ident($($argument:ty),*);)*) => {
        /// The entry points.
        pub struct Calls {
            // SAFETY: a type only; callers comply with the driver's documentation.
            $(#[doc = "As the driver documents it."] pub $name: unsafe extern "C" fn($($argument),*) -> Status,)*
        }

        impl Calls {
            /// Looks up every entry point in `library`.
            ///
            /// # Errors
            /// With the names of those that are missing.
            pub fn find(library: &Library) -> Result<Self, Vec<&'static str>> {
                let missing: Vec<_> = NAMES.iter().copied().filter(|name| address(library, name).is_none()).collect();
                if !missing.is_empty() {
                    return Err(missing);
                }
                $(let $name = address(library, stringify!($name));)*
                Ok(Self {
                    $($name: {
                        let found = $name.ok_or_else(Vec::new)?;
                        // SAFETY: the driver's function of this name takes what `_AS_IN_THE_HEADERS` has compared and
                        // returns a 32-bit number.
                        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> Status>(found) }
                    },)*
                })
            }
        }

        /// Their names.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        const _AS_IN_THE_HEADERS: () = {
            // # Safety: a type only; nothing is called.
            $(let _: unsafe fn($($argument),*) -> sys::CUresult = sys::$name;)*
        };
    };
}

calls! {
    cuInit(c_uint);
    cuDriverGetVersion(*mut c_int);
    cuDeviceGetCount(*mut c_int);
    cuDeviceGet(*mut CUdevice, c_int);
    cuDeviceGetName(*mut c_char, c_int, CUdevice);
    cuDeviceGetAttribute(*mut c_int, CUdevice_attribute, CUdevice);
    cuDevicePrimaryCtxRetain(*mut CUcontext, CUdevice);
    cuDevicePrimaryCtxRelease_v2(CUdevice);
    cuDevicePrimaryCtxReset_v2(CUdevice);
    cuCtxSetCurrent(CUcontext);
    cuMemGetInfo_v2(*mut usize, *mut usize);
    cuMemAlloc_v2(*mut CUdeviceptr, usize);
    cuMemFree_v2(CUdeviceptr);
    cuMemHostRegister_v2(*mut c_void, usize, c_uint);
    cuMemHostUnregister(*mut c_void);
    cuMemcpyHtoDAsync_v2(CUdeviceptr, *const c_void, usize, CUstream);
    cuMemcpyDtoHAsync_v2(*mut c_void, CUdeviceptr, usize, CUstream);
    cuMemcpyDtoDAsync_v2(CUdeviceptr, CUdeviceptr, usize, CUstream);
    cuStreamCreate(*mut CUstream, c_uint);
    cuStreamDestroy_v2(CUstream);
    cuStreamSynchronize(CUstream);
    cuStreamWaitEvent(CUstream, CUevent, c_uint);
    cuStreamBeginCapture_v2(CUstream, CUstreamCaptureMode);
    cuStreamEndCapture(CUstream, *mut CUgraph);
    cuEventCreate(*mut CUevent, c_uint);
    cuEventDestroy_v2(CUevent);
    cuEventRecord(CUevent, CUstream);
    cuEventQuery(CUevent);
    cuEventSynchronize(CUevent);
    cuEventElapsedTime(*mut f32, CUevent, CUevent);
    cuGraphInstantiateWithFlags(*mut CUgraphExec, CUgraph, c_ulonglong);
    cuGraphLaunch(CUgraphExec, CUstream);
    cuGraphExecDestroy(CUgraphExec);
    cuGraphDestroy(CUgraph);
    cuLaunchHostFunc(CUstream, CUhostFn, *mut c_void);
    cuModuleLoadData(*mut CUmodule, *const c_void);
    cuModuleUnload(CUmodule);
    cuModuleGetFunction(*mut CUfunction, CUmodule, *const c_char);
    cuLaunchKernel(CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void, *mut *mut c_void);
}

fn address(library: &Library, name: &str) -> Option<*mut c_void> {
    // SAFETY: the symbol is only taken for an address here; the code that casts it states its signature.
    let symbol = unsafe { library.get::<*mut c_void>(name.as_bytes()) }.ok()?;
    // SAFETY: as above: the raw address of the symbol is copied, nothing is read through it.
    let raw = unsafe { symbol.into_raw() }.into_raw();
    (!raw.is_null()).then_some(raw)
}
