//! Compiled kernels: loaded from an image, found by name, launched on a stream.
//!
//! Decides nothing about arguments: callers know what a kernel takes.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::Arc;

use super::device::{Context, Device};
use super::driver::check;
use super::error::CudaError;
use super::stream::Stream;
use super::sys::{CUfunction, CUmodule};

/// A loaded image.
#[derive(Debug)]
pub struct Module {
    loaded: Arc<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    context: Arc<Context>,
    module: CUmodule,
}

// SAFETY: as for `Stream`.
unsafe impl Send for Loaded {}
// SAFETY: as for `Context`.
unsafe impl Sync for Loaded {}

impl Module {
    /// Loads a cubin for this device.
    ///
    /// # Safety
    /// `image` must be a complete cubin or fat binary, or NUL-terminated PTX: the driver does not know its length.
    ///
    /// # Errors
    /// If it is for other GPUs, or the driver's error.
    pub unsafe fn load(device: &Device, image: &[u8]) -> Result<Self, CudaError> {
        let mut module = ptr::null_mut();
        // SAFETY: the caller guarantees that the image is complete; the driver copies what it needs.
        let status = unsafe { (device.calls().cuModuleLoadData)(&raw mut module, image.as_ptr().cast()) };
        check("cuModuleLoadData", status)?;
        Ok(Self { loaded: Arc::new(Loaded { context: Arc::clone(device.context()), module }) })
    }

    /// The kernel called `name`.
    ///
    /// # Errors
    /// If there is none.
    pub fn function(&self, name: &CStr) -> Result<Function, CudaError> {
        let mut function = ptr::null_mut();
        let calls = self.loaded.context.living("cuModuleGetFunction")?;
        // SAFETY: the name ends with a zero; the module is loaded.
        let status = unsafe { (calls.cuModuleGetFunction)(&raw mut function, self.loaded.module, name.as_ptr()) };
        check("cuModuleGetFunction", status)?;
        Ok(Function { module: Arc::clone(&self.loaded), function })
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if self.context.takes_back() {
            // SAFETY: loaded once, unloaded once; its functions kept it until now.
            unsafe { (self.context.calls().cuModuleUnload)(self.module) };
        }
    }
}

/// A kernel.
#[derive(Debug)]
pub struct Function {
    module: Arc<Loaded>,
    function: CUfunction,
}

// SAFETY: as for `Stream`.
unsafe impl Send for Function {}

/// The grid of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks along x, y and z.
    pub blocks: [u32; 3],
    /// Threads of a block along x, y and z.
    pub threads: [u32; 3],
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// A device address.
    Address(u64),
    /// `unsigned`.
    U32(u32),
    /// `int`.
    I32(i32),
    /// `float`.
    F32(f32),
}

impl Argument {
    fn address(&self) -> *mut c_void {
        match self {
            Self::Address(value) => ptr::from_ref(value).cast_mut().cast(),
            Self::U32(value) => ptr::from_ref(value).cast_mut().cast(),
            Self::I32(value) => ptr::from_ref(value).cast_mut().cast(),
            Self::F32(value) => ptr::from_ref(value).cast_mut().cast(),
        }
    }
}

impl Function {
    /// Queues the kernel.
    ///
    /// # Safety
    /// `arguments` must match the kernel in number, order and type. Every address must be that of memory as long as the
    /// kernel accesses, kept until the launch is done.
    ///
    /// # Errors
    /// The driver's error.
    pub unsafe fn launch(&self, stream: &Stream, grid: Grid, arguments: &[Argument]) -> Result<(), CudaError> {
        let mut addresses: Vec<*mut c_void> = arguments.iter().map(Argument::address).collect();
        let ([bx, by, bz], [tx, ty, tz]) = (grid.blocks, grid.threads);
        let calls = self.module.context.living("cuLaunchKernel")?;
        // SAFETY: the driver copies the arguments before it returns; the caller guarantees that they match the kernel.
        let status = unsafe {
            (calls.cuLaunchKernel)(
                self.function,
                bx,
                by,
                bz,
                tx,
                ty,
                tz,
                0,
                stream.raw(),
                addresses.as_mut_ptr(),
                ptr::null_mut(),
            )
        };
        check("cuLaunchKernel", status)
    }
}
