//! How a reference implementation reads the arguments that a kernel gets, and the macro that makes tables of kernels.
//!
//! Decides which buffer is borrowed for how long. Knows no kernel.

use std::ffi::c_void;

use crate::dtype::Elem;

/// The arguments of a kernel: addresses of each, as `cuLaunchKernel` takes them.
pub(super) struct Arguments(pub *const *const c_void);

impl Arguments {
    /// The bits of `count` scalars that follow `buffers` buffers.
    ///
    /// # Safety
    /// There must be as many arguments.
    pub unsafe fn scalars(&self, buffers: usize, count: usize) -> Vec<u32> {
        // SAFETY: the caller guarantees the number of arguments, each four bytes long.
        (buffers..buffers + count).map(|at| unsafe { (*self.0.add(at)).cast::<u32>().read_unaligned() }).collect()
    }

    /// The address that is argument `at`.
    ///
    /// # Safety
    /// There must be as many arguments, and this one must be an address.
    unsafe fn address(&self, at: usize) -> u64 {
        // SAFETY: the caller guarantees it.
        unsafe { (*self.0.add(at)).cast::<u64>().read_unaligned() }
    }

    /// The buffer whose address is argument `at`.
    ///
    /// # Safety
    /// It must have `length` elements, which are not written while it is borrowed.
    pub unsafe fn read<'a, T: Elem>(&self, at: usize, length: u64) -> &'a [T] {
        // SAFETY: the caller guarantees it.
        unsafe { std::slice::from_raw_parts(self.address(at) as *const T, length as usize) }
    }

    /// The buffer whose address is argument `at`, to write.
    ///
    /// # Safety
    /// It must have `length` elements, which are accessed by no other reference while it is borrowed.
    pub unsafe fn write<'a, T: Elem>(&self, at: usize, length: u64) -> &'a mut [T] {
        // SAFETY: the caller guarantees it.
        unsafe { std::slice::from_raw_parts_mut(self.address(at) as *mut T, length as usize) }
    }
}

/// Makes a table of kernels: each with its buffers in order (`read` or `write`, and the element type), the [`Work`] that its
/// scalars describe, and its reference implementation. The reference's C function bears the kernel's name.
///
/// [`Work`]: super::launch::Work
macro_rules! kernels {
    ($source:ident; $($kernel:ident($($buffer:ident: $access:ident $type:ty),*): $work:ty => $compute:expr;)*) => {
        pub(super) const KERNELS: &[$crate::reference::launch::Kernel] = &[$($crate::reference::launch::Kernel {
            name: stringify!($kernel),
            source: $crate::reference::source::Source::$source,
            buffers: &[$($crate::reference::launch::KernelBuffer {
                name: stringify!($buffer),
                dtype: <$type as $crate::dtype::Elem>::DTYPE,
                is_written: $crate::reference::arguments::is_written(stringify!($access)),
            }),*],
            scalars: <$work as $crate::reference::launch::Work>::SCALARS,
            reference: $kernel,
        }),*];

        $(
            // SAFETY: called through `Kernel::reference`, with the arguments of this kernel.
            unsafe extern "C" fn $kernel(arguments: *const *const std::ffi::c_void, _grid: *const u32) {
                use $crate::reference::launch::Work;
                const BUFFERS: usize = [$(stringify!($buffer)),*].len();
                let arguments = $crate::reference::arguments::Arguments(arguments);
                // SAFETY: callers pass the arguments of the kernel.
                let bits = unsafe { arguments.scalars(BUFFERS, <$work>::SCALARS) };
                let work = <$work>::of(&bits);
                let mut lengths = work.lengths().into_iter().enumerate();
                $(
                    let (at, length) = lengths.next().unwrap_or_default();
                    let $buffer: $crate::reference::arguments::slice!($access $type) =
                        // SAFETY: as above: the buffer has the length of the launch, is aligned for its elements, and exclusive
                        // to the kernel during the call.
                        unsafe { arguments.$access(at, length) };
                )*
                let compute: fn(&$work, $($crate::reference::arguments::slice!($access $type)),*) = $compute;
                compute(&work, $($buffer),*);
            }
        )*
    };
}

macro_rules! slice {
    (read $type:ty) => {
        &[$type]
    };
    (write $type:ty) => {
        &mut [$type]
    };
}

pub(super) use {kernels, slice};

/// Whether the table says `write`.
pub(super) const fn is_written(access: &str) -> bool {
    access.as_bytes()[0] == b'w'
}
